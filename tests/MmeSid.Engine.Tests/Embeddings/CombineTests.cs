using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Embeddings;

public class CombineTests
{
    private static EmbeddingTable Table(string name, string[] items, int dimension, params float[] values)
    {
        var rows = new RowMatrix(items.Length, dimension);
        values.CopyTo(rows.Rows(0, items.Length));
        return EmbeddingTable.FromRows(rows, ItemIds.FromStrings(items), name);
    }

    private static float[] Read(EmbeddingTable table)
    {
        var values = new float[table.Count * table.Dimension];
        table.Read(0, (int)table.Count, values);
        return values;
    }

    private static EmbeddingTable[] Pair() =>
    [
        Table("text", ["a", "b", "c"], 2, 3, 4, 0, 5, 6, 8),
        Table("image", ["c", "a", "d"], 1, 2, -4, 9),
    ];

    [Fact]
    public void Tables_with_the_same_items_are_joined_by_id_whatever_their_order()
    {
        EmbeddingTable[] tables = [Table("x", ["a", "b"], 2, 1, 2, 3, 4), Table("y", ["b", "a"], 1, 30, 10)];
        using EmbeddingTable joined = EmbeddingTable.Combine(tables, Preprocessing.Of(tables, normalize: false));
        Assert.Equal([1f, 2, 10, 3, 4, 30], Read(joined));
        Assert.Equal(["a", "b"], joined.Items);
        Assert.Equal("x + y", joined.Name);
    }

    [Fact]
    public void Missing_items_are_refused_dropped_or_filled_as_asked()
    {
        EmbeddingTable[] tables = Pair();
        Preprocessing preprocessing = Preprocessing.Of(tables, normalize: true, [2, 0.5]);
        Assert.Equal("image: lacks 1 items that text has, the first is 'b'; say how missing items are handled (drop, zero or mean)",
            Assert.Throws<InvalidDataException>(() => EmbeddingTable.Combine(tables, preprocessing)).Message);
        EmbeddingTable dropped = EmbeddingTable.Combine(tables, preprocessing, MissingItems.Drop);
        Assert.Equal(["a", "c"], dropped.Items);
        Assert.Equal([1.2f, 1.6f, -0.5f, 1.2f, 1.6f, 0.5f], Read(dropped));
        EmbeddingTable zero = EmbeddingTable.Combine(tables, preprocessing, MissingItems.Zero);
        Assert.Equal(["a", "b", "c", "d"], zero.Items);
        Assert.Equal([1.2f, 1.6f, -0.5f, 0, 2, 0, 1.2f, 1.6f, 0.5f, 0, 0, 0.5f], Read(zero));
        // Mean rows: text (3, 17/3), image 7/3.
        EmbeddingTable mean = EmbeddingTable.Combine(tables, preprocessing, MissingItems.Mean);
        float[] values = Read(mean);
        double norm = Math.Sqrt(9 + (double)(float)(17 / 3.0) * (float)(17 / 3.0));
        Assert.Equal(0.5f, values[5]);
        Assert.Equal((float)(2 * 3 / norm), values[9]);
        Assert.Equal((float)(2 * (double)(float)(17 / 3.0) / norm), values[10]);
    }

    [Fact]
    public void A_stored_mean_replaces_that_of_the_table_at_hand()
    {
        EmbeddingTable[] tables = Pair();
        Preprocessing stored = Preprocessing.Of(tables, normalize: false).WithMeans(tables);
        Assert.Equal([3, (float)(17 / 3.0)], stored.Parts[0].Mean!);
        Preprocessing read = JsonSerializer.Deserialize<Preprocessing>(JsonSerializer.Serialize(stored))!;
        Assert.Equal(stored, read);
        EmbeddingTable[] later = [Table("text", ["x", "y"], 2, 1, 1, 1, 1), Table("image", ["x"], 1, 100)];
        Assert.Equal([1f, 1, 100, 1, 1, (float)(7 / 3.0)], Read(EmbeddingTable.Combine(later, read, MissingItems.Mean)));
    }

