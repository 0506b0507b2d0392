using System.Diagnostics;
using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// Trains quantizers by k-means on a backend.
/// <para>
/// rq-kmeans: <c>X_1 = X</c>, <c>C_l = KMeans(X_l)</c>, <c>X_{l+1} = X_l − NearestRep(X_l)</c>. psrq (arXiv 2508.20359): from level 2 on
/// <c>C_l = KMeans(X_l ⊕ (X − X_l)) ∈ R^{K×2d}</c>, of whose codewords only the residual half is subtracted. pq and opq: one k-means per sub-space.
/// SIDs of one modality or of several joined ones differ in the table alone (<see cref="EmbeddingTable.Combine"/>).
/// </para>
/// k-means runs where the backend holds the rows, else on the host. Memory: the training rows once (4·n·d bytes; twice for psrq with several levels,
/// once more under a beam), 4 bytes a row for codes, and what the backend takes.
/// </summary>
public static class QuantizerTrainer
{
    private const double kGibibyte = 1L << 30;

    /// <summary>Trains a quantizer.</summary>
    /// <param name="table">Rows to learn from.</param>
    /// <param name="options">What and how.</param>
    /// <param name="backend">Where search and sums run; which one changes no code.</param>
    /// <param name="progress">Told stages, blocks of rows and finished iterations, from the calling thread.</param>
    /// <param name="cancellation">Looked at about every second; a checkpoint is written before the exception leaves. One that cannot be written is reported to <paramref name="progress"/>.</param>
    /// <returns>The same quantizer, bit for bit, for the same rows, options and seed, whatever the threads, interrupted or not.</returns>
    /// <exception cref="ArgumentException">An option is out of range or does not fit the table.</exception>
    /// <exception cref="InvalidDataException">The table is empty, has fewer different rows than codes, or a value that is not finite; or the checkpoint is another run's.</exception>
    /// <exception cref="InsufficientMemoryException">The training rows do not fit: <see cref="TrainingOptions.TrainRows"/> draws a sample.</exception>
    public static TrainingResult Train(
        EmbeddingTable table, TrainingOptions options, IBackend backend, IProgress<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(backend);
        long start = Stopwatch.GetTimestamp();
        options.Validate(table.Dimension);
        int mostCodes = Enumerable.Range(0, options.Levels).Max(options.CodesOf);
        if (table.Count == 0)
            throw new InvalidDataException($"{table.Name}: has no rows, training needs at least {mostCodes} different ones");

        TrainingCheckpoint? checkpoint = options.CheckpointPath is null
            ? null
            : new TrainingCheckpoint(options.CheckpointPath, TrainingCheckpoint.KeyOf(table, options), options.CheckpointInterval);
        TrainingState state = checkpoint?.Load(options.ReplaceOtherCheckpoint) ?? new TrainingState();

        bool halves = options.Kind == QuantizerKind.Psrq && options.Levels > 1;
        int width = halves ? 2 * table.Dimension : table.Dimension;
        long size = RowsToTrainOn(table, options, width);
        progress?.Report(new TrainingProgress(TrainingStage.Read, 0, options.Levels, 0, size, null));
        using RowMatrix rows = TrainingRows.Read(table, size, width, new RandomSource(options.Seed).Split(0), cancellation);
        int distinct = new RowColumns(rows, 0, table.Dimension).CountDistinct(mostCodes);
        if (distinct < mostCodes)
        {
            string where = size < table.Count ? $"the {size} rows drawn for training contain" : "the table has";
            throw new InvalidDataException($"{table.Name}: {where} {distinct} different rows, fewer than the {mostCodes} codes asked for");
        }

        var run = new TrainingRun(rows, table.Dimension, options, backend, progress, checkpoint, state, cancellation);
        try
        {
            Quantizer quantizer = options.Kind is QuantizerKind.Pq or QuantizerKind.Opq ? run.TrainProduct() : run.TrainResidual();
            SaveLast();
            return new TrainingResult(quantizer, state.History, size, table.Count, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        catch (OperationCanceledException)
        {
            SaveLast();
            throw;
        }

        void SaveLast()
        {
            if (checkpoint?.TrySave(state) is { } problem)
                progress?.Report(new TrainingProgress(TrainingStage.Iterate, options.Levels - 1, options.Levels, 0, 0, null, problem));
        }
    }

    private static long RowsToTrainOn(EmbeddingTable table, TrainingOptions options, int width)
    {
        bool copy = options is { Beam: > 1, Levels: > 1, Kind: QuantizerKind.RqKMeans or QuantizerKind.Psrq };
        long bytesPerRow = sizeof(float) * ((long)width + (copy ? table.Dimension : 0)) + 2 * sizeof(ushort);
        long fitting = Math.Max(1, options.TrainingBytes / bytesPerRow);
        long count = Math.Min(Math.Min(table.Count, options.TrainRows ?? long.MaxValue), Math.Min(fitting, Array.MaxLength));
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (count * bytesPerRow > available)
        {
            throw new InsufficientMemoryException(string.Create(CultureInfo.InvariantCulture,
                $"{table.Name}: training on {count} rows needs {count * bytesPerRow / kGibibyte:F1} GiB, this machine has {available / kGibibyte:F1} GiB; train on a sample of them (--train-rows)"));
        }
        return count;
    }
}
