using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>What the contract's small shapes do not reach: chains, parts and units, batches, full and crowded lists, failures of the driver.</summary>
public sealed class CudaOpsTests
{
    [Theory]
    [InlineData(140, 30, 600)]
    [InlineData(2180, 135, 2)]
    public void Sums_of_long_rows_and_of_many_tiles_lie_within_the_bound(int n, int m, int d)
    {
        float[] source = Cases.Bell(1, n * d), target = Cases.Bell(2, m * d, mean: 0.5f);
        var kernel = new MmdKernel([0.5, 2], Relative: true);
        CudaBackend backend = Backends.Cuda();
        MmdSums expected = new ScalarBackend().MmdSums(new RowView(source, d), new RowView(target, d), kernel);
        MmdSums actual = backend.MmdSums(new RowView(source, d), new RowView(target, d), kernel);
        // Norms of rows of this kind are d at most twice over.
        double bound = Bounds.MmdSums(d, n + m, 16 * d, 0.5 * expected.MeanSquaredDistance);
        Assert.InRange(bound, 0, 0.02);
        foreach ((double exact, double sum) in new[] { (expected.Source, actual.Source), (expected.Target, actual.Target), (expected.Cross, actual.Cross) })
            Assert.InRange(sum, exact * (1 - bound), exact * (1 + bound));
        Assert.InRange(actual.MeanSquaredDistance / expected.MeanSquaredDistance, 1 - 1e-12, 1 + 1e-12);
        Assert.Equal(actual, backend.MmdSums(new RowView(source, d), new RowView(target, d), kernel));
    }

    [Theory]
    [InlineData(300, 600, 150)]
    [InlineData(300, 5, 3)]
    public void Products_that_are_kept_and_that_are_not_give_the_same_bytes(int n, int d, int codeCount)
    {
        (ushort[] codes, double[] potentials) = Assign(Backends.Cuda(), n, d, codeCount, 6);
        (ushort[] again, double[] potentialsAgain) = Assign(Backends.Cuda(sinkhornKeptBytes: 0), n, d, codeCount, 6);
        Assert.Equal(codes, again);
        Assert.Equal(potentials, potentialsAgain);
        (ushort[] expected, double[] oracle) = Assign(new ScalarBackend(), n, d, codeCount, 6);
        Assert.True(codes.Zip(expected).Count(pair => pair.First != pair.Second) <= n / 100);
        Assert.All(potentials.Zip(oracle), pair => Assert.InRange(pair.First - pair.Second, -1e-4, 1e-4));
    }

    [Fact]
    public void Equal_codewords_of_a_thread_of_a_tile_and_of_two_tiles_tie()
    {
        const int d = 3, codeCount = 140;
        float[] codewords = Cases.Bell(10, codeCount * d);
        int[] copies = [1, 64, 65, 17, 128, 139];
        foreach (int copy in copies)
            codewords.AsSpan(0, d).CopyTo(codewords.AsSpan(copy * d));
        // Rows at the codewords themselves: with no iteration each is its own nearest.
        ushort[] codes = new ushort[codeCount];
        Backends.Cuda().SinkhornAssign(new RowView(codewords, d), new RowView(codewords, d), new() { Iterations = 0 }, codes, default);
        Assert.Equal([.. Enumerable.Range(0, codeCount).Select(k => (ushort)(copies.Contains(k) ? 0 : k))], codes);
    }

    [Fact]
    public void Units_of_several_tiles_add_up()
    {
        const int n = 33_000, d = 2, codeCount = 3;
        (ushort[] expected, double[] oracle) = Assign(new ScalarBackend(), n, d, codeCount, 2);
        (ushort[] codes, double[] potentials) = Assign(Backends.Cuda(), n, d, codeCount, 2);
        Assert.True(codes.Zip(expected).Count(pair => pair.First != pair.Second) <= 10);
        Assert.All(potentials.Zip(oracle), pair => Assert.InRange(pair.First - pair.Second, -1e-5, 1e-5));
    }

    private static (ushort[] Codes, double[] Potentials) Assign(IBackend backend, int n, int d, int codeCount, int iterations)
    {
        ushort[] codes = new ushort[n];
        double[] potentials = new double[codeCount];
        backend.SinkhornAssign(new RowView(Cases.Bell(3, n * d), d), new RowView(Cases.Bell(4, codeCount * d), d), new() { Epsilon = 0.02, Iterations = iterations }, codes, potentials);
        return (codes, potentials);
    }

    public static TheoryData<string> Orders() => ["random", "ascending", "descending", "alike", "equal"];

