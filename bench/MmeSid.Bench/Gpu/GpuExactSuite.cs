using System.Diagnostics;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>
/// Whether any code is wrong: against all float64 distances on the device, for rows drawn there around codewords and half-way between two, each
/// screen in turn; against the oracle for RQ and PSRQ; against the processor's vector kernels for large codebooks.
/// </summary>
internal static class GpuExactSuite
{
    private const int kRowsPerBatch = 1 << 20;
    private const float kDeviation = 0.3f;
    private const int kOracleLevels = 4, kOracleCodes = 256, kOracleDimension = 768;
    // Of every core: these rows only say how long the others will take.
    private const int kProbedRows = 64;
    private const int kReplacedRows = 64;
    private const double kOperationsPerCore = 5e11;

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        (int Dimension, int Codes)[] shapes = context.Quick ? [(24, 33)] : [(768, 256), (128, 1024), (64, 4096), (1280, 256)];
        long proven = 0, wrong = 0, close = 0;
        foreach ((int dimension, int codeCount) in shapes)
        {
            (Figure figure, long wrongHere, long closeHere) = AgainstDistances(context, dimension, codeCount, context.ProvenRows / shapes.Length);
            proven += figure.Rows;
            wrong += wrongHere;
            close += closeHere;
            yield return figure;
        }
        context.Compare(
            "codes against float64 brute force on the device", "0 wrong in 10⁸ rows",
            GpuContext.Text($"{wrong:N0} wrong in {proven:N0} rows ({close:N0} where float64 cannot say)"), wrong == 0 && proven >= 100_000_000);
        if (wrong > 0)
            throw new InvalidOperationException($"{wrong} rows have a wrong code");

