using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>Codebooks learned from the rows they are timed on, with few iterations: near enough to trained ones for speed and re-checks.</summary>
internal static class TrainedPlans
{
    private const int kIterations = 5, kMostRowsPerCode = 32, kLeastRowsPerCode = 2;
    private const double kOperationsPerIteration = 4e11;

    /// <summary>One level.</summary>
    public static EncodePlan Vq(RowMatrix rows, int codes) => Train(rows, QuantizerKind.Vq, 1, codes);

    /// <summary>RQ-KMeans.</summary>
    public static EncodePlan Residual(RowMatrix rows, int levels, int codes) => Train(rows, QuantizerKind.RqKMeans, levels, codes);

    /// <summary>PSRQ.</summary>
    public static EncodePlan PrefixSemantic(RowMatrix rows, int levels, int codes) => Train(rows, QuantizerKind.Psrq, levels, codes);

    /// <summary>The codebooks of a quantizer as a plan of the kernels.</summary>
    public static EncodePlan Of(Quantizer quantizer) => new(
        quantizer.Kind == QuantizerKind.Psrq ? PlanKind.PrefixSemantic : PlanKind.Residual,
        quantizer.Dimension,
        [.. Enumerable.Range(0, quantizer.Levels).Select(quantizer.Codebook)]);

    private static EncodePlan Train(RowMatrix rows, QuantizerKind kind, int levels, int codes)
    {
        var options = new TrainingOptions
        {
            Kind = kind,
            Levels = levels,
            Codes = [codes],
            Seed = 1,
            Initialization = KMeansInitialization.Random,
            Iterations = kIterations,
            TrainRows = Math.Min(rows.Count, Math.Clamp((long)(kOperationsPerIteration / (2.0 * rows.Dimension * codes)), (long)kLeastRowsPerCode * codes, (long)kMostRowsPerCode * codes)),
        };
        EmbeddingTable table = EmbeddingTable.FromRows(rows, ItemIds.Sequential(rows.Count), "rows");
        return Of(QuantizerTrainer.Train(table, options, BenchContext.Simd(BenchContext.AllThreads)).Quantizer);
    }
}
