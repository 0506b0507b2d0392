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
            SimdBackend backend = BenchContext.Simd(BenchContext.AllThreads);
            int[] indices = new int[shape.Queries * shape.Count];
            float[] scores = new float[indices.Length];
            void Search() => backend.TopInnerProducts(queries.View(0, shape.Queries), items.View(0, shape.Items), shape.Count, indices, scores);

            Search();
            string check = Check(queries, items, shape, indices, scores);
            bool arithmetic = shape.Queries >= kArithmeticFrom;
            Timing time = arithmetic ? context.TimeWithCeiling(Search, BenchContext.AllThreads) : context.Time(Search);
            Ceiling ceiling = context.Ceilings.For(BenchContext.AllThreads);
            yield return new Figure
            {
                Operation = $"TopInnerProducts, {shape.Queries} {(shape.Queries == 1 ? "query" : "queries")}, k {shape.Count}",
                Backend = backend.Name,
                Device = backend.Device,
                Data = BenchData.SynthName,
                Rows = shape.Items,
                Dimension = shape.Dimension,
                Time = time,
                Operations = arithmetic ? 2.0 * shape.Queries * shape.Items * shape.Dimension : 0,
                Bytes = arithmetic ? 0 : (double)sizeof(float) * shape.Items * shape.Dimension,
                Ceiling = arithmetic ? ceiling.Fp32 : ceiling.Memory,
                Check = check,
                Note = arithmetic ? "" : $"reads {Report.Bytes((double)sizeof(float) * shape.Items * shape.Dimension / time.Median)}/s; the ceiling is memory",
                Headline = true,
            };
        }
    }

    private static string Check(RowMatrix queries, RowMatrix items, Cases.TopShape shape, int[] indices, float[] scores)
    {
        int count = Math.Min(kCheckedQueries, shape.Queries);
        int[] expected = new int[count * shape.Count];
        float[] expectedScores = new float[expected.Length];
        new ScalarBackend().TopInnerProducts(queries.View(0, count), items.View(0, shape.Items), shape.Count, expected, expectedScores);
        if (!expected.AsSpan().SequenceEqual(indices.AsSpan(0, expected.Length)) || !expectedScores.AsSpan().SequenceEqual(scores.AsSpan(0, expected.Length)))
            throw new InvalidOperationException("the largest products differ from the oracle's; nothing is timed");
        return $"{count} {(count == 1 ? "query" : "queries")} equal";
    }
}
