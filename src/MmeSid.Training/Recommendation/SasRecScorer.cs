using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Recommendation;

/// <summary>Scores every item as the next one by a trained <see cref="SasRec"/>.</summary>
public sealed class SasRecScorer : INextItemScorer
{
    private readonly SasRec _model;
    private readonly int _length;

    /// <summary>Wraps a model.</summary>
    /// <param name="model">In evaluation mode when it is used.</param>
    /// <param name="items">Its items by row.</param>
    /// <param name="length">Events it looks at.</param>
    public SasRecScorer(SasRec model, ItemIds items, int length)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(items);
        if (model.ItemEmbeddings.shape[0] != items.Count)
            throw new ArgumentException($"the model has {model.ItemEmbeddings.shape[0]} items, there are {items.Count} ids", nameof(items));
        (_model, Items, _length) = (model, items, length);
    }

    /// <inheritdoc/>
    public ItemIds Items { get; }

    /// <inheritdoc/>
    /// <exception cref="NotFiniteNumberException">A score is NaN or infinite.</exception>
    public void Score(IReadOnlyList<int[]> histories, Span<float> scores)
    {
        ArgumentNullException.ThrowIfNull(histories);
        if (scores.Length != histories.Count * Items.Count)
            throw new ArgumentException($"{histories.Count} histories and {Items.Count} items need {histories.Count * Items.Count} scores, the span has {scores.Length}", nameof(scores));
        if (histories.Count == 0)
            return;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        int length = histories.Max(history => Math.Min(history.Length, _length));
        var inputs = new long[histories.Count * length];
        var last = new long[histories.Count];
        for (int row = 0; row < histories.Count; row++)
        {
            int[] history = histories[row];
            if (history.Length == 0)
                throw new ArgumentException($"history {row} is empty, expected at least one event", nameof(histories));
            int kept = Math.Min(history.Length, _length);
            for (int i = 0; i < kept; i++)
                inputs[row * length + i] = history[history.Length - kept + i];
            last[row] = row * length + kept - 1;
        }
        Device device = _model.ItemEmbeddings.device;
        Tensor hidden = _model.call(tensor(inputs, [histories.Count, length], device: device));
        hidden = hidden.reshape(-1, hidden.shape[2]).index_select(0, tensor(last, device: device));
        Tensor all = hidden.matmul(_model.ItemEmbeddings.t()).cpu();
        if (!all.isfinite().all().ToBoolean())
            throw new NotFiniteNumberException("the model's scores are no numbers: its training diverged");
        all.data<float>().CopyTo(scores);
    }
}
