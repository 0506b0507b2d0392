using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests.Quantization;

public sealed class KMeansTests
{
    private static readonly IBackend s_backend = new SimdBackend(2);

    [Fact]
    public void TwoObviousClustersGetTheirMeans()
    {
        using RowMatrix rows = TestRows.Of(2, 0, 0, 0, 2, 10, 10, 10, 12, 12, 11);
        KMeansResult result = TestRows.Fit(rows, new KMeansOptions { Codes = 2, Seed = 3 }, s_backend);
        float[] expected = result.Codes[0] == 0 ? [0, 1, 32f / 3, 11] : [32f / 3, 11, 0, 1];
        Assert.Equal(expected, result.Centroids);
        // 1 + 1 in the first cluster; 2·(2/3)² + (4/3)² + 1 + 1 in the second.
        Assert.Equal((2 + 8.0 / 9 + 16.0 / 9 + 2) / 5, result.Iterations[^1].MeanSquaredError, 1e-6);
    }

    [Theory]
    [InlineData(KMeansInitialization.KMeansPlusPlus, 0)]
    [InlineData(KMeansInitialization.KMeansPlusPlus, 1000)]
    [InlineData(KMeansInitialization.Random, 0)]
    [InlineData(KMeansInitialization.Random, 1000)]
    public void ObjectiveNeverRises(KMeansInitialization initialization, double mean)
    {
        using RowMatrix rows = TestRows.Clustered(5003, 7, 40, seed: 5, mean: mean);
        var options = new KMeansOptions { Codes = 61, Seed = 1, Initialization = initialization, Tolerance = 0, Iterations = 30 };
        KMeansResult result = TestRows.Fit(rows, options, s_backend);
        Assert.True(result.Iterations.Count > 3);
        for (int i = 1; i < result.Iterations.Count; i++)
            Assert.True(result.Iterations[i].MeanSquaredError <= result.Iterations[i - 1].MeanSquaredError * (1 + 1e-9), $"iteration {i + 1}");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3000)]
    public void ReportedObjectiveIsTheErrorOfTheCodes(double mean)
    {
        using RowMatrix rows = TestRows.Clustered(997, 5, 9, seed: 2, mean: mean);
        KMeansResult result = TestRows.Fit(rows, new KMeansOptions { Codes = 9, Seed = 1, Iterations = 4, Tolerance = 0 }, s_backend);
        double sum = 0;
        for (int i = 0; i < 997; i++)
            sum += TestRows.SquaredError(rows.Rows(i, 1), result.Centroids.AsSpan(result.Codes[i] * 5, 5));
        Assert.Equal(sum / 997, result.Iterations[^1].MeanSquaredError, sum / 997 * 1e-9);
    }

    [Fact]
    public void CentroidsAreTheSameBitsForAnyThreadsAndBackend()
    {
        using RowMatrix rows = TestRows.Clustered(4501, 5, 30, seed: 8);
        var options = new KMeansOptions { Codes = 37, Seed = 4, Iterations = 6, Tolerance = 0 };
        KMeansResult one = TestRows.Fit(rows, options with { Threads = 1 }, new SimdBackend(1));
        KMeansResult two = TestRows.Fit(rows, options with { Threads = 2 }, new SimdBackend(2));
        KMeansResult five = TestRows.Fit(rows, options with { Threads = 5 }, new SimdBackend(5));
        KMeansResult scalar = TestRows.Fit(rows, options with { Threads = 3 }, new ScalarBackend());
        Assert.Equal(one.Centroids, two.Centroids);
        Assert.Equal(one.Centroids, five.Centroids);
        Assert.Equal(one.Centroids, scalar.Centroids);
        Assert.Equal(one.Codes, scalar.Codes);
        Assert.Equal(one.Iterations.Select(iteration => iteration.MeanSquaredError), five.Iterations.Select(iteration => iteration.MeanSquaredError));
        Assert.NotEqual(one.Centroids, TestRows.Fit(rows, options with { Seed = 5 }, s_backend).Centroids);
    }

    [Fact]
    public void MiniBatchesComeCloseToLloydAndRepeat()
    {
        using RowMatrix rows = TestRows.Clustered(2007, 8, 20, seed: 21, distance: 8);
        var options = new KMeansOptions { Codes = 20, Seed = 2, Iterations = 12, Tolerance = 0 };
        double lloyd = TestRows.Fit(rows, options, s_backend).Iterations[^1].MeanSquaredError;
        KMeansResult batches = TestRows.Fit(rows, options with { MiniBatch = 256, Threads = 1 }, s_backend);
        KMeansResult again = TestRows.Fit(rows, options with { MiniBatch = 256, Threads = 3 }, new SimdBackend(1));
        Assert.Equal(batches.Centroids, again.Centroids);
        Assert.InRange(batches.Iterations[^1].MeanSquaredError, 0, lloyd * 1.2);
        // Each row is visited once an iteration.
        Assert.All(batches.Codes, code => Assert.InRange(code, 0, 19));
    }

    [Fact]
    public void DeadCodesAreRestarted()
    {
        // Two of the starting centroids lie where no row goes.
        using RowMatrix rows = TestRows.Clustered(800, 4, 4, seed: 3, distance: 20);
        var start = new float[4 * 4];
        rows.Rows(0, 1).CopyTo(start);
        rows.Rows(1, 1).CopyTo(start.AsSpan(4));
        start.AsSpan(8).Fill(1e6f);
        var options = new KMeansOptions { Codes = 4, Centroids = start, Iterations = 15, Tolerance = 0 };
        KMeansResult restarted = TestRows.Fit(rows, options, s_backend);
        KMeansResult left = TestRows.Fit(rows, options with { DeadCodeRestart = false }, s_backend);
        Assert.Equal(2, restarted.Iterations[0].EmptyCodes);
        Assert.Equal(0, restarted.Iterations[^1].EmptyCodes);
        Assert.Equal(2, left.Iterations[^1].EmptyCodes);
        Assert.True(restarted.Iterations[^1].MeanSquaredError < left.Iterations[^1].MeanSquaredError / 2);
    }

    [Fact]
    public void StopsWhenFlat()
    {
        using RowMatrix rows = TestRows.Clustered(500, 3, 4, seed: 6, distance: 50);
        KMeansResult result = TestRows.Fit(rows, new KMeansOptions { Codes = 4, Iterations = 100, Tolerance = 1e-3 }, s_backend);
        Assert.InRange(result.Iterations.Count, 2, 20);
        Assert.Equal(0, result.Iterations[^1].Moved);
    }

    [Fact]
    public void PlusPlusBeatsRandomOnSeparatedClusters()
    {
        using RowMatrix rows = TestRows.Clustered(2001, 6, 64, seed: 12, distance: 30);
        var options = new KMeansOptions { Codes = 64, Iterations = 10, Tolerance = 0, DeadCodeRestart = false };
        double plusPlus = 0, random = 0;
        for (ulong seed = 0; seed < 3; seed++)
        {
            plusPlus += TestRows.Fit(rows, options with { Seed = seed }, s_backend).Iterations[^1].MeanSquaredError;
            random += TestRows.Fit(rows, options with { Seed = seed, Initialization = KMeansInitialization.Random }, s_backend).Iterations[^1].MeanSquaredError;
        }
        Assert.True(plusPlus < random, $"k-means++ {plusPlus}, random {random}");
    }

    [Fact]
    public void SeedingDrawsFromASampleWhenRowsAreMany()
    {
        using RowMatrix rows = TestRows.Clustered(5000, 2, 50, seed: 4);
        Assert.Equal(256, DistinctSeeds(rows, threads: 2));
        // 4096 sampled rows with few values cannot give 256 different centroids: the rest comes from the whole table.
        var values = new float[5000];
        for (int i = 0; i < 300; i++)
            values[i] = i;
        using RowMatrix repeated = TestRows.Of(1, values);
        Assert.Equal(256, DistinctSeeds(repeated, threads: 1));

        static int DistinctSeeds(RowMatrix rows, int threads)
        {
            int[] seeds = Seeding(rows, threads, sampledValues: 1000).Choose(KMeansInitialization.KMeansPlusPlus, 256, new RandomSource(1));
            using RowMatrix chosen = TestRows.Of(rows.Dimension, [.. seeds.SelectMany(seed => rows.Rows(seed, 1).ToArray())]);
            return new RowColumns(chosen).CountDistinct(257);
        }
    }

    private static KMeansSeeding Seeding(RowMatrix rows, int threads, long sampledValues = KMeansSeeding.kSampledValues)
    {
        var columns = new RowColumns(rows);
        return new KMeansSeeding(columns, new HostLloyd(columns, new KMeansOptions { Threads = threads }, s_backend, _ => { }), CancellationToken.None, sampledValues);
    }

    [Fact]
    public void CandidatesOfPlusPlusAreDrawnByTheirDistances()
    {
        // The first seed is row 0, at 0. Of the others, all in the last block, the nearer weighs 1 and the farther 9.
        const int n = 2 * RowColumns.kRowsPerBlock + 100;
        var values = new float[n];
        (values[^3], values[^1]) = (1, 3);
        using RowMatrix rows = TestRows.Of(1, values);
        using var lloyd = new HostLloyd(new RowColumns(rows), new KMeansOptions(), s_backend, _ => { });
        foreach ((double uniform, int expected) in new[] { (0.0, n - 3), (0.0999, n - 3), (0.1001, n - 1), (1 - 1e-16, n - 1) })
        {
            var seeds = new int[2];
            Assert.Equal(2, lloyd.SeedPlusPlus([], 0, 1, [uniform], seeds, TestContext.Current.CancellationToken));
            Assert.Equal([0, expected], seeds);
        }
        // Greedy: of both, the one that leaves less; only two rows that differ from the first can be found.
        var four = new int[4];
        Assert.Equal(3, lloyd.SeedPlusPlus([], 0, 2, [0.05, 0.5, 0, 0, 0, 0], four, TestContext.Current.CancellationToken));
        Assert.Equal([0, n - 1, n - 3], four[..3]);
        // Among a sample, rows are named as in the table.
        Assert.Equal(2, lloyd.SeedPlusPlus([5, n - 3, n - 2], 0, 1, [0.5], four.AsSpan(0, 2), TestContext.Current.CancellationToken));
        Assert.Equal([5, n - 3], four[..2]);
    }

    [Fact]
    public void SumsHaveTheirOrder()
    {
        var random = new RandomSource(3);
        foreach (int n in new[] { 0, 1, 31, 32, 33, 64, 4095, 4096 })
        {
            double[] values = [.. Enumerable.Range(0, n).Select(_ => random.NextGaussian())];
            double[] lanes = [.. Enumerable.Range(0, 32).Select(lane => values.Where((_, i) => i % 32 == lane).Aggregate(0.0, (sum, value) => sum + value))];
            for (int half = 16; half > 0; half /= 2)
                lanes = [.. Enumerable.Range(0, half).Select(i => lanes[i] + lanes[i + half])];
            Assert.Equal(lanes[0], InterleavedSum.Of(values));
        }
    }

    [Theory]
    [InlineData(KMeansInitialization.KMeansPlusPlus)]
    [InlineData(KMeansInitialization.Random)]
    public void SeedsAreDistinctRows(KMeansInitialization initialization)
    {
        // Nine copies of each of 30 rows; −0 and 0 are one value.
        var values = new List<float>();
        for (int i = 0; i < 270; i++)
            values.AddRange([i % 30, i % 2 == 0 ? 0f : -0f]);
        using RowMatrix rows = TestRows.Of(2, [.. values]);
        var columns = new RowColumns(rows);
        Assert.Equal(30, columns.CountDistinct(1000));
        int[] seeds = Seeding(rows, threads: 1).Choose(initialization, 30, new RandomSource(7));
        Assert.Equal(Enumerable.Range(0, 30), seeds.Select(seed => seed % 30).Order());
    }

    [Fact]
    public void FewerDistinctRowsThanCodesAreRefused()
    {
        using RowMatrix rows = TestRows.Of(1, 1, 1, 2, 2, 3, 3);
        var problem = Assert.Throws<ArgumentException>(() => TestRows.Fit(rows, new KMeansOptions { Codes = 4 }, s_backend));
        Assert.Contains("4 codes", problem.Message);
        Assert.Contains("there are 3", problem.Message);
        Assert.Equal(0, TestRows.Fit(rows, new KMeansOptions { Codes = 3 }, s_backend).Iterations[^1].MeanSquaredError, 1e-12);
    }

    [Fact]
    public void OptionsOutOfRangeAreRefused()
    {
        using RowMatrix rows = TestRows.Clustered(50, 2, 2, seed: 1);
        Refused(new KMeansOptions { Codes = 1 }, "number of codes is 1");
        Refused(new KMeansOptions { Codes = 65_537 }, "65537");
        Refused(new KMeansOptions { Codes = 4, Iterations = 0 }, "iterations is 0");
        Refused(new KMeansOptions { Codes = 4, Tolerance = double.NaN }, "tolerance is NaN");
        Refused(new KMeansOptions { Codes = 4, MiniBatch = -1 }, "mini-batch is -1");
        Refused(new KMeansOptions { Codes = 4, MiniBatch = 8, Sinkhorn = new SinkhornOptions() }, "exclude each other");
        Refused(new KMeansOptions { Codes = 4, Centroids = new float[7] }, "7 values, expected 4 × 2");
        Refused(new KMeansOptions { Codes = 4, Sizes = new ClusterSizes(13, 50) }, "at least 13 rows need 52 rows, there are 50");
        Refused(new KMeansOptions { Codes = 4, Sizes = new ClusterSizes(0, 12) }, "at most 12 rows hold 48 rows, there are 50");
        Refused(new KMeansOptions { Codes = 4, Sizes = new ClusterSizes(5, 4) }, "no range");

        void Refused(KMeansOptions options, string message) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => TestRows.Fit(rows, options, s_backend)).Message);
    }

    [Fact]
    public void CancellationStopsIt()
    {
        using RowMatrix rows = TestRows.Clustered(500, 3, 4, seed: 6);
        using var source = new CancellationTokenSource();
        var progress = new Immediate<TrainingIteration>(iteration =>
        {
            if (iteration.Iteration == 2)
                source.Cancel();
        });
        Assert.Throws<OperationCanceledException>(() =>
            KMeans.Train(rows, new KMeansOptions { Codes = 20, Tolerance = 0, Iterations = 1000 }, s_backend, progress, source.Token));
    }

    [Fact]
    public void SinkhornBalancesSizes()
    {
        using RowMatrix rows = TestRows.Clustered(203, 3, 3, seed: 9, distance: 6);
        var options = new KMeansOptions { Codes = 12, Iterations = 8, Tolerance = 0, Seed = 1 };
        KMeansResult plain = TestRows.Fit(rows, options, s_backend);
        KMeansResult balanced = TestRows.Fit(rows, options with { Sinkhorn = new SinkhornOptions() }, s_backend);
        Assert.True(Largest(balanced.Codes) < Largest(plain.Codes), $"{Largest(balanced.Codes)} against {Largest(plain.Codes)}");

        static int Largest(ushort[] codes) => codes.GroupBy(code => code).Max(group => group.Count());
    }
}

/// <summary>Reports on the calling thread.</summary>
internal sealed class Immediate<T>(Action<T> report) : IProgress<T>
{
    public void Report(T value) => report(value);
}
