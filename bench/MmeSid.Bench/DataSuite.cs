using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>How often the fast pass cannot decide, on data as it is; every row of a real table is compared with the oracle.</summary>
internal static class DataSuite
{
    // Where integers gain least.
    private const int kSmallDimension = 64;
    private const int kLevels = 4, kCodes = 256;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach ((string name, RowMatrix rows) in BenchData.RealOnes(context))
        {
            // Most of these tables are too short for a screen to be chosen by time: each is measured.
            foreach (Figure figure in Measure(context, name, rows, [SimdScreen.Float32, SimdScreen.Int16, SimdScreen.Int8], SimdScreen.Int8, checkAll: !context.Quick))
                yield return figure;
        }
        int count = context.Size(Cases.EncodeRows, 3000), dimension = context.Size(768, 64);
        using (RowMatrix isotropic = BenchData.Isotropic(count, dimension))
        {
            foreach (Figure figure in Measure(context, BenchData.IsotropicName, isotropic, [SimdScreen.Float32, SimdScreen.Int16, SimdScreen.Int8, SimdScreen.Fastest], SimdScreen.Fastest, checkAll: false))
                yield return figure;
        }
        foreach (int width in new[] { dimension, kSmallDimension }.Distinct())
        {
            using RowMatrix hostile = BenchData.Hostile(count, width);
            foreach (Figure figure in Measure(context, BenchData.HostileName, hostile, [SimdScreen.Float32, SimdScreen.Int16, SimdScreen.Int8, SimdScreen.Fastest], SimdScreen.Fastest, checkAll: false))
                yield return figure;
        }
    }

    private static IEnumerable<Figure> Measure(BenchContext context, string name, RowMatrix rows, SimdScreen[] screens, SimdScreen ofPrefixes, bool checkAll)
    {
        int codeCount = context.Size(kCodes, 32);
        ushort[] codes = new ushort[rows.Count * kLevels];
        EncodePlan residual = TrainedPlans.Residual(rows, kLevels, codeCount);
        foreach (SimdScreen screen in screens)
            yield return EncodeRun.Measure(context, $"rq {kLevels} × {codeCount}", name, rows, residual, BenchContext.AllThreads, codes, checkAll, screen) with { Headline = screen != SimdScreen.Float32 };
        yield return EncodeRun.Measure(context, $"psrq {kLevels} × {codeCount}", name, rows, TrainedPlans.PrefixSemantic(rows, kLevels, codeCount), BenchContext.AllThreads, codes, checkAll, ofPrefixes);
    }
}
