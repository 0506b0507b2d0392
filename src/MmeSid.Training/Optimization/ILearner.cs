using static TorchSharp.torch;

namespace MmeSid.Training.Optimization;

/// <summary>
/// A model, its data and its loss, as <see cref="TrainingLoop"/> sees them. What changes from one step to the next lives in parameters and buffers of
/// <see cref="Module"/> or in libtorch's random generator, and which rows a step sees depends on the seed, the epoch and the step alone: then a run
/// that is cut short and resumed ends with the same bytes as one that was not.
/// </summary>
public interface ILearner
{
    /// <summary>What is trained.</summary>
    nn.Module Module { get; }

    /// <summary>Steps of one epoch, at least 1.</summary>
    int StepsPerEpoch { get; }

    /// <summary>The loss of one step, in training mode. Every tensor made here dies with the step.</summary>
    /// <param name="epoch">From 0.</param>
    /// <param name="step">In the epoch, from 0.</param>
    StepLoss Loss(int epoch, int step);

    /// <summary>
    /// Called without gradients after each batch, for the last batch of a step of the optimizer after that: moving averages, codes that are restarted. The tensors of <see cref="Loss"/> are still there.
    /// </summary>
    void AfterStep(int epoch, int step)
    {
    }

    /// <summary>
    /// How good the model is after an epoch, in evaluation mode and without gradients: larger is better. Null where there is nothing but the
    /// training loss to go by, NaN where the model has diverged.
    /// </summary>
    /// <param name="cancellation">To be looked at about every second.</param>
    double? Validate(CancellationToken cancellation) => null;
}

/// <summary>What a step is judged by.</summary>
/// <param name="Total">Scalar that is differentiated.</param>
/// <param name="Parts">Scalars for people: what the total is made of, before weights.</param>
public readonly record struct StepLoss(Tensor Total, params IReadOnlyList<(string Name, Tensor Value)> Parts);

/// <summary>The loss is no longer a number: nothing can be learned from here on.</summary>
public sealed class DivergenceException(string message) : Exception(message);
