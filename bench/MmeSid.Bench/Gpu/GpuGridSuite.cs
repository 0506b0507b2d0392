using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>One level over the shapes that codebooks come in, rows on the device: whether one of them falls through.</summary>
internal static class GpuGridSuite
{
    private const long kValues = 1L << 28;
    private const double kOperationsPerRun = 4e12;
    // A shape below this share of the float32 ceiling is a hole: tensor cores are there to exceed it.
    private const double kHole = 0.6;

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        Figure? slowest = null;
        foreach (int dimension in context.Quick ? [17, 96] : Cases.AssignDimensions)
        {
            using RowMatrix host = context.Synth(context.Size((int)Math.Min(Cases.GpuRows, kValues / dimension), 150), dimension);
            using GpuRows rows = GpuRows.Upload(context.Gpu, host);
            foreach (int codeCount in context.Quick ? [33] : Cases.AssignCodes)
            {
                int count = (int)Math.Min(host.Count, kOperationsPerRun / (2.0 * dimension * codeCount));
                EncodePlan plan = TrainedPlans.Vq(host, codeCount);
                ushort[]? codes = null;
                List<string> others = [];
                foreach (Screen screen in Screens.Kinds.Select(kind => TileCache.Of(context.Gpu).Screen(kind, dimension, codeCount)).Where(screen => screen.Fits(context.Gpu)))
                {
                    Figure one = GpuEncodeRun.Measure(context, $"vq {codeCount}", rows, count, plan, new Screening(screen, ShareOperand: false), ref codes);
                    others.Add(GpuContext.Text($"{screen.Name} {one.Rate / 1e3:F1} ({100 * one.Rechecked:0.##} % re-checked)"));
                }
                Figure chosen = GpuEncodeRun.Measure(context, $"vq {codeCount}", rows, count, plan, null, ref codes) with { Note = $"TFLOP/s of each screen: {string.Join(", ", others)}", Headline = true };
                if (slowest is null || chosen.Rate < slowest.Rate)
                    slowest = chosen;
                yield return chosen;
            }
        }
        double share = slowest!.Rate * 1e9 / context.Ceilings.Float32Operations;
        context.Compare(
            "one level, d 64 … 4096 × K 256 … 8192", GpuContext.Text($"no hole: nowhere below {100 * kHole:F0} % of the float32 ceiling"),
            GpuContext.Text($"slowest d {slowest.Dimension}, K {slowest.Codes}: {slowest.Rate / 1e3:F1} TFLOP/s, {100 * share:F0} % of the float32 ceiling"), share >= kHole);
    }
}
