using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Evaluation;

/// <summary>What codes lose of the rows.</summary>
/// <param name="MeanSquared">Mean over rows of ‖x − x̂‖², x̂ the float32 reconstruction; float64 sums.</param>
/// <param name="Variance">Mean over rows of ‖x − mean‖².</param>
public sealed record ReconstructionError(double MeanSquared, double Variance)
{
    private const int kValuesPerBlock = 1 << 20;

    /// <summary>Error as a share of the variance: 0 is lossless, 1 what the mean alone achieves. 0 when both are 0.</summary>
    public double Relative => MeanSquared == 0 ? 0 : MeanSquared / Variance;

    /// <summary>Measures codes against their rows; reads the table once.</summary>
    /// <param name="rows">[n, d], n ≥ 1, the rows that were encoded.</param>
    /// <param name="quantizer">What the codes mean.</param>
    /// <param name="sids">[n, L], or [n, L + 1] with an extra digit, which is ignored.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or there are no rows.</exception>
    public static ReconstructionError Measure(EmbeddingTable rows, Quantizer quantizer, SidTable sids)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(quantizer);
        ArgumentNullException.ThrowIfNull(sids);
        if (rows.Count == 0 || rows.Count != sids.Count || rows.Dimension != quantizer.Dimension || sids.Levels < quantizer.Levels)
            throw new ArgumentException($"{sids.Count} SIDs of {sids.Levels} levels, {rows.Count} rows of dimension {rows.Dimension} and a quantizer of {quantizer.Levels} levels and dimension {quantizer.Dimension} do not fit", nameof(rows));
        int d = rows.Dimension, levels = quantizer.Levels, block = (int)Math.Min(rows.Count, Math.Max(1, kValuesPerBlock / d));
        using var values = new RowMatrix(block, d);
        using var reconstructions = new RowMatrix(block, d);
        var codes = new ushort[block * levels];
        // Sums around the first row: the variance of rows far from the origin would cancel otherwise.
        var origin = new float[d];
        var sums = new double[d];
        double squares = 0, error = 0;
        for (long first = 0; first < rows.Count; first += block)
        {
            int count = (int)Math.Min(block, rows.Count - first);
            Span<float> x = values.Rows(0, count), estimate = reconstructions.Rows(0, count);
            rows.Read(first, count, x);
            if (first == 0)
                x[..d].CopyTo(origin);
            for (int i = 0; i < count; i++)
                sids[first + i][..levels].CopyTo(codes.AsSpan(i * levels));
            quantizer.Reconstruct(codes.AsSpan(0, count * levels), estimate);
            for (int i = 0; i < x.Length; i++)
            {
                double lost = (double)x[i] - estimate[i], offset = (double)x[i] - origin[i % d];
                error += lost * lost;
                squares += offset * offset;
                sums[i % d] += offset;
            }
        }
        double n = rows.Count;
        return new ReconstructionError(error / n, Math.Max(0, squares / n - sums.Sum(sum => sum / n * (sum / n))));
    }
}
