using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.LanguageModels;

/// <summary>First values of the vectors of codes.</summary>
public static class SidVectors
{
    /// <summary>Of values that are drawn, and the root mean square of others: the usual one of token embeddings.</summary>
    public const double StandardDeviation = 0.02;

    private const string kHead = "output.weight";
    private const ulong kProjections = 1UL << 40;

    /// <summary>
    /// Vectors from a bundle's codewords: as they are where they have H values, else projected by a random matrix of N(0, 1) (Johnson and Lindenstrauss 1984: distances keep their
    /// ratios about to 1/√H), then each level scaled to a root mean square of <see cref="StandardDeviation"/>. PSRQ gives the half that is subtracted. Levels without a codebook, the begin
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
            vectors[i] = (float)(StandardDeviation * random.NextGaussian());
        if (start == SidEmbeddingStart.Random)
            return vectors;
        foreach ((int level, double[] rows) in Codewords(bundle.Quantizer, dimension, random).Index())
        {
            double size = RootMeanSquare(rows);
            if (size == 0)
                continue;
            for (int i = 0; i < rows.Length; i++)
                vectors[(vocabulary.Offset(level) * dimension) + i] = (float)(rows[i] * StandardDeviation / size);
        }
        return vectors;
    }

    /// <summary>The vectors that a base has for the codes: it was trained from scratch on SIDs of the same codes, so that they are its words (<see cref="SidLlamaFiles.WriteGguf"/>).</summary>
    /// <param name="path">The base.</param>
    /// <param name="vocabulary">The codes.</param>
    /// <returns>[T + 1, H] row-major, the begin vector last; and what scores the codes, of the same shape, or null where that is their vectors.</returns>
    /// <exception cref="InvalidDataException">Its words are others.</exception>
    public static (float[] Vectors, float[]? Head) OfBase(string path, SidVocabulary vocabulary)
    {
        ArgumentNullException.ThrowIfNull(vocabulary);
        using GgufFile file = GgufFile.Open(path);
        string[] words = file.Metadata.Texts("tokenizer.ggml.tokens") ?? [], expected = vocabulary.Words();
        if (!words.SequenceEqual(expected))
            throw new InvalidDataException($"{path}: has {words.Length} words, expected the {expected.Length} of these SIDs, {expected[0]} … {expected[^1]}: only a base that was trained on SIDs of the same codes has vectors for them");
        return (file.ReadSingles("token_embd.weight"), file.Tensors.ContainsKey(kHead) ? file.ReadSingles(kHead) : null);
    }

    /// <summary>
    /// Vectors whose sum over an item's codes, q = Σ_l C_l[k_l], stands for it, as the quantizer's reconstruction does: codewords as they are where they have H values, else projected by a
    /// random matrix of N(0, 1/H), which keeps lengths and distances about to 1/√H. PSRQ gives the half that is subtracted.
    /// </summary>
    /// <param name="quantizer">Whose codebooks.</param>
    /// <param name="dimension">H.</param>
    /// <param name="start">Codebooks, or N(0, s²) with s the root mean square of the level's codewords, so that both starts are of one size.</param>
    /// <param name="seed">Of projections and random vectors.</param>
    /// <returns>[T, H] row-major.</returns>
    public static float[] DrawSummed(Quantizer quantizer, int dimension, SidEmbeddingStart start, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(quantizer);
        SidVocabulary vocabulary = SidVocabulary.Of(quantizer);
        var random = new RandomSource(seed);
        var vectors = new float[checked(vocabulary.Tokens * dimension)];
        foreach ((int level, double[] rows) in Codewords(quantizer, dimension, random).Index())
        {
            double scale = WidthOf(quantizer, level) == dimension ? 1 : 1 / Math.Sqrt(dimension), size = RootMeanSquare(rows);
            for (int i = 0; i < rows.Length; i++)
                vectors[(vocabulary.Offset(level) * dimension) + i] = (float)(scale * (start == SidEmbeddingStart.Random ? size * random.NextGaussian() : rows[i]));
        }
        return vectors;
    }

    /// <summary>The codewords of each level that has a codebook in H values, [K_l, H].</summary>
    private static IEnumerable<double[]> Codewords(Quantizer quantizer, int dimension, RandomSource random)
    {
        double[]? projection = null;
        for (int level = 0; level < quantizer.Levels; level++)
        {
            int width = WidthOf(quantizer, level);
            // Levels of a residual quantizer live in one space and keep doing so; sub-spaces have nothing in common.
            if (projection is null || quantizer.IsProduct)
                projection = Projection(width, dimension, random.Split(kProjections + (ulong)level));
            var rows = new double[quantizer.CodeCount(level) * dimension];
            for (int code = 0; code < quantizer.CodeCount(level); code++)
                Project(quantizer.Codeword(level, code)[..width], projection, rows.AsSpan(code * dimension, dimension));
            yield return rows;
        }
    }

    private static int WidthOf(Quantizer quantizer, int level) => quantizer.Kind == QuantizerKind.Psrq ? quantizer.Dimension : quantizer.CodewordWidth(level);

    private static double RootMeanSquare(double[] values) => Math.Sqrt(values.Sum(value => value * value) / values.Length);

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
