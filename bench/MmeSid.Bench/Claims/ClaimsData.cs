using System.Globalization;
using System.IO.Compression;
using System.Numerics.Tensors;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Kernels;
using MmeSid.Training.Quantization;

namespace MmeSid.Bench;

/// <summary>
/// The modalities of a real catalogue, the same items in the same order, and its users. Each table is centred and divided by one number, so that its values have
/// variance 1: no order of distances changes, and the losses of all modalities have one unit.
/// </summary>
internal sealed class ClaimsData : IDisposable
{
    private const int kTextDimension = 256;

    private ClaimsData(string name, string title, IReadOnlyList<(string Name, EmbeddingTable Table)> tables, InteractionSequences sequences, SasRecTable collaborative)
    {
        (Name, Title, Collaborative) = (name, title, collaborative);
        string[] items = [.. tables[0].Table.Items.Where(id => tables.All(table => table.Table.Items.TryFind(id, out _)))];
        var ids = ItemIds.FromStrings(items);
        DroppedItems = tables[0].Table.Count - items.Length;
        Tables = [.. tables.Select(table => EmbeddingTable.FromRows(Scaled(table.Table, items), ids, table.Name))];
        var split = new LeaveOneOut(sequences);
        long[] rows = [.. sequences.Items.Select(id => ids.TryFind(id, out long row) ? row : -1)];
        Users =
        [
            .. split.Evaluated.Select(split.Test).Where(test => rows[test.Target] >= 0)
                .Select(test => new UserHistory([.. test.History.Select(item => rows[item]).Where(row => row >= 0)], rows[test.Target])),
        ];
        DroppedUsers = split.Evaluated.Count - Users.Count;
    }

    /// <summary>Folder of the data.</summary>
    public string Name { get; }

    /// <summary>As the page calls it.</summary>
    public string Title { get; }

    /// <summary>Where the collaborative table comes from.</summary>
    public SasRecTable Collaborative { get; }

    /// <summary>One per modality, the collaborative one first.</summary>
    public IReadOnlyList<EmbeddingTable> Tables { get; }

    /// <summary>Items of the sequences that lack a modality.</summary>
    public long DroppedItems { get; }

    /// <summary>Histories, each with the test item.</summary>
    public IReadOnlyList<UserHistory> Users { get; }

    /// <summary>Users whose test item lacks a modality.</summary>
    public int DroppedUsers { get; }

    /// <summary>Names and columns of the modalities.</summary>
    public Modality[] Modalities => [.. Tables.Select(table => new Modality(table.Name, [table.Dimension]))];

    /// <summary>Amazon Beauty and MovieLens-1M; a line for each that cannot be had.</summary>
    /// <param name="dataFolder">With a folder of each, or null.</param>
    /// <param name="cache">Where trained recommenders are kept.</param>
    /// <param name="quick">The first items only, and a recommender of one epoch.</param>
    /// <param name="missing">Told what is not here.</param>
    public static IEnumerable<ClaimsData> All(string? dataFolder, string cache, bool quick, Action<string> missing)
    {
        (string Name, string Title, Func<string, IEnumerable<(string, EmbeddingTable)>> Others, string Sequences)[] sets =
        [
            ("amazon-beauty", "Amazon Beauty", Beauty, "sequences.txt"),
            ("ml-1m", "MovieLens-1M", Movies, "sequences.txt.gz"),
        ];
        foreach ((string name, string title, Func<string, IEnumerable<(string, EmbeddingTable)>> others, string file) in sets)
        {
            string? folder = dataFolder is null ? null : Path.Combine(dataFolder, name);
            if (!Directory.Exists(folder))
            {
                missing($"{title} is left out: its folder is not in the data folder (MMESID_DATA)");
                continue;
            }
            string path = Path.Combine(folder, file);
            var sequences = InteractionSequences.ReadFile(path);
            var collaborative = SasRecTable.Of(path, sequences, Path.Combine(cache, name, quick ? "sasrec-quick" : "sasrec"), quick);
            using EmbeddingTable table = collaborative.Open(MmRqVae.AnchorName, quick);
            (string, EmbeddingTable)[] rest = [.. others(folder)];
            yield return new ClaimsData(name, title, [(MmRqVae.AnchorName, table), .. rest], sequences, collaborative);
            foreach ((_, EmbeddingTable other) in rest)
                other.Dispose();
        }
    }

