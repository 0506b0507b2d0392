using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>k-means on rows that the device holds: the bytes of the host, what crosses the link, what is given back.</summary>
public sealed class CudaKMeansTests
{
    /// <summary>n, d, K, distance between clusters, options. Widths around 16 lanes, 32 lanes and 64 values at a time; rows around a block of 4,096.</summary>
    public static TheoryData<int, int, int, double, KMeansOptions> Shapes => new()
    {
        { 333, 5, 7, 4, new KMeansOptions { Iterations = 4 } },
        { 257, 16, 9, 4, new KMeansOptions { Iterations = 1 } },
        { 300, 64, 10, 4, new KMeansOptions { Iterations = 2 } },
        { 301, 67, 33, 1, new KMeansOptions { Iterations = 3, Seed = 5 } },
        { 205, 259, 11, 4, new KMeansOptions { Iterations = 2 } },
        { 4096, 3, 5, 4, new KMeansOptions { Iterations = 2 } },
        { 8197, 2, 19, 8, new KMeansOptions { Iterations = 3 } },
        { 700, 21, 130, 4, new KMeansOptions { Iterations = 3, Initialization = KMeansInitialization.Random } },
        { 9, 4, 8, 4, new KMeansOptions { Iterations = 3 } },
        { 2, 1, 2, 4, new KMeansOptions { Iterations = 2 } },
    };

    [Theory, MemberData(nameof(Shapes))]
    public void Centroids_codes_and_objective_are_the_hosts_bytes(int n, int d, int codes, double distance, KMeansOptions options)
    {
        CudaBackend cuda = Backends.Cuda();
        using RowMatrix rows = Clustered(n, d, Math.Max(1, codes / 2), seed: 3, distance, mean: 10);
        AssertSame(rows, options with { Codes = codes, Tolerance = 0 }, cuda);
    }

    [Fact]
    public void Given_centroids_dead_codes_and_repeated_rows_too()
    {
        CudaBackend cuda = Backends.Cuda();
        using RowMatrix rows = Clustered(611, 18, 4, seed: 9, distance: 20, mean: 0);
        // Every third row a copy, and all but three of the starting centroids where no row goes.
        for (int i = 0; i < 611; i += 3)
            rows.Rows(i / 30 * 30, 1).CopyTo(rows.Rows(i, 1));
        float[] start = new float[40 * 18];
        start.AsSpan().Fill(1e6f);
        foreach (int code in new[] { 0, 17, 33 })
            rows.Rows(code, 1).CopyTo(start.AsSpan(code * 18));
        var options = new KMeansOptions { Codes = 40, Centroids = start, Iterations = 4, Tolerance = 0 };
        KMeansResult restarted = AssertSame(rows, options, cuda);
        Assert.InRange(restarted.Iterations[0].EmptyCodes, 37, 40);
        Assert.InRange(restarted.Iterations[^1].EmptyCodes, 0, 3);
        KMeansResult left = AssertSame(rows, options with { DeadCodeRestart = false }, cuda);
        Assert.Equal(37, left.Iterations[^1].EmptyCodes);
        Assert.Equal(1e6f, left.Centroids[18]);
    }

    [Fact]
    public void More_dead_codes_than_different_rows_have_errors()
    {
        CudaBackend cuda = Backends.Cuda();
        // Four different rows: two restarts exhaust them, and in the end no row has an error.
        using var rows = new RowMatrix(5000, 2);
        for (int i = 0; i < 5000; i++)
            (rows.Rows(i, 1)[0], rows.Rows(i, 1)[1]) = (i % 2, i / 2 % 2);
        var options = new KMeansOptions { Codes = 4, Centroids = [0.5f, 0.5f, 9, 9, 9, 9, 9, 9], Iterations = 6, Tolerance = 0 };
        Assert.Equal(0, AssertSame(rows, options, cuda).Iterations[^1].MeanSquaredError);
    }

