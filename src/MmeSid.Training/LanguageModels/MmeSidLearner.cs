using MmeSid.Engine;
using MmeSid.Engine.Evaluation;
using MmeSid.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Trains a <see cref="MmeSidLlama"/>: the cross-entropy over all items of each of the last length items of a training part but its first, given what came before. As z depends on what is trained, its gradient goes on into
/// the item table, the gate and the projections. An epoch is judged by nDCG@10 of the validation items, ranked among all items but those of the history.
/// </summary>
public sealed class MmeSidLearner : ILearner
{
    /// <summary>Cutoff of the nDCG that judges an epoch.</summary>
    public const int ValidationCutoff = 10;

    private const ulong kValidation = 1UL << 33;
    private const long kScoresPerBatch = 1 << 22;
    private const int kUsersPerBatch = 1024;

    private readonly MmeSidLlama _model;
    private readonly MmeSidOptions _options;
    private readonly HistorySteps _steps;
    private readonly DropoutSchedule _dropout;
    private readonly int[][] _validation;
    private readonly Device _device;

    /// <summary>Prepares the steps.</summary>
    /// <param name="model">On the device to train on.</param>
    /// <param name="sequences">Each user's events, as rows of the model's items.</param>
    /// <param name="options">Those of the model.</param>
    /// <param name="seed">Of shuffles, of dropout and of the validation users.</param>
    /// <exception cref="ArgumentException">No user has enough events.</exception>
    public MmeSidLearner(MmeSidLlama model, ItemSequences sequences, MmeSidOptions options, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(options);
        var random = new RandomSource(seed);
        (_model, _options, _dropout, _device) = (model, options, new DropoutSchedule(options, random), model.Items.Embeddings.device);
        _steps = new HistorySteps(MmeSidBatch.Training(sequences, options.Length, model.Prompt), history => model.Prompt.Suffix > 0 ? 1 : history.Length - 1, options.BatchItems, seed);
        _validation = [.. sequences.DrawValidated(options.ValidationUsers, random.Split(kValidation)).Select(sequences.WithValidation).OrderBy(history => history.Length)];
    }

    /// <inheritdoc/>
    public nn.Module Module => _model;

    /// <inheritdoc/>
    public int StepsPerEpoch => _steps.Count;

    /// <summary>Items that an epoch predicts.</summary>
    public long ItemsPerEpoch => _steps.Items;

    /// <summary>Users whose validation item judges an epoch.</summary>
    public int ValidationUsers => _validation.Length;

    /// <inheritdoc/>
    public StepLoss Loss(int epoch, int step)
    {
        MmeSidBatch batch = MmeSidBatch.Of(_steps[epoch, step], _model.Prompt, lastOnly: false);
        using DisposeScope scope = NewDisposeScope();
        Tensor vectors = _model.Embed(batch), outputs = _model.Items.Outputs();
        var gradients = new Gradients(scope);
        Tensor loss, vectorGradient, outputGradient;
        using (no_grad())
        {
            LlamaPass pass = _model.Transformer.Train(vectors, batch.Places, _dropout.Stream(epoch, step), _dropout.Updates(epoch, step));
            Tensor places = tensor(batch.Predicting, device: _device);
            (loss, Tensor byHidden, outputGradient) = LinearCrossEntropy.Sum(pass.Hidden.index_select(0, places), outputs, tensor(batch.Targets, device: _device));
            double share = 1.0 / batch.Targets.Length;
            Tensor hiddenGradient = zeros_like(pass.Hidden);
            hiddenGradient.index_copy_(0, places, byHidden.mul_(share));
            vectorGradient = pass.Backward(hiddenGradient, gradients);
            outputGradient.mul_(share);
            loss.mul_(share);
        }
        // The graph of the result holds what it needs of the scope.
        return new StepLoss(KnownGradient.At(loss, [.. gradients.All, (vectors, vectorGradient), (outputs, outputGradient)]).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public double? Validate(CancellationToken cancellation)
    {
        if (_validation.Length == 0)
            return null;
        using DisposeScope all = NewDisposeScope();
        Tensor outputs = _model.Items.Outputs().t();
        var metrics = new RankingMetrics([ValidationCutoff]);
        foreach (int[][] histories in _validation.Chunk((int)Math.Clamp(kScoresPerBatch / _model.Items.Count, 1, Math.Min(kUsersPerBatch, _options.BatchItems))))
        {
            cancellation.ThrowIfCancellationRequested();
            using DisposeScope scope = NewDisposeScope();
            Tensor scores = Hidden(histories).mm(outputs).to(float32).cpu();
            if (!scores.isfinite().all().ToBoolean())
                return double.NaN;
            int items = (int)_model.Items.Count;
            float[] values = scores.data<float>().ToArray();
            for (int user = 0; user < histories.Length; user++)
                metrics.Add(RankingMetrics.Rank(values.AsSpan(user * items, items), histories[user][^1], histories[user].AsSpan(0, histories[user].Length - 1)));
        }
        return metrics.Ndcg(ValidationCutoff);
    }

    // h of the last entry of each history, [B, H], with its last item as the one to be predicted.
    private Tensor Hidden(int[][] histories)
    {
        MmeSidBatch batch = MmeSidBatch.Of([.. histories.Select(history => HistorySteps.Last(history, _options.Length))], _model.Prompt, lastOnly: true);
        return _model.Transformer.HiddenStates(_model.Embed(batch), batch.Places).index_select(0, tensor(batch.Predicting, device: _device));
    }
}
