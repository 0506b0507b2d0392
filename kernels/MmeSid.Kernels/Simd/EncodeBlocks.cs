namespace MmeSid.Kernels.Simd;

/// <summary>Encodes one block of rows; false when a row holds NaN or infinity. <paramref name="ahead"/> is what the same worker reads next.</summary>
internal delegate bool EncodeBlock(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report);

/// <summary>Splits rows into blocks that stay in a core's cache and runs them on all threads.</summary>
internal static unsafe class EncodeBlocks
{
    private const int kRowBytes = 640 << 10;
    private const int kLeastTiles = 9;
    private const int kMostTiles = 18;
    private const int kBlocksPerThread = 4;

    /// <summary>Values between two operand rows: whole vectors, and never a multiple of 1 KB, or the rows of a tile would compete for the same cache sets.</summary>
    public static int Stride(int width)
    {
        int stride = (width + 15) / 16 * 16;
        return stride % 256 == 0 ? stride + 16 : stride;
    }

    /// <summary>
    /// Rows a worker takes at a time, whole tiles: as many as its second-level cache holds, but never so few that fetching the codewords for
    /// them takes longer than multiplying (a depth block of them then still fits).
    /// </summary>
    /// <param name="stride">Values between two operand rows.</param>
    /// <param name="leastTiles">Below which fetching takes longer.</param>
    public static int RowsPerBlock(int stride, int leastTiles = kLeastTiles)
        => Math.Clamp(kRowBytes / (stride * sizeof(float)) / Product.kRowsPerTile, leastTiles, kMostTiles) * Product.kRowsPerTile;

    /// <summary>The same for a given number of rows: few are spread over all threads rather than left in one block.</summary>
    public static int RowsPerBlock(int count, int rowsPerBlock, int threads) => Math.Min(rowsPerBlock, Product.PaddedRows((count - 1) / (kBlocksPerThread * threads) + 1));

    /// <summary>Calls <paramref name="encode"/> for every block; codes and errors of a row depend on nothing but the row.</summary>
    /// <remarks>Rows are the <paramref name="startRow"/>-th and following of a whole when an error names one.</remarks>
    /// <exception cref="ArgumentException">A value is not finite: the first in row order is named.</exception>
    public static EncodeReport Run(int levels, RowView rows, Span<ushort> codes, Span<float> squaredErrors, int rowsPerBlock, int threads, EncodeBlock encode, int startRow = 0)
    {
        int n = rows.Count, d = rows.Dimension, stride = rows.Stride;
        if (n == 0)
            return default;
        int perBlock = RowsPerBlock(n, rowsPerBlock, threads);
        int blocks = (n - 1) / perBlock + 1;
        var reports = new EncodeReport[blocks];
        bool allFinite = true;
        fixed (float* firstRow = rows.Values)
        fixed (ushort* firstCode = codes)
        fixed (float* firstError = squaredErrors)
        {
            float* source = firstRow, errors = firstError;
            ushort* destination = firstCode;
            int claimed = -1;
            // Blocks are claimed in ascending order, one ahead of the one at hand, so that its rows can be fetched meanwhile.
            Workers.Run(Math.Min(threads, blocks), _ =>
            {
                int block = Interlocked.Increment(ref claimed);
                while (block < blocks)
                {
                    int next = Interlocked.Increment(ref claimed);
                    int start = block * perBlock, count = Math.Min(perBlock, n - start);
                    RowView view = new(Values(start, count), count, d, stride);
                    ReadOnlySpan<float> ahead = next < blocks ? Values(next * perBlock, Math.Min(perBlock, n - next * perBlock)) : default;
                    if (!encode(view, new Span<ushort>(destination + (nint)start * levels, count * levels),
                        errors == null ? default : new Span<float>(errors + start, count), ahead, ref reports[block]))
                        Volatile.Write(ref allFinite, false);
                    block = next;
                }
            });

            ReadOnlySpan<float> Values(int first, int count) => new(source + (nint)first * stride, (count - 1) * stride + d);
        }
        if (!allFinite)
        {
            // Named in row order, whichever block saw one first.
            for (int i = 0; i < n; i++)
                EncodeArguments.CheckFinite(rows[i], startRow + i);
        }
        var total = default(EncodeReport);
        foreach (EncodeReport report in reports)
            total += report;
        return total;
    }
}
