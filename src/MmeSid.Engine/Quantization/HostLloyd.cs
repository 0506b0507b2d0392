using System.Numerics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// k-means where the rows lie, in the host's memory: the backend searches and adds up the rows of each code, blocks of rows at a time; the rest
/// runs on the host's threads. The only place for assignments other than the nearest centroid, and for mini-batches.
/// </summary>
internal sealed class HostLloyd : ILloyd
{
    private const long kValuesWorthThreads = 1L << 17;

    private readonly RowColumns _rows;
    private readonly KMeansOptions _options;
    private readonly IBackend _backend;
    private readonly Action<long> _visited;
    private readonly int _width;
    private readonly double[] _blockErrors;
    private double[] _mean = [], _points = [];
    private double _spread, _error;
    private float[] _centroids = [];
    private ushort[] _codes, _spare;
    private long[] _counts = [];
    // Of the last search.
    private IEncoder? _encoder;
    private int _searches;

    /// <param name="rows">The rows.</param>
    /// <param name="options">Validated options.</param>
    /// <param name="backend">Where search and sums run.</param>
    /// <param name="visited">Told how many rows have been searched, block by block.</param>
    public HostLloyd(RowColumns rows, KMeansOptions options, IBackend backend, Action<long> visited)
    {
        (_rows, _options, _backend, _visited, _width) = (rows, options, backend, visited, rows.Width);
        _codes = new ushort[rows.Count];
        _spare = new ushort[rows.Count];
        _blockErrors = new double[RowColumns.BlockCount(rows.Count)];
    }

    /// <summary>[K] rows seen by each centroid under mini-batches, otherwise empty.</summary>
    public long[] Seen { get; set; } = [];

    public double Centre()
    {
        _mean = _rows.Mean(_options.Threads);
        return _spread = RowColumns.Sum(_rows.Count, _options.Threads, (first, values) =>
        {
            for (int i = 0; i < values.Length; i++)
                values[i] = SquaredDistance.Between(_rows.Row(first + i), _mean);
        }, _blockErrors);
    }

    public int SeedPlusPlus(ReadOnlySpan<int> sample, int first, int candidates, ReadOnlySpan<double> uniform, Span<int> seeds, CancellationToken cancellation)
    {
        using RowMatrix? copied = sample.IsEmpty ? null : new RowMatrix(sample.Length, _width);
        for (int i = 0; i < sample.Length; i++)
            _rows.Row(sample[i]).CopyTo(copied!.Rows(i, 1));
        RowColumns rows = copied is null ? _rows : new RowColumns(copied);
        var nearest = new double[rows.Count];
        Array.Fill(nearest, double.PositiveInfinity);
        var distances = new double[candidates][];
        var blockSums = new double[candidates][];
        for (int c = 0; c < candidates; c++)
            (distances[c], blockSums[c]) = (new double[rows.Count], new double[RowColumns.BlockCount(rows.Count)]);
        int[] drawn = [first];
        for (int seed = 0; seed < seeds.Length; seed++)
        {
            cancellation.ThrowIfCancellationRequested();
            (int best, double total) = Measure(rows, drawn, nearest, distances, blockSums);
            seeds[seed] = sample.IsEmpty ? drawn[best] : sample[drawn[best]];
            (nearest, distances[best]) = (distances[best], nearest);
            if (seed + 1 < seeds.Length && total == 0)
                return seed + 1;
            if (seed + 1 < seeds.Length)
                drawn = Draw(blockSums[best], nearest, uniform.Slice(seed * candidates, candidates), total);
        }
        return seeds.Length;
    }

    private static int[] Draw(double[] blockSums, double[] weights, ReadOnlySpan<double> uniform, double total)
    {
        var drawn = new int[uniform.Length];
        for (int c = 0; c < drawn.Length; c++)
        {
            // Rows that are not finite have no order; the search names them.
            drawn[c] = Math.Max(0, WeightedDraw.Row(blockSums, uniform[c] * total, block =>
            {
                int start = block * RowColumns.kRowsPerBlock;
                return weights.AsSpan(start, Math.Min(RowColumns.kRowsPerBlock, weights.Length - start));
            }));
        }
        return drawn;
    }

