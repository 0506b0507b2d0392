using System.Numerics;
using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>What every backend's <see cref="IBackend.TopInnerProducts"/> must do. The order is checked in exact integer arithmetic.</summary>
public abstract class TopInnerProductsContract(IBackend backend)
{
    public static TheoryData<int, int, int, int> Shapes() =>
        [.. Cases.TopTests.Select(shape => (shape.Queries, shape.Items, shape.Dimension, shape.Count))];

    [Theory, MemberData(nameof(Shapes))]
    public void The_order_is_that_of_the_real_products(int q, int n, int d, int k)
    {
        foreach (float mean in new[] { 0, 200f })
            Compare(Cases.Bell(1, q * d, mean), Cases.Bell(2, n * d, mean), d, k);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Small_integers_tie_and_the_smaller_index_wins(int q, int n, int d, int k) =>
        Compare([.. Cases.Bell(3, q * d).Select(value => MathF.Round(value))], [.. Cases.Bell(4, n * d).Select(value => MathF.Round(value))], d, k);

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    public void Items_that_are_all_equal_come_in_order(int q)
    {
        float[] items = [.. Enumerable.Repeat(Cases.Bell(5, 7), 5000).SelectMany(row => row)];
        (int[] indices, float[] scores) = Top(Cases.Bell(6, q * 7), items, 7, 20);
        Assert.Equal(Enumerable.Repeat(Enumerable.Range(0, 20), q).SelectMany(row => row), indices);
        Assert.Equal(q, scores.Distinct().Count());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    public void A_zero_query_takes_the_first_items(int q)
    {
        (int[] indices, float[] scores) = Top(new float[q * 33], Cases.Bell(7, 3001 * 33), 33, 70);
        Assert.Equal(Enumerable.Repeat(Enumerable.Range(0, 70), q).SelectMany(row => row), indices);
        Assert.All(scores, score => Assert.Equal(0, score));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    public void Products_that_float64_cannot_tell_apart_are_ordered_exactly(int q)
    {
        // Item i is (1, 2^-60·i, -1): the query (1, 1, 1) sums to 2^-60·i, which float64 loses beside the ones.
        const int n = 300;
        float[] items = [.. Enumerable.Range(0, n).SelectMany(i => new[] { 1, MathF.ScaleB(i * 37 % n, -60), -1, 0 })];
        float[] queries = [.. Enumerable.Repeat(1f, q * 4)];
        (int[] indices, _) = Top(queries, items, 4, 30);
        int[] expected = [.. Enumerable.Range(0, n).OrderByDescending(i => i * 37 % n).Take(30)];
        Assert.Equal(Enumerable.Repeat(expected, q).SelectMany(row => row), indices);
    }

    [Theory]
    [InlineData(3e38f, 1f)]
    [InlineData(3e38f, 3e38f)]
    [InlineData(1e-25f, 1e-22f)]
    [InlineData(1e-22f, 2e-22f)]
    [InlineData(1e-40f, 3e38f)]
    [InlineData(1e-38f, 1e-38f)]
    public void Magnitudes_at_the_ends_of_float32_are_right(float itemScale, float queryScale)
    {
        foreach (int q in new[] { 2, 40 })
        {
            float[] queries = [.. Cases.Bell(8, q * 19).Select(value => Math.Clamp(value / 4, -1, 1) * queryScale)];
            float[] items = [.. Cases.Bell(9, 501 * 19).Select(value => Math.Clamp(value / 4, -1, 1) * itemScale)];
            Compare(queries, items, 19, 11);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(12)]
    public void One_huge_item_disturbs_no_other(int q)
    {
        float[] items = Cases.Bell(10, 1201 * 16);
        for (int j = 0; j < 16; j++)
            items[700 * 16 + j] = j % 2 == 0 ? 2e38f : -3e38f;
        Compare(Cases.Bell(11, q * 16), items, 16, 9);
    }

    [Fact]
    public void Strided_views_read_their_own_columns()
    {
        const int q = 9, n = 333, d = 11;
        float[] wideQueries = Cases.Bell(12, q * 14), wideItems = Cases.Bell(13, n * 17);
        float[] queries = [.. Enumerable.Range(0, q * d).Select(i => wideQueries[i / d * 14 + i % d])];
        float[] items = [.. Enumerable.Range(0, n * d).Select(i => wideItems[3 + i / d * 17 + i % d])];
        (int[] expected, float[] expectedScores) = Top(queries, items, d, 5);
        int[] indices = new int[q * 5];
        float[] scores = new float[q * 5];
        backend.TopInnerProducts(new RowView(wideQueries, q, d, 14), new RowView(wideItems.AsSpan(3), n, d, 17), 5, indices, scores);
        Assert.Equal(expected, indices);
        Assert.Equal(expectedScores, scores);
    }

    [Theory]
    [InlineData(1, float.NaN)]
    [InlineData(1, float.PositiveInfinity)]
    [InlineData(64, float.NaN)]
    [InlineData(64, float.NegativeInfinity)]
    [InlineData(0, float.NaN)]
    public void The_first_item_that_is_not_finite_is_named(int q, float value)
    {
        float[] items = Cases.Bell(14, 9001 * 17);
        items[8000 * 17 + 3] = value;
        items[4005 * 17 + 16] = value;
        items[4007 * 17 + 2] = value;
        var error = Assert.Throws<ArgumentException>(() => Top(Cases.Bell(15, q * 17), items, 17, 3));
        Assert.Contains("item 4005, column 16", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        Assert.Throws<ArgumentException>(() => backend.TopInnerProducts(new RowView(new float[4], 2), new RowView(new float[6], 3), 1, new int[2], new float[2]));
        Assert.Throws<ArgumentException>(() => Top(new float[4], new float[6], 2, 0));
        Assert.Throws<ArgumentException>(() => Top(new float[4], new float[6], 2, 4));
        Assert.Throws<ArgumentException>(() => backend.TopInnerProducts(new RowView(new float[4], 2), new RowView(new float[6], 2), 1, new int[3], new float[2]));
        Assert.Throws<ArgumentException>(() => backend.TopInnerProducts(new RowView(new float[4], 2), new RowView(new float[6], 2), 1, new int[2], new float[1]));
        var error = Assert.Throws<ArgumentException>(() => Top([0, 0, 0, float.NaN], new float[6], 2, 1));
        Assert.Contains("query 1, column 1", error.Message, StringComparison.Ordinal);
    }

    private (int[] Indices, float[] Scores) Top(float[] queries, float[] items, int d, int k)
    {
        int results = queries.Length / d * k;
        var indices = new Guarded<int>(results, -77, initial: -1);
        var scores = new Guarded<float>(results, -7.7f);
        backend.TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, indices.Span, scores.Span);
        return (indices.Check(), scores.Check());
    }

    private void Compare(float[] queries, float[] items, int d, int k)
    {
        (int[] indices, float[] scores) = Top(queries, items, d, k);
        int n = items.Length / d;
        BigInteger[] exactItems = [.. items.Select(Exact)];
        for (int q = 0; q < queries.Length / d; q++)
        {
            BigInteger[] query = [.. queries.AsSpan(q * d, d).ToArray().Select(Exact)];
            var products = new BigInteger[n];
            for (int i = 0; i < n; i++)
            {
                for (int j = 0; j < d; j++)
                    products[i] += query[j] * exactItems[i * d + j];
            }
            int[] order = [.. Enumerable.Range(0, n).OrderByDescending(i => products[i]).ThenBy(i => i).Take(k)];
            Assert.Equal(order, indices.AsSpan(q * k, k).ToArray());
            for (int j = 0; j < k; j++)
            {
                double sum = 0;
                for (int i = 0; i < d; i++)
                    sum += (double)queries[q * d + i] * items[order[j] * d + i];
                Assert.Equal((float)sum, scores[q * k + j]);
            }
        }
    }

    // The value in units of 2^-149, float32's smallest step.
    private static BigInteger Exact(float value)
    {
        int bits = BitConverter.SingleToInt32Bits(value), exponent = (bits >> 23) & 0xFF;
        BigInteger mantissa = exponent == 0 ? bits & 0x7FFFFF : (bits & 0x7FFFFF) | 0x800000;
        return (bits < 0 ? -mantissa : mantissa) << Math.Max(0, exponent - 1);
    }
}

public sealed class ScalarTopInnerProductsTests() : TopInnerProductsContract(new ScalarBackend());

public sealed class SimdInt8TopInnerProductsTests() : TopInnerProductsContract(new SimdBackend(screen: SimdScreen.Int8));

public sealed class SimdPreparedTopInnerProductsTests() : TopInnerProductsContract(new PreparedItemsBackend(new SimdBackend()));

public sealed class SimdInt8PreparedTopInnerProductsTests() : TopInnerProductsContract(new PreparedItemsBackend(new SimdBackend(screen: SimdScreen.Int8)));

public sealed class ScalarPreparedTopInnerProductsTests() : TopInnerProductsContract(new PreparedItemsBackend(new ScalarBackend()));

/// <summary>A backend whose <see cref="IBackend.TopInnerProducts"/> prepares the items first, and asks twice.</summary>
internal sealed class PreparedItemsBackend(IBackend backend) : IBackend
{
    public string Name => backend.Name;

    public string Device => backend.Device;

    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null) => backend.CreateEncoder(plan, options);

    public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts) => backend.Accumulate(rows, codes, codeCount, sums, counts);

    public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel) => backend.MmdSums(source, target, kernel);

    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) =>
        backend.SinkhornAssign(rows, codewords, options, codes, potentials);

    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        using var matrix = new RowMatrix(items.Count, items.Dimension);
        for (int i = 0; i < items.Count; i++)
            items[i].CopyTo(matrix.Rows(i, 1));
        using IPreparedItems prepared = backend.PrepareItems(matrix);
        int[] first = new int[indices.Length];
        float[] firstScores = new float[scores.Length];
        prepared.TopInnerProducts(queries, count, first, firstScores);
        prepared.TopInnerProducts(queries, count, indices, scores);
        Assert.Equal(first, indices.ToArray());
        Assert.Equal(firstScores, scores.ToArray());
    }
}

public sealed class SimdTopInnerProductsTests() : TopInnerProductsContract(new SimdBackend())
{
    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(300)]
    public void Threads_and_the_oracle_agree(int q)
    {
        const int d = 24, n = 12_345, k = 7;
        float[] queries = Cases.Bell(20, q * d, mean: 1), items = Cases.Bell(21, n * d, mean: 30);
        int[] expected = new int[q * k];
        float[] expectedScores = new float[q * k];
        new SimdBackend(1).TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, expected, expectedScores);
        int checkedQueries = Math.Min(q, 5);
        int[] oracle = new int[checkedQueries * k];
        new ScalarBackend().TopInnerProducts(new RowView(queries, d).Slice(q - checkedQueries, checkedQueries), new RowView(items, d), k, oracle, new float[checkedQueries * k]);
        Assert.Equal(oracle, expected[^(checkedQueries * k)..]);
        foreach (int threads in new[] { 2, 3, 5 })
        {
            int[] indices = new int[q * k];
            float[] scores = new float[q * k];
            new SimdBackend(threads).TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, indices, scores);
            Assert.Equal(expected, indices);
            Assert.Equal(expectedScores, scores);
        }
    }
}
