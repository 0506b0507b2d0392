namespace MmeSid.Training.Optimization;

/// <summary>A finished epoch.</summary>
/// <param name="Epoch">From 1.</param>
/// <param name="Loss">Mean of the total over the steps.</param>
/// <param name="Parts">Mean of each part.</param>
/// <param name="Score">What <see cref="ILearner.Validate"/> said, larger is better; null where it was not asked or knows none.</param>
/// <param name="LearningRate">Of the last step.</param>
/// <param name="Seconds">Wall-clock time of the steps, validation left out.</param>
public sealed record EpochReport(int Epoch, double Loss, IReadOnlyDictionary<string, double> Parts, double? Score, double LearningRate, double Seconds);

/// <summary>Where a run stands.</summary>
/// <param name="StepsDone">Over all epochs.</param>
/// <param name="StepsTotal">If it does not stop early.</param>
/// <param name="Finished">The epoch that has just ended, or null between epochs.</param>
/// <param name="Problem">Why a checkpoint could not be written (training goes on without it), or null.</param>
public readonly record struct LoopProgress(long StepsDone, long StepsTotal, EpochReport? Finished, string? Problem = null);

/// <summary>How a run went.</summary>
/// <param name="Epochs">All epochs, those before a resumption included.</param>
/// <param name="BestEpoch">From 1: the epoch that was judged best.</param>
/// <param name="KeptEpoch">From 1: the epoch whose parameters and buffers the module has now.</param>
/// <param name="StoppedEarly">Whether patience ran out.</param>
public sealed record LoopResult(IReadOnlyList<EpochReport> Epochs, int BestEpoch, int KeptEpoch, bool StoppedEarly);
