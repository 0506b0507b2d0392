using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>Checks codes of one level against all float64 distances, on the device, for numbers of rows that the oracle could not check.</summary>
internal static class CudaVerifier
{
    private const int kThreads = 256, kRows = 64;
    private const int kSharedBytes = 2 * 16 * (64 + 1) * sizeof(float) + kRows * sizeof(double);

    [StructLayout(LayoutKind.Sequential)]
    private struct VerifyArguments
    {
        public nint Rows;
        public nint Codewords;
        public nint Codes;
        public nint Wrong;
        public nint Close;
        public int Count;
        public int Dimension;
        public int CodeCount;
    }

    /// <summary>Counts rows whose code is not the nearest, and rows where float64 cannot say.</summary>
    /// <param name="stream">Of the device.</param>
    /// <param name="rows">[count, d].</param>
    /// <param name="codewords">[K, d].</param>
    /// <param name="codes">[count].</param>
    /// <param name="count">n.</param>
    /// <param name="dimension">d.</param>
    public static (long Wrong, long Close) Verify(CudaStream stream, DeviceMemory<float> rows, DeviceMemory<float> codewords, DeviceMemory<ushort> codes, int count, int dimension)
    {
        using var counts = DeviceMemory<ulong>.From(stream, [0, 0]);
        CudaKernel kernel = stream.Device.Kernel("verify", "verify_codes", kThreads, kSharedBytes);
        stream.Launch(kernel, (count + kRows - 1) / kRows, new VerifyArguments
        {
            Rows = rows.Value, Codewords = codewords.Value, Codes = codes.Value, Wrong = counts.Value, Close = counts.Value + sizeof(ulong),
            Count = count, Dimension = dimension, CodeCount = (int)(codewords.Length / dimension),
        });
        ulong[] found = new ulong[2];
        stream.Read(found.AsSpan(), counts);
        return ((long)found[0], (long)found[1]);
    }
}
