using MmeSid.Engine.Files;

namespace MmeSid.Engine.Embeddings;

/// <summary>Items and their texts, row by row.</summary>
/// <param name="Items">n ids.</param>
/// <param name="Texts">n texts, perhaps empty.</param>
public sealed record TextItems(ItemIds Items, IReadOnlyList<string> Texts)
{
    /// <summary>Reads a CSV (commas, RFC 4180 quotes) or TSV file (tabs, quotes mean nothing) whose first line names the columns.</summary>
    /// <param name="path">File; <c>.tsv</c> is read with tabs.</param>
    /// <param name="idColumn">Column of the item ids; null: <c>item</c>, <c>item_id</c> or <c>id</c>, without one rows are numbered from 1.</param>
    /// <param name="textColumns">Columns joined by a space into an item's text, in this order; null or empty: all but the id column.</param>
    /// <exception cref="InvalidDataException">A column is missing, a line has another number of fields, or an id is empty or occurs twice.</exception>
    public static TextItems ReadFile(string path, string? idColumn = null, IReadOnlyList<string>? textColumns = null)
    {
        using var table = new DelimitedText(path);
        string? idName = TableColumns.IdColumn(path, table.Columns, new EmbeddingOptions { IdColumn = idColumn });
        int id = idName is null ? -1 : table.IndexOf(idName);
        int[] columns = textColumns is { Count: > 0 }
            ? [.. textColumns.Select(name => table.IndexOf(TableColumns.Existing(path, table.Columns, name)))]
            : [.. Enumerable.Range(0, table.Columns.Count).Where(column => column != id)];
        var names = new List<string>();
        var texts = new List<string>();
        while (table.Read())
        {
            if (id >= 0)
                names.Add(table[id]);
            texts.Add(string.Join(' ', columns.Select(column => table[column])));
        }
        ItemIds items = id < 0
            ? ItemIds.Sequential(texts.Count)
            : ItemIds.Create([.. names], (row, message) => new InvalidDataException($"{path}: row {row}: {message}"), "row", 0);
        return new TextItems(items, texts);
    }
}
