namespace MmeSid.Engine.Embeddings;

/// <summary>Which columns of a CSV or Parquet file hold item ids and vectors.</summary>
internal static class TableColumns
{
    private static readonly string[] UsualIdColumns = ["item", "item_id", "id"];

    /// <summary>The id column: the asked one, or the first of the usual names that exists, or none.</summary>
    /// <exception cref="InvalidDataException">The asked one is missing.</exception>
    public static string? IdColumn(string path, IReadOnlyCollection<string> columns, EmbeddingOptions options)
        => options.IdColumn is { } asked ? Existing(path, columns, asked) : Array.Find(UsualIdColumns, columns.Contains);

    /// <summary>A column that must exist.</summary>
    public static string Existing(string path, IReadOnlyCollection<string> columns, string name)
        => columns.Contains(name) ? name : throw new InvalidDataException($"{path}: has no column '{name}'; it has: {string.Join(", ", columns.Take(20))}{(columns.Count > 20 ? ", …" : "")}");

    /// <summary>The list column of a Parquet file: the asked one, or the only one.</summary>
    public static string ParquetVectorColumn(string path, Dictionary<string, string> types, EmbeddingOptions options)
    {
        if (options.VectorColumn is { } asked)
        {
            string type = types[Existing(path, types.Keys, asked)];
            return type.EndsWith(']') ? asked : throw new InvalidDataException($"{path}: column '{asked}' is {type}, expected a list of numbers");
        }
        string[] lists = [.. types.Where(pair => pair.Value.EndsWith(']')).Select(pair => pair.Key)];
        return lists.Length == 1
            ? lists[0]
            : throw new InvalidDataException($"{path}: has {lists.Length} list columns, expected one, or the name of the one to take; its columns: {string.Join(", ", types.Select(pair => $"{pair.Key} {pair.Value}").Take(20))}");
    }
}
