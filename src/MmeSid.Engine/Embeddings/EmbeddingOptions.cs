namespace MmeSid.Engine.Embeddings;

/// <summary>How the files of one embedding table are read.</summary>
public sealed record EmbeddingOptions
{
    /// <summary>Text file that names the rows, one id per line; null: ids of the file (CSV, Parquet), else row i is item i + 1.</summary>
    public string? ItemsFile { get; init; }

    /// <summary>Rows at the start of the table that are dropped (a padding row), before items are numbered or named.</summary>
    public long SkipRows { get; init; }

    /// <summary>
    /// Column of CSV and Parquet files that holds the item id. Null: the column called <c>item</c>, <c>item_id</c> or <c>id</c>; without
    /// one, rows are numbered.
    /// </summary>
    public string? IdColumn { get; init; }

    /// <summary>
    /// Column that holds the whole vector: a list of numbers (Parquet), or a text such as <c>[0.1, 0.2]</c> (CSV). Null: Parquet files must
    /// have exactly one list column; of a CSV file all columns but the id column are taken as numbers, or its only column as a list.
    /// </summary>
    public string? VectorColumn { get; init; }

    /// <summary>Tensor of a <c>.safetensors</c> file. Null: the file must hold exactly one 2-D tensor.</summary>
    public string? Tensor { get; init; }
}
