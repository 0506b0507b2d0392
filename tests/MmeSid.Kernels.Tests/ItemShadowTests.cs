using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>
/// What int8 may leave out of a search of the largest products, beside <see cref="TopInnerProductsContract"/>: items on the edge of the bound, data that make it useless, and the choice between
/// the two ways, which changes no result.
/// </summary>
public sealed class ItemShadowTests
{
    private const int kDimension = 64;

    /// <summary>Queries, and whether they or the items are what the integers do not hold.</summary>
    public static TheoryData<int, bool> Edges() => new() { { 1, false }, { 1, true }, { 7, false }, { 7, true }, { 40, false }, { 40, true } };

    [Theory, MemberData(nameof(Edges))]
    public void An_item_on_the_edge_of_the_bound_is_found(int q, bool ofQueries)
    {
        Skip();
        // Laid out as the integers see it, and rotated back: what rounding loses of one operand, 0.49 of each place but the first, stands in the direction of the other. The integers say 0.
        const int rivals = ItemShadow.kItemsPerBlock;
        double[][] rotation = IntegerScreenTests.Rotation(kDimension);
        double[] rounded = [.. Enumerable.Range(0, kDimension).Select(j => j == 0 ? 127 : 0.49)], flat = [.. Enumerable.Range(0, kDimension).Select(j => j == 0 ? 0.0 : 1)];
        float[] query = Back(ofQueries ? rounded : flat, 1);
        foreach (double share in (double[])[0.6, 0.9, 0.99])
        {
            // A first block of rivals of which the best has a share of the last item's product, and beside each item its negative: the mean is zero.
            var items = new List<float>();
            double product = 0.49 * (kDimension - 1), scale = share * product / (ofQueries ? product : kDimension - 1);
            for (int i = 0; i < rivals; i++)
                items.AddRange(Back(flat, (i % 2 == 0 ? 1 : -1) * (i < 2 ? scale : 0.1 * scale)));
            items.AddRange(Back(ofQueries ? flat : rounded, -1));
            items.AddRange(Back(ofQueries ? flat : rounded, 1));
            float[] queries = [.. Enumerable.Repeat(query, q).SelectMany(values => values)];

            (int[] expected, _) = Top(new ScalarBackend(), queries, [.. items], kDimension, 1);

            Assert.All(expected, index => Assert.Equal(rivals + 1, index));
            Assert.Equal(expected, Top(new SimdBackend(1, SimdScreen.Int8), queries, [.. items], kDimension, 1).Indices);
        }

        float[] Back(double[] values, double sign) => [.. Enumerable.Range(0, kDimension).Select(i => (float)(sign * Enumerable.Range(0, kDimension).Sum(j => rotation[i][j] * values[j])))];
    }

    /// <summary>Kinds of items, numbers of queries, dimensions and results.</summary>
    public static TheoryData<string, int, int, int> Hostile() =>
        [.. from kind in (string[])["spikes", "nearly equal", "denormal", "duplicates", "zeros", "far apart"]
            from shape in ((int, int, int)[])[(1, 65, 3), (7, 64, 20), (300, 17, 5), (7, 130, 2500)]
            select (kind, shape.Item1, shape.Item2, shape.Item3)];

