using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Bench;

/// <summary>Balanced assignment: every iteration visits all rows × codes, so memory is what has to stay small.</summary>
internal static class SinkhornSuite
{
    private const int kCheckedRows = 1024;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach (Cases.SinkhornShape shape in context.Quick ? [new(2000, 16, 8)] : Cases.SinkhornBench)
        {
            using RowMatrix rows = BenchData.Synth(shape.Rows, shape.Dimension);
            using RowMatrix codewords = BenchData.Synth(shape.Codes, shape.Dimension);
            yield return Measure(BenchContext.Simd(BenchContext.AllThreads), rows, codewords, context, MemoryPeak.Above, "above the input");
        }
    }

    /// <summary>Checks a backend on a part of the rows, then times it on all of them.</summary>
    /// <param name="backend">What computes.</param>
    /// <param name="rows">[n, d].</param>
    /// <param name="codewords">[K, d].</param>
    /// <param name="run">Takes the times.</param>
    /// <param name="peak">Bytes that the work takes at its highest point, or null where that is not known.</param>
    /// <param name="peakOf">What they are counted above.</param>
    public static Figure Measure(IBackend backend, RowMatrix rows, RowMatrix codewords, BenchRun run, Func<Action, long?> peak, string peakOf)
    {
        var options = new SinkhornOptions();
        ushort[] codes = new ushort[rows.Count];
        double[] potentials = new double[codewords.Count];
        void Assign() => backend.SinkhornAssign(rows.View(0, (int)rows.Count), codewords.View(0, (int)codewords.Count), options, codes, potentials);

        string check = Check(backend, rows, codewords, options);
        long? taken = peak(Assign);
        return new Figure
        {
            Operation = $"SinkhornAssign, {options.Iterations} iterations",
            Backend = backend.Name,
            Device = backend.Device,
            Data = BenchData.SynthName,
            Rows = rows.Count,
            Dimension = rows.Dimension,
            Codes = (int)codewords.Count,
            Time = run.Time(Assign),
            Check = check,
            Note = taken is { } bytes ? $"peak {Report.Bytes(Math.Max(0, bytes))} {peakOf}" : "",
            Headline = true,
        };
    }

    private static string Check(IBackend backend, RowMatrix rows, RowMatrix codewords, SinkhornOptions options)
    {
        int count = (int)Math.Min(kCheckedRows, rows.Count), codeCount = (int)codewords.Count;
        ushort[] expected = new ushort[count], found = new ushort[count];
        new ScalarBackend().SinkhornAssign(rows.View(0, count), codewords.View(0, codeCount), options, expected, default);
        backend.SinkhornAssign(rows.View(0, count), codewords.View(0, codeCount), options, found, default);
        int equal = expected.Zip(found).Count(pair => pair.First == pair.Second);
        return $"{equal:N0} of {count:N0} rows equal";
    }
}