    // distances[c][i] = min(nearest[i], ‖x_i − candidate c‖²), and their sums; returns the candidate with the smallest sum, ties to the first.
    private (int Best, double Total) Measure(RowColumns rows, int[] drawn, double[] nearest, double[][] distances, double[][] blockSums)
    {
        var points = new double[drawn.Length * _width];
        for (int c = 0; c < drawn.Length; c++)
            Widen(rows.Row(drawn[c]), points.AsSpan(c * _width, _width));
        int useThreads = rows.Count * points.Length < kValuesWorthThreads ? 1 : _options.Threads;
        RowColumns.ForBlocks(rows.Count, useThreads, (b, first, count) =>
        {
            for (long row = first; row < first + count; row++)
            {
                ReadOnlySpan<float> x = rows.Row(row);
                for (int c = 0; c < drawn.Length; c++)
                    distances[c][row] = Math.Min(nearest[row], SquaredDistance.Between(x, points.AsSpan(c * _width, _width)));
            }
            for (int c = 0; c < drawn.Length; c++)
                blockSums[c][b] = InterleavedSum.Of(distances[c].AsSpan((int)first, count));
        });
        int best = 0;
        double bestSum = double.PositiveInfinity;
        for (int c = 0; c < drawn.Length; c++)
        {
            double sum = InterleavedSum.Of(blockSums[c]);
            if (sum < bestSum)
                (best, bestSum) = (c, sum);
        }
        return (best, bestSum);
    }

    public void Start(ReadOnlySpan<int> rows)
    {
        var centroids = new float[rows.Length * _width];
        for (int k = 0; k < rows.Length; k++)
            _rows.Row(rows[k]).CopyTo(centroids.AsSpan(k * _width));
        Commit(centroids, new long[rows.Length]);
        Array.Clear(_codes);
    }

    public void Start(ReadOnlySpan<float> centroids, ReadOnlySpan<ushort> codes)
    {
        Commit(centroids.ToArray(), new long[centroids.Length / _width]);
        Array.Clear(_codes);
        codes.CopyTo(_codes);
    }

    public LloydStep Step(CancellationToken cancellation)
    {
        var counts = new long[_counts.Length];
        var sums = new double[_centroids.Length];
        EncodeReport search = default;
        Assign(_spare, sums, counts, ref search, cancellation);
        var centroids = (float[])_centroids.Clone();
        Parallel.For(0, counts.Length, Threads, k =>
        {
            for (int j = 0; counts[k] > 0 && j < _width; j++)
                centroids[k * _width + j] = (float)(sums[k * _width + j] / counts[k]);
        });
        return Finish(centroids, counts, Objective(centroids, sums, counts), search);
    }

    /// <summary>One pass over all rows in random order, as <see cref="Step"/> where there are mini-batches.</summary>
    public LloydStep Pass(MiniBatches batches, RandomSource random, CancellationToken cancellation)
    {
        var counts = new long[_counts.Length];
        var centroids = (float[])_centroids.Clone();
        var seen = (long[])Seen.Clone();
        EncodeReport search = default;
        double objective = batches.Visit(centroids, _spare, seen, counts, random, ref search, cancellation);
        Seen = seen;
        return Finish(centroids, counts, objective, search);
    }

    public double MeasureErrors()
    {
        _points = Array.ConvertAll(_centroids, value => (double)value);
        return _error = RowColumns.Sum(_rows.Count, _options.Threads, Errors, _blockErrors);
    }

    public void Draw(ReadOnlySpan<double> uniform, Span<int> rows)
    {
        double[] numbers = uniform.ToArray();
        var drawn = new int[numbers.Length];
        Parallel.For(0, numbers.Length, Threads, i => drawn[i] = WeightedDraw.Row(_blockErrors, numbers[i] * _error, block =>
        {
            long first = (long)block * RowColumns.kRowsPerBlock;
            var errors = new double[Math.Min(RowColumns.kRowsPerBlock, _rows.Count - first)];
            Errors(first, errors);
            return errors;
        }));
        drawn.CopyTo(rows);
    }

    public void Restart(ReadOnlySpan<int> rows)
    {
        int used = 0;
        for (int k = 0; k < _counts.Length && used < rows.Length; k++)
        {
            if (_counts[k] != 0)
                continue;
            _rows.Row(rows[used++]).CopyTo(_centroids.AsSpan(k * _width));
            if (Seen.Length > 0)
                Seen[k] = 0;
        }
    }

    public void ReadCentroids(Span<float> centroids) => _centroids.CopyTo(centroids);

