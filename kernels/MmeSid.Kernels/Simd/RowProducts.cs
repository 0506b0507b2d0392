namespace MmeSid.Kernels.Simd;

/// <summary>Products of rows that lie anywhere with packed codewords, for what is prepared once per plan: <see cref="Product"/> on several threads.</summary>
internal static unsafe class RowProducts
{
    private const int kRowsPerBlock = 4 * Product.kRowsPerTile;

    /// <summary>products[i, j] = row i · codewords[j].</summary>
    /// <param name="rows">R.</param>
    /// <param name="read">Writes a row's values, as many as a codeword has; called by several threads at once.</param>
    /// <param name="codewords">The right-hand side.</param>
    /// <param name="products">Product.PaddedRows(R) rows.</param>
    /// <param name="stride">Values between two rows of products: at least the number of codewords rounded up to whole panels.</param>
    /// <param name="threads">That multiply.</param>
    public static void Multiply(int rows, ReadRow read, PackedCodewords codewords, float* products, nint stride, int threads)
    {
        int operandStride = EncodeBlocks.Stride(codewords.Depth);
        Parallel.For(0, (rows + kRowsPerBlock - 1) / kRowsPerBlock, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new RowMatrix(kRowsPerBlock, operandStride), (block, _, operands) =>
        {
            int first = block * kRowsPerBlock, count = Math.Min(kRowsPerBlock, rows - first);
            for (int i = 0; i < count; i++)
                read(first + i, operands.Rows(i, 1)[..codewords.Depth]);
            Product.Multiply((float*)operands.DangerousGetHandle(), operandStride, count, codewords, 0, codewords.Count, products + first * stride, stride);
            return operands;
        }, operands => operands.Dispose());
    }
}
