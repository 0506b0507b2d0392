namespace MmeSid.Kernels.Simd;

/// <summary>Encodes one block of rows; false when a row holds NaN or infinity.</summary>
internal delegate bool EncodeBlock(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ref EncodeReport report);

/// <summary>Splits rows into blocks that stay in a core's cache and runs them on all threads.</summary>
internal static unsafe class EncodeBlocks
{
    private const int kRowBytes = 640 << 10;
    private const int kMaximumRows = 448;
    private const int kBlocksPerThread = 4;

    /// <summary>Values between two operand rows: whole vectors, and never a multiple of 1 KB, or the rows of a tile would compete for the same cache sets.</summary>
    public static int Stride(int width)
    {
        int stride = (width + 15) / 16 * 16;
        return stride % 256 == 0 ? stride + 16 : stride;
    }

    /// <summary>Rows a worker takes at a time, whole tiles: as many as its second-level cache holds of one depth block.</summary>
    public static int RowsPerBlock(int stride)
    {
        int tile = Product.RowsPerTile;
        int fitting = kRowBytes / (Math.Min(stride, Product.kDepthPerBlock) * sizeof(float)) / tile * tile;
        return Math.Clamp(fitting, 2 * tile, kMaximumRows / tile * tile);
    }

    /// <summary>Calls <paramref name="encode"/> for every block; codes and errors of a row depend on nothing but the row.</summary>
    /// <exception cref="ArgumentException">A value is not finite: the first in row order is named.</exception>
    public static EncodeReport Run(int levels, RowView rows, Span<ushort> codes, Span<float> squaredErrors, int rowsPerBlock, int threads, EncodeBlock encode)
    {
        int n = rows.Count, d = rows.Dimension, stride = rows.Stride;
        if (n == 0)
            return default;
        // Few rows are spread over all threads rather than left in one block.
        int perBlock = Math.Min(rowsPerBlock, Product.PaddedRows((n + kBlocksPerThread * threads - 1) / (kBlocksPerThread * threads)));
        int blocks = (n + perBlock - 1) / perBlock;
        var reports = new EncodeReport[blocks];
        bool allFinite = true;
        fixed (float* firstRow = rows.Values)
        fixed (ushort* firstCode = codes)
        fixed (float* firstError = squaredErrors)
        {
            float* source = firstRow, errors = firstError;
            ushort* destination = firstCode;
            void Encode(int block)
            {
                int start = block * perBlock, count = Math.Min(perBlock, n - start);
                var view = new RowView(new ReadOnlySpan<float>(source + (nint)start * stride, (count - 1) * stride + d), count, d, stride);
                if (!encode(view, new Span<ushort>(destination + (nint)start * levels, count * levels),
                    errors == null ? default : new Span<float>(errors + start, count), ref reports[block]))
                    Volatile.Write(ref allFinite, false);
            }

            if (threads == 1 || blocks == 1)
            {
                for (int block = 0; block < blocks; block++)
                    Encode(block);
            }
            else
            {
                Parallel.For(0, blocks, new ParallelOptions { MaxDegreeOfParallelism = threads }, Encode);
            }
        }
        if (!allFinite)
        {
            // Named in row order, whichever block saw one first.
            for (int i = 0; i < n; i++)
                EncodeArguments.CheckFinite(rows[i], i);
        }
        var total = default(EncodeReport);
        foreach (EncodeReport report in reports)
            total += report;
        return total;
    }
}
