using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

// Mirrors of kernels/cuda/kmeans_step.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct KMeansArguments
{
    public nint Rows;
    public nint ColumnSums;
    public nint Mean;
    public nint Sums;
    public nint Counts;
    public nint Centroids;
    public nint Parts;
    public nint Empty;
    public nint Codes;
    public nint CodesBefore;
    public nint Places;
    public nint Targets;
    public nint Result;
    public double Spread;
    public int Count;
    public int Dimension;
    public int CodeCount;
}

[StructLayout(LayoutKind.Sequential)]
internal struct StepResult
{
    public double Objective;
    public long Moved;
    public long Empty;
}

/// <summary>
/// Rows, centroids and codes in the device's memory, and all of Lloyd's algorithm on them. What crosses the link in an iteration: the new centroids come
/// to the host once (4·K·d bytes), because the screens' operands and the bounds of their errors are prepared there by certified float64 arithmetic
/// (<see cref="CudaLevel"/>), and go back as operands (2·K·d bytes as fp16) with 4 bytes a code and a value; beside them a few numbers. Rows that
/// float64 leaves undecided come to the oracle, one by one.
/// </summary>
internal sealed class CudaHeldRows : IHeldRows
{
    private const int kThreads = 256, kWarps = kThreads / 32;
    private const int kMovedBlocksPerMultiprocessor = 8;

    private readonly CudaBackend _backend;
    private readonly CudaStream _stream;
    private readonly DeviceMemory<float> _rows = null!;
    private readonly DeviceMemory<double> _mean = null!;
    private readonly DeviceMemory<StepResult> _result = null!;
    private readonly RowErrors _errors = null!;
    private readonly CodeOrder _order;
    private readonly int _dimension;
    private readonly int _capacity;
    // Of the last iteration, and of the one at hand until it is done.
    private DeviceMemory<ushort> _codes = null!, _next = null!;
    private Codebook? _codebook;
    private double _spread;
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
            _next = DeviceMemory<ushort>.Allocate(backend.Gpu, capacity);
            _mean = DeviceMemory<double>.Allocate(backend.Gpu, dimension);
            _result = DeviceMemory<StepResult>.Allocate(backend.Gpu, 1);
            _errors = new RowErrors(_stream, capacity);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>What a row takes: its values, two codes, its error, and its place when rows are sorted by codes.</summary>
    public static long BytesPerRow(int dimension) => (long)dimension * sizeof(float) + 2 * sizeof(ushort) + sizeof(double) + sizeof(int);

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

    public double Centre()
    {
        int blocks = RowErrors.Blocks(_count);
        using var columnSums = DeviceMemory<double>.Allocate(_backend.Gpu, (long)blocks * _dimension);
        KMeansArguments arguments = Arguments() with { ColumnSums = columnSums.Value };
        Launch("kmeans_column_sums", blocks, arguments, ColumnGroups);
        Launch("kmeans_mean", ColumnGroups, arguments);
        return _spread = _errors.ToMean(_rows, _count, _mean);
    }

    public int SeedPlusPlus(ReadOnlySpan<int> sample, int first, int candidates, ReadOnlySpan<double> uniform, Span<int> seeds, CancellationToken cancellation) =>
        CudaSeeding.PlusPlus(_stream, _rows, _count, _dimension, sample, first, candidates, uniform, seeds, cancellation);

    public void Start(ReadOnlySpan<int> rows)
    {
        Codebook codebook = Fit(rows.Length);
        _stream.Fill(_codes, 0, _count);
        Place(codebook, rows, targets: 0);
    }

    public void Start(ReadOnlySpan<float> centroids, ReadOnlySpan<ushort> codes)
    {
        if (centroids.IsEmpty || centroids.Length % _dimension != 0)
            throw new ArgumentException($"centroids have {centroids.Length} values, no multiple of {_dimension}", nameof(centroids));
        if (!codes.IsEmpty)
            ArgumentOutOfRangeException.ThrowIfNotEqual(codes.Length, _count, nameof(codes));
        _stream.Write(Fit(centroids.Length / _dimension).Centroids, centroids);
        _stream.Fill(_codes, 0, _count);
        _stream.Write(_codes, codes);
    }

    public LloydStep Step(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        Codebook codebook = Started;
        CudaEncoder encoder = codebook.Prepare(_stream, _screening);
        EncodeReport search = encoder.Encode(_rows, _count, _next);
        // What was measured on these rows once serves every codebook.
        if (encoder.IsCalibrated)
            _screening = new Screening(encoder.Choice[0], ShareOperand: false);
        _stream.Fill(codebook.Sums, 0, codebook.Sums.Length);
        _stream.Fill(codebook.Counts, 0, codebook.Counts.Length);
        _stream.Fill(_result, 0, 1);
        _backend.Accumulate(_stream, _rows, _next, _count, _dimension, codebook.Codes, _order, codebook.Sums, codebook.Counts);
        KMeansArguments arguments = Arguments(codebook) with { Codes = _next.Value, CodesBefore = _codes.Value };
        Launch("kmeans_moved", Math.Min(((long)_count + kThreads - 1) / kThreads, (long)_backend.Gpu.Multiprocessors * kMovedBlocksPerMultiprocessor), arguments, sharedBytes: sizeof(int));
        Launch("kmeans_update", (codebook.Codes + kWarps - 1) / kWarps, arguments);
        Launch("kmeans_total", 1, arguments, threads: 32);
        StepResult result = _result.ToArray(_stream, 1)[0];
        (_codes, _next) = (_next, _codes);
        return new LloydStep(result.Objective, result.Moved, (int)result.Empty, search);
    }

