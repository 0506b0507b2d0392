using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Reads the rows to train on: all of them, or a seeded uniform sample in ascending order, streamed block by block.</summary>
internal static class TrainingRows
{
    private const int kValuesPerRead = 1 << 24;

    /// <summary>Reads into the first <c>table.Dimension</c> columns of a matrix of <paramref name="width"/> columns; the others stay zero.</summary>
    /// <param name="table">Where from.</param>
    /// <param name="size">Rows to draw, at most the table's.</param>
    /// <param name="width">Columns of the result.</param>
    /// <param name="random">Draws the sample.</param>
    /// <param name="cancellation">Looked at before each read.</param>
    public static RowMatrix Read(EmbeddingTable table, long size, int width, RandomSource random, CancellationToken cancellation)
    {
        var rows = new RowMatrix(size, width);
        try
        {
            int dimension = table.Dimension;
            int rowsPerRead = (int)Math.Min(table.Count, Math.Max(1, kValuesPerRead / dimension));
            bool direct = size == table.Count && width == dimension;
            using RowMatrix? block = direct ? null : new RowMatrix(rowsPerRead, dimension);
            long filled = 0, blockFirst = -1;
            if (direct)
            {
                for (; filled < size; filled += rowsPerRead)
                {
                    cancellation.ThrowIfCancellationRequested();
                    int count = (int)Math.Min(rowsPerRead, size - filled);
                    table.Read(filled, count, rows.Rows(filled, count));
                }
                return rows;
            }
            foreach (long row in RowSample.Draw(table.Count, size, random))
            {
                if (blockFirst < 0 || row >= blockFirst + rowsPerRead)
                {
                    cancellation.ThrowIfCancellationRequested();
                    blockFirst = row;
                    int count = (int)Math.Min(rowsPerRead, table.Count - row);
                    table.Read(row, count, block!.Rows(0, count));
                }
                block!.Rows(row - blockFirst, 1).CopyTo(rows.Rows(filled++, 1));
            }
            return rows;
        }
        catch
        {
            rows.Dispose();
            throw;
        }
    }
}
