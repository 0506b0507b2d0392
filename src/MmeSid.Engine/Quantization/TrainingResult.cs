namespace MmeSid.Engine.Quantization;

/// <summary>What training gave.</summary>
/// <param name="Quantizer">The trained quantizer.</param>
/// <param name="Iterations">Every iteration of every level, in order.</param>
/// <param name="TrainedRows">Rows trained on.</param>
/// <param name="TableRows">Rows of the table; more than <paramref name="TrainedRows"/> when a sample was drawn.</param>
/// <param name="Seconds">Wall-clock time of this run, reading included; what a checkpoint saved is not counted.</param>
public sealed record TrainingResult(
    Quantizer Quantizer, IReadOnlyList<TrainingIteration> Iterations, long TrainedRows, long TableRows, double Seconds)
{
    /// <summary>
    /// Mean squared error over the training rows after each level, [L]: what the levels up to it leave over; for pq and opq the error of each
    /// sub-space alone. Taken from the last iteration, so the final search can only be better.
    /// </summary>
    public IReadOnlyList<double> LevelErrors { get; } = ErrorsOf(Iterations, Quantizer.Levels);

    /// <summary>Mean squared error of the whole quantizer over the training rows: the last level's, for pq and opq the sum over the sub-spaces.</summary>
    public double MeanSquaredError => Quantizer.IsProduct ? LevelErrors.Sum() : LevelErrors[^1];

    private static double[] ErrorsOf(IReadOnlyList<TrainingIteration> iterations, int levels)
    {
        var errors = new double[levels];
        foreach (TrainingIteration iteration in iterations)
        {
            if (iteration.Level >= 0)
                errors[iteration.Level] = iteration.MeanSquaredError;
        }
        return errors;
    }
}
