using System.Diagnostics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// k-means on the rows of one level: assign by the backend, update from per-code sums.
/// <para>
/// An iteration reads the rows once for the search and once for the sums and nothing else: with μ the mean of the rows, S_k the sum and n_k the number
/// of rows of code k, the objective is <c>Σ‖x − c_k‖² = Σ‖x − μ‖² − 2 Σ_k (c_k − μ)·(S_k − n_k μ) + Σ_k n_k ‖c_k − μ‖²</c>,
/// whose first term is computed once. Centring keeps the cancellation small where the mean is large.
/// </para>
/// The sums take the rows in ascending order whatever the threads and blocks, so centroids are the same bits on every run.
/// </summary>
internal sealed class KMeansRun : IDisposable
{
    private readonly RowColumns _rows;
    private readonly KMeansOptions _options;
    private readonly IBackend _backend;
    private readonly int _level;
    private readonly RandomSource _random;
    private readonly Action<long> _visited;
    private readonly CancellationToken _cancellation;
    private readonly double[] _mean;
    private readonly double _spread;
    // On the backend's device, where it has one; null there too when they do not fit.
    private readonly Lazy<IHeldRows?> _held;

    /// <param name="rows">The level's training rows.</param>
    /// <param name="options">Validated options.</param>
    /// <param name="backend">Where search and sums run.</param>
    /// <param name="level">Level for reports, and stream of the random numbers.</param>
    /// <param name="visited">Told how many rows have been searched, block by block.</param>
    /// <param name="cancellation">Looked at before each block.</param>
    public KMeansRun(RowColumns rows, KMeansOptions options, IBackend backend, int level, Action<long> visited, CancellationToken cancellation)
    {
        if (rows.Count > Array.MaxLength)
            throw new ArgumentException($"{rows.Count} training rows, at most {Array.MaxLength} are possible: train on a sample");
        if ((long)options.Codes * rows.Width > Array.MaxLength)
            throw new ArgumentException($"{options.Codes} codewords of {rows.Width} values exceed one array of {Array.MaxLength}");
        if (options.Centroids is not null && options.Centroids.Length != (long)options.Codes * rows.Width)
            throw new ArgumentException($"the starting centroids have {options.Centroids.Length} values, expected {options.Codes} × {rows.Width}");
        if (options.Sinkhorn is not null && rows.Count > rows.MaximumViewRows)
            throw new ArgumentException($"Sinkhorn balancing takes at most {rows.MaximumViewRows} rows of this width at once, there are {rows.Count}: train on a sample");
        options.Sizes?.RequireFeasible(rows.Count, options.Codes);
        if (options.Sizes is not null && rows.Count * options.Codes > Array.MaxLength)
            throw new ArgumentException($"size-constrained k-means holds all {rows.Count} × {options.Codes} distances, at most {Array.MaxLength} are possible: train on a sample");
        _rows = rows;
        _options = options;
        _backend = backend;
        _level = level;
        _random = new RandomSource(options.Seed).Split((ulong)(level + 1));
        _visited = visited;
        _cancellation = cancellation;
        _held = new(Hold);
        _mean = Mean();
        _spread = options.MiniBatch > 0 ? 0 : RowColumns.SumBlocks(rows.Count, options.Threads, (first, count) =>
        {
            _cancellation.ThrowIfCancellationRequested();
            double sum = 0;
            for (long row = first; row < first + count; row++)
                sum += SquaredDistance.Between(_rows.Row(row), _mean);
            return sum;
        });
    }

    /// <summary>The state before the first iteration.</summary>
    public KMeansState Start()
    {
        float[] centroids = _options.Centroids is not null
            ? (float[])_options.Centroids.Clone()
            : new KMeansSeeding(_rows, _options.Threads, _cancellation).Choose(_options.Initialization, _options.Codes, _random.Split(0));
        return new KMeansState
        {
            Iteration = 0,
            Centroids = centroids,
            Codes = new ushort[_rows.Count],
            Seen = _options.MiniBatch > 0 ? new long[_options.Codes] : [],
            Objective = double.PositiveInfinity,
            Finished = false,
        };
    }

