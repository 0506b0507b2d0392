using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>The float32 products that an operation over all pairs cannot avoid, and nothing else: what its time is compared with.</summary>
internal static class CudaPlainProducts
{
    // Of MmdSums, so that both are the same grid of blocks.
    private const int kParts = 16;

    // Mirror of kernels/cuda/plain_products.cu.
    [StructLayout(LayoutKind.Sequential)]
    private struct PlainProductsArguments
    {
        public nint Rows;
        public nint Columns;
        public nint Results;
        public int RowCount;
        public int ColumnCount;
        public int Depth;
        public int TilesPerPart;
        public int OneSet;
    }

    /// <summary>Multiplies all rows with all columns and waits; where both are the same memory, only pairs on and above the diagonal's tiles.</summary>
    /// <param name="stream">Of the device.</param>
    /// <param name="rows">[·, depth].</param>
    /// <param name="columns">[·, depth].</param>
    /// <param name="depth">A multiple of 16.</param>
    public static void Multiply(CudaStream stream, DeviceMemory<float> rows, DeviceMemory<float> columns, int depth)
    {
        int rowCount = (int)(rows.Length / depth), columnCount = (int)(columns.Length / depth), rowTiles = ProductTiles.Count(rowCount);
        int tiles = ProductTiles.Count(columnCount), tilesPerPart = (tiles + kParts - 1) / kParts, parts = (tiles + tilesPerPart - 1) / tilesPerPart;
        using var results = DeviceMemory<float>.Allocate(stream.Device, (long)rowTiles * parts * ProductTiles.kThreads);
        stream.Launch(stream.Device.Kernel("plain_products", "plain_products", ProductTiles.kThreads, ProductTiles.kBytes), rowTiles, new PlainProductsArguments
        {
            Rows = rows.Value,
            Columns = columns.Value,
            Results = results.Value,
            RowCount = rowCount,
            ColumnCount = columnCount,
            Depth = depth,
            TilesPerPart = tilesPerPart,
            OneSet = ReferenceEquals(rows, columns) ? 1 : 0,
        }, parts);
        stream.Synchronize();
    }
}
