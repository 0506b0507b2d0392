using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>What one GPU and its link do in a second, measured by kernels and copies that do nothing else.</summary>
/// <param name="HostToDeviceBytes">Bytes copied from pinned host memory.</param>
/// <param name="DeviceCopyBytes">Bytes read and written by a copy inside the device's memory, both counted.</param>
/// <param name="Float32Operations">Multiplications and additions of fused multiply-adds.</param>
/// <param name="Float16Operations">The same on tensor cores, fp16 operands and float32 sums (mma.sync).</param>
/// <param name="Int8Operations">The same on tensor cores, int8 operands and int32 sums (mma.sync).</param>
public sealed record CudaCeilings(double HostToDeviceBytes, double DeviceCopyBytes, double Float32Operations, double Float16Operations, double Int8Operations)
{
    private const int kThreads = 256, kBlocksPerMultiprocessor = 4, kStepsPerRound = 16 * 8;
    // Operations of a warp's mma of 16 × 8 results, 16 or 32 deep.
    private const long kFloat16 = 2 * 16 * 8 * 16, kInt8 = 2 * 16 * 8 * 32;
    private const int kRuns = 5;
    private const double kLeastMilliseconds = 5;
    private const int kCopyBytes = 64 << 20;

    [StructLayout(LayoutKind.Sequential)]
    private struct CeilingArguments
    {
        public nint Results;
        public int Rounds;
    }

    /// <summary>Measures for some tenths of a second; the best of five rounds counts.</summary>
    /// <param name="backend">Whose GPU.</param>
    /// <exception cref="BackendUnavailableException">The device lacks 192 MB.</exception>
    public static CudaCeilings Measure(CudaBackend backend)
    {
        ArgumentNullException.ThrowIfNull(backend);
        CudaDevice device = backend.Gpu;
        using var stream = CudaStream.Create(device);
        using var begin = CudaEvent.Create(device);
        using var end = CudaEvent.Create(device);
        using var host = PinnedMemory<byte>.Allocate(device, kCopyBytes);
        using var source = DeviceMemory<byte>.Allocate(device, kCopyBytes);
        using var destination = DeviceMemory<byte>.Allocate(device, kCopyBytes);
        host.Values.Clear();
        int blocks = device.Multiprocessors * kBlocksPerMultiprocessor;
        using var results = DeviceMemory<float>.Allocate(device, (long)blocks * kThreads);

        double upload = kCopyBytes / Best(() => stream.Upload<byte>(source, host.Values));
        double copy = 2.0 * kCopyBytes / Best(() => stream.Copy(destination, source));
        return new CudaCeilings(upload, copy, Arithmetic("ceiling_float32", 2 * kThreads), Arithmetic("ceiling_float16", kFloat16 * kThreads / 32), Arithmetic("ceiling_int8", kInt8 * kThreads / 32));

        double Arithmetic(string name, long operationsPerStep)
        {
            CudaKernel kernel = device.Kernel("ceilings", name, kThreads);
            for (int rounds = 1; ; rounds *= 4)
            {
                var arguments = new CeilingArguments { Results = results.Value, Rounds = rounds };
                double seconds = Best(() => stream.Launch(kernel, blocks, arguments));
                if (seconds * 1000 >= kLeastMilliseconds)
                    return (double)blocks * operationsPerStep * kStepsPerRound * rounds / seconds;
            }
        }

        // Seconds of the fastest run; one run more goes first.
        double Best(Action work)
        {
            double best = double.PositiveInfinity;
            for (int run = 0; run <= kRuns; run++)
            {
                stream.Record(begin);
                work();
                stream.Record(end);
                end.Synchronize();
                if (run > 0)
                    best = Math.Min(best, begin.MillisecondsTo(end) / 1000);
            }
            return best;
        }
    }
}
