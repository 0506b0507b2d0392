using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

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
            SimdBackend backend = BenchContext.Simd(BenchContext.AllThreads);
            var options = new SinkhornOptions();
            ushort[] codes = new ushort[shape.Rows];
            double[] potentials = new double[shape.Codes];
            void Assign() => backend.SinkhornAssign(rows.View(0, shape.Rows), codewords.View(0, shape.Codes), options, codes, potentials);

            string check = Check(backend, rows, codewords, options);
            long? peak = MemoryPeak.Above(Assign);
            Timing time = context.Time(Assign);
            yield return new Figure
            {
                Operation = $"SinkhornAssign, {options.Iterations} iterations",
                Backend = backend.Name,
                Device = backend.Device,
                Data = BenchData.SynthName,
                Rows = shape.Rows,
                Dimension = shape.Dimension,
                Codes = shape.Codes,
                Time = time,
                Check = check,
                Note = peak is { } bytes ? $"peak {Report.Bytes(Math.Max(0, bytes))} above the input" : "",
                Headline = true,
            };
        }
    }

    private static string Check(SimdBackend backend, RowMatrix rows, RowMatrix codewords, SinkhornOptions options)
    {
        int count = (int)Math.Min(kCheckedRows, rows.Count), codeCount = (int)codewords.Count;
        ushort[] expected = new ushort[count], found = new ushort[count];
        new ScalarBackend().SinkhornAssign(rows.View(0, count), codewords.View(0, codeCount), options, expected, default);
        backend.SinkhornAssign(rows.View(0, count), codewords.View(0, codeCount), options, found, default);
        int equal = expected.Zip(found).Count(pair => pair.First == pair.Second);
        return $"{equal:N0} of {count:N0} rows equal";
    }
}
