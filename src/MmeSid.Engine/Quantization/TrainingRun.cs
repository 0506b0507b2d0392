using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Trains the levels of one quantizer, one after the other, from the state a checkpoint left or from nothing.</summary>
internal sealed class TrainingRun
{
    private readonly RowMatrix _rows;
    private readonly int _dimension;
    private readonly TrainingOptions _options;
    private readonly IBackend _backend;
    private readonly IProgress<TrainingProgress>? _progress;
    private readonly TrainingCheckpoint? _checkpoint;
    private readonly CancellationToken _cancellation;
    private long _visited;

    /// <param name="rows">[n, d], or [n, 2d] with zeros in the second half for psrq with several levels. Overwritten.</param>
    /// <param name="dimension">d.</param>
    /// <param name="options">Validated options.</param>
    /// <param name="backend">Where search and sums run.</param>
    /// <param name="progress">Told iterations and blocks.</param>
    /// <param name="checkpoint">Where the state is kept, or null.</param>
    /// <param name="state">Where to go on from.</param>
    /// <param name="cancellation">Looked at about every second.</param>
    public TrainingRun(
        RowMatrix rows, int dimension, TrainingOptions options, IBackend backend, IProgress<TrainingProgress>? progress,
        TrainingCheckpoint? checkpoint, TrainingState state, CancellationToken cancellation)
    {
        _rows = rows;
        _dimension = dimension;
        _options = options;
        _backend = backend;
        _progress = progress;
        _checkpoint = checkpoint;
        State = state;
        _cancellation = cancellation;
    }

    public TrainingState State { get; }

    private bool HasHalves => _rows.Dimension == 2 * _dimension;

    private long RotationVisits => _options.Kind == QuantizerKind.Opq
        ? _options.RotationIterations * RotationTraining.SampleRows(_rows.Count, _options) * _options.Levels
        : 0;

    private long VisitsPerLevel => (_options.Iterations + 1L) * _rows.Count;

    /// <summary>vq, rq-kmeans, psrq: level l learns from what the levels before it left over.</summary>
    public Quantizer TrainResidual()
    {
        using RowMatrix? originals = _options.Beam > 1 && _options.Levels > 1 ? CopyRows() : null;
        for (int level = 0; level < _options.Levels; level++)
        {
            RowColumns columns = LevelColumns(level);
            if (level == State.Codebooks.Count)
                TrainLevel(columns, level);
            if (level + 1 < _options.Levels)
            {
                Report(TrainingStage.Subtract, level, null);
                if (originals is null)
                    Subtract(columns, level);
                else
                    SubtractBeam(originals, level);
            }
        }
        return new Quantizer(_options.Kind, _dimension, State.Codebooks);
    }

    /// <summary>pq, opq: every sub-space learns for itself, on rotated rows for opq.</summary>
    public Quantizer TrainProduct()
    {
        float[]? rotation = null;
        if (_options.Kind == QuantizerKind.Opq)
        {
            var training = new RotationTraining(_rows, _options, _backend, (iteration, rows) =>
            {
                _visited += rows;
                if (iteration is not null)
                    Finish(TrainingStage.Rotate, iteration);
                else
                    Report(TrainingStage.Rotate, -1, null);
            }, _cancellation);
            training.Run(State);
            rotation = State.Rotation;
            RotateRows(rotation);
        }
        int width = Quantizer.SubspaceWidth(_dimension, _options.Levels);
        for (int level = State.Codebooks.Count; level < _options.Levels; level++)
            TrainLevel(new RowColumns(_rows, level * width, width), level, State.RotationCodebooks.Count > 0 ? State.RotationCodebooks[level] : null);
        return new Quantizer(_options.Kind, _dimension, State.Codebooks, rotation);
    }

    private RowColumns LevelColumns(int level) =>
        new(_rows, 0, _options.Kind == QuantizerKind.Psrq && level > 0 ? 2 * _dimension : _dimension);

    private void TrainLevel(RowColumns columns, int level, float[]? start = null)
    {
        _visited = RotationVisits + level * VisitsPerLevel;
        Report(TrainingStage.Initialize, level, null);
        KMeansOptions options = _options.KMeansOf(level, columns.Count);
        if (start is not null)
            options = options with { Centroids = start };
        using var run = new KMeansRun(columns, options, _backend, level, rows =>
        {
            _visited += rows;
            Report(TrainingStage.Iterate, level, null);
        }, _cancellation);
        try
        {
            State.Current ??= run.Start();
            while (!State.Current.Finished)
            {
                (State.Current, TrainingIteration report) = run.Step(State.Current);
                Finish(TrainingStage.Iterate, report);
            }
        }
        catch (OperationCanceledException)
        {
            // A checkpoint is written when the run is gone.
            State.Current?.Fetch();
            throw;
        }
        State.Codebooks.Add(State.Current.Centroids);
        State.Current = null;
        _visited = RotationVisits + (level + 1) * VisitsPerLevel - columns.Count;
        SaveIfDue(TrainingStage.Iterate, level);
    }

