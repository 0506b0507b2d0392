using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>Rows in the device's memory for as long as they are searched again and again: an iteration of k-means moves codewords and sums only.</summary>
internal sealed class CudaHeldRows : IHeldRows
{
    private readonly CudaBackend _backend;
    private readonly CudaStream _stream;
    private readonly DeviceMemory<float> _rows;
    private readonly DeviceMemory<ushort> _codes;
    private readonly CodeOrder _order;
    private readonly int _dimension;
    private readonly int _capacity;
    private Codebook? _codebook;
    private int _count;
    private Screening? _screening;

    public CudaHeldRows(CudaBackend backend, int capacity, int dimension, Screening? screening)
    {
        (_backend, _capacity, _dimension, _screening) = (backend, capacity, dimension, screening);
        _order = new CodeOrder(backend.Gpu);
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
        ArgumentOutOfRangeException.ThrowIfNotEqual(sums.Length, codewords.Length, nameof(sums));
        ArgumentOutOfRangeException.ThrowIfNotEqual(counts.Length, codewords.Length / _dimension, nameof(counts));
        if (_codebook?.Length != codewords.Length)
            _codebook = NewCodebook(codewords.Length);
        Codebook codebook = _codebook;
        CudaEncoder encoder = codebook.Take(codewords, _screening);
        EncodeReport report = encoder.Encode(_rows, _count, _codes);
        // What was measured on these rows once serves every codebook.
        if (encoder.IsCalibrated)
            _screening = new Screening(encoder.Choice[0], ShareOperand: false);
        _stream.Fill(codebook.Sums, 0, codebook.Sums.Length);
        _stream.Fill(codebook.Counts, 0, codebook.Counts.Length);
        _backend.Accumulate(_stream, _rows, _codes, _count, _dimension, counts.Length, _order, codebook.Sums, codebook.Counts);
        _stream.Read(codes, _codes);
        _stream.Read(counts, codebook.Counts);
        codebook.ReadSums(_stream, sums);
        return report;
    }

    public void Dispose()
    {
        _codebook?.Dispose();
        _order.Dispose();
        _rows?.Dispose();
        _codes?.Dispose();
        _stream.Dispose();
    }

    private Codebook NewCodebook(int values)
    {
        _codebook?.Dispose();
        _codebook = null;
        return new Codebook(_backend, values, _dimension);
    }

    /// <summary>What belongs to codebooks of one size and is kept from one iteration to the next.</summary>
    private sealed class Codebook : IDisposable
    {
        private readonly CudaBackend _backend;
        private readonly int _dimension;
        // The encoder's plan reads it.
        private readonly float[] _codewords;
        private readonly PinnedMemory<double> _sumsOnHost = null!;
        private CudaEncoder? _encoder;

        public Codebook(CudaBackend backend, int values, int dimension)
        {
            (_backend, _dimension, _codewords) = (backend, dimension, new float[values]);
            try
            {
                Sums = DeviceMemory<double>.Allocate(backend.Gpu, values);
                Counts = DeviceMemory<long>.Allocate(backend.Gpu, values / dimension);
                _sumsOnHost = PinnedMemory<double>.Allocate(backend.Gpu, values);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public int Length => _codewords.Length;

        /// <summary>[K, d].</summary>
        public DeviceMemory<double> Sums { get; } = null!;

        /// <summary>[K].</summary>
        public DeviceMemory<long> Counts { get; } = null!;

        /// <summary>The encoder with these codewords.</summary>
        public CudaEncoder Take(ReadOnlySpan<float> codewords, Screening? screening)
        {
            RowCopy.Copy(new RowView(codewords, _dimension), _codewords, _backend.Threads);
            EncodePlan plan = EncodePlan.Over(PlanKind.Residual, _dimension, [_codewords]);
            if (_encoder is null)
                _encoder = new CudaEncoder(_backend.Gpu, plan, new EncodeOptions(), _backend.Threads, screening);
            else
                _encoder.Replace(plan);
            return _encoder;
        }

        /// <summary>Copies the sums to the host on all threads, once the stream has come to this point.</summary>
        public void ReadSums(CudaStream stream, Span<double> sums)
        {
            stream.Download(_sumsOnHost.Values, Sums);
            stream.Synchronize();
            var halves = new RowView(MemoryMarshal.Cast<double, float>(_sumsOnHost.Values), _dimension);
            RowCopy.Copy(halves, MemoryMarshal.Cast<double, float>(sums), _backend.Threads);
        }

        public void Dispose()
        {
            _encoder?.Dispose();
            _sumsOnHost?.Dispose();
            Sums?.Dispose();
            Counts?.Dispose();
        }
    }
}