    [Theory]
    // As many as there are; a sample; a sample in which too few rows are distinct, so that the whole table completes the seeds.
    [InlineData(1 << 20, 900, 6)]
    [InlineData(1000, 900, 6)]
    [InlineData(100, 5000, 1)]
    public void Seeds_are_the_hosts_rows(long sampledValues, int n, int d)
    {
        const int codes = 20;
        using IHeldRows held = Backends.Cuda().Hold(n, d)!;
        using RowMatrix rows = Clustered(n, d, 30, seed: 4, distance: 4, mean: 0);
        for (int i = 0; d == 1 && i < n; i++)
            rows.Rows(i, 1)[0] = i < 25 ? i : 0;
        held.Append(rows.View(0, n));
        var columns = new RowColumns(rows);
        using var host = new HostLloyd(columns, new KMeansOptions(), new ScalarBackend(), _ => { });
        int[] expected = Seeds(host), actual = Seeds(held);
        Assert.Equal(expected, actual);
        Assert.Equal(codes, expected.Select(row => rows.Rows(row, 1).ToArray()).Distinct(new SameValues()).Count());

        int[] Seeds(ILloyd lloyd) => new KMeansSeeding(columns, lloyd, CancellationToken.None, sampledValues).Choose(KMeansInitialization.KMeansPlusPlus, codes, new RandomSource(6));
    }

    [Fact]
    public void Sums_and_draws_are_the_hosts_bytes()
    {
        const int n = 9001, d = 3;
        using IHeldRows held = Backends.Cuda().Hold(n, d)!;
        using RowMatrix rows = Clustered(n, d, 5, seed: 8, distance: 3, mean: 1000);
        held.Append(rows.View(0, n));
        using var host = new HostLloyd(new RowColumns(rows), new KMeansOptions(), new ScalarBackend(), _ => { });
        Assert.Equal(host.Centre(), held.Centre());
        var random = new RandomSource(2);
        ushort[] codes = [.. Enumerable.Range(0, n).Select(_ => (ushort)random.NextInt(4))];
        float[] centroids = Values(rows)[..(4 * d)];
        double[] uniform = [0, 1 - 1e-16, .. Enumerable.Range(0, 40).Select(_ => random.NextDouble())];
        int[] expected = new int[uniform.Length], actual = new int[uniform.Length];
        foreach (ILloyd lloyd in (ILloyd[])[host, held])
            lloyd.Start(centroids, codes);
        Assert.Equal(host.MeasureErrors(), held.MeasureErrors());
        host.Draw(uniform, expected);
        held.Draw(uniform, actual);
        Assert.Equal(expected, actual);
        Assert.InRange(expected.Distinct().Count(), 40, 42);
        // Without any error there is nothing to draw.
        foreach (int row in Enumerable.Range(0, n))
            rows.Rows(row, 1).Clear();
        using IHeldRows equal = Backends.Cuda().Hold(n, d)!;
        equal.Append(rows.View(0, n));
        equal.Start([0]);
        Assert.Equal(0, equal.MeasureErrors());
        equal.Draw(uniform, actual);
        Assert.All(actual, row => Assert.Equal(-1, row));
    }

