namespace MmeSid.Kernels.Cuda;

/// <summary>
/// Two pinned buffers through which rows go to the device, one filled while the other is copied from. On the device a row takes
/// <see cref="Depth"/> values, zeros past its dimension.
/// </summary>
internal sealed class RowStaging : IDisposable
{
    // kTileDepth of kernels/cuda/products.h.
    private const int kTileDepth = 16;
    private const long kBufferBytes = 8L << 20;

    private readonly CudaStream _stream;
    private readonly int _threads;
    private readonly int _rows;
    private readonly PinnedMemory<float>[] _buffers = new PinnedMemory<float>[2];
    private readonly CudaEvent[] _copied = new CudaEvent[2];
    private int _uploads;

    /// <summary>Buffers for rows of this dimension.</summary>
    /// <param name="stream">Copies.</param>
    /// <param name="dimension">d.</param>
    /// <param name="mostRows">Rows that will be uploaded at most: fewer take smaller buffers.</param>
    /// <param name="threads">That fill a buffer.</param>
    public RowStaging(CudaStream stream, int dimension, int mostRows, int threads)
    {
        (_stream, _threads, Depth) = (stream, threads, Padded(dimension));
        _rows = (int)Math.Clamp(kBufferBytes / (sizeof(float) * (long)Depth), 1, Math.Max(1, mostRows));
        try
        {
            for (int i = 0; i < 2; i++)
            {
                _buffers[i] = PinnedMemory<float>.Allocate(stream.Device, checked(_rows * Depth));
                _copied[i] = CudaEvent.Create(stream.Device);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Copies.</summary>
    public CudaStream Stream => _stream;

    /// <summary>Values per row on the device.</summary>
    public int Depth { get; }

    /// <summary>The dimension rounded up to whole tiles of the kernels.</summary>
    public static int Padded(int dimension) => (dimension + kTileDepth - 1) / kTileDepth * kTileDepth;

    /// <summary>Queues the copy of rows; the view may go when this returns.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="destination">[·, depth], from its start.</param>
    public void Upload(RowView rows, DeviceMemory<float> destination)
    {
        for (int start = 0; start < rows.Count; start += _rows, _uploads++)
        {
            int count = Math.Min(_rows, rows.Count - start);
            PinnedMemory<float> buffer = _buffers[_uploads % 2];
            CudaEvent copied = _copied[_uploads % 2];
            if (_uploads >= 2)
                copied.Synchronize();
            RowCopy.Copy(rows.Slice(start, count), buffer.Values, Depth, _threads);
            _stream.Upload<float>(destination, buffer.Values[..(count * Depth)], (long)start * Depth);
            _stream.Record(copied);
        }
    }

    public void Dispose()
    {
        _stream.TrySynchronize();
        foreach (PinnedMemory<float>? buffer in _buffers)
            buffer?.Dispose();
        foreach (CudaEvent? copied in _copied)
            copied?.Dispose();
    }
}