        foreach (PlanKind kind in Enum.GetValues<PlanKind>())
            yield return AgainstOracle(context, kind);
        yield return AgainstSimd(context);
    }

    private static (Figure Figure, long Wrong, long Close) AgainstDistances(GpuContext context, int dimension, int codeCount, long wanted)
    {
        using RowMatrix codewords = BenchData.Synth(codeCount, dimension);
        float[] values = codewords.Rows(0, codeCount).ToArray();
        var plan = new EncodePlan(PlanKind.Residual, dimension, [values]);
        CudaEncoder[] encoders = [.. context.Screens.Select(screen => (CudaEncoder)context.With(new Screening(screen, ShareOperand: false)).CreateEncoder(plan))];
        // At least a batch for each screen.
        int batch = context.Fit(Math.Clamp(wanted / encoders.Length, 1, kRowsPerBatch), sizeof(float) * (long)dimension + sizeof(ushort), hostBytesPerRow: 0);
        using var stream = CudaStream.Create(context.Gpu);
        using var onDevice = DeviceMemory<float>.From(stream, values);
        using var rows = DeviceMemory<float>.Allocate(context.Gpu, (long)batch * dimension);
        using var codes = DeviceMemory<ushort>.Allocate(context.Gpu, batch);
        long done = 0, wrong = 0, close = 0;
        EncodeReport report = default;
        double encoding = 0;
        try
        {
            var clock = Stopwatch.StartNew();
            int round = 0;
            do
            {
                int count = (int)Math.Min(batch, wanted - done);
                CudaRowSource.Draw(stream, onDevice, rows, done, count, dimension, kDeviation / MathF.Sqrt(dimension), context.Seed);
                stream.Synchronize();
                CudaEncoder encoder = encoders[round % encoders.Length];
                encoding += Timing.Seconds(() => report += encoder.Encode(rows, count, codes));
                (long wrongHere, long closeHere) = CudaVerifier.Verify(stream, rows, onDevice, codes, count, dimension);
                (done, wrong, close) = (done + count, wrong + wrongHere, close + closeHere);
                if (round++ == 0)
                    RequireThatWrongCodesAreSeen(stream, rows, onDevice, codes, count, dimension, codeCount);
            }
            while (done < wanted && clock.Elapsed < context.Box);
        }
        finally
        {
            foreach (CudaEncoder encoder in encoders)
                encoder.Dispose();
        }
        if (done < wanted)
            context.Remarks.Add(GpuContext.Text($"d {dimension}, K {codeCount}: {done:N0} of {wanted:N0} rows in {context.Box.TotalSeconds:F0} s, all that --seconds gives"));
        return (new Figure
        {
            Operation = $"vq {codeCount}, screens in turn",
            Backend = context.Backend.Name,
            Device = context.Backend.Device,
            Data = "drawn on the device",
            Rows = done,
            Dimension = dimension,
            Codes = codeCount,
            Time = Timing.Of([encoding]),
            Operations = 2.0 * done * dimension * codeCount,
            Rechecked = report.RecheckedShare,
            Undecided = (double)report.Exact / report.Decisions,
            Check = GpuContext.Text($"{wrong:N0} wrong by float64 brute force, {close:N0} where float64 cannot say"),
            Note = $"seed {context.Seed}",
            Headline = true,
        }, wrong, close);
    }

    // A check that cannot fail proves nothing: the codes of some rows are replaced by others, hardly any of which can be as near.
    private static void RequireThatWrongCodesAreSeen(
        CudaStream stream, DeviceMemory<float> rows, DeviceMemory<float> codewords, DeviceMemory<ushort> codes, int count, int dimension, int codeCount)
    {
        int replaced = Math.Min(count, kReplacedRows);
        stream.Write<ushort>(codes, Array.ConvertAll(codes.ToArray(stream, replaced), code => (ushort)((code + codeCount / 2) % codeCount)));
        (long seen, _) = CudaVerifier.Verify(stream, rows, codewords, codes, replaced, dimension);
        if (seen <= replaced / 2)
            throw new InvalidOperationException($"of {replaced} codes that were replaced by wrong ones the check saw {seen}");
    }

    private static Figure AgainstOracle(GpuContext context, PlanKind kind)
    {
        int dimension = context.Size(kOracleDimension, 24), codeCount = context.Size(kOracleCodes, 16);
        int probed = kProbedRows * AllThreads, wanted = (int)Math.Max(context.Size(probed, 100), context.ProvenRows / 1000);
        using RowMatrix host = context.Synth(wanted, dimension);
        using GpuRows rows = GpuRows.Upload(context.Gpu, host);
        EncodePlan plan = kind == PlanKind.Residual ? TrainedPlans.Residual(host, kOracleLevels, codeCount) : TrainedPlans.PrefixSemantic(host, kOracleLevels, codeCount);
        ushort[]? codes = null;
        Figure figure = GpuEncodeRun.Measure(context, $"{(kind == PlanKind.Residual ? "rq" : "psrq")} {kOracleLevels} × {codeCount}", rows, (int)host.Count, plan, null, ref codes);
        double secondsPerRow = Timing.Seconds(() => EncodeRun.Check(host, host.Count, plan, codes!, probed)) / Math.Min(probed, host.Count);
        long affordable = (long)(context.Box.TotalSeconds / secondsPerRow);
        if (affordable < host.Count)
            context.Remarks.Add(GpuContext.Text($"{figure.Operation}: the oracle takes {secondsPerRow * 1e6:F0} µs a row here, so {affordable:N0} of {host.Count:N0} rows were compared"));
        return figure with { Check = $"oracle: {EncodeRun.Check(host, host.Count, plan, codes!, affordable)}", Headline = true };
    }

    private static Figure AgainstSimd(GpuContext context)
    {
        (int dimension, int levels, int codeCount) = context.Quick ? new(24, 3, 64) : new Cases.EncodeShape(768, 3, 4096);
        long affordable = (long)(kOperationsPerCore * AllThreads / (2.0 * dimension * levels * codeCount));
        using RowMatrix host = context.Synth(context.Size((int)Math.Min(Cases.GpuRows, affordable), 100), dimension);
        using GpuRows rows = GpuRows.Upload(context.Gpu, host);
        EncodePlan plan = TrainedPlans.Residual(host, levels, codeCount);
        ushort[]? codes = null;
        Figure figure = GpuEncodeRun.Measure(context, $"rq {levels} × {codeCount}", rows, (int)host.Count, plan, null, ref codes);
        ushort[] expected = new ushort[codes!.Length];
        using IEncoder simd = BenchContext.Simd(AllThreads).CreateEncoder(plan);
        simd.Encode(host.View(0, (int)host.Count), expected);
        return expected.AsSpan().SequenceEqual(codes)
            ? figure with { Check = GpuContext.Text($"simd: all {host.Count:N0} rows equal") }
            : throw new InvalidOperationException("codes differ from those of simd");
    }

    private static int AllThreads => BenchRun.AllThreads;
}
