using System.Globalization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Bench;

/// <summary>The sums of MME-SID's reconstruction loss. Half of each set's own pairs and all cross pairs have to be multiplied.</summary>
internal static class MmdSuite
{
    private const int kCheckedRows = 256;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach (Cases.MmdShape shape in context.Quick ? [new(500, 300, 40)] : Cases.MmdBench)
        {
            using RowMatrix source = BenchData.Synth(shape.Source, shape.Dimension, seed: 1), target = BenchData.Synth(shape.Target, shape.Dimension, seed: 2);
            yield return Measure(BenchContext.Simd(BenchContext.AllThreads), source, target, context, context.Ceilings.For(BenchContext.AllThreads).Fp32, () =>
            {
                PlainProducts.Multiply(source, source, BenchContext.AllThreads, half: true);
                PlainProducts.Multiply(target, target, BenchContext.AllThreads, half: true);
                PlainProducts.Multiply(source, target, BenchContext.AllThreads, half: false);
            }, out _);
        }
    }

    /// <summary>Checks a backend on a part of both sets, then times it on all of them.</summary>
    /// <param name="backend">What computes.</param>
    /// <param name="source">[n, d].</param>
    /// <param name="target">[m, d].</param>
    /// <param name="run">Takes the times.</param>
    /// <param name="ceiling">10⁹ float32 operations per second.</param>
    /// <param name="multiply">The plain products of the same pairs.</param>
    /// <param name="products">Receives their time.</param>
    public static Figure Measure(IBackend backend, RowMatrix source, RowMatrix target, BenchRun run, double ceiling, Action multiply, out Timing products)
    {
        string check = Check(backend, source, target);
        products = run.Time(multiply);
        Timing time = run.Time(() => backend.MmdSums(source.View(0, (int)source.Count), target.View(0, (int)target.Count), MmdKernel.Default));
        double n = source.Count, m = target.Count;
        return new Figure
        {
            Operation = $"MmdSums {n} + {m}",
            Backend = backend.Name,
            Device = backend.Device,
            Data = BenchData.SynthName,
            Rows = source.Count + target.Count,
            Dimension = source.Dimension,
            Time = time,
            Operations = source.Dimension * (n * n + m * m + 2 * n * m),
            Ceiling = ceiling,
            Check = check,
            Note = string.Create(CultureInfo.InvariantCulture, $"{time.Median / products.Median:F2} × the time of the plain products ({Report.Seconds(products.Median)})"),
            Headline = true,
        };
    }

    private static string Check(IBackend backend, RowMatrix source, RowMatrix target)
    {
        int sources = (int)Math.Min(kCheckedRows, source.Count), targets = (int)Math.Min(kCheckedRows, target.Count);
        MmdSums expected = new ScalarBackend().MmdSums(source.View(0, sources), target.View(0, targets), MmdKernel.Default);
        MmdSums found = backend.MmdSums(source.View(0, sources), target.View(0, targets), MmdKernel.Default);
        double worst = new[] { (expected.Source, found.Source), (expected.Target, found.Target), (expected.Cross, found.Cross) }
            .Max(pair => Math.Abs(pair.Item2 - pair.Item1) / pair.Item1);
        // No row is further from the mean than twice the longest row.
        double largest = 4 * Math.Max(LongestRow(source, sources), LongestRow(target, targets));
        double bound = Bounds.MmdSums(source.Dimension, sources + targets, largest, MmdKernel.Default.Factors[0] * expected.MeanSquaredDistance);
        if (worst > bound)
            throw new InvalidOperationException($"a sum is off by {worst:0.0e0}, the bound is {bound:0.0e0}; nothing is timed");
        return string.Create(CultureInfo.InvariantCulture, $"{sources} + {targets} rows: off by {worst:0.0e0}, bound {bound:0.0e0}");
    }

    private static double LongestRow(RowMatrix rows, int count) =>
        Enumerable.Range(0, count).Max(row => rows.Rows(row, 1).ToArray().Sum(value => (double)value * value));
}
