using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>What every backend's <see cref="IBackend.Accumulate"/> must do. Sums are compared bit for bit: their order is part of the contract.</summary>
public abstract class AccumulateContract(IBackend backend)
{
    public static TheoryData<int, int, int> Shapes() => [.. Cases.AccumulateTests.Select(shape => (shape.Rows, shape.Dimension, shape.Codes))];

    [Theory, MemberData(nameof(Shapes))]
    public void Adds_rows_in_ascending_order_to_what_is_there(int n, int d, int codeCount)
    {
        float[] rows = Cases.Bell(1, (long)n * d, mean: 1000);
        ushort[] codes = Cases.SkewedCodes(2, n, codeCount);
        double[] expected = [.. Enumerable.Range(0, codeCount * d).Select(i => 0.1 * i)];
        long[] expectedCounts = [.. Enumerable.Range(0, codeCount).Select(k => (long)k)];
        var sums = new Guarded<double>(codeCount * d, -7.5);
        var counts = new Guarded<long>(codeCount, -7);
        expected.CopyTo(sums.Span);
        expectedCounts.CopyTo(counts.Span);
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < d; j++)
                expected[codes[i] * d + j] += rows[i * d + j];
            expectedCounts[codes[i]]++;
        }

        backend.Accumulate(new RowView(rows, d), codes, codeCount, sums.Span, counts.Span);

        Assert.Equal(expected, sums.Check());
        Assert.Equal(expectedCounts, counts.Check());
    }

    [Fact]
    public void Batches_change_nothing()
    {
        const int n = 1009, d = 37, codeCount = 5;
        float[] rows = Cases.Bell(3, n * d, mean: -50);
        ushort[] codes = Cases.SkewedCodes(4, n, codeCount);
        double[] whole = new double[codeCount * d], parts = new double[codeCount * d];
        long[] counts = new long[codeCount];
        backend.Accumulate(new RowView(rows, d), codes, codeCount, whole, counts);
        for (int start = 0, size = 1; start < n; start += size, size = Math.Min(size * 2, n - start))
            backend.Accumulate(new RowView(rows, d).Slice(start, size), codes.AsSpan(start, size), codeCount, parts, counts);
        Assert.Equal(whole, parts);
        Assert.Equal(2 * n, counts.Sum());
    }

    [Fact]
    public void A_strided_view_reads_its_own_columns()
    {
        const int n = 67, d = 33, stride = 41, codeCount = 3;
        float[] wide = Cases.Bell(5, n * stride);
        ushort[] codes = Cases.SkewedCodes(6, n, codeCount);
        float[] narrow = [.. Enumerable.Range(0, n * d).Select(i => wide[3 + i / d * stride + i % d])];
        double[] expected = new double[codeCount * d], sums = new double[codeCount * d];
        backend.Accumulate(new RowView(narrow, d), codes, codeCount, expected, new long[codeCount]);
        backend.Accumulate(new RowView(wide.AsSpan(3), n, d, stride), codes, codeCount, sums, new long[codeCount]);
        Assert.Equal(expected, sums);
    }

    [Fact]
    public void Every_code_of_uint16_is_allowed()
    {
        ushort[] codes = [65_535, 0, 65_535];
        double[] sums = new double[65_536];
        long[] counts = new long[65_536];
        backend.Accumulate(new RowView([1, 2, 4], 1), codes, 65_536, sums, counts);
        Assert.Equal((2.0, 5.0, 1L, 2L), (sums[0], sums[65_535], counts[0], counts[65_535]));
    }

    [Fact]
    public void A_code_out_of_range_is_refused_and_nothing_written()
    {
        double[] sums = new double[4];
        long[] counts = new long[2];
        var error = Assert.Throws<ArgumentException>(() => backend.Accumulate(new RowView(new float[6], 2), [0, 2, 1], 2, sums, counts));
        Assert.Contains("row 1 has code 2", error.Message, StringComparison.Ordinal);
        Assert.Equal([0, 0], counts);
    }

    [Theory]
    [InlineData(3, 4, 2)]
    [InlineData(2, 5, 2)]
    [InlineData(2, 4, 3)]
    public void Lengths_that_do_not_fit_are_refused(int codes, int sums, int counts) =>
        Assert.Throws<ArgumentException>(() => backend.Accumulate(new RowView(new float[4], 2), new ushort[codes], 2, new double[sums], new long[counts]));
}

public sealed class ScalarAccumulateTests() : AccumulateContract(new ScalarBackend());

public sealed class SimdAccumulateTests() : AccumulateContract(new SimdBackend())
{
    [Theory]
    [InlineData(4099, 130, 3)]
    [InlineData(4099, 64, 1)]
    [InlineData(9001, 5, 700)]
    public void Threads_change_nothing(int n, int d, int codeCount)
    {
        float[] rows = Cases.Bell(7, n * d, mean: 10);
        ushort[] codes = Cases.SkewedCodes(8, n, codeCount);
        double[] expected = new double[codeCount * d];
        new ScalarBackend().Accumulate(new RowView(rows, d), codes, codeCount, expected, new long[codeCount]);
        foreach (int threads in new[] { 1, 2, 3, 8 })
        {
            double[] sums = new double[codeCount * d];
            new SimdBackend(threads).Accumulate(new RowView(rows, d), codes, codeCount, sums, new long[codeCount]);
            Assert.Equal(expected, sums);
        }
    }
}