    public double MeasureErrors() => _errors.ToCentroids(_rows, _count, _dimension, Started.Centroids, _codes);

    public void Draw(ReadOnlySpan<double> uniform, Span<int> rows)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(rows.Length, uniform.Length, nameof(rows));
        _errors.Draw(uniform, rows);
    }

    public void Restart(ReadOnlySpan<int> rows)
    {
        if (!rows.IsEmpty)
            Place(Started, rows, Started.Empty.Value);
    }

    public void ReadCentroids(Span<float> centroids) => _stream.Read(centroids, Started.Centroids);

    public void ReadCodes(Span<ushort> codes) => _stream.Read(codes, _codes);

    public void Dispose()
    {
        _codebook?.Dispose();
        _order.Dispose();
        _errors?.Dispose();
        _result?.Dispose();
        _mean?.Dispose();
        _next?.Dispose();
        _codes?.Dispose();
        _rows?.Dispose();
        _stream.Dispose();
    }

    private Codebook Started => _codebook ?? throw new InvalidOperationException("there are no centroids to go on from: call Start first");

    private int ColumnGroups => (_dimension + kThreads - 1) / kThreads;

    private Codebook Fit(int codes)
    {
        if (_codebook?.Codes == codes)
            return _codebook;
        _codebook?.Dispose();
        _codebook = null;
        return _codebook = new Codebook(_backend, codes, _dimension);
    }

    // centroids[targets[i]] = rows[places[i]]; without targets, centroids[i].
    private void Place(Codebook codebook, ReadOnlySpan<int> rows, nint targets)
    {
        using var places = DeviceMemory<int>.From(_stream, rows);
        Launch("kmeans_place", rows.Length, Arguments(codebook) with { Places = places.Value, Targets = targets }, ColumnGroups);
        _stream.Synchronize();
    }

    private KMeansArguments Arguments(Codebook? codebook = null) => new()
    {
        Rows = _rows.Value, Mean = _mean.Value, Result = _result.Value, Spread = _spread, Count = _count, Dimension = _dimension,
        Sums = codebook?.Sums.Value ?? 0, Counts = codebook?.Counts.Value ?? 0, Centroids = codebook?.Centroids.Value ?? 0,
        Parts = codebook?.Parts.Value ?? 0, Empty = codebook?.Empty.Value ?? 0, CodeCount = codebook?.Codes ?? 0,
    };

    private void Launch(string kernel, long blocks, KMeansArguments arguments, int blocksY = 1, int threads = kThreads, int sharedBytes = 0) =>
        _stream.Launch(_backend.Gpu.Kernel("kmeans_step", kernel, threads, sharedBytes), blocks, arguments, blocksY);

    /// <summary>What belongs to codebooks of one size and is kept from one iteration to the next.</summary>
    private sealed class Codebook : IDisposable
    {
        private readonly CudaBackend _backend;
        private readonly int _dimension;
        // The encoder's plan reads it.
        private readonly float[] _codewords;
        private readonly PinnedMemory<float> _centroidsOnHost = null!;
        private CudaEncoder? _encoder;

        public Codebook(CudaBackend backend, int codes, int dimension)
        {
            (_backend, _dimension, Codes) = (backend, dimension, codes);
            int values = checked(codes * dimension);
            _codewords = new float[values];
            try
            {
                Centroids = DeviceMemory<float>.Allocate(backend.Gpu, values);
                Sums = DeviceMemory<double>.Allocate(backend.Gpu, values);
                Counts = DeviceMemory<long>.Allocate(backend.Gpu, codes);
                Parts = DeviceMemory<double>.Allocate(backend.Gpu, codes);
                Empty = DeviceMemory<int>.Allocate(backend.Gpu, codes);
                _centroidsOnHost = PinnedMemory<float>.Allocate(backend.Gpu, values);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>K.</summary>
        public int Codes { get; }

        /// <summary>[K, d].</summary>
        public DeviceMemory<float> Centroids { get; } = null!;

        /// <summary>[K, d].</summary>
        public DeviceMemory<double> Sums { get; } = null!;

        /// <summary>[K].</summary>
        public DeviceMemory<long> Counts { get; } = null!;

        /// <summary>[K], of the objective.</summary>
        public DeviceMemory<double> Parts { get; } = null!;

        /// <summary>[K], the codes without rows of the last iteration, ascending.</summary>
        public DeviceMemory<int> Empty { get; } = null!;

        /// <summary>The encoder with the centroids as they are now.</summary>
        public CudaEncoder Prepare(CudaStream stream, Screening? screening)
        {
            stream.Download(_centroidsOnHost.Values, Centroids);
            stream.Synchronize();
            RowCopy.Copy(new RowView(_centroidsOnHost.Values, _dimension), _codewords, _backend.Threads);
            EncodePlan plan = EncodePlan.Over(PlanKind.Residual, _dimension, [_codewords]);
            if (_encoder is null)
                _encoder = new CudaEncoder(_backend.Gpu, plan, new EncodeOptions(), _backend.Threads, screening);
            else
                _encoder.Replace(plan, [Centroids]);
            return _encoder;
        }

        public void Dispose()
        {
            _encoder?.Dispose();
            _centroidsOnHost?.Dispose();
            Centroids?.Dispose();
            Sums?.Dispose();
            Counts?.Dispose();
            Parts?.Dispose();
            Empty?.Dispose();
        }
    }
}
