namespace MmeSid.Engine.Quantization;

/// <summary>One finished iteration of k-means.</summary>
/// <param name="Level">Level or sub-space, from 0; −1 while OPQ learns its rotation.</param>
/// <param name="Iteration">From 1.</param>
/// <param name="MeanSquaredError">
/// Mean over the training rows of the squared distance to the centroid after the update, from per-code sums in float64. Under mini-batches:
/// the mean over the pass, each batch against the centroids before its update. In OPQ's rotation: summed over the sub-spaces.
/// </param>
/// <param name="Moved">Rows whose code changed against the iteration before; all rows in the first.</param>
/// <param name="EmptyCodes">Codes that no row used, before they were restarted.</param>
/// <param name="RecheckedShare">Share of the decisions that the fast search could not prove and checked again, 0 … 1.</param>
/// <param name="Seconds">Wall-clock time of the iteration.</param>
public sealed record TrainingIteration(int Level, int Iteration, double MeanSquaredError, long Moved, int EmptyCodes, double RecheckedShare, double Seconds);

/// <summary>What a training run is doing.</summary>
public enum TrainingStage
{
    /// <summary>Reads the training rows.</summary>
    Read,

    /// <summary>OPQ alternates between codebooks and rotation.</summary>
    Rotate,

    /// <summary>Chooses the first centroids of a level.</summary>
    Initialize,

    /// <summary>Iterates k-means.</summary>
    Iterate,

    /// <summary>Encodes the level and subtracts it.</summary>
    Subtract,
}

/// <summary>Where a training run stands.</summary>
/// <param name="Stage">What it is doing.</param>
/// <param name="Level">Level or sub-space, from 0; −1 while OPQ learns its rotation.</param>
/// <param name="Levels">Levels in all.</param>
/// <param name="RowsDone">Rows visited so far, over all levels and iterations; iterations saved by an early stop count as visited.</param>
/// <param name="RowsTotal">Rows to visit in all, at most.</param>
/// <param name="Finished">The iteration that has just ended, or null between iterations.</param>
/// <param name="Problem">Why a checkpoint could not be written (training goes on without it), or null.</param>
public readonly record struct TrainingProgress(TrainingStage Stage, int Level, int Levels, long RowsDone, long RowsTotal, TrainingIteration? Finished, string? Problem = null);