    public static TheoryData<TrainingOptions> Kinds => new(
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 3, Codes = [16, 9, 5], Iterations = 4 },
        new TrainingOptions { Kind = QuantizerKind.Psrq, Levels = 2, Codes = [13], Iterations = 3 },
        new TrainingOptions { Kind = QuantizerKind.Opq, Levels = 2, Codes = [11], Iterations = 3, RotationIterations = 3 },
        // What does not run on held rows.
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 2, Codes = [8], Iterations = 2, MiniBatch = 100 },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 2, Codes = [8], Iterations = 2, BalancedClusters = true, MinimumClusterSize = 10 });

    [Theory, MemberData(nameof(Kinds))]
    public void A_training_that_is_stopped_and_resumed_ends_with_the_hosts_bytes(TrainingOptions options)
    {
        CudaBackend cuda = Backends.Cuda();
        options = options with { Tolerance = 0, Threads = 2 };
        using RowMatrix rows = Clustered(420, 6, 12, seed: 3, distance: 4, mean: 2);
        TrainingResult expected = Train(options, new SimdBackend(2), null, CancellationToken.None);
        string folder = Directory.CreateTempSubdirectory("mmesid-kmeans-").FullName;
        try
        {
            TrainingResult? resumed = null;
            int stops = 0;
            for (; resumed is null; stops++)
            {
                using var source = new CancellationTokenSource();
                int iterations = 0;
                var progress = new Reports(report =>
                {
                    // In the first iteration of a level too, while it is on its way.
                    if (report.Finished is not null && ++iterations == 1 + stops % 2)
                        source.Cancel();
                });
                try
                {
                    resumed = Train(
                        options with { CheckpointPath = Path.Combine(folder, "checkpoint"), CheckpointInterval = stops % 3 == 0 ? TimeSpan.Zero : TimeSpan.FromDays(1) }, cuda, progress, source.Token);
                }
                catch (OperationCanceledException)
                {
                }
            }
            Assert.InRange(stops, 3, 40);
            AssertSame(expected, resumed);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        TrainingResult Train(TrainingOptions how, IBackend backend, IProgress<TrainingProgress>? progress, CancellationToken cancellation)
        {
            using EmbeddingTable table = EmbeddingTable.FromRows(Copy(rows), ItemIds.Sequential(rows.Count), "test table");
            return QuantizerTrainer.Train(table, how, backend, progress, cancellation);
        }

        static void AssertSame(TrainingResult expected, TrainingResult actual)
        {
            for (int level = 0; level < expected.Quantizer.Levels; level++)
                Assert.Equal(expected.Quantizer.Codebook(level), actual.Quantizer.Codebook(level));
            Assert.Equal(expected.Iterations.Select(Bytes), actual.Iterations.Select(Bytes));
        }
    }

    [Fact]
    public void An_iteration_brings_centroids_to_the_host_and_operands_to_the_device_and_next_to_nothing_else()
    {
        const int n = 2000, d = 24, codes = 12;
        CudaBackend cuda = Backends.Cuda("screen_float16_128x128");
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda counts bytes");
        using RowMatrix rows = Clustered(n, d, codes, seed: 3, distance: 4, mean: 0);
        using IHeldRows held = cuda.Hold(n, d)!;
        held.Append(rows.View(0, n));
        (long seedingIn, long seedingOut) = Moved(() =>
        {
            held.Centre();
            int[] seeds = new int[codes];
            held.SeedPlusPlus([], 3, 2, new double[2 * (codes - 1)], seeds, CancellationToken.None);
            held.Start(seeds);
        });
        Assert.InRange(seedingIn, 1, 8 * 2 * codes + 4 * codes + 64);
        Assert.InRange(seedingOut, 1, 4 * codes + 64);
        // The first prepares the encoder.
        held.Step(CancellationToken.None);
        (long stepIn, long stepOut) = Moved(() => held.Step(CancellationToken.None));
        // Numbers of batches take less than the codes of the rows would.
        const int few = 512;
        int padded = Screens.CodesMultiple(codes), operands = padded * Screens.RowBytes(ScreenKind.Float16, d);
        Assert.InRange(stepOut, 4 * codes * d, 4 * codes * d + few);
        Assert.InRange(stepIn, operands, operands + 4 * padded + 4 * d + few);

        static (long In, long Out) Moved(Action work)
        {
            (long inBefore, long outBefore) = SoftCuda.Copied();
            work();
            (long inAfter, long outAfter) = SoftCuda.Copied();
            return (inAfter - inBefore, outAfter - outBefore);
        }
    }

    [Fact]
    public void A_cancelled_iteration_leaves_what_was_there()
    {
        const int n = 300, d = 4;
        using RowMatrix rows = Clustered(n, d, 6, seed: 3, distance: 4, mean: 0);
        using var source = new CancellationTokenSource();
        using var run = new KMeansRun(new RowColumns(rows), new KMeansOptions { Codes = 6, Tolerance = 0 }, Backends.Cuda(), 0, _ => { }, source.Token);
        KMeansState start = run.Start();
        (KMeansState first, _) = run.Step(start);
        source.Cancel();
        Assert.Throws<OperationCanceledException>(() => run.Step(first));
        first.Fetch();
        KMeansResult expected = KMeans.Train(rows, new KMeansOptions { Codes = 6, Tolerance = 0, Iterations = 1 }, new SimdBackend(1), cancellation: CancellationToken.None);
        Assert.Equal(expected.Centroids, first.Centroids);
        Assert.Equal(expected.Codes, first.Codes);
        Assert.Throws<InvalidOperationException>(() => start.Codes);
    }

    [Fact]
    public void Rows_that_do_not_fit_stay_on_the_host()
    {
        CudaBackend cuda = Backends.Cuda();
        // Values alone would fit, just.
        int d = 2;
        long count = cuda.Gpu.FreeBytes / 4 * 3 / (d * sizeof(float)) - 1;
        Assert.SkipUnless(count < Array.MaxLength, "so many rows are none that could be held");
        Assert.Null(cuda.Hold(count, d));
    }

    public static TheoryData<string, int, int> Failures()
    {
        var failures = new TheoryData<string, int, int>();
        // Held rows, the mean, seeding, codebook, encoder, restart: wherever memory ends.
        foreach (int call in new[] { 1, 3, 6, 8, 9, 10, 13, 15, 17, 19, 22, 25, 30 })
            failures.Add("cuMemAlloc_v2", call, 2);
        failures.Add("cuMemHostAlloc", 2, 2);
        foreach (int call in new[] { 1, 3, 5, 9, 24, 40 })
            failures.Add("cuLaunchKernel", call, 719);
        failures.Add("cuMemcpyDtoHAsync_v2", 1, 999);
        failures.Add("cuMemcpyDtoDAsync_v2", 1, 999);
        return failures;
    }

    [Theory, MemberData(nameof(Failures))]
    public void An_error_of_the_driver_is_reported_and_nothing_leaks(string function, int call, int status)
    {
        CudaBackend cuda = Backends.Cuda();
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda fails on demand");
        using RowMatrix rows = Clustered(150, 4, 5, seed: 3, distance: 4, mean: 0);
        var options = new KMeansOptions { Codes = 5, Iterations = 3, Tolerance = 0 };
        Run();
        long[] before = SoftCuda.Live();
        SoftCuda.Fail(function, call, status);
        try
        {
            Exception error = Assert.ThrowsAny<Exception>(() => Run());
            Assert.IsType(status == 2 ? typeof(BackendUnavailableException) : typeof(NativeException), error);
        }
        finally
        {
            SoftCuda.Reset();
        }
        Assert.Equal(before, SoftCuda.Live());
        Run();

        void Run() => KMeans.Train(rows, options, cuda, cancellation: CancellationToken.None);
    }

    private static KMeansResult AssertSame(RowMatrix rows, KMeansOptions options, CudaBackend cuda)
    {
        long[]? live = SoftCuda.IsLoaded ? SoftCuda.Live() : null;
        KMeansResult expected = KMeans.Train(rows, options, new SimdBackend(2), cancellation: TestContext.Current.CancellationToken);
        KMeansResult actual = KMeans.Train(rows, options, cuda, cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(expected.Iterations.Select(Bytes), actual.Iterations.Select(Bytes));
        Assert.Equal(expected.Centroids, actual.Centroids);
        Assert.Equal(expected.Codes, actual.Codes);
        if (live is not null)
            Assert.Equal(live, SoftCuda.Live());
        return actual;
    }

    private static (int, int, double, long, int) Bytes(TrainingIteration iteration) =>
        (iteration.Level, iteration.Iteration, iteration.MeanSquaredError, iteration.Moved, iteration.EmptyCodes);

    private static RowMatrix Clustered(int count, int dimension, int clusters, ulong seed, double distance, double mean)
    {
        var random = new RandomSource(seed);
        double[] centres = [.. Enumerable.Range(0, clusters * dimension).Select(_ => distance * random.NextGaussian() + mean)];
        var rows = new RowMatrix(count, dimension);
        for (int i = 0; i < count; i++)
        {
            int cluster = random.NextInt(clusters);
            for (int j = 0; j < dimension; j++)
                rows.Rows(i, 1)[j] = (float)(centres[cluster * dimension + j] + random.NextGaussian());
        }
        return rows;
    }

    private static RowMatrix Copy(RowMatrix rows)
    {
        var copy = new RowMatrix(rows.Count, rows.Dimension);
        Values(rows).CopyTo(copy.Rows(0, (int)rows.Count));
        return copy;
    }

    private static float[] Values(RowMatrix rows) => rows.Rows(0, (int)rows.Count).ToArray();

    private sealed class Reports(Action<TrainingProgress> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report(value);
    }

    private sealed class SameValues : IEqualityComparer<float[]>
    {
        public bool Equals(float[]? x, float[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode(float[] values) => values[0].GetHashCode();
    }
}
