using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Sids;

/// <summary>Small quantizers, rows and SIDs to test with.</summary>
internal static class SidCases
{
    public static SidTable Random(long count, int levels, int codes, ulong seed)
    {
        var random = new RandomSource(seed);
        var values = new ushort[count * levels];
        for (int i = 0; i < values.Length; i++)
            values[i] = (ushort)random.NextInt(codes);
        return new SidTable(levels, values);
    }

    public static float[] Gaussians(int count, ulong seed, float scale = 1)
    {
        var random = new RandomSource(seed);
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = scale * (float)random.NextGaussian();
        return values;
    }

    /// <summary>A quantizer with Gaussian codewords, each level half the size of the one before.</summary>
    public static Quantizer Quantizer(QuantizerKind kind, int dimension, int[] codes, ulong seed)
    {
        var codebooks = new float[codes.Length][];
        for (int level = 0; level < codes.Length; level++)
        {
            int width = kind switch
            {
                QuantizerKind.Pq or QuantizerKind.Opq => dimension / codes.Length,
                QuantizerKind.Psrq when level > 0 => 2 * dimension,
                _ => dimension,
            };
            codebooks[level] = Gaussians(codes[level] * width, seed + (ulong)level, MathF.Pow(0.5f, level));
        }
        return new Quantizer(kind, dimension, codebooks, kind == QuantizerKind.Opq ? PlaneRotation(dimension) : null);
    }

    /// <summary>Greedy codes by the definition, as plain as it gets.</summary>
    public static SidTable Encode(Quantizer quantizer, float[] rows)
    {
        int d = quantizer.Dimension, count = rows.Length / d, levels = quantizer.Levels;
        var codes = new ushort[count * levels];
        for (int i = 0; i < count; i++)
        {
            for (int level = 0; level < levels; level++)
            {
                double[] distances = Distances(quantizer, rows.AsSpan(i * d, d), codes.AsSpan(i * levels, level), level);
                codes[i * levels + level] = (ushort)Array.IndexOf(distances, distances.Min());
            }
        }
        return new SidTable(levels, codes);
    }

    /// <summary>Squared distances of the search at a level after a prefix.</summary>
    public static double[] Distances(Quantizer quantizer, ReadOnlySpan<float> row, ReadOnlySpan<ushort> prefix, int level)
    {
        int d = quantizer.Dimension, width = quantizer.CodewordWidth(level);
        var x = new double[d];
        for (int i = 0; i < d; i++)
        {
            x[i] = row[i];
            if (quantizer.Rotation is { } rotation)
            {
                double sum = 0;
                for (int j = 0; j < d; j++)
                    sum += (double)rotation[i * d + j] * row[j];
                x[i] = (float)sum;
            }
        }
        var query = new double[width];
        for (int j = 0; j < width; j++)
        {
            if (quantizer.IsProduct)
            {
                query[j] = x[level * width + j];
                continue;
            }
            double chosen = 0;
            for (int l = 0; l < prefix.Length; l++)
                chosen += quantizer.Codeword(l, prefix[l])[j % d];
            query[j] = j < d ? x[j] - chosen : chosen;
        }
        var distances = new double[quantizer.CodeCount(level)];
        ReadOnlySpan<float> codewords = quantizer.Codewords(level);
        for (int k = 0; k < distances.Length; k++)
        {
            for (int j = 0; j < width; j++)
                distances[k] += (query[j] - codewords[k * width + j]) * (query[j] - codewords[k * width + j]);
        }
        return distances;
    }

    public static EmbeddingTable Table(float[] rows, int dimension, ItemIds? items = null)
    {
        var matrix = new RowMatrix(rows.Length / dimension, dimension);
        rows.CopyTo(matrix.Rows(0, rows.Length / dimension));
        return EmbeddingTable.FromRows(matrix, items ?? ItemIds.Sequential(rows.Length / dimension), "rows");
    }

    public static SettlingResult Settle(SidTable codes, Quantizer quantizer, EmbeddingTable? rows, SettlingOptions options, SidTable? taken = null) =>
        CollisionSettling.Settle(codes, quantizer, rows, options, taken, TestContext.Current.CancellationToken);

    public static bool AllDifferent(SidTable sids)
    {
        var seen = new HashSet<string>();
        for (long row = 0; row < sids.Count; row++)
        {
            if (!seen.Add(SidText.Numbers(sids[row])))
                return false;
        }
        return true;
    }

    // Turns the planes (0, 1), (2, 3), … by 30 degrees.
    private static float[] PlaneRotation(int dimension)
    {
        var rotation = new float[dimension * dimension];
        for (int i = 0; i < dimension; i++)
            rotation[i * dimension + i] = 1;
        for (int i = 0; i + 1 < dimension; i += 2)
        {
            rotation[i * dimension + i] = rotation[(i + 1) * dimension + i + 1] = MathF.Cos(MathF.PI / 6);
            rotation[i * dimension + i + 1] = -MathF.Sin(MathF.PI / 6);
            rotation[(i + 1) * dimension + i] = MathF.Sin(MathF.PI / 6);
        }
        return rotation;
    }
}
