namespace MmeSid.Training.Optimization;

/// <summary>How the learning rate changes after its warm-up.</summary>
public enum LearningRateSchedule
{
    /// <summary>It stays.</summary>
    Constant,

    /// <summary>It falls along half a cosine to zero after the last step.</summary>
    Cosine,
}

/// <summary>Which epoch's parameters a run ends with.</summary>
public enum KeptEpoch
{
    /// <summary>The one that was judged best, by validation where there is one, else by the training loss.</summary>
    Best,

    /// <summary>The last one, for losses that say little of the model, such as those that grow with an encoder's output.</summary>
    Last,
}

/// <summary>Options of <see cref="TrainingLoop"/>.</summary>
public sealed record LoopOptions
{
    /// <summary>Most epochs, at least 1.</summary>
    public int Epochs { get; init; } = 100;

    /// <summary>Learning rate after the warm-up, positive.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Decoupled weight decay (AdamW), at least 0.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Decay of Adam's mean of squares, β₂, in (0, 1).</summary>
    public double SecondMoment { get; init; } = 0.999;

    /// <summary>What follows the warm-up.</summary>
    public LearningRateSchedule Schedule { get; init; }

    /// <summary>Steps over which the rate rises linearly from 0.</summary>
    public int WarmUpSteps { get; init; }

    /// <summary>
    /// Batches of the learner whose gradients are averaged for one step of the optimizer, at least 1: a larger batch in the memory of a smaller one. The last step of an epoch may have fewer. Steps,
    /// warm-up and progress count those of the optimizer.
    /// </summary>
    public int Accumulate { get; init; } = 1;

    /// <summary>Gradients are scaled down to this Euclidean norm over all parameters; 0 leaves them.</summary>
    public double GradientNorm { get; init; }

    /// <summary>Stops after so many epochs without gain; 0 never does.</summary>
    public int Patience { get; init; }

    /// <summary>What is left in the module at the end.</summary>
    public KeptEpoch Keep { get; init; }

    /// <summary>Epochs between two validations, at least 1; the last epoch is always validated.</summary>
    public int ValidateEvery { get; init; } = 1;

    /// <summary>
    /// File that holds the state of a run that was cut short, or null. Where it exists, training goes on from it; it is left in place at the end, for
    /// the caller to delete once the result is safe.
    /// </summary>
    public string? CheckpointPath { get; init; }

    /// <summary>What tells this run from others, data and options: a checkpoint of another run is refused.</summary>
    public string CheckpointKey { get; init; } = "";

    /// <summary>A checkpoint of another run is begun anew instead of being refused: for a file that no user named. A damaged one is refused either way.</summary>
    public bool ReplaceOtherCheckpoint { get; init; }

    /// <summary>Least time between two checkpoints; one is also written when a run is cancelled.</summary>
    public TimeSpan CheckpointInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The learning rate of a step.</summary>
    /// <param name="step">From 0, over all epochs.</param>
    /// <param name="steps">Steps of all epochs.</param>
    public double RateAt(long step, long steps)
    {
        if (step < WarmUpSteps)
            return LearningRate * (step + 1) / WarmUpSteps;
        if (Schedule == LearningRateSchedule.Constant)
            return LearningRate;
        double done = (double)(step - WarmUpSteps) / Math.Max(1, steps - WarmUpSteps);
        return LearningRate * 0.5 * (1 + Math.Cos(Math.PI * Math.Min(1, done)));
    }

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        Require(Epochs >= 1, "the number of epochs", Epochs, "at least 1");
        Require(double.IsFinite(LearningRate) && LearningRate > 0, "the learning rate", LearningRate, "a positive number");
        Require(double.IsFinite(WeightDecay) && WeightDecay >= 0, "the weight decay", WeightDecay, "a number of at least 0");
        Require(SecondMoment is > 0 and < 1, "the decay of the mean of squares", SecondMoment, "a number between 0 and 1");
        Require(WarmUpSteps >= 0, "the number of warm-up steps", WarmUpSteps, "at least 0");
        Require(Accumulate >= 1, "the number of batches per step", Accumulate, "at least 1");
        Require(double.IsFinite(GradientNorm) && GradientNorm >= 0, "the gradient norm", GradientNorm, "a number of at least 0");
        Require(Patience >= 0, "the patience", Patience, "at least 0 epochs");
        Require(ValidateEvery >= 1, "the number of epochs between validations", ValidateEvery, "at least 1");
    }

    private static void Require(bool fits, string what, object value, string expected)
    {
        if (!fits)
            throw new ArgumentException(FormattableString.Invariant($"{what} is {value}, expected {expected}"));
    }
}
