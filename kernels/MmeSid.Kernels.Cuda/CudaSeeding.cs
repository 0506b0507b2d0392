using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/kmeans_seeding.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct SeedingArguments
{
    public nint Rows;
    public nint Sample;
    public nint Uniform;
    public nint Drawn;
    public nint Best;
    public nint Seeds;
    public nint Found;
    public nint Distances;
    public nint BlockSums;
    public int Count;
    public int Dimension;
    public int Candidates;
    public int Step;
    public int Codes;
}

/// <summary>
/// Greedy k-means++ on rows of the device (<see cref="ILloyd.SeedPlusPlus"/>). Over the link go 8·K·C bytes of random numbers and 4 bytes per row of
/// the sample, 4·K bytes come back. Takes 8·C bytes a row of the sample while it runs.
/// </summary>
internal static class CudaSeeding
{
    private const int kThreads = 256, kWarps = kThreads / 32, kRowsPerBlock = kThreads / 16;
    // Seeds that are queued before the host looks whether there are more to find, and whether it should go on.
    private const int kSeedsAtOnce = 64;

    /// <inheritdoc cref="ILloyd.SeedPlusPlus"/>
    public static int PlusPlus(
        CudaStream stream, DeviceMemory<float> rows, int count, int dimension, ReadOnlySpan<int> sample, int first, int candidates, ReadOnlySpan<double> uniform, Span<int> seeds,
        CancellationToken cancellation)
    {
        CudaDevice device = stream.Device;
        CudaKernel distances = device.Kernel("kmeans_seeding", "kmeans_seeding_distances", kThreads), sums = device.Kernel("kmeans_seeding", "kmeans_seeding_sums", kThreads);
        CudaKernel choose = device.Kernel("kmeans_seeding", "kmeans_seeding_choose", kThreads, candidates * sizeof(double));
        int from = sample.IsEmpty ? count : sample.Length, blocks = RowErrors.Blocks(from);
        using var sampleOnDevice = DeviceMemory<int>.From(stream, sample);
        using var uniformOnDevice = DeviceMemory<double>.From(stream, uniform);
        using var drawn = DeviceMemory<int>.Allocate(device, candidates);
        using var best = DeviceMemory<int>.Allocate(device, 1);
        using var seedsOnDevice = DeviceMemory<int>.Allocate(device, seeds.Length);
        using var found = DeviceMemory<int>.From(stream, [seeds.Length]);
        using var distancesOnDevice = DeviceMemory<double>.Allocate(device, (long)candidates * from);
        using var blockSums = DeviceMemory<double>.Allocate(device, (long)candidates * blocks);
        stream.Write(drawn, [first]);
        int foundSoFar = seeds.Length;
        for (int step = 0; step < foundSoFar; step++)
        {
            var arguments = new SeedingArguments
            {
                Rows = rows.Value, Sample = sample.IsEmpty ? 0 : sampleOnDevice.Value, Uniform = uniformOnDevice.Value, Drawn = drawn.Value, Best = best.Value, Seeds = seedsOnDevice.Value,
                Found = found.Value, Distances = distancesOnDevice.Value, BlockSums = blockSums.Value,
                Count = from, Dimension = dimension, Candidates = candidates, Step = step, Codes = seeds.Length,
            };
            stream.Launch(distances, ((long)from + kRowsPerBlock - 1) / kRowsPerBlock, arguments);
            stream.Launch(sums, (blocks + kWarps - 1) / kWarps, arguments, step == 0 ? 1 : candidates);
            stream.Launch(choose, 1, arguments);
            if (step % kSeedsAtOnce != 0 && step + 1 < seeds.Length)
                continue;
            foundSoFar = found.ToArray(stream, 1)[0];
            cancellation.ThrowIfCancellationRequested();
        }
        stream.Read(seeds, seedsOnDevice);
        return foundSoFar;
    }
}
