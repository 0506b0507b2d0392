using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Quantization;

/// <summary>Small tables for training tests.</summary>
internal static class TestRows
{
    /// <summary>Gaussian clusters of unit spread around centres that lie <paramref name="distance"/> apart, plus a shared mean.</summary>
    public static RowMatrix Clustered(int count, int dimension, int clusters, ulong seed, double distance = 4, double mean = 0)
    {
        var random = new RandomSource(seed);
        var centres = new double[clusters * dimension];
        for (int i = 0; i < centres.Length; i++)
            centres[i] = distance * random.NextGaussian() + mean;
        var rows = new RowMatrix(count, dimension);
        Span<float> values = rows.Rows(0, count);
        for (int i = 0; i < count; i++)
        {
            int cluster = random.NextInt(clusters);
            for (int j = 0; j < dimension; j++)
                values[i * dimension + j] = (float)(centres[cluster * dimension + j] + random.NextGaussian());
        }
        return rows;
    }

    public static RowMatrix Of(int dimension, params float[] values)
    {
        var rows = new RowMatrix(values.Length / dimension, dimension);
        values.CopyTo(rows.Rows(0, values.Length / dimension));
        return rows;
    }

    public static EmbeddingTable Table(RowMatrix rows) => EmbeddingTable.FromRows(rows, ItemIds.Sequential(rows.Count), "test table");

    public static float[] Values(RowMatrix rows) => rows.Rows(0, (int)rows.Count).ToArray();

    public static KMeansResult Fit(RowMatrix rows, KMeansOptions options, IBackend backend) =>
        KMeans.Train(rows, options, backend, cancellation: TestContext.Current.CancellationToken);

    public static TrainingResult Train(RowMatrix rows, TrainingOptions options, IBackend backend)
    {
        using EmbeddingTable table = Table(Copy(rows));
        return QuantizerTrainer.Train(table, options, backend, cancellation: TestContext.Current.CancellationToken);
    }

    public static RowMatrix Copy(RowMatrix rows) => Of(rows.Dimension, Values(rows));

    /// <summary>Σ over rows of the squared distance to the reconstruction, by plain loops.</summary>
    public static double SquaredError(ReadOnlySpan<float> rows, ReadOnlySpan<float> reconstructed)
    {
        double sum = 0;
        for (int i = 0; i < rows.Length; i++)
            sum += ((double)rows[i] - reconstructed[i]) * ((double)rows[i] - reconstructed[i]);
        return sum;
    }
}
