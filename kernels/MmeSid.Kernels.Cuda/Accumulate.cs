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
        using var order = new CodeOrder(Gpu);
        for (int start = 0; start < rows.Count; start += batch)
        {
            int count = Math.Min(batch, rows.Count - start);
            RowCopy.Copy(rows.Slice(start, count), staging.Values, _host.Threads);
            stream.Upload<float>(values, staging.Values[..(count * d)]);
            using var deviceCodes = DeviceMemory<ushort>.From(stream, codes.Slice(start, count));
            Accumulate(stream, values, deviceCodes, count, d, codeCount, order, deviceSums, deviceCounts);
        }
        stream.Read(sums, deviceSums);
        stream.Read(counts, deviceCounts);
    }

    /// <summary>The same for rows and codes on the device; returns when it is done.</summary>
    internal void Accumulate(CudaStream stream, DeviceMemory<float> rows, DeviceMemory<ushort> codes, int count, int dimension, int codeCount, CodeOrder order, DeviceMemory<double> sums, DeviceMemory<long> counts)
    {
        long chunkRows = Math.Max(kLeastChunkRows, ((long)count * codeCount / kMostPlaces / 32 + 1) * 32);
        int chunks = (int)((count + chunkRows - 1) / chunkRows);
        order.Fit((long)chunks * codeCount, codeCount + 1, count);
        stream.Fill(order.Places, 0, (long)chunks * codeCount);
        var arguments = new AccumulateArguments
        {
            Rows = rows.Value, Codes = codes.Value, Places = order.Places.Value, Starts = order.Starts.Value, Order = order.Rows.Value, Sums = sums.Value, Counts = counts.Value,
            Count = count, Dimension = dimension, CodeCount = codeCount, ChunkRows = (int)chunkRows, Chunks = chunks,
        };
        long chunkBlocks = (chunks + kAccumulateWarps - 1) / kAccumulateWarps;
        stream.Launch(Kernel("accumulate_count"), chunkBlocks, arguments);
        stream.Launch(Kernel("accumulate_chunks"), (codeCount + kAccumulateThreads - 1) / kAccumulateThreads, arguments);
        stream.Launch(Kernel("accumulate_starts", kAccumulateThreads * sizeof(int)), 1, arguments);
        stream.Launch(Kernel("accumulate_sort"), chunkBlocks, arguments);
        stream.Launch(Kernel("accumulate_add"), codeCount, arguments, (dimension + kAccumulateThreads - 1) / kAccumulateThreads);
        // The caller may let go of the buffers.
        stream.Synchronize();

        CudaKernel Kernel(string name, int sharedBytes = 0) => Gpu.Kernel("accumulate", name, kAccumulateThreads, sharedBytes);
    }
}

/// <summary>Buffers in which rows are sorted by their codes; they grow.</summary>
internal sealed class CodeOrder(CudaDevice device) : IDisposable
{
    private DeviceMemory<int>? _places, _starts, _rows;

    /// <summary>[chunks, K].</summary>
    public DeviceMemory<int> Places => _places!;

    /// <summary>[K + 1].</summary>
    public DeviceMemory<int> Starts => _starts!;

    /// <summary>[n].</summary>
    public DeviceMemory<int> Rows => _rows!;

    /// <summary>Makes room; what was there is lost.</summary>
    public void Fit(long places, long starts, long rows)
    {
        Fit(ref _places, places);
        Fit(ref _starts, starts);
        Fit(ref _rows, rows);
    }

    public void Dispose()
    {
        _places?.Dispose();
        _starts?.Dispose();
        _rows?.Dispose();
    }

    private void Fit(ref DeviceMemory<int>? memory, long length)
    {
        if (memory?.Length >= length)
            return;
        memory?.Dispose();
        memory = null;
        memory = DeviceMemory<int>.Allocate(device, length);
    }
}
