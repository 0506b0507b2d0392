namespace MmeSid.Kernels.Simd;

/// <summary>Takes a row's products with some codewords; called by several threads at once, for any row by one.</summary>
internal delegate void TakeProducts(int row, int firstCode, ReadOnlySpan<float> products);

/// <summary>Products of rows that lie anywhere with packed codewords, for what is prepared once per plan: <see cref="Product"/> on several threads.</summary>
internal static unsafe class RowProducts
{
    // Codewords that a block of rows meets at a time: their products stay in the second-level cache from one depth block to the next.
    private const int kColumns = 256;

    /// <summary>Row i · codewords[j] for all i and j.</summary>
    /// <param name="rows">R.</param>
    /// <param name="read">Writes a row's values, as many as a codeword has; called by several threads at once, once for each row.</param>
    /// <param name="codewords">The right-hand side.</param>
    /// <param name="take">Is given the products, a row and a chunk of codewords at a time, after the row has been read.</param>
    /// <param name="threads">That multiply.</param>
    public static void Multiply(int rows, ReadRow read, PackedCodewords codewords, TakeProducts take, int threads)
    {
        int stride = EncodeBlocks.Stride(codewords.Depth), rowsPerBlock = EncodeBlocks.RowsPerBlock(rows, EncodeBlocks.RowsPerBlock(stride), threads);
        Parallel.For(0, (rows + rowsPerBlock - 1) / rowsPerBlock, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new Block(rowsPerBlock, stride), (index, _, block) =>
        {
            int first = index * rowsPerBlock, count = Math.Min(rowsPerBlock, rows - first);
            for (int i = 0; i < count; i++)
                read(first + i, block.Rows.Rows(i, 1)[..codewords.Depth]);
            for (int column = 0; column < codewords.Count; column += kColumns)
            {
                int columns = Math.Min(kColumns, codewords.Count - column);
                Product.Multiply((float*)block.Rows.DangerousGetHandle(), stride, count, codewords, column, columns, (float*)block.Products.DangerousGetHandle(), kColumns);
                for (int i = 0; i < count; i++)
                    take(first + i, column, block.Products.Rows(i, 1)[..columns]);
            }
            return block;
        }, block => block.Dispose());
    }

    // The buffers of one thread.
    private sealed class Block(int rows, int stride) : IDisposable
    {
        public RowMatrix Rows { get; } = new(rows, stride);

        public RowMatrix Products { get; } = new(rows, kColumns);

        public void Dispose()
        {
            Rows.Dispose();
            Products.Dispose();
        }
    }
}
