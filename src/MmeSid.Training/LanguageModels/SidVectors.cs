using MmeSid.Engine;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.LanguageModels;

/// <summary>First values of the vectors of codes.</summary>
public static class SidVectors
{
    /// <summary>Root mean square of the values, the usual one of token embeddings.</summary>
    public const double Size = 0.02;

    private const ulong kProjections = 1UL << 40;

    /// <summary>
    /// Vectors from a bundle's codewords: as they are where they have H values, else projected by a random matrix of N(0, 1) (Johnson and Lindenstrauss 1984: distances keep their
    /// ratios about to 1/√H), then each level scaled to a root mean square of <see cref="Size"/>. PSRQ gives the half that is subtracted. Levels without a codebook, the begin
    /// vector and levels whose codewords are all zero are drawn at random.
    /// </summary>
    /// <param name="bundle">Whose codebooks.</param>
    /// <param name="vocabulary">Its codes.</param>
    /// <param name="dimension">H.</param>
    /// <param name="start">Codebooks, or all at random.</param>
    /// <param name="seed">Of projections and random vectors.</param>
    /// <returns>[T + 1, H] row-major.</returns>
    public static float[] Draw(SidBundle bundle, SidVocabulary vocabulary, int dimension, SidEmbeddingStart start, ulong seed)
    {
        var random = new RandomSource(seed);
        var vectors = new float[checked((vocabulary.Tokens + 1) * dimension)];
        for (int i = 0; i < vectors.Length; i++)
            vectors[i] = (float)(Size * random.NextGaussian());
        if (start == SidEmbeddingStart.Random)
            return vectors;
        Quantizer quantizer = bundle.Quantizer;
        double[]? projection = null;
        for (int level = 0; level < Math.Min(vocabulary.Levels, quantizer.Levels); level++)
        {
            int width = quantizer.Kind == QuantizerKind.Psrq ? quantizer.Dimension : quantizer.CodewordWidth(level);
            // Levels of a residual quantizer live in one space and keep doing so; sub-spaces have nothing in common.
            if (projection is null || quantizer.IsProduct)
                projection = Projection(width, dimension, random.Split(kProjections + (ulong)level));
            var rows = new double[quantizer.CodeCount(level) * dimension];
            for (int code = 0; code < quantizer.CodeCount(level); code++)
                Project(quantizer.Codeword(level, code)[..width], projection, rows.AsSpan(code * dimension, dimension));
            double size = Math.Sqrt(rows.Sum(value => value * value) / rows.Length);
            if (size == 0)
                continue;
            for (int i = 0; i < rows.Length; i++)
                vectors[(vocabulary.Offset(level) * dimension) + i] = (float)(rows[i] * Size / size);
        }
        return vectors;
    }

    /// <summary>[width, dimension]; the identity where both are equal.</summary>
    private static double[] Projection(int width, int dimension, RandomSource random)
    {
        var matrix = new double[checked(width * dimension)];
        for (int i = 0; i < matrix.Length; i++)
            matrix[i] = width != dimension ? random.NextGaussian() : i / dimension == i % dimension ? 1 : 0;
        return matrix;
    }

    private static void Project(ReadOnlySpan<float> codeword, double[] projection, Span<double> row)
    {
        for (int i = 0; i < codeword.Length; i++)
        {
            ReadOnlySpan<double> direction = projection.AsSpan(i * row.Length, row.Length);
            for (int j = 0; j < row.Length; j++)
                row[j] += codeword[i] * direction[j];
        }
    }
}
