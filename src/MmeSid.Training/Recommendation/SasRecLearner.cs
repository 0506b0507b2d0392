using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Recommendation;

/// <summary>Trains <see cref="SasRec"/> on all but the last two events of each user; an epoch is judged by nDCG@10 on the last but one.</summary>
public sealed class SasRecLearner : ILearner
{
    private const int kValidationCutoff = 10;
    private const ulong kNegatives = 1UL << 32;

    private readonly SasRec _model;
    private readonly SasRecOptions _options;
    private readonly InteractionSequences _sequences;
    private readonly LeaveOneOut _split;
    private readonly SequenceBatches _batches;
    private readonly SasRecScorer _scorer;
    private readonly RandomSource _random;
    private readonly Device _device;

    /// <summary>Prepares the batches of the sequences.</summary>
    /// <param name="model">With as many items as the sequences; on the device to train on.</param>
    /// <param name="sequences">Each user's events.</param>
    /// <param name="options">Those of the model.</param>
    /// <param name="seed">Of shuffles and of negative items.</param>
    /// <exception cref="ArgumentException">No user has enough events.</exception>
    public SasRecLearner(SasRec model, InteractionSequences sequences, SasRecOptions options, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(options);
        (_model, _sequences, _options) = (model, sequences, options);
        _split = new LeaveOneOut(sequences);
        _batches = new SequenceBatches(_split, sequences.Users.Count, options.Length, options.BatchUsers, seed);
        _scorer = new SasRecScorer(model, sequences.Items, options.Length);
        _random = new RandomSource(seed);
        _device = model.ItemEmbeddings.device;
    }

    /// <inheritdoc/>
    public nn.Module Module => _model;

    /// <inheritdoc/>
    public int StepsPerEpoch => _batches.Count;

    /// <inheritdoc/>
    public StepLoss Loss(int epoch, int step)
    {
        SequenceBatch batch = _batches[epoch, step];
        Tensor inputs = tensor(batch.Inputs, [batch.Inputs.Length / batch.Length, batch.Length], device: _device);
        Tensor hidden = _model.call(inputs).reshape(-1, _options.Dimension).index_select(0, tensor(batch.Positions, device: _device));
        Tensor targets = tensor(batch.Targets, device: _device);
        return new StepLoss(_options.Loss == SequenceLoss.CrossEntropy
            ? LinearCrossEntropy.Mean(hidden, _model.ItemEmbeddings, targets)
            : AgainstNegatives(hidden, targets, tensor(Negatives(batch, epoch, step), device: _device)));
    }

    /// <inheritdoc/>
    public double? Validate(CancellationToken cancellation)
    {
        if (_split.Evaluated.Count == 0)
            return null;
        try
        {
            return NextItemEvaluation.Run(_scorer, _sequences, HeldOut.Validation, evaluated: _ => cancellation.ThrowIfCancellationRequested()).Ndcg(kValidationCutoff);
        }
        catch (NotFiniteNumberException)
        {
            return double.NaN;
        }
    }

    private Tensor AgainstNegatives(Tensor hidden, Tensor targets, Tensor negatives)
    {
        // −log σ(s⁺) − log(1 − σ(s⁻)), mean over the positions.
        Tensor positive = (hidden * _model.ItemEmbeddings.index_select(0, targets)).sum(-1);
        Tensor negative = (hidden * _model.ItemEmbeddings.index_select(0, negatives)).sum(-1);
        return nn.functional.softplus(-positive).mean() + nn.functional.softplus(negative).mean();
    }

    private long[] Negatives(SequenceBatch batch, int epoch, int step)
    {
        RandomSource random = _random.Split(kNegatives + (ulong)epoch).Split((ulong)step);
        var negatives = new long[batch.Targets.Length];
        HashSet<int> taken = [];
        int user = -1;
        for (int i = 0; i < negatives.Length; i++)
        {
            if (batch.Users[i] != user)
            {
                user = batch.Users[i];
                taken = [.. _split.Training(user)];
            }
            do
            {
                negatives[i] = random.NextLong(_sequences.Items.Count);
            }
            while (taken.Contains((int)negatives[i]) && taken.Count < _sequences.Items.Count);
        }
        return negatives;
    }
}
