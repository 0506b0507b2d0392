using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Rows that come from the host's memory, against what the link carries: from memory that is pinned for good, and from any other.</summary>
internal static class GpuStreamSuite
{
    /// <summary>A way for rows to get to the device.</summary>
    /// <param name="Name">In the table.</param>
    /// <param name="BytesPerValue">On the link.</param>
    /// <param name="Pinned">The memory that is pinned, if any is.</param>
    /// <param name="Encode">Encodes the rows.</param>
    private sealed record Source(string Name, int BytesPerValue, RowMatrix? Pinned, Func<IEncoder, ushort[], EncodeReport> Encode);

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        (int dimension, int rowCount) = (context.Size(768, 40), context.Size(Cases.GpuRows, 150));
        using RowMatrix rows = context.Synth(rowCount, dimension);
        using RowMatrix shadow = Shadow(rows);
        int n = (int)rows.Count;
        Source[] sources =
        [
            new("pinned float32 rows", sizeof(float), rows, (encoder, codes) => encoder.Encode(rows.View(0, n), codes)),
            new("float32 rows, not pinned", sizeof(float), null, (encoder, codes) => encoder.Encode(rows.View(0, n), codes)),
            new("pinned float16 shadows of float32 rows", sizeof(ushort), shadow, (encoder, codes) =>
                encoder.EncodeShadow(new ShadowRows(MemoryMarshal.AsBytes(Bits(shadow)), dimension, ShadowFormat.Float16), (row, to) => rows.Rows(row, 1).CopyTo(to), codes)),
        ];
        foreach ((int levels, int codeCount) in context.Quick ? [(3, 32)] : new[] { (4, 256), (3, 4096) })
        {
            EncodePlan plan = TrainedPlans.Residual(rows, levels, codeCount);
            ushort[]? before = null;
            foreach (Source source in sources)
            {
                using IEncoder encoder = context.Backend.CreateEncoder(plan);
                using IDisposable? pin = source.Pinned is null ? null : encoder.Pin(source.Pinned);
                if (source.Pinned is not null && pin is null)
                {
                    context.Remarks.Add("The system does not let rows be pinned where they lie");
                    continue;
                }
                ushort[] codes = new ushort[rows.Count * levels];
                EncodeReport report = source.Encode(encoder, codes);
                string check = before is null ? EncodeRun.Check(rows, rows.Count, plan, codes, EncodeRun.SampleRows(plan))
                    : codes.AsSpan().SequenceEqual(before) ? "all codes as above" : throw new InvalidOperationException("two ways to the device give different codes; nothing is timed");
                before = codes;
                Timing time = context.Time(() => source.Encode(encoder, codes)) with { AllocatedBytes = null };
                double bytes = (double)source.BytesPerValue * rows.Count * dimension, operations = 2.0 * rows.Count * dimension * codeCount * levels;
                var figure = new Figure
                {
                    Operation = $"rq {levels} × {codeCount}, {source.Name}",
                    Backend = context.Backend.Name,
                    Device = context.Backend.Device,
                    Data = BenchData.SynthName,
                    Rows = rows.Count,
                    Dimension = dimension,
                    Codes = codeCount,
                    Levels = levels,
                    Time = time,
                    Bytes = bytes,
                    Ceiling = context.Ceilings.HostToDeviceBytes / 1e9,
                    Rechecked = report.RecheckedShare,
                    Check = check,
                    Note = GpuContext.Text($"{Report.Bytes(bytes / time.Median)}/s, {operations / time.Median / 1e12:F0} TFLOP/s; the ceiling is the link"),
                    Headline = source.Pinned is not null,
                };
                if (source.Pinned is not null && codeCount == 256)
                    context.Compare($"RQ 4 × 256, d 768 from {source.Name}", "≥ 90 % of the measured link", GpuContext.Text($"{100 * figure.CeilingShare:F0} %"), figure.CeilingShare >= 0.9);
                yield return figure;
            }
        }
    }

    // What float16 makes of the rows, in half of their memory; d is even.
    private static RowMatrix Shadow(RowMatrix rows)
    {
        var shadow = new RowMatrix(rows.Count, rows.Dimension / 2);
        TensorPrimitives.ConvertToHalf(rows.Rows(0, (int)rows.Count), MemoryMarshal.Cast<ushort, Half>(Bits(shadow)));
        return shadow;
    }

    private static Span<ushort> Bits(RowMatrix shadow) => MemoryMarshal.Cast<float, ushort>(shadow.Rows(0, (int)shadow.Count));
}
