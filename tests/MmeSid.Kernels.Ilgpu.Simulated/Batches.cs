using MmeSid.Bench;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Kernels.Ilgpu.Simulated;

/// <summary>What the contract's small shapes do not reach: several batches, parts and scans, long chains, and how much the screen proves.</summary>
public sealed class Batches
{
    private readonly ScalarBackend _oracle = new();

    [Theory]
    [InlineData(PlanKind.Residual)]
    [InlineData(PlanKind.PrefixSemantic)]
    public void Random_rows_are_proven_by_the_screen(PlanKind kind)
    {
        // A kernel that reads what was never written, or compares before all have written, still gives right codes: by the re-check alone.
        Cases.EncodeCase random = new(kind, Cases.EncodeData.Bell, 700, 40, [150, 130, 20]);
        ushort[] expected = new ushort[700 * 3], codes = new ushort[700 * 3];
        using IEncoder oracle = _oracle.CreateEncoder(random.Plan()), encoder = Simulator.Backend.CreateEncoder(random.Plan());
        oracle.Encode(new RowView(random.Values(), 40), expected);
        for (int round = 0; round < 2; round++)
        {
            EncodeReport report = encoder.Encode(new RowView(random.Values(), 40), codes);
            Assert.Equal(expected, codes);
            Assert.InRange(report.RecheckedShare, 0, 0.005);
            Assert.InRange(report.Candidates, 0, 3 * report.Rechecked);
        }
    }

    [Fact]
    public void Near_ties_are_decided_on_the_device_with_few_candidates()
    {
        Cases.EncodeCase near = new(PlanKind.Residual, Cases.EncodeData.NearTies, 300, 32, [64]);
        using IEncoder encoder = Simulator.Backend.CreateEncoder(near.Plan());
        EncodeReport report = encoder.Encode(new RowView(near.Values(), 32), new ushort[300]);
        Assert.InRange(report.RecheckedShare, 0.3, 1);
        Assert.InRange(report.Candidates, 2 * report.Rechecked, 4 * report.Rechecked);
    }

    [Fact]
    public void Rows_longer_than_a_chain_get_the_oracles_codes()
    {
        Cases.EncodeCase deep = new(PlanKind.PrefixSemantic, Cases.EncodeData.Bell, 130, 601, [130, 17]);
        ushort[] expected = new ushort[260], codes = new ushort[260];
        float[] errors = new float[130], expectedErrors = new float[130];
        foreach (EncodeOptions options in (EncodeOptions[])[new(), new() { TableBytes = 0 }])
        {
            using IEncoder oracle = _oracle.CreateEncoder(deep.Plan()), encoder = Simulator.Backend.CreateEncoder(deep.Plan(), options);
            oracle.Encode(new RowView(deep.Values(), 601), expected, expectedErrors);
            Assert.InRange(encoder.Encode(new RowView(deep.Values(), 601), codes, errors).RecheckedShare, 0, 0.02);
            Assert.Equal(expected, codes);
            Assert.Equal(expectedErrors, errors);
        }
    }

    [Fact]
    public void Sums_of_several_batches_are_the_oracles()
    {
        const int n = 310, d = 5, codeCount = 9;
        float[] rows = Cases.Bell(1, n * d);
        ushort[] codes = [.. Enumerable.Range(0, n).Select(i => (ushort)(i * i % codeCount))];
        double[] expected = new double[codeCount * d], sums = new double[codeCount * d];
        long[] expectedCounts = new long[codeCount], counts = new long[codeCount];
        _oracle.Accumulate(new RowView(rows, d), codes, codeCount, expected, expectedCounts);
        WithStaging(100 * d * sizeof(float)).Accumulate(new RowView(rows, d), codes, codeCount, sums, counts);
        Assert.Equal(expected, sums);
        Assert.Equal(expectedCounts, counts);
    }

    [Theory]
    [InlineData(140, 30, 600)]
    [InlineData(2180, 135, 2)]
    public void Kernel_sums_of_long_rows_and_of_many_tiles_lie_within_the_bound(int n, int m, int d)
    {
        float[] source = Cases.Bell(1, n * d), target = Cases.Bell(2, m * d, mean: 0.5f);
        var kernel = new MmdKernel([0.5, 2], Relative: true);
        MmeSid.Kernels.MmdSums expected = _oracle.MmdSums(new RowView(source, d), new RowView(target, d), kernel);
        MmeSid.Kernels.MmdSums actual = Simulator.Backend.MmdSums(new RowView(source, d), new RowView(target, d), kernel);
        // Norms of rows of this kind are d at most twice over.
        double bound = Bounds.MmdSums(d, n + m, 16 * d, 0.5 * expected.MeanSquaredDistance);
        Assert.InRange(bound, 0, 0.02);
        foreach ((double exact, double sum) in new[] { (expected.Source, actual.Source), (expected.Target, actual.Target), (expected.Cross, actual.Cross) })
            Assert.InRange(sum, exact * (1 - bound), exact * (1 + bound));
        Assert.Equal(actual, WithStaging(20_000).MmdSums(new RowView(source, d), new RowView(target, d), kernel));
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Parts_of_items_and_scans_of_queries_change_nothing(bool ascending)
    {
        const int n = 2300, d = 9, q = 7, k = 6;
        float[] queries = Cases.Bell(5, q * d, mean: 1), items = Cases.Bell(6, n * d, mean: 2);
        // Every item is better than those before it: the list of what reaches the limits overflows.
        for (int i = 0; i < n && ascending; i++)
            items.AsSpan(i * d, d).Fill(i / 64f);
        if (ascending)
            Array.Fill(queries, 1);
        int[] expected = new int[q * k], indices = new int[q * k];
        float[] expectedScores = new float[q * k], scores = new float[q * k];
        _oracle.TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, expected, expectedScores);
        foreach (IlgpuBackend backend in (IlgpuBackend[])[WithStaging(1), new(IlgpuDevice.Simulator, 2) { QueriesPerScan = 3 }])
        {
            backend.TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, indices, scores);
            Assert.Equal(expected, indices);
            Assert.Equal(expectedScores, scores);
        }
    }

    private static IlgpuBackend WithStaging(long bytes) => new(IlgpuDevice.Simulator, 2) { StagingBytes = bytes };
}
