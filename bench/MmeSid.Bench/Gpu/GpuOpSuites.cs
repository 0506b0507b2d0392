using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>The operations beside encoding. Their inputs lie on the host, as the engine has them, and the way to the device is in the time.</summary>
internal static class GpuOpSuites
{
    public static IEnumerable<Figure> Mmd(GpuContext context)
    {
        Cases.MmdShape shape = context.Quick ? new(200, 130, 48) : Cases.GpuMmdBench;
        using RowMatrix source = BenchData.Synth(shape.Source, shape.Dimension, seed: 1), target = BenchData.Synth(shape.Target, shape.Dimension, seed: 2);
        using GpuRows left = GpuRows.Upload(context.Gpu, source), right = GpuRows.Upload(context.Gpu, target);
        Figure figure = MmdSuite.Measure(context.Backend, source, target, context, context.Ceiling(ScreenKind.Float32), () =>
        {
            CudaPlainProducts.Multiply(left.Stream, left.Values, left.Values, shape.Dimension);
            CudaPlainProducts.Multiply(left.Stream, right.Values, right.Values, shape.Dimension);
            CudaPlainProducts.Multiply(left.Stream, left.Values, right.Values, shape.Dimension);
        }, out Timing products);
        long peak = GpuMemoryPeak.Above(context.Gpu, () => context.Backend.MmdSums(source.View(0, shape.Source), target.View(0, shape.Target), MmdKernel.Default));
        long rows = sizeof(float) * (long)shape.Dimension * (shape.Source + shape.Target);
        double ratio = figure.Time.Median / products.Median;
        context.Compare(
            "MmdSums of 16,384 + 16,384 rows, d 4096", "≤ 2 × its products, memory of the rows alone", GpuContext.Text($"{ratio:F2} ×, {Report.Bytes(peak)} beside {Report.Bytes(rows)} of rows"),
            ratio <= 2 && peak < 2 * rows);
        yield return figure with { Note = $"{figure.Note}; peak {Report.Bytes(peak)} of the device, the rows have {Report.Bytes(rows)}" };
    }

    public static IEnumerable<Figure> Sinkhorn(GpuContext context)
    {
        foreach (Cases.SinkhornShape shape in context.Quick ? [new(200, 16, 8)] : Cases.SinkhornBench)
        {
            using RowMatrix rows = context.Synth(shape.Rows, shape.Dimension), codewords = BenchData.Synth(shape.Codes, shape.Dimension);
            yield return SinkhornSuite.Measure(context.Backend, rows, codewords, context, work => GpuMemoryPeak.Above(context.Gpu, work), "of the device");
        }
    }

    public static IEnumerable<Figure> Top(GpuContext context)
    {
        foreach (Cases.TopShape shape in context.Quick ? [new(1, 1000, 24, 5), new(70, 500, 24, 5)] : Cases.GpuTopBench)
        {
            using RowMatrix items = context.Synth(shape.Items, shape.Dimension), queries = BenchData.Synth(shape.Queries, shape.Dimension, seed: 2);
            double bytes = (double)sizeof(float) * shape.Items * shape.Dimension, operations = 2.0 * shape.Queries * shape.Items * shape.Dimension;
            bool arithmetic = operations / context.Ceilings.Float32Operations > bytes / context.Ceilings.HostToDeviceBytes;
            yield return TopInnerProductsSuite.Measure(
                context.Backend, queries, items, shape.Count, checkedQueries: 1, work => context.Time(work) with { AllocatedBytes = null }, arithmetic,
                arithmetic ? context.Ceiling(ScreenKind.Float32) : context.Ceilings.HostToDeviceBytes / 1e9, "the link");
        }
    }
}
