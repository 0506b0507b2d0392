using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>One query reads all items once, so memory decides; many queries multiply, so arithmetic decides.</summary>
internal static class TopInnerProductsSuite
{
    private const int kArithmeticFrom = 64, kCheckedQueries = 4;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach (Cases.TopShape shape in context.Quick ? [new(1, 5000, 24, 5), new(64, 5000, 24, 5)] : Cases.TopBench)
        {
            using RowMatrix items = BenchData.Synth(shape.Items, shape.Dimension, seed: 1), queries = BenchData.Synth(shape.Queries, shape.Dimension, seed: 2);
            bool arithmetic = shape.Queries >= kArithmeticFrom;
            Ceiling ceiling = context.Ceilings.For(BenchContext.AllThreads);
            yield return Measure(
                BenchContext.Simd(BenchContext.AllThreads), queries, items, shape.Count, kCheckedQueries,
                work => arithmetic ? context.TimeWithCeiling(work, BenchContext.AllThreads) : context.Time(work), arithmetic, arithmetic ? ceiling.Fp32 : ceiling.Memory, "memory");
        }
    }

    /// <summary>Checks a backend on the first queries, then times it on all of them.</summary>
    /// <param name="backend">What computes.</param>
    /// <param name="queries">[q, d].</param>
    /// <param name="items">[n, d].</param>
    /// <param name="count">k.</param>
    /// <param name="checkedQueries">That the oracle answers as well.</param>
    /// <param name="time">Takes the times.</param>
    /// <param name="arithmetic">Whether multiplications are what takes the time; else it is the reading of the items.</param>
    /// <param name="ceiling">10⁹ operations or bytes per second.</param>
    /// <param name="reader">What reads the items, for people.</param>
    public static Figure Measure(
        IBackend backend, RowMatrix queries, RowMatrix items, int count, int checkedQueries, Func<Action, Timing> time, bool arithmetic, double ceiling, string reader)
    {
        int queryCount = (int)queries.Count, itemCount = (int)items.Count;
        int[] indices = new int[queryCount * count];
        float[] scores = new float[indices.Length];
        void Search() => backend.TopInnerProducts(queries.View(0, queryCount), items.View(0, itemCount), count, indices, scores);

        Search();
        string check = Check(queries, items, count, Math.Min(checkedQueries, queryCount), indices, scores);
        Timing taken = time(Search);
        double bytes = (double)sizeof(float) * itemCount * items.Dimension;
        return new Figure
        {
            Operation = $"TopInnerProducts, {queryCount} {(queryCount == 1 ? "query" : "queries")}, k {count}",
            Backend = backend.Name,
            Device = backend.Device,
            Data = BenchData.SynthName,
            Rows = itemCount,
            Dimension = items.Dimension,
            Time = taken,
            Operations = arithmetic ? 2.0 * queryCount * itemCount * items.Dimension : 0,
            Bytes = arithmetic ? 0 : bytes,
            Ceiling = ceiling,
            Check = check,
            Note = arithmetic ? "" : $"reads {Report.Bytes(bytes / taken.Median)}/s; the ceiling is {reader}",
            Headline = true,
        };
    }

    private static string Check(RowMatrix queries, RowMatrix items, int resultCount, int count, int[] indices, float[] scores)
    {
        int[] expected = new int[count * resultCount];
        float[] expectedScores = new float[expected.Length];
        new ScalarBackend().TopInnerProducts(queries.View(0, count), items.View(0, (int)items.Count), resultCount, expected, expectedScores);
        if (!expected.AsSpan().SequenceEqual(indices.AsSpan(0, expected.Length)) || !expectedScores.AsSpan().SequenceEqual(scores.AsSpan(0, expected.Length)))
            throw new InvalidOperationException("the largest products differ from the oracle's; nothing is timed");
        return $"{count} {(count == 1 ? "query" : "queries")} equal";
    }
}
