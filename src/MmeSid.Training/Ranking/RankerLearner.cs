using MmeSid.Engine.Evaluation;
using MmeSid.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>
/// Trains a <see cref="Ranker"/> by binary cross-entropy; an epoch is judged by the AUC on the users' validation clicks. On the CPU the gradients under the layers above are those of
/// <see cref="RankerPass{T}"/>, elsewhere libtorch's.
/// </summary>
public sealed class RankerLearner : ILearner
{
    private readonly Ranker _model;
    private readonly ClickLog _log;
    private readonly RankerCatalogue _catalogue;
    private readonly RankerSamples _samples;
    private readonly ClickHistories _histories;
    private readonly ClickSample[] _validation;
    private readonly Device _device;

    /// <summary>Prepares the samples.</summary>
    /// <param name="model">On the device to train on.</param>
    /// <param name="log">Clicks.</param>
    /// <param name="catalogue">Of the model; it knows every item of the log.</param>
    /// <param name="sampling">Draws and batches.</param>
    /// <param name="seed">Of draws and shuffles.</param>
    /// <exception cref="ArgumentException">An option is out of range, or nobody clicked anything in training.</exception>
    /// <exception cref="InvalidDataException">Every user took everything there is, so that nothing can be drawn.</exception>
    public RankerLearner(Ranker model, ClickLog log, RankerCatalogue catalogue, RankerSampling sampling, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(catalogue);
        ArgumentNullException.ThrowIfNull(sampling);
        sampling.Validate();
        (_model, _log, _catalogue, _device) = (model, log, catalogue, model.ItemEmbeddings.device);
        _samples = new RankerSamples(log, sampling, seed);
        _histories = new ClickHistories(log, catalogue);
        _validation = HeldOutSamples.Draw(log, new HeldOutSampleOptions { Which = HeldOut.Validation, Negatives = sampling.Negatives, MaximumUsers = sampling.ValidationUsers, Seed = seed }).Samples;
    }

    /// <inheritdoc/>
    public nn.Module Module => _model;

    /// <inheritdoc/>
    public int StepsPerEpoch => _samples.Steps;

    /// <summary>Samples of an epoch.</summary>
    public int SamplesPerEpoch => _samples.Count;

    /// <summary>Users who are not trained on: in training they took everything that can be drawn.</summary>
    public int UsersLeftOut => _samples.UsersLeftOut;

    /// <summary>The samples of a step; the same for the same seed, epoch and step.</summary>
    public IReadOnlyList<ClickSample> Samples(int epoch, int step) => _samples[epoch, step];

    /// <inheritdoc/>
    public StepLoss Loss(int epoch, int step)
    {
        IReadOnlyList<ClickSample> samples = Samples(epoch, step);
        RankerBatch batch = RankerBatch.Of([.. samples.Select(sample => (_histories.Of(sample), _catalogue.Rows[sample.Item]))], _model.Options.History);
        Tensor labels = tensor([.. samples.Select(sample => sample.IsClicked ? 1f : 0f)], device: _device);
        return new StepLoss(_model.ItemEmbeddings.is_cpu()
            ? LossByHand<float>(_model, batch, labels)
            : nn.functional.binary_cross_entropy_with_logits(_model.call(batch), labels));
    }

    /// <inheritdoc/>
    public double? Validate(CancellationToken cancellation)
    {
        if (_validation.Length == 0)
            return null;
        try
        {
            double[] scores = new RankerScorer(_model).Score(_log, _catalogue, _validation, _ => cancellation.ThrowIfCancellationRequested());
            double area = AreaUnderCurve.Measure(scores, [.. _validation.Select(sample => sample.IsClicked)]);
            return double.IsNaN(area) ? null : area;
        }
        catch (NotFiniteNumberException)
        {
            return double.NaN;
        }
    }

    /// <summary>The mean binary cross-entropy with all its gradients: those of the layers above by libtorch, those below by hand.</summary>
    /// <typeparam name="T">Of the parameters.</typeparam>
    /// <param name="model">On the CPU.</param>
    /// <param name="batch">Samples.</param>
    /// <param name="labels">[B], 0 or 1.</param>
    internal static Tensor LossByHand<T>(Ranker model, RankerBatch batch, Tensor labels)
        where T : unmanaged, System.Numerics.IBinaryFloatingPointIeee754<T>
    {
        using DisposeScope scope = NewDisposeScope();
        var pass = new RankerPass<T>(model, batch);
        Tensor features = pass.Features().requires_grad_();
        Tensor loss = nn.functional.binary_cross_entropy_with_logits(model.Above(features), labels);
        Tensor[] above = [.. model.Layers.SelectMany(layer => new Tensor[] { layer.weight, layer.bias! })];
        IList<Tensor> gradients = autograd.grad([loss], [features, .. above]);
        return KnownGradient.At(loss, [.. above.Zip(gradients.Skip(1)), .. pass.Gradients(gradients[0])]).MoveToOuterDisposeScope();
    }
}
