using System.Globalization;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Embeddings;

/// <summary>Embeddings in a text table: numeric columns, or one column with a list such as <c>[0.5, 1e-3]</c>. Numbers are rounded once to float32.</summary>
internal static class CsvRows
{
    private static readonly char[] ListSeparators = [',', ' ', ';', '|'];

    public static SpooledRows Read(string path, EmbeddingOptions options)
    {
        using var text = new DelimitedText(path);
        string? idColumn = TableColumns.IdColumn(path, text.Columns, options);
        int id = idColumn is null ? -1 : text.IndexOf(idColumn);
        int[] vector = options.VectorColumn is { } asked
            ? [text.IndexOf(TableColumns.Existing(path, text.Columns, asked))]
            : [.. Enumerable.Range(0, text.Columns.Count).Where(column => column != id)];
        if (vector.Length == 0)
            throw new InvalidDataException($"{path}: has no column of numbers beside the item ids");
        List<string>? names = id < 0 ? null : [];
        RowSpool? spool = null;
        bool list = false;
        try
        {
            var values = new List<float>();
            while (text.Read())
            {
                if (spool is null)
                    list = vector.Length == 1 && !float.TryParse(text[vector[0]], NumberStyles.Float, CultureInfo.InvariantCulture, out _);
                values.Clear();
                if (list)
                {
                    foreach (string number in text[vector[0]].Trim().TrimStart('[').TrimEnd(']').Split(ListSeparators, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
                        values.Add(Parse(text.Place, number, $"column {values.Count}"));
                }
                else
                {
                    foreach (int column in vector)
                        values.Add(Parse(text.Place, text[column], $"column '{text.Columns[column]}'"));
                }
                if (values.Count is 0 or > EmbeddingTable.MaximumDimension)
                    throw new InvalidDataException($"{text.Place}: has dimension {values.Count}, expected 1 to {EmbeddingTable.MaximumDimension}");
                spool ??= new RowSpool(values.Count);
                if (values.Count != spool.Dimension)
                    throw new InvalidDataException($"{text.Place}: has dimension {values.Count}, expected {spool.Dimension} as in the first row");
                spool.Append(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(values));
                names?.Add(text[id]);
            }
            if (spool is null && options.VectorColumn is not null)
                throw new InvalidDataException($"{path}: has no rows, so its dimension is unknown");
            return new SpooledRows(path, spool ?? new RowSpool(vector.Length), names?.ToArray());
        }
        catch
        {
            spool?.Dispose();
            throw;
        }
    }

    private static float Parse(string place, string text, string column)
    {
        if (!float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out float value))
            throw new InvalidDataException($"{place}, {column} is '{(text.Length > 40 ? text[..40] + "…" : text)}', expected a number");
        if (float.IsFinite(value))
            return value;
        double wide = double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture);
        throw new InvalidDataException(double.IsFinite(wide)
            ? $"{place}, {column} is {wide:R}, which overflows float32 (at most {float.MaxValue:R})"
            : $"{place}, {column} is {(double.IsNaN(wide) ? "NaN" : wide > 0 ? "infinity" : "-infinity")}, expected a finite number");
    }
}
