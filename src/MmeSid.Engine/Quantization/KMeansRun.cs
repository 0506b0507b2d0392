using System.Diagnostics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// k-means on the rows of one level. Where the backend holds rows, all of Lloyd's algorithm runs there (<see cref="IHeldRows"/>): the rows go to it
/// once, centroids and codes come back when somebody asks for them. Otherwise, and for mini-batches and assignments under constraints, it runs on
/// the host (<see cref="HostLloyd"/>). Either way the centroids are the same bits on every run: <see cref="ILloyd"/> gives the order of all sums.
/// </summary>
internal sealed class KMeansRun : IDisposable
{
    private readonly RowColumns _rows;
    private readonly KMeansOptions _options;
    private readonly int _level;
    private readonly RandomSource _random;
    private readonly CancellationToken _cancellation;
    private readonly ILloyd _lloyd;
    // Both null where the backend holds the rows.
    private readonly HostLloyd? _host;
    private readonly MiniBatches? _batches;
    private readonly Action<long> _visited;
    // Whose centroids and codes the rows' memory holds.
    private KMeansState? _current;

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
        _level = level;
        _random = new RandomSource(options.Seed).Split((ulong)(level + 1));
        _visited = visited;
        _cancellation = cancellation;
        if (options is { MiniBatch: 0, Sizes: null, Sinkhorn: null } && Hold(backend) is { } held)
            _lloyd = held;
        else
            _lloyd = _host = new HostLloyd(rows, options, backend, visited);
        if (options.MiniBatch > 0)
            _batches = new MiniBatches(rows, options, backend, visited);
        else
            Centre();
    }

    /// <summary>The state before the first iteration.</summary>
    public KMeansState Start()
    {
        if (_options.Centroids is { } centroids)
            _lloyd.Start(centroids, []);
        else
            _lloyd.Start(new KMeansSeeding(_rows, _lloyd, _cancellation).Choose(_options.Initialization, _options.Codes, _random.Split(0)));
        if (_host is not null && _batches is not null)
            _host.Seen = new long[_options.Codes];
        return Current(0, double.PositiveInfinity, finished: false);
    }

    /// <summary>One iteration. The given state stays as it is until it is done, so that it can still be written to a checkpoint when it is cancelled.</summary>
    public (KMeansState State, TrainingIteration Report) Step(KMeansState state)
    {
        long start = Stopwatch.GetTimestamp();
        RandomSource random = _random.Split((ulong)state.Iteration + 1);
        Take(state);
        LloydStep step = _batches is null ? _lloyd.Step(_cancellation) : _host!.Pass(_batches, random, _cancellation);
        if (step.EmptyCodes > 0 && _options.DeadCodeRestart && _options.Sizes is null)
            _lloyd.Restart(new KMeansSeeding(_rows, _lloyd, _cancellation).DrawBadlyServed(step.EmptyCodes, random.Split(0)));
        bool flat = _options.Sinkhorn is null && _batches is null
            ? state.Objective - step.Objective <= _options.Tolerance * state.Objective
            : Math.Abs(state.Objective - step.Objective) <= _options.Tolerance * state.Objective;
        KMeansState next = Current(state.Iteration + 1, step.Objective, state.Iteration + 1 == _options.Iterations || (state.Iteration > 0 && flat));
        if (_host is null)
            _visited(_rows.Count);
        long moved = state.Iteration == 0 ? _rows.Count : step.Moved;
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return (next, new TrainingIteration(_level, next.Iteration, step.Objective / _rows.Count, moved, step.EmptyCodes, step.Search.RecheckedShare, seconds));
    }

    /// <summary>Gives back what the device holds.</summary>
    public void Dispose()
    {
        _current = null;
        _lloyd.Dispose();
    }

    private IHeldRows? Hold(IBackend backend)
    {
        IHeldRows? held = backend.Hold(_rows.Count, _rows.Width);
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

    private void Centre()
    {
        try
        {
            _cancellation.ThrowIfCancellationRequested();
            _lloyd.Centre();
        }
        catch
        {
            _lloyd.Dispose();
            throw;
        }
    }

    // A state from elsewhere, a checkpoint, goes where the rows are.
    private void Take(KMeansState state)
    {
        if (ReferenceEquals(state, _current))
            return;
        _lloyd.Start(state.Centroids, state.Codes);
        if (_host is not null)
            _host.Seen = state.Seen;
        _current = state;
    }

    private KMeansState Current(int iteration, double objective, bool finished)
    {
        KMeansState state = null!;
        state = new KMeansState(new(() => Read<float>(_options.Codes * _rows.Width, _lloyd.ReadCentroids)), new(() => Read<ushort>((int)_rows.Count, _lloyd.ReadCodes)))
        {
            Iteration = iteration,
            Seen = _host?.Seen ?? [],
            Objective = objective,
            Finished = finished,
        };
        return _current = state;

        T[] Read<T>(int length, Reader<T> read)
        {
            if (!ReferenceEquals(state, _current))
                throw new InvalidOperationException($"k-means has gone on since iteration {iteration}, or was disposed");
            T[] values = GC.AllocateUninitializedArray<T>(length);
            read(values);
            return values;
        }
    }

    private delegate void Reader<T>(Span<T> values);
}
