using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>
/// One query reads all items once, so memory decides; many queries multiply, so arithmetic decides. Beside each other: a call as it comes, items that were prepared, both over the float32 pass in the
/// same run, and FAISS. And items with a spike each, which leave int8 nothing to decide: the choice by time must not cost more than its trials.
/// </summary>
internal static class TopInnerProductsSuite
{
    private const int kArithmeticFrom = 64, kCheckedQueries = 4;
    private const float kSpike = 1e6f;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach (Cases.TopShape shape in context.Quick ? [new(1, 5000, 24, 5), new(64, 5000, 24, 5)] : Cases.TopBench)
        {
            using RowMatrix items = BenchData.Synth(shape.Items, shape.Dimension, seed: 1), queries = BenchData.Synth(shape.Queries, shape.Dimension, seed: 2);
            foreach (Figure figure in Measure(context, BenchData.SynthName, queries, items, shape.Count, context.HasFaiss()))
                yield return figure;
            if (shape.Dimension != Cases.TopBench[0].Dimension && !context.Quick)
                continue;
            for (int i = 0; i < shape.Items; i++)
                items.Rows(i, 1)[i % shape.Dimension] = kSpike;
            foreach (Figure figure in Measure(context, "synth, a spike in each item", queries, items, shape.Count, withPeer: false))
                yield return figure;
        }
    }

    private static IEnumerable<Figure> Measure(BenchContext context, string data, RowMatrix queries, RowMatrix items, int count, bool withPeer)
    {
        bool arithmetic = queries.Count >= kArithmeticFrom;
        Ceiling ceiling = context.Ceilings.For(BenchContext.AllThreads);
        int[] indices = new int[queries.Count * count];
        SimdBackend backend = BenchContext.Simd(BenchContext.AllThreads), float32 = new(BenchContext.AllThreads, SimdScreen.Float32);
        Figure ours = Take(prepares: false), prepared = Take(prepares: true);
        IReadOnlyList<Figure> peers = withPeer ? [.. PeerFigures.Top(context, ours.Operation, data, queries, items, count, indices)] : [];
        yield return PeerFigures.Compare(ours, peers);
        yield return PeerFigures.Compare(prepared, peers);
        foreach (Figure peer in peers)
            yield return peer;

        Figure Take(bool prepares)
        {
            double? ratio = null;
            return Measure(backend, queries, items, count, kCheckedQueries, Time, arithmetic, arithmetic ? ceiling.Fp32 : ceiling.Memory, "memory", prepares, indices) with { Data = data, OverFloat32 = ratio };

            Timing Time(Action work)
            {
                (double ours, double plain) = Timing.InTurn(work, Plain, context.Quick);
                ratio = plain / ours;
                return arithmetic ? context.TimeWithCeiling(work, BenchContext.AllThreads) : context.Time(work);
            }
        }

        void Plain() => float32.TopInnerProducts(queries.View(0, (int)queries.Count), items.View(0, (int)items.Count), count, new int[indices.Length], new float[indices.Length]);
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
    /// <param name="prepares">Whether the items are prepared, outside of the time.</param>
    /// <param name="found">[q, k] receives the indices; null where nobody wants them.</param>
    public static Figure Measure(
        IBackend backend, RowMatrix queries, RowMatrix items, int count, int checkedQueries, Func<Action, Timing> time, bool arithmetic, double ceiling, string reader, bool prepares = false,
        int[]? found = null)
    {
        int queryCount = (int)queries.Count, itemCount = (int)items.Count;
        int[] indices = found ?? new int[queryCount * count];
        float[] scores = new float[indices.Length];
        IPreparedItems? prepared = null;
        TopReport report = default;
        // What is made once is made by the first call.
        double? first = prepares ? Timing.Seconds(() =>
        {
            prepared = backend.PrepareItems(items);
            Search();
        }) : null;
        using IPreparedItems? owned = prepared;
        void Search()
        {
            if (prepared is null)
                backend.TopInnerProducts(queries.View(0, queryCount), items.View(0, itemCount), count, indices, scores);
            else
                report = prepared.TopInnerProducts(queries.View(0, queryCount), count, indices, scores);
        }

        if (!prepares)
            Search();
        string check = Check(queries, items, count, Math.Min(checkedQueries, queryCount), indices, scores);
        Timing taken = time(Search);
        double bytes = report.ItemBytes > 0 ? report.ItemBytes : (double)sizeof(float) * itemCount * items.Dimension;
        string read = arithmetic ? "" : $"reads {Report.Bytes(bytes / taken.Median)}/s; the ceiling is {reader}";
        return new Figure
        {
            Operation = $"TopInnerProducts, {queryCount} {(queryCount == 1 ? "query" : "queries")}, k {count}{(prepares ? ", prepared items" : "")}",
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
            Screen = prepared?.Screen ?? "",
            Open = report.Products == 0 ? null : (double)report.Open / report.Products,
            Candidates = report.Open == 0 ? null : (double)report.Open / queryCount,
            FirstCall = first,
            Note = report.ItemBytes == 0 ? read : $"{Report.Bytes(report.ItemBytes)} of items read{(read.Length == 0 ? "" : "; ")}{read}",
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
