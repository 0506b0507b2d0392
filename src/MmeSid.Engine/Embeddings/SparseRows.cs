namespace MmeSid.Engine.Embeddings;

/// <summary>A sparse float32 matrix stored by rows; columns ascend within a row.</summary>
/// <param name="RowStarts">[n + 1], where each row starts in the other two.</param>
/// <param name="Columns">[nnz].</param>
/// <param name="Values">[nnz].</param>
/// <param name="ColumnCount">m.</param>
internal sealed record SparseRows(long[] RowStarts, int[] Columns, float[] Values, int ColumnCount)
{
    public int RowCount => RowStarts.Length - 1;

    /// <summary>Joins rows that were built one by one.</summary>
    public static SparseRows Join(IReadOnlyList<(int[] Columns, float[] Values)> rows, int columnCount, string what)
    {
        var starts = new long[rows.Count + 1];
        for (int row = 0; row < rows.Count; row++)
            starts[row + 1] = starts[row] + rows[row].Columns.Length;
        if (starts[^1] > Array.MaxLength)
            throw new InvalidDataException($"{what}: {starts[^1]} entries, at most {Array.MaxLength} fit");
        var columns = new int[starts[^1]];
        var values = new float[starts[^1]];
        for (int row = 0; row < rows.Count; row++)
        {
            rows[row].Columns.CopyTo(columns, starts[row]);
            rows[row].Values.CopyTo(values, starts[row]);
        }
        return new SparseRows(starts, columns, values, columnCount);
    }

    public SparseRows Transpose()
    {
        var starts = new long[ColumnCount + 1];
        foreach (int column in Columns)
            starts[column + 1]++;
        for (int column = 0; column < ColumnCount; column++)
            starts[column + 1] += starts[column];
        long[] next = starts[..^1];
        var columns = new int[Columns.Length];
        var values = new float[Values.Length];
        for (int row = 0; row < RowCount; row++)
        {
            for (long i = RowStarts[row]; i < RowStarts[row + 1]; i++)
            {
                long at = next[Columns[i]]++;
                columns[at] = row;
                values[at] = Values[i];
            }
        }
        return new SparseRows(starts, columns, values, RowCount);
    }
}
