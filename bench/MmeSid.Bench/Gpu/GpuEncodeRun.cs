using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Encodes rows that lie on the device: checks the codes, then times the calls, each of which returns when the device has the codes.</summary>
internal static class GpuEncodeRun
{
    /// <summary>One figure.</summary>
    /// <param name="context">The device.</param>
    /// <param name="operation">Name in the table.</param>
    /// <param name="rows">At least <paramref name="count"/>.</param>
    /// <param name="count">n.</param>
    /// <param name="plan">The codebooks.</param>
    /// <param name="screening">For all levels; null for what the encoder measures to be fastest.</param>
    /// <param name="codes">[n, L] receives the codes. Where it holds codes already, they are compared.</param>
    public static Figure Measure(GpuContext context, string operation, GpuRows rows, int count, EncodePlan plan, Screening? screening, ref ushort[]? codes)
    {
        CudaEncoder? encoder = null;
        double preparation = Timing.Seconds(() => encoder = (CudaEncoder)context.With(screening).CreateEncoder(plan));
        using (encoder)
        using (var onDevice = DeviceMemory<ushort>.Allocate(context.Gpu, (long)count * plan.Levels))
        {
            // The first call compiles kernels and, where the screen is open, chooses one.
            encoder!.Encode(rows.Values, count, onDevice);
            EncodeReport report = encoder.Encode(rows.Values, count, onDevice);
            string check = Check(rows, count, plan, onDevice, ref codes);
            Timing time = context.Time(() => encoder.Encode(rows.Values, count, onDevice)) with { AllocatedBytes = null };
            Screen[] chosen = [.. encoder.Choice.Distinct()];
            string screens = string.Join(", ", chosen.Select(screen => screen.Name["screen_".Length..])) + (plan.Levels > 1 && encoder.Choice.Count == 1 ? ", one operand for all levels" : "");
            return new Figure
            {
                Operation = $"{operation}, {(screening is not null ? screens : encoder.IsCalibrated ? $"chosen: {screens}" : $"too few rows to choose: {screens}")}",
                Backend = context.Backend.Name,
                Device = context.Backend.Device,
                Data = BenchData.SynthName,
                Rows = count,
                Dimension = plan.Dimension,
                Codes = plan.CodeCount(0),
                Levels = plan.Levels,
                Time = time,
                Operations = 2.0 * count * plan.Dimension * Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount),
                Ceiling = chosen.Length == 1 ? context.Ceiling(chosen[0].Kind) : 0,
                Rechecked = report.RecheckedShare,
                Undecided = (double)report.Exact / report.Decisions,
                Preparation = preparation,
                Check = check,
            };
        }
    }

    // The first codes of a plan are compared with the oracle's, on a sample; later ones with those, all of them.
    private static string Check(GpuRows rows, int count, EncodePlan plan, DeviceMemory<ushort> onDevice, ref ushort[]? codes)
    {
        ushort[] found = onDevice.ToArray(rows.Stream, count * plan.Levels);
        if (codes is null)
        {
            codes = found;
            return EncodeRun.Check(rows.Host, count, plan, found, EncodeRun.SampleRows(plan));
        }
        return found.AsSpan().SequenceEqual(codes) ? "all codes as above" : throw new InvalidOperationException("two screens give different codes; nothing is timed");
    }
}