    [Fact]
    public void Normalised_rows_are_float64_results_rounded_once()
    {
        Prop.ForAll<ulong, byte>((seed, size) =>
        {
            var random = new RandomSource(seed);
            int dimension = 1 + size % 70;
            float[] row = [.. Enumerable.Range(0, dimension).Select(_ => (float)(random.NextGaussian() * Math.Pow(10, random.NextInt(40) - 20)))];
            double weight = 0.1 + random.NextDouble();
            using EmbeddingTable table = EmbeddingTable.Combine([Table("x", ["a"], dimension, row)], new Preprocessing([new TablePart(dimension, true, weight)]));
            double norm = Math.Sqrt(row.Sum(value => (double)value * value));
            float[] actual = Read(table);
            for (int i = 0; i < dimension; i++)
            {
                // The norm is summed in another order here: at most a neighbouring float32.
                double expected = weight * row[i] / norm;
                Assert.True(Math.Abs(actual[i] - expected) <= Math.Abs(expected) * 6.1e-8 + 1e-45, $"{actual[i]} for {expected}");
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(60));
    }

    [Fact]
    public void Weighted_rows_are_each_value_rounded_once_at_every_length()
    {
        var random = new RandomSource(3);
        for (int dimension = 1; dimension <= 50; dimension++)
        {
            float[] row = [.. Enumerable.Range(0, dimension).Select(_ => (float)random.NextGaussian())];
            double weight = 1 / 3.0;
            using EmbeddingTable table = EmbeddingTable.Combine([Table("x", ["a"], dimension, row)], new Preprocessing([new TablePart(dimension, false, weight)]));
            Assert.Equal(row.Select(value => (float)(weight * value)), Read(table));
        }
    }

    [Fact]
    public void Blocks_change_nothing()
    {
        var random = new RandomSource(1);
        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)random.NextGaussian())];
        string[] items = [.. Enumerable.Range(0, 997).Select(i => "i" + i)], shuffled = [.. items];
        random.Shuffle<string>(shuffled);
        EmbeddingTable[] tables = [Table("x", items, 129, Values(997 * 129)), Table("y", shuffled, 67, Values(997 * 67))];
        using EmbeddingTable joined = EmbeddingTable.Combine(tables, Preprocessing.Of(tables, normalize: true));
        float[] whole = Read(joined);
        for (int first = 0; first < 997; first += 101)
        {
            int rows = Math.Min(101, 997 - first);
            var block = new float[rows * 196];
            joined.Read(first, rows, block);
            Assert.Equal(whole.AsSpan(first * 196, rows * 196).ToArray(), block);
        }
    }

    [Fact]
    public void What_cannot_be_preprocessed_is_refused()
    {
        EmbeddingTable zero = Table("x", ["a", "b"], 2, 1, 1, 0, -0f);
        Preprocessing normalized = Preprocessing.Of([zero], normalize: true);
        Assert.Equal("x: row 1 (item b) is all zeros, which cannot be normalised", Assert.Throws<InvalidDataException>(() => Read(EmbeddingTable.Combine([zero], normalized))).Message);
        Assert.Equal([1f, 1, 0, 0], Read(EmbeddingTable.Combine([zero], Preprocessing.Of([zero], normalize: false))));
        Assert.Equal("x: rows have dimension 2, expected 3", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Combine([zero], new Preprocessing([new TablePart(3, false, 1)]))).Message);
        Assert.Throws<ArgumentException>(() => EmbeddingTable.Combine([zero, zero], normalized));
        Assert.Throws<ArgumentException>(() => Preprocessing.Of([zero], false, [0]));
        Assert.Throws<ArgumentException>(() => Preprocessing.Of([zero], false, [1, 2]));
        EmbeddingTable large = Table("y", ["a"], 2, 1, 3e38f);
        Assert.Equal("y: row 0 times its weight 2, column 1 is 6.0000000109955115E+38, which overflows float32 (at most 3.4028235E+38)",
            Assert.Throws<InvalidDataException>(() => Read(EmbeddingTable.Combine([large], Preprocessing.Of([large], false, [2])))).Message);
    }
}
