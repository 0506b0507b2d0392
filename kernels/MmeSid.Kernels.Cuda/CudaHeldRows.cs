namespace MmeSid.Kernels.Cuda;

/// <summary>Rows in the device's memory for as long as they are searched again and again: an iteration of k-means moves codewords and sums only.</summary>
internal sealed class CudaHeldRows : IHeldRows
{
    private readonly CudaBackend _backend;
    private readonly CudaStream _stream;
    private readonly DeviceMemory<float> _rows;
    private readonly DeviceMemory<ushort> _codes;
    private readonly int _dimension;
    private readonly int _capacity;
    private int _count;
    private Screening? _screening;

    public CudaHeldRows(CudaBackend backend, int capacity, int dimension, Screening? screening)
    {
        (_backend, _capacity, _dimension, _screening) = (backend, capacity, dimension, screening);
        _stream = CudaStream.Create(backend.Gpu);
        try
        {
            _rows = DeviceMemory<float>.Allocate(backend.Gpu, (long)capacity * dimension);
            _codes = DeviceMemory<ushort>.Allocate(backend.Gpu, capacity);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Append(RowView rows)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(rows.Dimension, _dimension, nameof(rows));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_count + (long)rows.Count, _capacity, nameof(rows));
        int batch = Math.Max(1, (int)Math.Min(rows.Count, CudaBackend.kStagingBytes / (sizeof(float) * (long)_dimension)));
        using var staging = PinnedMemory<float>.Allocate(_backend.Gpu, checked(batch * _dimension));
        for (int start = 0; start < rows.Count; start += batch)
        {
            int count = Math.Min(batch, rows.Count - start);
            RowCopy.Copy(rows.Slice(start, count), staging.Values, _backend.Threads);
            _stream.Upload<float>(_rows, staging.Values[..(count * _dimension)], (long)_count * _dimension);
            _stream.Synchronize();
            _count += count;
        }
    }

    public EncodeReport AssignAndSum(ReadOnlySpan<float> codewords, Span<ushort> codes, Span<double> sums, Span<long> counts)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(codes.Length, _count, nameof(codes));
        EncodePlan plan = new(PlanKind.Residual, _dimension, [codewords.ToArray()]);
        using var encoder = new CudaEncoder(_backend.Gpu, plan, new EncodeOptions(), _backend.Threads, _screening);
        EncodeReport report = encoder.Encode(_rows, _count, _codes);
        // What was measured on these rows once serves every iteration.
        if (encoder.IsCalibrated)
            _screening = new Screening(encoder.Choice[0], ShareOperand: false);
        using var deviceSums = DeviceMemory<double>.From(_stream, sums);
        using var deviceCounts = DeviceMemory<long>.From(_stream, counts);
        _backend.Accumulate(_stream, _rows, _codes, _count, _dimension, plan.CodeCount(0), deviceSums, deviceCounts);
        _stream.Read(codes, _codes);
        _stream.Read(sums, deviceSums);
        _stream.Read(counts, deviceCounts);
        return report;
    }

    public void Dispose()
    {
        _rows?.Dispose();
        _codes?.Dispose();
        _stream.Dispose();
    }
}
