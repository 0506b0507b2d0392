using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// Codebooks for codes that came without them: a codeword is the mean of what the levels before it leave of the rows that carry its code,
/// <code>
///   r_1 = x,  C_l[k] = mean of r_l over the rows with k_l = k,  r_{l+1} = r_l − C_l[k_l]
/// </code>
/// which is the update of residual k-means with the assignment given: given the codebooks before it, no codebook of a level fits these codes better.
/// </summary>
public static class CodebookMeans
{
    private const int kValuesPerBlock = 1 << 20;

    /// <summary>A residual quantizer of kind <see cref="QuantizerKind.RqKMeans"/>; K_l is the largest code of level l and one. The codeword of a code that no row carries is zero.</summary>
    /// <param name="rows">x, [n, d], n ≥ 1; read L times.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="cancellation">Looked at between blocks.</param>
    /// <exception cref="ArgumentException">There are no rows, or not as many as codes.</exception>
    public static Quantizer Of(EmbeddingTable rows, SidTable codes, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(codes);
        if (rows.Count == 0 || rows.Count != codes.Count)
            throw new ArgumentException($"{codes.Count} SIDs and {rows.Count} rows, expected one SID per row and at least one", nameof(codes));
        var codebooks = new List<float[]>();
        for (int level = 0; level < codes.Levels; level++)
            codebooks.Add(Means(rows, codes, codebooks, cancellation));
        return new Quantizer(QuantizerKind.RqKMeans, rows.Dimension, codebooks);
    }

    // The level after the codebooks there are; float64 sums.
    private static float[] Means(EmbeddingTable rows, SidTable codes, List<float[]> before, CancellationToken cancellation)
    {
        int d = rows.Dimension, level = before.Count, block = (int)Math.Min(rows.Count, Math.Max(1, kValuesPerBlock / d));
        int codeCount = codes.Level(level).Max() + 1;
        double[] sums = new double[(long)codeCount * d];
        long[] counts = new long[codeCount];
        using var values = new RowMatrix(block, d);
        for (long first = 0; first < rows.Count; first += block)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(block, rows.Count - first);
            rows.Read(first, count, values.Rows(0, count));
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<float> x = values.Rows(i, 1);
                ReadOnlySpan<ushort> sid = codes[first + i];
                Span<double> sum = sums.AsSpan(sid[level] * d, d);
                counts[sid[level]]++;
                for (int j = 0; j < d; j++)
                {
                    double left = x[j];
                    for (int l = 0; l < level; l++)
                        left -= before[l][(sid[l] * d) + j];
                    sum[j] += left;
                }
            }
        }
        return [.. sums.Select((sum, i) => counts[i / d] == 0 ? 0 : (float)(sum / counts[i / d]))];
    }
}