    /// <summary>One iteration. The given state stays as it is, so that it can still be written to a checkpoint when the iteration is cancelled.</summary>
    public (KMeansState State, TrainingIteration Report) Step(KMeansState state)
    {
        long start = Stopwatch.GetTimestamp();
        RandomSource random = _random.Split((ulong)state.Iteration + 1);
        float[] centroids = (float[])state.Centroids.Clone();
        long[] seen = (long[])state.Seen.Clone();
        var counts = new long[_options.Codes];
        var codes = new ushort[_rows.Count];
        EncodeReport report = default;
        double objective;
        if (_options.MiniBatch > 0)
        {
            objective = VisitBatches(centroids, codes, seen, counts, random, ref report);
        }
        else
        {
            var sums = new double[centroids.Length];
            Assign(centroids, codes, sums, counts, ref report);
            Parallel.For(0, counts.Length, Threads, k =>
            {
                for (int j = 0; counts[k] > 0 && j < _rows.Width; j++)
                    centroids[k * _rows.Width + j] = (float)(sums[k * _rows.Width + j] / counts[k]);
            });
            objective = Objective(centroids, sums, counts);
        }
        long moved = state.Iteration == 0 ? _rows.Count : CodeComparison.CountDifferent(codes, state.Codes);
        int empty = counts.AsSpan().Count(0);
        if (empty > 0 && _options.DeadCodeRestart && _options.Sizes is null)
            Restart(centroids, codes, counts, seen, random.Split(0));
        bool flat = _options.Sinkhorn is null && _options.MiniBatch == 0
            ? state.Objective - objective <= _options.Tolerance * state.Objective
            : Math.Abs(state.Objective - objective) <= _options.Tolerance * state.Objective;
        var next = new KMeansState
        {
            Iteration = state.Iteration + 1,
            Centroids = centroids,
            Codes = codes,
            Seen = seen,
            Objective = objective,
            Finished = state.Iteration + 1 == _options.Iterations || (state.Iteration > 0 && flat),
        };
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return (next, new TrainingIteration(_level, next.Iteration, objective / _rows.Count, moved, empty, report.RecheckedShare, seconds));
    }

