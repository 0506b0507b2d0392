using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/accumulate.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct AccumulateArguments
{
    public nint Rows;
    public nint Codes;
    public nint Places;
    public nint Starts;
    public nint Order;
    public nint Sums;
    public nint Counts;
    public int Count;
    public int Dimension;
    public int CodeCount;
    public int ChunkRows;
    public int Chunks;
}

public sealed partial class CudaBackend
{
    private const int kAccumulateThreads = 256, kAccumulateWarps = kAccumulateThreads / 32;
    // Rows that one warp sorts, and counters of all chunks and codes together.
    private const int kLeastChunkRows = 1024;
    private const long kMostPlaces = 1 << 24;

    /// <inheritdoc/>
    public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts)
    {
        OpArguments.CheckAccumulate(rows, codes, codeCount, sums, counts);
        if (rows.Count == 0)
            return;
        int d = rows.Dimension, batch = (int)Math.Clamp(kStagingBytes / (sizeof(float) * (long)d), 1, rows.Count);
        using var stream = CudaStream.Create(Gpu);
        using var staging = PinnedMemory<float>.Allocate(Gpu, checked(batch * d));
        using var values = DeviceMemory<float>.Allocate(Gpu, (long)batch * d);
        using var deviceSums = DeviceMemory<double>.From(stream, sums);
        using var deviceCounts = DeviceMemory<long>.From(stream, counts);
        for (int start = 0; start < rows.Count; start += batch)
        {
            int count = Math.Min(batch, rows.Count - start);
            RowCopy.Copy(rows.Slice(start, count), staging.Values, _host.Threads);
            stream.Upload<float>(values, staging.Values[..(count * d)]);
            using var deviceCodes = DeviceMemory<ushort>.From(stream, codes.Slice(start, count));
            Accumulate(stream, values, deviceCodes, count, d, codeCount, deviceSums, deviceCounts);
        }
        stream.Read(sums, deviceSums);
        stream.Read(counts, deviceCounts);
    }

    /// <summary>The same for rows and codes on the device; returns when it is done.</summary>
    internal void Accumulate(CudaStream stream, DeviceMemory<float> rows, DeviceMemory<ushort> codes, int count, int dimension, int codeCount, DeviceMemory<double> sums, DeviceMemory<long> counts)
    {
        long chunkRows = Math.Max(kLeastChunkRows, ((long)count * codeCount / kMostPlaces / 32 + 1) * 32);
        int chunks = (int)((count + chunkRows - 1) / chunkRows);
        using var places = DeviceMemory<int>.Allocate(Gpu, (long)chunks * codeCount);
        using var starts = DeviceMemory<int>.Allocate(Gpu, codeCount + 1);
        using var order = DeviceMemory<int>.Allocate(Gpu, count);
        stream.Fill(places, 0, places.Length);
        var arguments = new AccumulateArguments
        {
            Rows = rows.Value, Codes = codes.Value, Places = places.Value, Starts = starts.Value, Order = order.Value, Sums = sums.Value, Counts = counts.Value,
            Count = count, Dimension = dimension, CodeCount = codeCount, ChunkRows = (int)chunkRows, Chunks = chunks,
        };
        long chunkBlocks = (chunks + kAccumulateWarps - 1) / kAccumulateWarps;
        stream.Launch(Kernel("accumulate_count"), chunkBlocks, arguments);
        stream.Launch(Kernel("accumulate_chunks"), (codeCount + kAccumulateThreads - 1) / kAccumulateThreads, arguments);
        stream.Launch(Kernel("accumulate_starts", kAccumulateThreads * sizeof(int)), 1, arguments);
        stream.Launch(Kernel("accumulate_sort"), chunkBlocks, arguments);
        stream.Launch(Kernel("accumulate_add"), codeCount, arguments, (dimension + kAccumulateThreads - 1) / kAccumulateThreads);
        // The buffers of the sort go back to the device at the end of this method.
        stream.Synchronize();

        CudaKernel Kernel(string name, int sharedBytes = 0) => Gpu.Kernel("accumulate", name, kAccumulateThreads, sharedBytes);
    }
}