    [Theory, MemberData(nameof(Hostile))]
    public void Hostile_items_get_the_same_results_both_ways(string kind, int q, int d, int k)
    {
        const int n = 2500;
        float[] queries = Cases.Bell(31, q * d), items = Cases.Bell(32, n * d);
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < d; j++)
            {
                ref float value = ref items[i * d + j];
                value = kind switch
                {
                    "spikes" => j == i * 7 % d ? 1e6f : value,
                    "nearly equal" => 3 + j + value * 1e-6f,
                    "denormal" => value * 1e-40f,
                    "duplicates" => items[i % 9 * d + j],
                    "zeros" => i % 3 == 0 ? value : 0,
                    _ => value * MathF.Pow(10, i % 31 - 15),
                };
            }
        }
        (int[] indices, float[] scores) = Top(new SimdBackend(2, SimdScreen.Float32), queries, items, d, k);
        float[] few = queries[..d];
        Assert.Equal(Top(new ScalarBackend(), few, items, d, k).Indices, indices[..k]);
        foreach (IBackend backend in (IBackend[])[new SimdBackend(2, SimdScreen.Int8), new PreparedItemsBackend(new SimdBackend(2, SimdScreen.Int8)), new PreparedItemsBackend(new SimdBackend(2))])
        {
            (int[] found, float[] values) = Top(backend, queries, items, d, k);
            Assert.Equal(indices, found);
            Assert.Equal(scores, values);
        }
    }

    [Theory]
    [InlineData(1, 24)]
    [InlineData(7, 65)]
    [InlineData(300, 33)]
    public void Threads_agree(int q, int d)
    {
        const int n = 12_345, k = 7;
        float[] queries = Cases.Bell(20, q * d, mean: 1), items = Cases.Bell(21, n * d, mean: 30);
        (int[] indices, float[] scores) = Top(new SimdBackend(1, SimdScreen.Float32), queries, items, d, k);
        foreach (int threads in new[] { 1, 2, 3 })
        {
            foreach (IBackend backend in (IBackend[])[new SimdBackend(threads, SimdScreen.Int8), new PreparedItemsBackend(new SimdBackend(threads)), new PreparedItemsBackend(new SimdBackend(threads, SimdScreen.Int8))])
            {
                (int[] found, float[] values) = Top(backend, queries, items, d, k);
                Assert.Equal(indices, found);
                Assert.Equal(scores, values);
            }
        }
    }

    [Fact]
    public void Items_are_rounded_while_many_queries_are_answered()
    {
        // As many as it takes for the choice to be tried.
        const int q = 520, n = 160_000, d = 16, k = 4;
        float[] queries = Cases.Bell(22, q * d), items = Cases.Bell(23, n * d, mean: 5);
        (int[] indices, float[] scores) = Top(new SimdBackend(2, SimdScreen.Float32), queries, items, d, k);
        (int[] found, float[] values) = Top(new SimdBackend(2), queries, items, d, k);
        Assert.Equal(indices, found);
        Assert.Equal(scores, values);
        (items[150_000 * d + 3], items[90_000 * d + 2]) = (float.NaN, float.PositiveInfinity);
        Assert.Contains("item 90000, column 2", Assert.Throws<ArgumentException>(() => Top(new SimdBackend(2), queries, items, d, k)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    public void Few_products_stay_open_and_calls_may_overlap(int q)
    {
        Skip();
        const int n = 20_000, d = 100, k = 10;
        float[] queries = Cases.Bell(24, q * d), values = Cases.Bell(25, n * d, mean: 100);
        using var items = new RowMatrix(n, d);
        values.CopyTo(items.Rows(0, n));
        using IPreparedItems prepared = new SimdBackend(1, SimdScreen.Int8).PrepareItems(items);
        (int[] expected, _) = Top(new SimdBackend(1, SimdScreen.Float32), queries, values, d, k);
        Parallel.For(0, 4, _ =>
        {
            int[] indices = new int[q * k];
            TopReport report = prepared.TopInnerProducts(new RowView(queries, d), k, indices, new float[q * k]);
            Assert.Equal(expected, indices);
            Assert.Equal((long)q * n, report.Screened);
            Assert.InRange(report.Open, q * k, 0.05 * q * n);
            Assert.InRange(report.ItemBytes, (long)n * d, (long)n * d * sizeof(float) * (q == 1 ? 1 : q));
        });
        Assert.StartsWith("int8", prepared.Screen, StringComparison.Ordinal);
    }

    [Fact]
    public void The_faster_way_has_most_units_and_trials_become_rare()
    {
        foreach (double gain in (double[])[0.5, 1, 3])
        {
            var choice = new ScreenChoice();
            int trials = 0, other = 0;
            const int units = 10_000;
            for (int unit = 0; unit < units; unit++)
            {
                bool isInteger = choice.Take(out bool isTimed);
                if (isTimed)
                    choice.Report(isInteger, isInteger ? 1 / gain : 1);
                trials += isTimed ? 1 : 0;
                other += isInteger != gain > 2 ? 1 : 0;
            }
            Assert.Equal(gain > 2, choice.IsInteger);
            Assert.InRange(trials, 8, units / 250);
            Assert.InRange(other, 1, trials);
        }
    }

    private static void Skip() => Assert.SkipUnless(IntegerProduct.IsSupported(IntegerFormat.Int8), "this processor has no instructions for int8");

    private static (int[] Indices, float[] Scores) Top(IBackend backend, float[] queries, float[] items, int d, int k)
    {
        int[] indices = new int[queries.Length / d * k];
        float[] scores = new float[indices.Length];
        backend.TopInnerProducts(new RowView(queries, d), new RowView(items, d), k, indices, scores);
        return (indices, scores);
    }
}
