namespace MmeSid.Engine.Evaluation;

/// <summary>Size and seed of a bootstrap.</summary>
public sealed record BootstrapOptions
{
    /// <summary>Resamples, at least 2.</summary>
    public int Resamples { get; init; } = 1000;

    /// <summary>Of the draws; the same seed draws the same users.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>0 for all cores; changes nothing in the result.</summary>
    public int Threads { get; init; }
}

/// <summary>A measure of all samples and its 95 % interval over users.</summary>
/// <param name="Value">Of the samples themselves.</param>
/// <param name="Low">The 2.5 % quantile of the resamples.</param>
/// <param name="High">The 97.5 % quantile.</param>
public readonly record struct BootstrapInterval(double Value, double Low, double High)
{
    /// <summary>Half the width of the interval.</summary>
    public double Margin => (High - Low) / 2;

    /// <summary>Whether zero lies outside of it: of a difference, that it is real.</summary>
    public bool ExcludesZero => Low > 0 || High < 0;
}

/// <summary>The intervals of all measures.</summary>
/// <param name="Auc">See <see cref="ClickMeasures"/>.</param>
/// <param name="ColdAuc">See there.</param>
/// <param name="GroupedAuc">See there.</param>
/// <param name="LogLoss">See there.</param>
public sealed record ClickIntervals(BootstrapInterval Auc, BootstrapInterval ColdAuc, BootstrapInterval GroupedAuc, BootstrapInterval LogLoss);

/// <summary>
/// Percentile intervals by drawing as many users as there are, with replacement, again and again: the samples of a user stand or fall together. Of a model trained with several seeds each
/// resample also draws as many seeds with replacement and takes the mean over them. Two models are compared in pairs: both see the same users, and seed by seed the same seeds. Resamples in
/// which a measure has nothing to compare are left out of its interval. Deterministic.
/// </summary>
public static class UserBootstrap
{
    private const double kLow = 0.025, kHigh = 0.975;

    /// <summary>The measures of one model.</summary>
    /// <param name="runs">Its scores, one set for each seed it was trained with, over the same samples.</param>
    /// <param name="options">Size and seed.</param>
    public static ClickIntervals Of(IReadOnlyList<ClickScores> runs, BootstrapOptions options)
    {
        ArgumentNullException.ThrowIfNull(runs);
        return Intervals(runs, (run, weights) => run.Measure(weights), options);
    }

    /// <summary>The measures of one model less those of another.</summary>
    /// <param name="first">Its scores, one set for each seed.</param>
    /// <param name="second">As many of the other, over the same samples.</param>
    /// <param name="options">Size and seed.</param>
    /// <exception cref="ArgumentException">Numbers of runs, users or samples differ.</exception>
    public static ClickIntervals Difference(IReadOnlyList<ClickScores> first, IReadOnlyList<ClickScores> second, BootstrapOptions options)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Count != second.Count)
            throw new ArgumentException($"{first.Count} and {second.Count} runs, expected as many of both models", nameof(second));
        (ClickScores First, ClickScores Second)[] pairs = [.. first.Zip(second)];
        foreach ((ClickScores one, ClickScores other) in pairs)
        {
            if (one.Users != other.Users || one.Samples != other.Samples || one.Clicks != other.Clicks)
                throw new ArgumentException($"{one.Samples} samples of {one.Users} users and {other.Samples} of {other.Users}, expected the same samples of both models", nameof(second));
        }
        return Intervals(pairs, (pair, weights) => pair.First.Measure(weights) - pair.Second.Measure(weights), options, pair => pair.First);
    }

    private static ClickIntervals Intervals(IReadOnlyList<ClickScores> runs, Measured<ClickScores> measure, BootstrapOptions options) => Intervals(runs, measure, options, run => run);

    private static ClickIntervals Intervals<T>(IReadOnlyList<T> runs, Measured<T> measure, BootstrapOptions options, Func<T, ClickScores> scoresOf)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(options);
        if (runs.Count == 0)
            throw new ArgumentException("there is no run to measure", nameof(runs));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Resamples, 2, nameof(options));
        int users = scoresOf(runs[0]).Users;
        if (runs.Any(run => scoresOf(run).Users != users))
            throw new ArgumentException($"runs of {string.Join(", ", runs.Select(run => scoresOf(run).Users).Distinct())} users, expected the same samples in all", nameof(runs));
        var random = new RandomSource(options.Seed);
        var resamples = new double[options.Resamples][];
        Parallel.For(0, resamples.Length, new ParallelOptions { MaxDegreeOfParallelism = options.Threads > 0 ? options.Threads : Environment.ProcessorCount }, resample =>
        {
            RandomSource own = random.Split((ulong)resample);
            var weights = new int[users];
            for (int i = 0; i < users; i++)
                weights[own.NextInt(users)]++;
            resamples[resample] = Mean(Enumerable.Range(0, runs.Count).Select(_ => runs[own.NextInt(runs.Count)]).CountBy(run => run), runs.Count, run => measure(run, weights));
        });
        double[] values = Mean(runs.Select(run => KeyValuePair.Create(run, 1)), runs.Count, run => measure(run, []));
        BootstrapInterval[] intervals = [.. values.Select((value, i) => Interval(value, resamples.Select(resample => resample[i])))];
        return new ClickIntervals(intervals[0], intervals[1], intervals[2], intervals[3]);
    }

    private static double[] Mean<T>(IEnumerable<KeyValuePair<T, int>> runs, int count, Func<T, ClickMeasures> measure)
    {
        var sums = new double[4];
        foreach ((T run, int times) in runs)
        {
            double[] values = measure(run).ToArray();
            for (int i = 0; i < sums.Length; i++)
                sums[i] += times * values[i];
        }
        return [.. sums.Select(sum => sum / count)];
    }

    private static BootstrapInterval Interval(double value, IEnumerable<double> resamples)
    {
        double[] sorted = [.. resamples.Where(double.IsFinite).Order()];
        return sorted.Length == 0 ? new(value, double.NaN, double.NaN) : new(value, Quantile(sorted, kLow), Quantile(sorted, kHigh));
    }

    // Linear between the values next to it.
    private static double Quantile(double[] sorted, double share)
    {
        double at = share * (sorted.Length - 1);
        int below = (int)at;
        return sorted[below] + ((at - below) * (sorted[Math.Min(below + 1, sorted.Length - 1)] - sorted[below]));
    }

    private delegate ClickMeasures Measured<in T>(T run, ReadOnlySpan<int> weights);
}
