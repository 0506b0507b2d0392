using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Whole residual quantizers over rows on the device: every screen, then the choice, RQ and PSRQ of the same shape beside each other.</summary>
internal static class GpuEncodeSuite
{
    private const double kGigaPerTera = 1e3;

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        foreach (IGrouping<int, Cases.EncodeShape> shapes in (context.Quick ? [new(40, 3, 32)] : Cases.GpuEncodeBench).GroupBy(shape => shape.Dimension))
        {
            using RowMatrix host = context.Synth(context.Size(Cases.GpuRows, 200), shapes.Key);
            using GpuRows rows = GpuRows.Upload(context.Gpu, host);
            foreach (Cases.EncodeShape shape in shapes)
            {
                string name = $"{shape.Levels} × {shape.Codes}";
                EncodePlan residual = TrainedPlans.Residual(host, shape.Levels, shape.Codes);
                ushort[]? codes = null;
                foreach (Screen screen in context.Screens.Where(screen => Screens.CodesMultiple(shape.Codes) % screen.Codes == 0))
                {
                    foreach (bool shareOperand in CudaPlan.CanShareOperand(residual) ? (bool[])[false, true] : [false])
                    {
                        Figure one = GpuEncodeRun.Measure(context, $"rq {name}", rows, (int)host.Count, residual, new Screening(screen, shareOperand), ref codes);
                        if (screen.Kind == ScreenKind.Float32)
                            CompareFloat32(context, one);
                        yield return one;
                    }
                }
                Figure rq = GpuEncodeRun.Measure(context, $"rq {name}", rows, (int)host.Count, residual, null, ref codes) with { Headline = true };
                Compare(context, shape, rq);
                yield return rq;
                codes = null;
                Figure psrq = GpuEncodeRun.Measure(context, $"psrq {name}", rows, (int)host.Count, TrainedPlans.PrefixSemantic(host, shape.Levels, shape.Codes), null, ref codes);
                yield return psrq with { Headline = true, Note = GpuContext.Text($"{psrq.Time.Median / rq.Time.Median:F2} × the time of RQ") };
            }
        }
    }

    private static void Compare(GpuContext context, Cases.EncodeShape shape, Figure rq)
    {
        string found = $"{Report.Seconds(rq.Time.Median)} for {rq.Rows:N0} rows, {rq.Rate / kGigaPerTera:F0} TFLOP/s";
        if (shape is { Dimension: 768, Codes: 4096 })
        {
            context.Compare("RQ 3 × 4096, d 768, a million rows on the device", "≥ 250 TFLOP/s", found, rq.Rate >= 250e3);
            context.Compare("the same", "≥ 450 TFLOP/s (≤ 42 ms)", found, rq.Rate >= 450e3);
        }
        else if (shape is { Dimension: 768, Codes: 256 })
        {
            context.Compare("RQ 4 × 256, d 768, a million rows on the device", "≤ 5 ms", found, rq.Time.Median / rq.Rows * 1e6 <= 5e-3);
        }
    }

    private static void CompareFloat32(GpuContext context, Figure figure)
    {
        if (figure is { Dimension: 768, Codes: 4096 })
            context.Compare("the float32 screen alone, 3 × 4096, d 768", "≥ 30 TFLOP/s (60 % of cuBLAS's 50)", $"{figure.Rate / kGigaPerTera:F1} TFLOP/s", figure.Rate >= 30e3);
    }
}