    public void ReadCodes(Span<ushort> codes) => _codes.CopyTo(codes);

    public void Dispose() => _encoder?.Dispose();

    private void Assign(ushort[] codes, double[] sums, long[] counts, ref EncodeReport search, CancellationToken cancellation)
    {
        if (_options.Sizes is not null || _options.Sinkhorn is not null)
        {
            if (_options.Sizes is { } sizes)
                BalancedAssignment.Assign(_rows, _centroids, sizes, _options.Threads, codes, cancellation);
            else
                _backend.SinkhornAssign(_rows.View(0, codes.Length), new RowView(_centroids, _width), _options.Sinkhorn!, codes, []);
            Accumulate(codes, sums, counts, cancellation);
            _visited(codes.Length);
            return;
        }

        int rowsPerCall = _rows.RowsPerCall(counts.Length);
        // Which screen is fastest changes with the centroids, less and less: found out in iterations 1, 2, 4, 8 and so on.
        IEncoder encoder = _backend.CreateEncoder(
            new EncodePlan(PlanKind.Residual, _width, [_centroids]), new EncodeOptions { ChoiceOf = BitOperations.IsPow2(++_searches) ? null : _encoder });
        _encoder?.Dispose();
        _encoder = encoder;
        for (int first = 0; first < codes.Length; first += rowsPerCall)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(rowsPerCall, codes.Length - first);
            RowView rows = _rows.View(first, count);
            Span<ushort> found = codes.AsSpan(first, count);
            search += encoder.Encode(rows, found);
            _backend.Accumulate(rows, found, counts.Length, sums, counts);
            _visited(count);
        }
    }

    private void Accumulate(ReadOnlySpan<ushort> codes, double[] sums, long[] counts, CancellationToken cancellation)
    {
        int rowsPerCall = _rows.RowsPerCall(1);
        for (int first = 0; first < codes.Length; first += rowsPerCall)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(rowsPerCall, codes.Length - first);
            _backend.Accumulate(_rows.View(first, count), codes.Slice(first, count), counts.Length, sums, counts);
        }
    }

    // The spare codes become the codes.
    private LloydStep Finish(float[] centroids, long[] counts, double objective, EncodeReport search)
    {
        long moved = CodeComparison.CountDifferent(_spare, _codes);
        (_codes, _spare) = (_spare, _codes);
        Commit(centroids, counts);
        return new LloydStep(objective, moved, counts.AsSpan().Count(0), search);
    }

    private void Commit(float[] centroids, long[] counts) => (_centroids, _counts) = (centroids, counts);

    private double Objective(float[] centroids, double[] sums, long[] counts)
    {
        var parts = new double[counts.Length];
        Parallel.For(0, counts.Length, Threads, k =>
            parts[k] = PartOfObjective(centroids.AsSpan(k * _width, _width), sums.AsSpan(k * _width, _width), counts[k]));
        return Math.Max(0, _spread + InterleavedSum.Of(parts));
    }

    // n_k ‖c_k − μ‖² − 2 (c_k − μ)·(S_k − n_k μ)
    private double PartOfObjective(ReadOnlySpan<float> centroid, ReadOnlySpan<double> sum, double count)
    {
        Span<double> cross = stackalloc double[InterleavedSum.kLanes], square = stackalloc double[InterleavedSum.kLanes];
        cross.Clear();
        square.Clear();
        for (int j = 0; j < centroid.Length; j++)
        {
            double centred = centroid[j] - _mean[j];
            cross[j % InterleavedSum.kLanes] += centred * (sum[j] - count * _mean[j]);
            square[j % InterleavedSum.kLanes] += centred * centred;
        }
        return count * InterleavedSum.Tree(square) - 2 * InterleavedSum.Tree(cross);
    }

    private void Errors(long first, Span<double> errors)
    {
        for (int i = 0; i < errors.Length; i++)
            errors[i] = SquaredDistance.Between(_rows.Row(first + i), _points.AsSpan(_codes[first + i] * _width, _width));
    }

    private static void Widen(ReadOnlySpan<float> row, Span<double> point)
    {
        for (int j = 0; j < row.Length; j++)
            point[j] = row[j];
    }

    private ParallelOptions Threads => new() { MaxDegreeOfParallelism = _options.Threads == 0 ? Environment.ProcessorCount : _options.Threads };
}
