using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Centroids of k-means and how they came about.</summary>
/// <param name="Centroids">[K, d] row-major.</param>
/// <param name="Codes">[n], the last assignment: against the centroids before their last update, balanced or bounded in size where that was asked for.</param>
/// <param name="Iterations">One entry per iteration.</param>
public sealed record KMeansResult(float[] Centroids, ushort[] Codes, IReadOnlyList<TrainingIteration> Iterations);

/// <summary>k-means on rows in memory: Lloyd, mini-batch, size-constrained or Sinkhorn-balanced.</summary>
public static class KMeans
{
    /// <summary>Clusters the rows.</summary>
    /// <param name="rows">[n, d], finite, with at least K different rows.</param>
    /// <param name="options">How.</param>
    /// <param name="backend">Where the search and the sums run.</param>
    /// <param name="progress">Told each iteration.</param>
    /// <param name="cancellation">Looked at about every second.</param>
    /// <returns>The same bytes for the same rows and options, whatever the threads.</returns>
    /// <exception cref="ArgumentException">An option is out of range or does not fit the rows, or there are fewer different rows than codes and <see cref="KMeansOptions.AllowUnusedCodes"/> is not set.</exception>
    public static KMeansResult Train(
        RowMatrix rows, KMeansOptions options, IBackend backend, IProgress<TrainingIteration>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(backend);
        options.Validate();
        var columns = new RowColumns(rows);
        int distinct = options.AllowUnusedCodes ? options.Codes : columns.CountDistinct(options.Codes);
        if (distinct < options.Codes)
            throw new ArgumentException($"{options.Codes} codes need as many different rows, there are {distinct}", nameof(rows));
        using var run = new KMeansRun(columns, options, backend, level: 0, _ => { }, cancellation);
        var history = new List<TrainingIteration>();
        KMeansState state = run.Start();
        while (!state.Finished)
        {
            (state, TrainingIteration report) = run.Step(state);
            history.Add(report);
            progress?.Report(report);
        }
        return new KMeansResult(state.Centroids, state.Codes, history);
    }
}
