using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>Checks an encoder against the oracle, then times it.</summary>
internal static class EncodeRun
{
    /// <summary>Multiply-adds that an oracle check of a sample may take; tables that are checked whole take what they need.</summary>
    private const double kSampleOperations = 4e8;

    /// <summary>Calls after which a screen is chosen, or never is because the table is so short.</summary>
    private const int kMostCalls = 64;

    /// <summary>Encodes all rows with the plan; one figure.</summary>
    /// <param name="context">Ceilings and sizes.</param>
    /// <param name="operation">Name in the table.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="rows">[n, d].</param>
    /// <param name="plan">The codebooks.</param>
    /// <param name="threads">Worker threads.</param>
    /// <param name="codes">[n, L] receives the codes, for peers to be compared with.</param>
    /// <param name="checkAll">Compares every row with the oracle, not a sample.</param>
    /// <param name="screen">What is multiplied.</param>
    public static Figure Measure(
        BenchContext context, string operation, string data, RowMatrix rows, EncodePlan plan, int threads, ushort[] codes, bool checkAll = false, SimdScreen screen = SimdScreen.Fastest)
    {
        var backend = new SimdBackend(threads, screen);
        using IEncoder encoder = backend.CreateEncoder(plan);
        EncodeReport report = EncodeUntilChosen(encoder, rows, codes);
        string check = Check(rows, rows.Count, plan, codes, checkAll ? rows.Count : SampleRows(plan));
        Timing time = context.TimeWithCeiling(() => Encode(encoder, rows, codes), threads);
        var float32 = new SimdBackend(threads, SimdScreen.Float32);
        (double first, double plain) = Timing.InTurn(() => First(backend, rows, plan, codes), () => First(float32, rows, plan, codes), context.Quick);
        int codesInAll = Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount);
        return new Figure
        {
            Operation = operation,
            Backend = backend.Name,
            Device = backend.Device,
            Data = data,
            Rows = rows.Count,
            Dimension = rows.Dimension,
            Codes = plan.CodeCount(0),
            Levels = plan.Levels,
            Time = time,
            Operations = 2.0 * rows.Count * rows.Dimension * codesInAll,
            Ceiling = context.Ceilings.For(threads).Fp32,
            Rechecked = report.RecheckedShare,
            Screen = encoder.Screen,
            Open = report.OpenShare,
            Candidates = report.Open == 0 ? null : (double)report.OpenCandidates / report.Open,
            OverFloat32 = screen == SimdScreen.Float32 ? null : plain / first,
            FirstCall = first,
            Check = check,
        };
    }

    /// <summary>How much longer a plan takes than another one, in turn with it: prepared encoders, and first calls of new ones.</summary>
    /// <param name="context">Sizes.</param>
    /// <param name="rows">[n, d].</param>
    /// <param name="plan">The codebooks.</param>
    /// <param name="other">Those that they are compared with.</param>
    /// <param name="threads">Worker threads.</param>
    public static (double Prepared, double FirstCalls) Ratios(BenchContext context, RowMatrix rows, EncodePlan plan, EncodePlan other, int threads)
    {
        var backend = new SimdBackend(threads);
        ushort[] codes = new ushort[rows.Count * Math.Max(plan.Levels, other.Levels)];
        using IEncoder encoder = backend.CreateEncoder(plan), otherEncoder = backend.CreateEncoder(other);
        EncodeUntilChosen(encoder, rows, codes);
        EncodeUntilChosen(otherEncoder, rows, codes);
        (double seconds, double otherSeconds) = Timing.InTurn(() => Encode(encoder, rows, codes), () => Encode(otherEncoder, rows, codes), context.Quick);
        (double first, double otherFirst) = Timing.InTurn(() => First(backend, rows, plan, codes), () => First(backend, rows, other, codes), context.Quick);
        return (seconds / otherSeconds, first / otherFirst);
    }

    private static EncodeReport Encode(IEncoder encoder, RowMatrix rows, ushort[] codes) => encoder.Encode(rows.View(0, (int)rows.Count), codes.AsSpan(0, (int)rows.Count * encoder.Plan.Levels));

    // Of short tables it takes several calls until a screen is chosen.
    private static EncodeReport EncodeUntilChosen(IEncoder encoder, RowMatrix rows, ushort[] codes)
    {
        EncodeReport report;
        int calls = 0;
        do
            report = Encode(encoder, rows, codes);
        while (encoder.Screen.Length == 0 && ++calls < kMostCalls);
        return report;
    }

    // With what a new encoder prepares and tries: who encodes once pays for it.
    private static void First(SimdBackend backend, RowMatrix rows, EncodePlan plan, ushort[] codes)
    {
        using IEncoder created = backend.CreateEncoder(plan);
        Encode(created, rows, codes);
    }

    /// <summary>Rows that an oracle check of a sample compares.</summary>
    public static long SampleRows(EncodePlan plan) =>
        (long)Math.Max(16, kSampleOperations / Enumerable.Range(0, plan.Levels).Sum(level => (double)plan.CodeCount(level) * plan.CodewordWidth(level)));

    /// <summary>Compares codes with the oracle's, and says of how many rows.</summary>
    /// <param name="rows">At least as many as were encoded.</param>
    /// <param name="rowCount">Rows that were encoded, n.</param>
    /// <param name="plan">The codebooks.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="sample">Rows to compare, spread evenly; all where there are no more.</param>
    /// <exception cref="InvalidOperationException">A code differs.</exception>
    public static string Check(RowMatrix rows, long rowCount, EncodePlan plan, ushort[] codes, long sample)
    {
        int count = (int)Math.Min(rowCount, sample);
        ushort[] expected = new ushort[(long)count * plan.Levels];
        long Row(int index) => count == rowCount ? index : (long)((double)index / count * rowCount);
        Parallel.For(0, (count + 63) / 64, block =>
        {
            int first = block * 64, inBlock = Math.Min(64, count - first);
            float[] values = new float[inBlock * rows.Dimension];
            for (int i = 0; i < inBlock; i++)
                rows.Rows(Row(first + i), 1).CopyTo(values.AsSpan(i * rows.Dimension));
            using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
            oracle.Encode(new RowView(values, rows.Dimension), expected.AsSpan(first * plan.Levels, inBlock * plan.Levels));
        });
        for (int index = 0; index < count; index++)
        {
            for (int level = 0; level < plan.Levels; level++)
            {
                ushort wanted = expected[index * plan.Levels + level], found = codes[Row(index) * plan.Levels + level];
                if (wanted != found)
                    throw new InvalidOperationException($"row {Row(index)}, level {level}: code {found}, the oracle says {wanted}; nothing is timed");
            }
        }
        return count == rowCount ? "all rows equal" : $"{count:N0} rows equal";
    }
}
