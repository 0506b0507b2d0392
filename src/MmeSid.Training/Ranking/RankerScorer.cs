using MmeSid.Engine.Evaluation;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>Scores samples by a <see cref="Ranker"/>.</summary>
/// <param name="model">In evaluation mode when it is used.</param>
public sealed class RankerScorer(Ranker model)
{
    private const int kSamplesPerCall = 2048;

    /// <summary>Logits: σ(logit) is the probability of a click. Deterministic; a sample need not get equal bits among other samples.</summary>
    /// <param name="samples">History (catalogue rows, oldest first, may be empty) and target row of each.</param>
    /// <param name="scored">Told how many samples were scored since the last call.</param>
    /// <exception cref="NotFiniteNumberException">A logit is NaN or infinite.</exception>
    public double[] Score(IReadOnlyList<(ReadOnlyMemory<int> History, int Target)> samples, Action<int>? scored = null)
    {
        ArgumentNullException.ThrowIfNull(samples);
        var scores = new double[samples.Count];
        using IDisposable frozen = no_grad();
        for (int first = 0; first < scores.Length; first += kSamplesPerCall)
        {
            using DisposeScope scope = NewDisposeScope();
            RankerBatch batch = RankerBatch.Of([.. samples.Skip(first).Take(kSamplesPerCall)], model.Options.History);
            Tensor logits = model.ItemEmbeddings.is_cpu() ? model.Above(new RankerPass<float>(model, batch).Features()) : model.call(batch).cpu();
            if (!logits.isfinite().all().ToBoolean())
                throw new NotFiniteNumberException("the ranker's scores are no numbers: its training diverged");
            logits.to(float64).data<double>().CopyTo(scores.AsSpan(first, batch.Count));
            scored?.Invoke(batch.Count);
        }
        return scores;
    }

    /// <summary>The same of samples of a log.</summary>
    /// <param name="clicks">Histories are first parts of its sequences.</param>
    /// <param name="catalogue">Where its items are; items of histories that the ranker does not know are left out.</param>
    /// <param name="samples">Whose targets the ranker knows.</param>
    /// <param name="scored">Told how many samples were scored since the last call.</param>
    public double[] Score(ClickLog clicks, RankerCatalogue catalogue, IReadOnlyList<ClickSample> samples, Action<int>? scored = null)
    {
        ArgumentNullException.ThrowIfNull(catalogue);
        ArgumentNullException.ThrowIfNull(samples);
        var histories = new ClickHistories(clicks, catalogue);
        return Score([.. samples.Select(sample => (histories.Of(sample), catalogue.Rows[sample.Item]))], scored);
    }
}
