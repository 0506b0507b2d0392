using MmeSid.Training.Optimization;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// A <see cref="QuantizerModel"/> over batches of items, for <see cref="TrainingLoop"/>. The codewords start with the first step of the first epoch, so that a
/// resumed run does not cluster again. There is nothing to validate: the paper stops, and keeps the best epoch, by the training loss.
/// </summary>
/// <param name="model">What is trained.</param>
/// <param name="batches">One table per modality, in their order.</param>
/// <param name="start">First codewords.</param>
public sealed class QuantizerLearner(QuantizerModel model, ItemBatches batches, CodebookStart start) : ILearner
{
    /// <inheritdoc/>
    public nn.Module Module => model;

    /// <inheritdoc/>
    public int StepsPerEpoch => batches.PerEpoch;

    /// <summary>
    /// Options of the loop as the paper trains, but for the number of epochs (20,000 there), the patience (2,000 there) and the epoch that is kept (the best there): L_rq is small while the
    /// encoder's output is, so that the lowest total may be of an untrained model.
    /// </summary>
    public static LoopOptions PaperLoop { get; } = new() { Epochs = 300, LearningRate = 2e-4, WeightDecay = 1e-4, Patience = 50, Keep = KeptEpoch.Last };

    /// <inheritdoc/>
    public StepLoss Loss(int epoch, int step)
    {
        if (epoch == 0 && step == 0)
            model.Start(batches.Tables, start);
        return model.Loss(batches.Rows(epoch, step));
    }

    /// <inheritdoc/>
    public void AfterStep(int epoch, int step) => model.AfterStep();
}
