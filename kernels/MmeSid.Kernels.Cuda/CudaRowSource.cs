using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>Rows that the device draws for itself, for numbers of rows that a host could not draw and send.</summary>
internal static class CudaRowSource
{
    private const int kThreads = 256;

    // Mirror of kernels/cuda/draw_rows.cu.
    [StructLayout(LayoutKind.Sequential)]
    private struct DrawArguments
    {
        public nint Codewords;
        public nint Rows;
        public ulong Seed;
        public long First;
        public float Deviation;
        public int Count;
        public int Dimension;
        public int CodeCount;
    }

    /// <summary>Queues the drawing of rows around codewords, and half-way between two: a function of the seed and the row's number alone.</summary>
    /// <param name="stream">Of the device.</param>
    /// <param name="codewords">[K, d].</param>
    /// <param name="rows">[count, d].</param>
    /// <param name="first">Number of the first row.</param>
    /// <param name="count">n.</param>
    /// <param name="dimension">d.</param>
    /// <param name="deviation">Largest standard deviation of a value from the codeword's.</param>
    /// <param name="seed">Any.</param>
    public static void Draw(CudaStream stream, DeviceMemory<float> codewords, DeviceMemory<float> rows, long first, int count, int dimension, float deviation, ulong seed)
    {
        CudaKernel kernel = stream.Device.Kernel("draw_rows", "draw_rows", kThreads);
        stream.Launch(kernel, ((long)count * dimension + kThreads - 1) / kThreads, new DrawArguments
        {
            Codewords = codewords.Value,
            Rows = rows.Value,
            Seed = seed,
            First = first,
            Deviation = deviation,
            Count = count,
            Dimension = dimension,
            CodeCount = (int)(codewords.Length / dimension),
        });
    }
}
