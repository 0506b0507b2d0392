using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>Checks an encoder against the oracle, then times it.</summary>
internal static class EncodeRun
{
    /// <summary>Multiply-adds that an oracle check of a sample may take; tables that are checked whole take what they need.</summary>
    private const double kSampleOperations = 4e8;

    /// <summary>Encodes all rows with the plan; one figure.</summary>
    /// <param name="context">Ceilings and sizes.</param>
    /// <param name="operation">Name in the table.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="rows">[n, d].</param>
    /// <param name="plan">The codebooks.</param>
    /// <param name="threads">Worker threads.</param>
    /// <param name="codes">[n, L] receives the codes, for peers to be compared with.</param>
    /// <param name="checkAll">Compares every row with the oracle, not a sample.</param>
    public static Figure Measure(BenchContext context, string operation, string data, RowMatrix rows, EncodePlan plan, int threads, ushort[] codes, bool checkAll = false)
    {
        SimdBackend backend = BenchContext.Simd(threads);
        IEncoder? encoder = null;
        double preparation = Timing.Seconds(() => encoder = backend.CreateEncoder(plan));
        using (encoder)
        {
            EncodeReport report = encoder!.Encode(rows.View(0, (int)rows.Count), codes);
            string check = Check(rows, plan, codes, checkAll);
            Timing time = context.TimeWithCeiling(() =>
            {
                using IEncoder prepared = backend.CreateEncoder(plan);
                prepared.Encode(rows.View(0, (int)rows.Count), codes);
            }, threads);
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
                Preparation = preparation,
                Check = check,
            };
        }
    }

    /// <summary>Compares codes with the oracle's.</summary>
    /// <exception cref="InvalidOperationException">A code differs.</exception>
    private static string Check(RowMatrix rows, EncodePlan plan, ushort[] codes, bool all)
    {
        double perRow = Enumerable.Range(0, plan.Levels).Sum(level => (double)plan.CodeCount(level) * plan.CodewordWidth(level));
        int count = (int)(all ? rows.Count : Math.Min(rows.Count, Math.Max(16, kSampleOperations / perRow)));
        ushort[] expected = new ushort[(long)count * plan.Levels];
        long Row(int sample) => count == rows.Count ? sample : (long)((double)sample / count * rows.Count);
        Parallel.For(0, (count + 63) / 64, block =>
        {
            int first = block * 64, inBlock = Math.Min(64, count - first);
            float[] sample = new float[inBlock * rows.Dimension];
            for (int i = 0; i < inBlock; i++)
                rows.Rows(Row(first + i), 1).CopyTo(sample.AsSpan(i * rows.Dimension));
            using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
            oracle.Encode(new RowView(sample, rows.Dimension), expected.AsSpan(first * plan.Levels, inBlock * plan.Levels));
        });
        for (int sample = 0; sample < count; sample++)
        {
            for (int level = 0; level < plan.Levels; level++)
            {
                ushort wanted = expected[sample * plan.Levels + level], found = codes[Row(sample) * plan.Levels + level];
                if (wanted != found)
                    throw new InvalidOperationException($"row {Row(sample)}, level {level}: code {found}, the oracle says {wanted}; nothing is timed");
            }
        }
        return count == rows.Count ? "all rows equal" : $"{count:N0} rows equal";
    }
}
