using MathNet.Numerics.LinearAlgebra;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Embeddings;

public sealed class EmbedderTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("OPI Nail-Lacquer, 0.5oz", "opi nail lacquer 0 5oz")]
    [InlineData("ÉCLAT Crème—Zürich", "éclat crème zürich")]
    [InlineData("हिन्दी 日本語 𝔄x", "हिन्दी 日本語 𝔄x")]
    [InlineData("  ... ", "")]
    public void Terms_are_runs_of_letters_marks_and_digits(string text, string terms)
        => Assert.Equal(terms, string.Join(' ', TextEmbedder.Terms(text)));

    [Fact]
    public void Inner_products_are_those_of_the_tf_idf_rows()
    {
        // At full rank U Σ (U Σ)ᵀ = A Aᵀ, so every inner product can be computed by hand.
        string[] texts = ["red red nail", "red lip", "lip balm nail", "balm"];
        EmbeddingResult result = TextEmbedder.Embed(new TextItems(ItemIds.Sequential(4), texts), new TextOptions { Dimension = 4, MinimumTexts = 1 }, TestContext.Current.CancellationToken);
        double Idf(int count) => Math.Log(5.0 / (1 + count)) + 1;
        double common = Idf(2);
        double first = 1 + Math.Log(2);
        using RowMatrix rows = result.Rows;
        Assert.Equal(4, result.Features);
        Assert.Equal(1, Inner(rows, 0, 0), 1e-6);
        Assert.Equal(first * common * common / (Math.Sqrt(first * first + 1) * common * Math.Sqrt(2) * common), Inner(rows, 0, 1), 1e-6);
        Assert.Equal(1 / Math.Sqrt(3), Inner(rows, 2, 3), 1e-6);
        Assert.Equal(0, Inner(rows, 0, 3), 1e-6);
    }

    [Fact]
    public void Items_without_a_known_term_are_handled_as_asked()
    {
        var items = new TextItems(ItemIds.FromStrings(["a", "b", "c", "d"]), ["x y", "", "x z y", "unique x"]);
        var options = new TextOptions { Dimension = 2, MinimumTexts = 2 };
        EmbeddingResult zero = TextEmbedder.Embed(items, options, TestContext.Current.CancellationToken);
        using (zero.Rows)
        {
            Assert.Equal(1, zero.EmptyCount);
            Assert.Equal(2, zero.Features);
            Assert.Equal([0f, 0f], zero.Rows.Rows(1, 1).ToArray());
        }
        EmbeddingResult dropped = TextEmbedder.Embed(items, options with { Empty = EmptyItems.Drop }, TestContext.Current.CancellationToken);
        using (dropped.Rows)
            Assert.Equal(["a", "c", "d"], dropped.Items);
        Assert.Equal("1 items have no known term in their text, the first is 'b'",
            Assert.Throws<InvalidDataException>(() => TextEmbedder.Embed(items, options with { Empty = EmptyItems.Refuse }, TestContext.Current.CancellationToken)).Message);
        Assert.Equal("3 texts (of 4) with 2 known terms cannot be embedded in 3 dimensions, expected at least as many of each",
            Assert.Throws<InvalidDataException>(() => TextEmbedder.Embed(items, options with { Dimension = 3 }, TestContext.Current.CancellationToken)).Message);
    }

    [Fact]
    public void Text_files_are_read_by_column_names()
    {
        string tsv = _folder.Write("items.tsv", "item_id\tasin\ttitle\tattributes\n7\tB0\tA \"quoted\" title\tx; y\n9\tB1\t\tz\n");
        TextItems items = TextItems.ReadFile(tsv, textColumns: ["title", "attributes"]);
        Assert.Equal(["7", "9"], items.Items);
        Assert.Equal(["A \"quoted\" title x; y", " z"], items.Texts);
        string csv = _folder.Write("items.csv", "sku,title\r\na,\"one, two\"\r\nb,\"say \"\"hi\"\"\nnow\"\r\n");
        Assert.Equal(["one, two", "say \"hi\"\nnow"], TextItems.ReadFile(csv, idColumn: "sku").Texts);
        Assert.Equal(["1", "2"], TextItems.ReadFile(csv).Items);

        Assert.Equal($"{tsv}: has no column 'name'; it has: item_id, asin, title, attributes",
            Assert.Throws<InvalidDataException>(() => TextItems.ReadFile(tsv, textColumns: ["name"])).Message);
        string ragged = _folder.Write("ragged.tsv", "id\ttitle\n1\ta\n2\n");
        Assert.Equal($"{ragged}: line 3: has 1 fields, expected 2 as in the line of column names", Assert.Throws<InvalidDataException>(() => TextItems.ReadFile(ragged)).Message);
        string twice = _folder.Write("twice.tsv", "id\ttitle\n1\ta\n1\tb\n");
        Assert.Equal($"{twice}: row 1: item id '1' was already given in row 0; ids must be unique", Assert.Throws<InvalidDataException>(() => TextItems.ReadFile(twice)).Message);
    }

    [Fact]
    public void Interactions_are_factored_from_positive_pointwise_mutual_information()
    {
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 2, 3], [2, 3, 4, 2], [1, 4], [5]]);
        // Window 1, both directions: 12: 1, 23: 2, 34: 1, 24: 1, 14: 1.
        double[,] counts = { { 0, 1, 0, 1, 0 }, { 1, 0, 2, 1, 0 }, { 0, 2, 0, 1, 0 }, { 1, 1, 1, 0, 0 }, { 0, 0, 0, 0, 0 } };
        double[] totals = [2, 4, 3, 3, 0];
        double smooth = totals.Sum(total => Math.Pow(total, 0.75));
        Matrix<double> information = Matrix<double>.Build.Dense(5, 5, (a, b) => counts[a, b] == 0 ? 0 : Math.Max(0, Math.Log(counts[a, b] * smooth / (totals[a] * Math.Pow(totals[b], 0.75)))));
        EmbeddingResult result = InteractionEmbedder.Embed(sequences, new InteractionOptions { Dimension = 4, Window = 1, Holdout = 0 }, TestContext.Current.CancellationToken);
        using RowMatrix rows = result.Rows;
        Assert.Equal(["1", "2", "3", "4", "5"], result.Items);
        Assert.Equal(1, result.EmptyCount);
        Assert.Equal(new float[4], rows.Rows(4, 1).ToArray());
        Vector<double> expected = information.Svd().S;
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(expected[i], result.SingularValues[i], 1e-6);
            // Columns of U Σ^½ have squared norm σ.
            Assert.Equal(expected[i], Enumerable.Range(0, 5).Sum(row => Math.Pow(rows.Rows(row, 1)[i], 2)), 1e-5);
        }
    }

    [Fact]
    public void Held_out_events_leave_no_trace()
    {
        var random = new RandomSource(11);
        long[][] seen = [.. Enumerable.Range(0, 60).Select(_ => Enumerable.Range(0, 3 + random.NextInt(8)).Select(_ => 1 + random.NextLong(30)).ToArray())];
        long[][] first = [.. seen.Select(events => events.Append(1 + random.NextLong(30)).Append(1 + random.NextLong(30)).ToArray())];
        long[][] second = [.. seen.Select(events => events.Append(1 + random.NextLong(30)).Append(1 + random.NextLong(30)).ToArray())];
        foreach (int window in (int[])[0, 2, 5])
        {
            float[] a = Embed(first, 2, window), b = Embed(second, 2, window), unseen = Embed(seen, 0, window);
            Assert.Equal(a, b);
            Assert.Equal(a, unseen);
            Assert.NotEqual(Embed(first, 1, window), Embed(second, 1, window));
        }
    }

    private static float[] Embed(long[][] sequences, int holdout, int window)
    {
        EmbeddingResult result = InteractionEmbedder.Embed(InteractionSequences.FromItems(sequences), new InteractionOptions { Dimension = 6, Holdout = holdout, Window = window });
        using (result.Rows)
            return result.Rows.Rows(0, (int)result.Rows.Count).ToArray();
    }

    [Fact]
    public void Embeddings_do_not_depend_on_threads()
    {
        var random = new RandomSource(2);
        string[] texts = [.. Enumerable.Range(0, 700).Select(_ => string.Join(' ', Enumerable.Range(0, 1 + random.NextInt(9)).Select(_ => "t" + Math.Min(random.NextInt(300), random.NextInt(300)))))];
        float[][] text = [.. new[] { 1, 2, 5 }.Select(threads => Rows(TextEmbedder.Embed(new TextItems(ItemIds.Sequential(700), texts), new TextOptions { Dimension = 19, Threads = threads }, TestContext.Current.CancellationToken)))];
        Assert.Equal(text[0], text[1]);
        Assert.Equal(text[0], text[2]);
        long[][] events = [.. Enumerable.Range(0, 300).Select(_ => Enumerable.Range(0, 2 + random.NextInt(20)).Select(_ => 1 + random.NextLong(200)).ToArray())];
        float[][] interactions = [.. new[] { 1, 2, 5 }.Select(threads => Rows(InteractionEmbedder.Embed(InteractionSequences.FromItems(events), new InteractionOptions { Dimension = 19, Threads = threads }, TestContext.Current.CancellationToken)))];
        Assert.Equal(interactions[0], interactions[1]);
        Assert.Equal(interactions[0], interactions[2]);
    }

    private static float[] Rows(EmbeddingResult result)
    {
        using (result.Rows)
            return result.Rows.Rows(0, (int)result.Rows.Count).ToArray();
    }

    [Theory]
    [InlineData("1 2 3\n\n", "line 2: is empty, expected a user and items")]
    [InlineData("1 2 0\n", "line 1: item '0' is no number from 1 up")]
    [InlineData("1 2\n2 x\n", "line 2: item 'x' is no number from 1 up")]
    [InlineData("1 2\n2 -3\n", "line 2: item '-3' is no number from 1 up")]
    [InlineData("1 2\n2 99999999999999999999\n", "line 2: item '99999999999999999999' is no number from 1 up")]
    [InlineData("1 2\n1 3\n", "line 2: user '1' was already given in line 1")]
    public void A_sequence_file_that_is_not_one_is_refused(string text, string message)
    {
        string path = _folder.Write("sequences.txt", text);
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => InteractionSequences.ReadFile(path)).Message);
    }

    [Fact]
    public void Beauty_texts_that_lie_close_share_their_category()
    {
        TextItems items = TextItems.ReadFile(SharedData.Require("amazon-beauty/items.tsv"), textColumns: ["title", "attributes"]);
        TextItems attributes = TextItems.ReadFile(SharedData.Require("amazon-beauty/items.tsv"), textColumns: ["attributes"]);
        EmbeddingResult result = TextEmbedder.Embed(items, new TextOptions { Dimension = 32 }, TestContext.Current.CancellationToken);
        using RowMatrix rows = result.Rows;
        Assert.Equal(12_101, rows.Count);
        Assert.True(result.Items.IsSequential);
        string Category(int row) => attributes.Texts[row].Split(';')[^1].Trim();
        var random = new RandomSource(4);
        int shared = 0, byChance = 0;
        for (int sample = 0; sample < 100; sample++)
        {
            int query = random.NextInt(12_101);
            int nearest = Enumerable.Range(0, 12_101).Where(row => row != query).MaxBy(row => Inner(rows, query, row) / Math.Sqrt(Inner(rows, row, row) + 1e-12));
            shared += Category(query) == Category(nearest) ? 1 : 0;
            byChance += Category(query) == Category(random.NextInt(12_101)) ? 1 : 0;
        }
        Assert.True(shared >= 60 && byChance <= 20, $"{shared} of 100 nearest items share the category, {byChance} by chance");
    }

    [Fact]
    public void Beauty_interactions_embed_every_item()
    {
        InteractionSequences sequences = InteractionSequences.ReadFile(SharedData.Require("amazon-beauty/sequences.txt"));
        Assert.Equal((22_363, 198_502L), (sequences.Users.Count, sequences.EventCount));
        EmbeddingResult result = InteractionEmbedder.Embed(sequences, new InteractionOptions { Dimension = 32 }, TestContext.Current.CancellationToken);
        using RowMatrix rows = result.Rows;
        Assert.Equal(12_101, rows.Count);
        Assert.True(result.EmptyCount is > 0 and < 600, $"{result.EmptyCount} items without an event before the last two");
    }

    private static double Inner(RowMatrix rows, int a, int b)
    {
        ReadOnlySpan<float> left = rows.Rows(a, 1), right = rows.Rows(b, 1);
        double sum = 0;
        for (int i = 0; i < left.Length; i++)
            sum += (double)left[i] * right[i];
        return sum;
    }
}
