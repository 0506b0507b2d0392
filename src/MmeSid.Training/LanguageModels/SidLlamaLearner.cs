using MmeSid.Engine;
using MmeSid.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Trains a <see cref="SidLlama"/>: the cross-entropy of every code of the last length + 1 items of a user's training part, given what came before. An epoch is judged by the mean
/// log-probability of the validation items, all their codes together, given the right codes before each (teacher forcing).
/// </summary>
public sealed class SidLlamaLearner : ILearner
{
    private const ulong kValidation = 1UL << 33;

    private readonly SidLlama _model;
    private readonly SidSequences _sequences;
    private readonly SidBatches _batches;
    private readonly DropoutSchedule _dropout;
    private readonly int[][][] _validation;
    private readonly Device _device;

    /// <summary>Prepares the steps.</summary>
    /// <param name="model">On the device to train on.</param>
    /// <param name="sequences">Each user's events, as rows of the bundle.</param>
    /// <param name="options">Those of the model.</param>
    /// <param name="seed">Of shuffles, of dropout and of the validation users.</param>
    /// <exception cref="ArgumentException">No user has enough events.</exception>
    public SidLlamaLearner(SidLlama model, SidSequences sequences, SidLlamaOptions options, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(options);
        var random = new RandomSource(seed);
        (_model, _sequences, _dropout, _device) = (model, sequences, new DropoutSchedule(options, random), model.Embeddings.device);
        _batches = new SidBatches(sequences, options.Length, options.BatchItems, seed, model.PrefixLength);
        int[][] histories = [.. sequences.DrawValidated(options.ValidationUsers, random.Split(kValidation)).Select(user => HistorySteps.Last(sequences.WithValidation(user), options.Length))];
        _validation = [.. HistorySteps.InSteps(Enumerable.Range(0, histories.Length).OrderBy(i => histories[i].Length), i => histories[i].Length, options.BatchItems)
            .Select(step => step.Select(i => histories[i]).ToArray())];
    }

    /// <inheritdoc/>
    public nn.Module Module => _model;

    /// <inheritdoc/>
    public int StepsPerEpoch => _batches.Count;

    /// <summary>Codes that an epoch predicts.</summary>
    public long CodesPerEpoch => _batches.Items * _model.Vocabulary.Levels;

    /// <summary>Users whose validation item judges an epoch.</summary>
    public int ValidationUsers => _validation.Sum(step => step.Length);

    /// <inheritdoc/>
    public StepLoss Loss(int epoch, int step)
    {
        SidBatch batch = _batches[epoch, step];
        using DisposeScope scope = NewDisposeScope();
        var gradients = new Gradients(scope);
        Tensor total;
        Tensor[] parts;
        using (no_grad())
        {
            Tensor vectors;
            using (enable_grad())
                vectors = _model.Embed(tensor(batch.Inputs, device: _device));
            LlamaPass pass = _model.Transformer.Train(vectors, batch.Places, _dropout.Stream(epoch, step), _dropout.Updates(epoch, step));
            (parts, Tensor hidden) = Predict(pass.Hidden, batch, gradients);
            total = parts.Aggregate((sum, part) => sum + part) / parts.Length;
            gradients.Add(_model.Embeddings, autograd.grad([vectors], [_model.Embeddings], [pass.Backward(hidden, gradients)])[0]);
        }
        // The graph of the result holds what it needs of the scope.
        return new StepLoss(KnownGradient.At(total, gradients.All).MoveToOuterDisposeScope(), [.. parts.Select((part, level) => ($"level {level + 1}", part.MoveToOuterDisposeScope()))]);
    }

    /// <inheritdoc/>
    public double? Validate(CancellationToken cancellation)
    {
        if (_validation.Length == 0)
            return null;
        double sum = 0;
        foreach (int[][] histories in _validation)
        {
            cancellation.ThrowIfCancellationRequested();
            using DisposeScope scope = NewDisposeScope();
            SidBatch batch = SidBatch.Of(_sequences, histories, lastOnly: true, _model.PrefixLength);
            Tensor hidden = _model.Transformer.HiddenStates(_model.Embed(tensor(batch.Inputs, device: _device)), batch.Places);
            for (int level = 0; level < _model.Vocabulary.Levels; level++)
            {
                Tensor logs = hidden.index_select(0, tensor(batch.Predicting[level], device: _device)).mm(Head(level).t()).log_softmax(1);
                sum += logs.gather(1, tensor(batch.Targets[level], device: _device).unsqueeze(1)).sum().ToDouble();
            }
        }
        return sum / ValidationUsers;
    }

    /// <summary>The mean cross-entropy of each level, and the gradient of the hidden states of their mean over the levels.</summary>
    private (Tensor[] Parts, Tensor HiddenGradient) Predict(Tensor hidden, SidBatch batch, Gradients gradients)
    {
        double share = 1.0 / ((double)batch.Items * batch.Targets.Count);
        Tensor hiddenGradient = zeros_like(hidden), headGradient = empty_like(_model.Head.detach());
        var parts = new Tensor[batch.Targets.Count];
        for (int level = 0; level < parts.Length; level++)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor places = tensor(batch.Predicting[level], device: _device);
            (Tensor loss, Tensor byHidden, Tensor byHead) = LinearCrossEntropy.Sum(hidden.index_select(0, places), Head(level), tensor(batch.Targets[level], device: _device));
            hiddenGradient.index_copy_(0, places, byHidden.mul_(share));
            headGradient.narrow(0, _model.Vocabulary.Offset(level), _model.Vocabulary.Codes[level]).copy_(byHead.mul_(share));
            parts[level] = (loss / batch.Items).MoveToOuterDisposeScope();
        }
        _model.AddHeadGradient(headGradient, gradients);
        return (parts, hiddenGradient);
    }

    private Tensor Head(int level) => _model.Head.detach().narrow(0, _model.Vocabulary.Offset(level), _model.Vocabulary.Codes[level]);
}
