namespace MmeSid.Kernels.Cuda;

/// <summary>Mirror of kernels/cuda/products.h.</summary>
internal static class ProductTiles
{
    public const int kThreads = 256, kRows = 128, kColumns = 128;

    /// <summary>Shared memory of the operands: two buffers of both.</summary>
    public const int kBytes = 2 * kDepth * (kRows + 4 + kColumns + 4) * sizeof(float);

    private const int kDepth = 16, kDepthPerChain = 256;

    /// <summary>Shared memory of the chains' totals: none where one chain is enough.</summary>
    public static int TotalBytes(int depth) => depth > kDepthPerChain ? kRows * kColumns * sizeof(float) : 0;

    /// <summary>Tiles that hold this many rows, or columns.</summary>
    public static int Count(int rows) => (rows + kRows - 1) / kRows;
}
