using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>The last step of both embedders: items without entries are handled as asked, the rest is decomposed.</summary>
internal static class Factorization
{
    public static EmbeddingResult Embed(
        List<(int[] Columns, float[] Values)> rows, ItemIds items, int columnCount, int dimension, double power,
        EmptyItems empty, string emptyReason, RandomSource random, int threads, CancellationToken cancellation)
    {
        long emptyCount = rows.LongCount(row => row.Columns.Length == 0);
        if (emptyCount > 0 && empty == EmptyItems.Refuse)
        {
            string first = items[rows.FindIndex(row => row.Columns.Length == 0)];
            throw new InvalidDataException($"{emptyCount} items have {emptyReason}, the first is '{first}'");
        }
        if (emptyCount > 0 && empty == EmptyItems.Drop)
        {
            items = ItemIds.FromStrings(items.Where((_, row) => rows[row].Columns.Length > 0));
            rows.RemoveAll(row => row.Columns.Length == 0);
        }
        SparseRows matrix = SparseRows.Join(rows, columnCount, "the matrix to decompose");
        (RowMatrix embedded, double[] singularValues) = TruncatedSvd.Compute(matrix, dimension, power, random, threads, cancellation);
        return new EmbeddingResult(embedded, items, singularValues, emptyCount, columnCount, matrix.Values.Length);
    }
}