    // r ← r − a, and under psrq the prefix x − r ← x − r + a: float32, rounded once per level.
    private void Subtract(RowColumns columns, int level)
    {
        float[] codebook = State.Codebooks[level];
        int width = columns.Width, rowsPerCall = columns.RowsPerCall(codebook.Length / width);
        using IEncoder encoder = _backend.CreateEncoder(new EncodePlan(PlanKind.Residual, width, [codebook]));
        var codes = new ushort[Math.Min(rowsPerCall, columns.Count)];
        for (long first = 0; first < columns.Count; first += rowsPerCall)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(rowsPerCall, columns.Count - first);
            encoder.Encode(columns.View(first, count), codes.AsSpan(0, count));
            long start = first;
            RowColumns.ForBlocks(count, _options.Threads, (_, blockFirst, blockCount) =>
            {
                for (long i = blockFirst; i < blockFirst + blockCount; i++)
                {
                    ReadOnlySpan<float> codeword = codebook.AsSpan(codes[i] * width, _dimension);
                    Span<float> row = _rows.Rows(start + i, 1);
                    System.Numerics.Tensors.TensorPrimitives.Subtract(row[.._dimension], codeword, row[.._dimension]);
                    if (HasHalves)
                        System.Numerics.Tensors.TensorPrimitives.Add(row[_dimension..], codeword, row[_dimension..]);
                }
            });
            _visited += count;
            Report(TrainingStage.Subtract, level, null);
        }
    }

    // With a beam the best prefix of l + 1 levels need not extend the best of l: residuals are formed anew from the rows themselves.
    private void SubtractBeam(RowMatrix originals, int level)
    {
        int levels = level + 1;
        PlanKind kind = _options.Kind == QuantizerKind.Psrq ? PlanKind.PrefixSemantic : PlanKind.Residual;
        var plan = new EncodePlan(kind, _dimension, State.Codebooks.GetRange(0, levels));
        using IEncoder encoder = _backend.CreateEncoder(plan, new EncodeOptions { Beam = _options.Beam });
        int rowsPerCall = new RowColumns(originals).RowsPerCall(plan.CodeCount(level) * _options.Beam);
        var codes = new ushort[Math.Min(rowsPerCall, originals.Count) * levels];
        for (long first = 0; first < originals.Count; first += rowsPerCall)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(rowsPerCall, originals.Count - first);
            encoder.Encode(originals.View(first, count), codes.AsSpan(0, count * levels));
            long start = first;
            RowColumns.ForBlocks(count, _options.Threads, (_, blockFirst, blockCount) =>
            {
                var prefix = new double[_dimension];
                for (long i = blockFirst; i < blockFirst + blockCount; i++)
                {
                    Array.Clear(prefix);
                    for (int l = 0; l < levels; l++)
                    {
                        ReadOnlySpan<float> codeword = plan.Codeword(l, codes[i * levels + l]);
                        for (int j = 0; j < codeword.Length; j++)
                            prefix[j] += codeword[j];
                    }
                    ReadOnlySpan<float> x = originals.Rows(start + i, 1);
                    Span<float> row = _rows.Rows(start + i, 1);
                    for (int j = 0; j < _dimension; j++)
                    {
                        row[j] = (float)(x[j] - prefix[j]);
                        if (HasHalves)
                            row[_dimension + j] = (float)prefix[j];
                    }
                }
            });
            _visited += count;
            Report(TrainingStage.Subtract, level, null);
        }
    }

    private RowMatrix CopyRows()
    {
        var copy = new RowMatrix(_rows.Count, _dimension);
        RowColumns.ForBlocks(_rows.Count, _options.Threads, (_, first, count) =>
        {
            for (long row = first; row < first + count; row++)
                _rows.Rows(row, 1)[.._dimension].CopyTo(copy.Rows(row, 1));
        });
        return copy;
    }

    private void RotateRows(float[] rotation)
    {
        const int kRowsPerCall = 8192;
        var turn = new RowRotation(rotation, _dimension, _options.Threads);
        using var turned = new RowMatrix(Math.Min(kRowsPerCall, _rows.Count), _dimension);
        for (long first = 0; first < _rows.Count; first += kRowsPerCall)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(kRowsPerCall, _rows.Count - first);
            turn.Apply(_rows.View(first, count), turned.Rows(0, count), first);
            turned.Rows(0, count).CopyTo(_rows.Rows(first, count));
        }
    }

    private void Finish(TrainingStage stage, TrainingIteration iteration)
    {
        State.History.Add(iteration);
        Report(stage, iteration.Level, iteration);
        SaveIfDue(stage, iteration.Level);
    }

    private void SaveIfDue(TrainingStage stage, int level)
    {
        if (_checkpoint?.SaveIfDue(State) is { } problem)
            Report(stage, level, null, problem);
    }

    private void Report(TrainingStage stage, int level, TrainingIteration? finished, string? problem = null) =>
        _progress?.Report(new TrainingProgress(stage, level, _options.Levels, _visited, RotationVisits + _options.Levels * VisitsPerLevel, finished, problem));
}