    /// <summary>Frees the tables.</summary>
    public void Dispose()
    {
        foreach (EmbeddingTable table in Tables)
            table.Dispose();
    }

    private static IEnumerable<(string, EmbeddingTable)> Beauty(string folder)
    {
        yield return ("text", Lsa(TextItems.ReadFile(Path.Combine(folder, "items.tsv"), textColumns: ["title", "attributes"])));
    }

    private static IEnumerable<(string, EmbeddingTable)> Movies(string folder)
    {
        yield return ("text", Lsa(MovieTexts(Path.Combine(folder, "items.jsonl.gz"))));
        using EmbeddingTable posters = EmbeddingTable.Open(Path.Combine(folder, "poster_features.npy"));
        int[] ids = NpyFile.Read<int>(Path.Combine(folder, "poster_movie_ids.npy")).Values;
        yield return ("image", EmbeddingTable.FromRows(posters.ReadAll(), ItemIds.FromStrings(ids.Select(id => id.ToString(CultureInfo.InvariantCulture))), "image"));
    }

    private static EmbeddingTable Lsa(TextItems texts)
    {
        EmbeddingResult result = TextEmbedder.Embed(texts, new TextOptions { Dimension = kTextDimension });
        return EmbeddingTable.FromRows(result.Rows, result.Items, "text");
    }

    // Title, genres, plot and description of each movie.
    private static TextItems MovieTexts(string path)
    {
        List<string> ids = [], texts = [];
        using var lines = new StreamReader(new GZipStream(File.OpenRead(path), CompressionMode.Decompress));
        while (lines.ReadLine() is { } line)
        {
            using JsonDocument movie = JsonDocument.Parse(line);
            ids.Add(movie.RootElement.GetProperty("movie_id").GetRawText());
            texts.Add(string.Join(' ', new[] { "title", "genres", "omdb", "llm_text" }.SelectMany(name => movie.RootElement.TryGetProperty(name, out JsonElement value) ? Words(value) : [])));
        }
        return new TextItems(ItemIds.FromStrings(ids), texts);
    }

    private static IEnumerable<string> Words(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => [value.GetString()!],
        JsonValueKind.Array => value.EnumerateArray().SelectMany(Words),
        JsonValueKind.Object => value.EnumerateObject().Where(entry => entry.Name is "Plot" or "Director" or "Actors").SelectMany(entry => Words(entry.Value)),
        _ => [],
    };

    private static RowMatrix Scaled(EmbeddingTable table, string[] items)
    {
        var rows = new RowMatrix(items.Length, table.Dimension);
        var mean = new double[table.Dimension];
        for (int i = 0; i < items.Length; i++)
        {
            _ = table.Items.TryFind(items[i], out long row);
            Span<float> values = rows.Rows(i, 1);
            table.Read(row, 1, values);
            for (int column = 0; column < mean.Length; column++)
                mean[column] += values[column] / (double)items.Length;
        }
        double squares = 0;
        for (int i = 0; i < items.Length; i++)
        {
            Span<float> values = rows.Rows(i, 1);
            for (int column = 0; column < mean.Length; column++)
                values[column] = (float)(values[column] - mean[column]);
            squares += TensorPrimitives.SumOfSquares<float>(values);
        }
        float scale = (float)Math.Sqrt(items.Length * (double)table.Dimension / squares);
        for (int i = 0; i < items.Length; i++)
            TensorPrimitives.Multiply(rows.Rows(i, 1), scale, rows.Rows(i, 1));
        return rows;
    }
}