    [Theory, MemberData(nameof(Orders))]
    public void Short_lists_small_batches_and_several_scans_change_nothing(string order)
    {
        const int n = 900, d = 9, q = 7, k = 6;
        float[] queries = Cases.Bell(5, q * d, mean: 1), items = Cases.Bell(6, n * d, mean: 2);
        for (int i = 0; i < n && order != "random"; i++)
        {
            Span<float> item = items.AsSpan(i * d, d);
            if (order is "ascending" or "descending")
                item.Fill((order == "ascending" ? i : n - i) / 64f);
            else
                item.Clear();
            if (order is "alike" or "equal")
                (item[0], item[1], item[2]) = (1, order == "alike" ? MathF.ScaleB(i * 37 % n, -62) : MathF.ScaleB(1, -62), -1);
        }
        if (order is "alike" or "equal")
            Array.Fill(queries, 1);
        int[] expected = new int[q * k], indices = new int[q * k];
        float[] expectedScores = new float[q * k], scores = new float[q * k];
        new SimdBackend(2).TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, expected, expectedScores);
        foreach (CudaBackend backend in new[]
        {
            Backends.Cuda(),
            Backends.Cuda(topListEntries: 1, topBatchBytes: 500 * 16 * sizeof(float), topListBytes: 3 * (24 * 20 + 64)),
            Backends.Cuda(topListEntries: 64, topBatchBytes: 137 * 16 * sizeof(float)),
        })
        {
            backend.TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, indices, scores);
            Assert.Equal(expected, indices);
            Assert.Equal(expectedScores, scores);
        }
    }

    [Fact]
    public void The_first_broken_item_of_a_later_batch_is_named()
    {
        CudaBackend backend = Backends.Cuda(topBatchBytes: 100 * 16 * sizeof(float));
        float[] items = Cases.Bell(7, 1000 * 3);
        items[777 * 3 + 2] = float.NegativeInfinity;
        items[778 * 3] = float.NaN;
        var error = Assert.Throws<ArgumentException>(() => backend.TopInnerProducts(new RowView(Cases.Bell(8, 6), 3), new RowView(items, 3), 5, new int[10], new float[10]));
        Assert.Contains("item 777, column 2", error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, string, int, int> Failures()
    {
        var failures = new TheoryData<string, string, int, int>();
        foreach (string op in new[] { nameof(IBackend.MmdSums), nameof(IBackend.SinkhornAssign), nameof(IBackend.TopInnerProducts) })
        {
            foreach (int call in new[] { 1, 2, 5, 8 })
                failures.Add(op, "cuMemAlloc_v2", call, 2);
            failures.Add(op, "cuMemHostAlloc", 2, 2);
            failures.Add(op, "cuStreamCreate", 1, 2);
            failures.Add(op, "cuEventCreate", 1, 2);
            failures.Add(op, "cuLaunchKernel", 1, 701);
            failures.Add(op, "cuLaunchKernel", 3, 719);
            failures.Add(op, "cuStreamSynchronize", 2, 719);
            failures.Add(op, "cuMemcpyHtoDAsync_v2", 2, 700);
            failures.Add(op, "cuMemcpyDtoHAsync_v2", 1, 999);
        }
        return failures;
    }

    [Theory, MemberData(nameof(Failures))]
    public void An_error_of_the_driver_is_reported_with_its_text_and_nothing_leaks(string op, string function, int call, int status)
    {
        CudaBackend backend = Backends.Cuda(topBatchBytes: 64 * 16 * sizeof(float));
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda fails on demand");
        Run(backend, op);
        long[] before = SoftCuda.Live();
        SoftCuda.Fail(function, call, status);
        try
        {
            Exception error = Assert.ThrowsAny<Exception>(() => Run(backend, op));
            Assert.IsType(status == 2 ? typeof(BackendUnavailableException) : typeof(NativeException), error);
            Assert.Contains("CUDA", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            SoftCuda.Reset();
        }
        Assert.Equal(before, SoftCuda.Live());
        Run(backend, op);
    }

    private static void Run(CudaBackend backend, string op)
    {
        var rows = new RowView(Cases.Bell(9, 130 * 5), 5);
        RowView others = rows.Slice(0, 7);
        if (op == nameof(IBackend.MmdSums))
            backend.MmdSums(rows, others, MmdKernel.Default);
        else if (op == nameof(IBackend.SinkhornAssign))
            backend.SinkhornAssign(rows, others, new() { Iterations = 2 }, new ushort[130], default);
        else
            backend.TopInnerProducts(others, rows, 3, new int[21], new float[21]);
    }
}
