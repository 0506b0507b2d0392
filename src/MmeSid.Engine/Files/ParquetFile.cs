using MmeSid.DuckDb;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Files;

/// <summary>Parquet through libduckdb, which is fetched only by those who ask for it (<see cref="DuckDbLibrary"/>).</summary>
public static class ParquetFile
{
    /// <summary>Writes semantic IDs: columns <c>item</c> (text) and <c>code_1 … code_L</c> (uint16), one row per item, in order.</summary>
    /// <param name="path">File to write; it appears whole or not at all.</param>
    /// <param name="items">n item ids.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="levels">L ≥ 1.</param>
    /// <param name="force">Replace an existing file.</param>
    /// <exception cref="BackendUnavailableException">libduckdb is not there; nothing was written.</exception>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, or cannot be written.</exception>
    /// <exception cref="ArgumentException">Lengths differ.</exception>
    public static void WriteSids(string path, ItemIds items, ReadOnlySpan<ushort> codes, int levels, bool force)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentOutOfRangeException.ThrowIfLessThan(levels, 1);
        if (codes.Length != items.Count * levels)
            throw new ArgumentException($"{items.Count} items of {levels} levels need {items.Count * levels} codes, {codes.Length} given", nameof(codes));
        using OutputFile output = OutputFile.Create(path, force);
        using var database = new DuckDbDatabase();
        database.Execute($"CREATE TABLE sids (item VARCHAR, {string.Join(", ", Enumerable.Range(1, levels).Select(level => $"code_{level} USMALLINT"))})");
        using (DuckDbAppender appender = database.Append("sids"))
        {
            int next = 0;
            foreach (string item in items)
            {
                appender.Add(item);
                for (int level = 0; level < levels; level++)
                    appender.Add(codes[next++]);
                appender.EndRow();
            }
            appender.Complete();
        }
        CopyTo(database, "sids", output);
        output.Commit();
    }

    /// <summary>Lets duckdb write a Parquet file of its own and copies it into the output, which keeps the output's promise of all or nothing.</summary>
    private static void CopyTo(DuckDbDatabase database, string table, OutputFile output)
    {
        string scratch = OutputFile.TemporaryName(output.Path);
        try
        {
            database.Execute($"COPY {table} TO {DuckDbDatabase.Quote(scratch)} (FORMAT parquet)");
            using FileStream written = File.OpenRead(scratch);
            written.CopyTo(output.Stream);
        }
        catch (NativeException exception)
        {
            throw new IOException($"{output.Path}: {exception.Message}", exception);
        }
        finally
        {
            File.Delete(scratch);
        }
    }

    /// <summary>Reads embeddings: a list column and, where there is one, an id column.</summary>
    internal static SpooledRows ReadRows(string path, EmbeddingOptions options)
    {
        using var database = new DuckDbDatabase();
        string source = $"read_parquet({DuckDbDatabase.Quote(path)})";
        try
        {
            var types = new Dictionary<string, string>(StringComparer.Ordinal);
            using (DuckDbRows columns = database.Query($"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {source})"))
            {
                while (columns.NextChunk())
                {
                    for (int row = 0; row < columns.Count; row++)
                        types[columns.GetText(0, row)] = columns.GetText(1, row);
                }
            }
            string? idColumn = TableColumns.IdColumn(path, types.Keys, options);
            string vectorColumn = TableColumns.ParquetVectorColumn(path, types, options);
            bool single = types[vectorColumn].StartsWith("FLOAT[", StringComparison.Ordinal);
            string id = idColumn is null ? "''" : $"CAST({DuckDbDatabase.QuoteName(idColumn)} AS VARCHAR)";
            string vector = $"CAST({DuckDbDatabase.QuoteName(vectorColumn)} AS {(single ? "FLOAT[]" : "DOUBLE[]")})";
            using DuckDbRows rows = database.Query($"SELECT {id}, {vector} FROM {source}");
            return Spool(path, rows, single, idColumn, vectorColumn);
        }
        catch (NativeException exception)
        {
            throw new InvalidDataException($"{path}: {exception.Message}", exception);
        }
    }

    private static SpooledRows Spool(string path, DuckDbRows rows, bool single, string? idColumn, string vectorColumn)
    {
        RowSpool? spool = null;
        try
        {
            List<string>? names = idColumn is null ? null : [];
            float[] values = [];
            while (rows.NextChunk())
            {
                for (int row = 0; row < rows.Count; row++)
                {
                    string place = $"{path}: row {spool?.Count ?? 0}";
                    if (rows.IsNull(1, row))
                        throw new InvalidDataException($"{place}: column '{vectorColumn}' is null, expected a list of numbers");
                    if (names is not null)
                        names.Add(rows.IsNull(0, row) ? throw new InvalidDataException($"{place}: column '{idColumn}' is null, expected an item id") : rows.GetText(0, row));
                    int firstNull, length;
                    ReadOnlySpan<float> floats = default;
                    ReadOnlySpan<double> doubles = default;
                    if (single)
                        length = (floats = rows.GetList<float>(1, row, out firstNull)).Length;
                    else
                        length = (doubles = rows.GetList<double>(1, row, out firstNull)).Length;
                    if (firstNull >= 0)
                        throw new InvalidDataException($"{place}, column {firstNull} is null, expected a number");
                    if (spool is null)
                    {
                        if (length is < 1 or > EmbeddingTable.MaximumDimension)
                            throw new InvalidDataException($"{place} has dimension {length}, expected 1 to {EmbeddingTable.MaximumDimension}");
                        spool = new RowSpool(length);
                        values = new float[length];
                    }
                    if (length != values.Length)
                        throw new InvalidDataException($"{place} has dimension {length}, expected {values.Length} as in row 0");
                    if (single)
                        floats.CopyTo(values);
                    else
                        System.Numerics.Tensors.TensorPrimitives.ConvertTruncating(doubles, values);
                    int bad = Finiteness.IndexOfNonFinite(values);
                    if (bad >= 0)
                        throw Finiteness.Refusal(place, bad, single ? values[bad] : doubles[bad]);
                    spool.Append(values);
                }
            }
            if (spool is null)
                throw new InvalidDataException($"{path}: has no rows, so its dimension is unknown");
            return new SpooledRows(path, spool, names?.ToArray());
        }
        catch
        {
            spool?.Dispose();
            throw;
        }
    }
}