    private void Assign(float[] centroids, ushort[] codes, double[] sums, long[] counts, ref EncodeReport report)
    {
        if (_options.Sizes is not null || _options.Sinkhorn is not null)
        {
            if (_options.Sizes is { } sizes)
                BalancedAssignment.Assign(_rows, centroids, sizes, _options.Threads, codes, _cancellation);
            else
                _backend.SinkhornAssign(_rows.View(0, codes.Length), new RowView(centroids, _rows.Width), _options.Sinkhorn!, codes, []);
            Accumulate(codes, _options.Codes, sums, counts);
            _visited(codes.Length);
            return;
        }

        if (_held.Value is { } held)
        {
            report += held.AssignAndSum(centroids, codes, sums, counts);
            _visited(codes.Length);
            return;
        }

        int rowsPerCall = _rows.RowsPerCall(_options.Codes);
        using IEncoder encoder = _backend.CreateEncoder(new EncodePlan(PlanKind.Residual, _rows.Width, [centroids]));
        for (int first = 0; first < codes.Length; first += rowsPerCall)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(rowsPerCall, codes.Length - first);
            RowView rows = _rows.View(first, count);
            Span<ushort> found = codes.AsSpan(first, count);
            report += encoder.Encode(rows, found);
            _backend.Accumulate(rows, found, _options.Codes, sums, counts);
            _visited(count);
        }
    }

    private IHeldRows? Hold()
    {
        IHeldRows? held = _backend.Hold(_rows.Count, _rows.Width);
        int rowsPerCall = _rows.RowsPerCall(1);
        try
        {
            for (long first = 0; first < _rows.Count && held is not null; first += rowsPerCall)
            {
                _cancellation.ThrowIfCancellationRequested();
                held.Append(_rows.View(first, (int)Math.Min(rowsPerCall, _rows.Count - first)));
            }
        }
        catch
        {
            held?.Dispose();
            throw;
        }
        return held;
    }

    /// <summary>Gives back what the device holds.</summary>
    public void Dispose()
    {
        if (_held.IsValueCreated)
            _held.Value?.Dispose();
    }

    private void Accumulate(ReadOnlySpan<ushort> codes, int codeCount, double[] sums, long[] counts)
    {
        int rowsPerCall = _rows.RowsPerCall(1);
        for (int first = 0; first < codes.Length; first += rowsPerCall)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(rowsPerCall, codes.Length - first);
            _backend.Accumulate(_rows.View(first, count), codes.Slice(first, count), codeCount, sums, counts);
        }
    }

    // One pass over all rows in random order. A batch is gathered, searched, and its centroids move by (S_k − n_k c_k) / N_k.
    private double VisitBatches(
        float[] centroids, ushort[] codes, long[] seen, long[] counts, RandomSource random, ref EncodeReport report)
    {
        int width = _rows.Width, batchRows = (int)Math.Min(Math.Min(_options.MiniBatch, codes.Length), int.MaxValue / width);
        var permutation = new RowPermutation(codes.Length, random);
        using var batch = new RowMatrix(batchRows, width);
        var found = new ushort[batchRows];
        var errors = new float[batchRows];
        var sums = new double[centroids.Length];
        var batchCounts = new long[_options.Codes];
        double objective = 0;
        for (int first = 0; first < codes.Length; first += batchRows)
        {
            _cancellation.ThrowIfCancellationRequested();
            int start = first, count = Math.Min(batchRows, codes.Length - first);
            RowColumns.ForBlocks(count, _options.Threads, (_, blockFirst, blockCount) =>
            {
                for (long i = blockFirst; i < blockFirst + blockCount; i++)
                    _rows.Row(permutation[start + i]).CopyTo(batch.Rows(i, 1));
            });
            RowView rows = batch.View(0, count);
            using (IEncoder encoder = _backend.CreateEncoder(new EncodePlan(PlanKind.Residual, width, [centroids])))
                report += encoder.Encode(rows, found.AsSpan(0, count), errors.AsSpan(0, count));
            Array.Clear(sums);
            Array.Clear(batchCounts);
            _backend.Accumulate(rows, found.AsSpan(0, count), _options.Codes, sums, batchCounts);
            for (int i = 0; i < count; i++)
            {
                objective += errors[i];
                codes[permutation[start + i]] = found[i];
            }
            for (int k = 0; k < batchCounts.Length; k++)
            {
                if (batchCounts[k] == 0)
                    continue;
                counts[k] += batchCounts[k];
                seen[k] += batchCounts[k];
                for (int j = 0; j < width; j++)
                {
                    double centroid = centroids[k * width + j];
                    centroids[k * width + j] = (float)(centroid + (sums[k * width + j] - batchCounts[k] * centroid) / seen[k]);
                }
            }
            _visited(count);
        }
        return objective;
    }

    private void Restart(float[] centroids, ushort[] codes, long[] counts, long[] seen, RandomSource random)
    {
        int width = _rows.Width, empty = counts.AsSpan().Count(0);
        var seeding = new KMeansSeeding(_rows, _options.Threads, _cancellation);
        List<long> places = seeding.DrawBadlyServed(empty, centroids, codes, random);
        int used = 0;
        for (int k = 0; k < counts.Length && used < places.Count; k++)
        {
            if (counts[k] != 0)
                continue;
            _rows.Row(places[used++]).CopyTo(centroids.AsSpan(k * width, width));
            if (seen.Length > 0)
                seen[k] = 0;
        }
    }

    private double[] Mean()
    {
        var sum = new double[_rows.Width];
        Accumulate(new ushort[_rows.Count], 1, sum, new long[1]);
        for (int j = 0; j < sum.Length; j++)
            sum[j] /= _rows.Count;
        return sum;
    }

    private double Objective(float[] centroids, double[] sums, long[] counts)
    {
        int width = _rows.Width;
        double[] ofCode = new double[counts.Length];
        Parallel.For(0, counts.Length, Threads, k =>
        {
            double cross = 0, square = 0;
            for (int j = 0; j < width; j++)
            {
                double centred = centroids[k * width + j] - _mean[j];
                cross += centred * (sums[k * width + j] - counts[k] * _mean[j]);
                square += centred * centred;
            }
            ofCode[k] = counts[k] * square - 2 * cross;
        });
        // In the order of the codes, whoever computed them.
        double objective = _spread;
        foreach (double part in ofCode)
            objective += part;
        return Math.Max(0, objective);
    }

    private ParallelOptions Threads => new() { MaxDegreeOfParallelism = _options.Threads == 0 ? Environment.ProcessorCount : _options.Threads };
}
