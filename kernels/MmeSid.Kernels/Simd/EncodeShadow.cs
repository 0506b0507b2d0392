namespace MmeSid.Kernels.Simd;

/// <summary>
/// encode from a shadow: the codes of rows x, from x̃ and σ ≥ ‖x − x̃‖ where those prove them          oracle: Scalar/Encode.cs, of the rows
/// <code>
///   in    shadow (n, d) float16 or int8 · what reads a row · plan
///   out   codes (n, L) u16
///   does  blocks of shadow rows are widened to float32 and screened by a pass as rows are, σ added to the error of their operands; a level is proven where one code
///         survives, or where distances say that one is nearest whatever the shadow lost (Recheck.Prove); a row with a level that is not is read, gathered into
///         blocks with others, and encoded from itself by the same pass
///   why   while codes agree the residuals of x and x̃ differ by x − x̃, so s[k] by 2|(x − x̃)·w[k]| ≤ 2σ‖w[k]‖ (docs/exactness.md §8)
///   work  a block of either kind belongs to one worker; several read rows at once, and what a row gets depends on nothing but the row
/// </code>
/// </summary>
internal static unsafe class ShadowBlocks
{
    /// <summary>Encodes rows from their shadow.</summary>
    /// <param name="levels">L.</param>
    /// <param name="shadow">[n, d].</param>
    /// <param name="readRow">Reads one of them.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="pass">Screens.</param>
    /// <param name="threads">Workers.</param>
    /// <param name="startRow">What <paramref name="readRow"/> and errors call the first.</param>
    public static EncodeReport Run(int levels, ShadowRows shadow, ReadRow readRow, Span<ushort> codes, IEncodePass pass, int threads, int startRow)
    {
        int n = shadow.Count, d = shadow.Dimension, rowBytes = shadow.Format.RowBytes(d);
        if (n == 0)
            return default;
        ShadowFormat format = shadow.Format;
        int perBlock = EncodeBlocks.RowsPerBlock(n, pass.RowsPerBlock, threads), blocks = (n - 1) / perBlock + 1;
        var reports = new EncodeReport[blocks];
        bool[] open = new bool[n];
        fixed (byte* firstByte = shadow.Bytes)
        fixed (ushort* firstCode = codes)
        {
            byte* source = firstByte;
            ushort* destination = firstCode;
            Workers.RunUnits(threads, blocks, (_, block) =>
            {
                int start = block * perBlock, count = Math.Min(perBlock, n - start);
                pass.EncodeShadow(new ShadowRows(new ReadOnlySpan<byte>(source + (nint)start * rowBytes, count * rowBytes), d, format),
                    new Span<ushort>(destination + (nint)start * levels, count * levels), open.AsSpan(start, count), ref reports[block]);
            });
        }
        var total = default(EncodeReport);
        foreach (EncodeReport report in reports)
            total += report;
        int[] rows = [.. Enumerable.Range(0, n).Where(row => open[row])];
        EncodeReport ofRows = EncodeRows(levels, d, rows, readRow, codes, pass, threads, startRow);
        return total with { Candidates = ofRows.Candidates, Exact = ofRows.Exact };
    }

    private static EncodeReport EncodeRows(int levels, int dimension, int[] rows, ReadRow readRow, Span<ushort> codes, IEncodePass pass, int threads, int startRow)
    {
        if (rows.Length == 0)
            return default;
        int perBlock = EncodeBlocks.RowsPerBlock(rows.Length, pass.RowsPerBlock, threads), blocks = (rows.Length - 1) / perBlock + 1;
        var reports = new EncodeReport[blocks];
        ushort[] found = new ushort[rows.Length * levels];
        var buffers = new RowMatrix?[threads];
        try
        {
            Workers.RunUnits(threads, blocks, (worker, block) =>
            {
                RowMatrix buffer = buffers[worker] ??= new RowMatrix(perBlock, dimension);
                int start = block * perBlock, count = Math.Min(perBlock, rows.Length - start);
                for (int i = 0; i < count; i++)
                    readRow(startRow + rows[start + i], buffer.Rows(i, 1));
                if (pass.Encode(buffer.View(0, count), found.AsSpan(start * levels, count * levels), default, default, ref reports[block]))
                    return;
                for (int i = 0; i < count; i++)
                    EncodeArguments.CheckFinite(buffer.Rows(i, 1), startRow + rows[start + i]);
            });
        }
        finally
        {
            foreach (RowMatrix? buffer in buffers)
                buffer?.Dispose();
        }
        for (int i = 0; i < rows.Length; i++)
            found.AsSpan(i * levels, levels).CopyTo(codes[(rows[i] * levels)..]);
        var total = default(EncodeReport);
        foreach (EncodeReport report in reports)
            total += report;
        return total;
    }
}
