using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Evaluation;

/// <summary>Recommends by the scores of all items: each item is a group of its own, equal scores in row order.</summary>
public sealed class FullRanking : INextItemRecommender
{
    private const long kScoresPerBatch = 1 << 22;

    private readonly INextItemScorer _scorer;

    /// <summary>Wraps a scorer.</summary>
    public FullRanking(INextItemScorer scorer)
    {
        ArgumentNullException.ThrowIfNull(scorer);
        _scorer = scorer;
    }

    /// <inheritdoc/>
    public ItemIds Items => _scorer.Items;

    /// <inheritdoc/>
    public IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count)
    {
        QueryCheck.Validate(queries, count, Items.Count);
        int items = checked((int)Items.Count);
        var ranked = new List<RankedGroup[]>(queries.Count);
        var scores = new float[items];
        foreach (NextItemQuery[] batch in queries.Chunk((int)Math.Clamp(kScoresPerBatch / items, 1, 1024)))
        {
            if (scores.Length != batch.Length * items)
                scores = new float[batch.Length * items];
            _scorer.Score([.. batch.Select(query => query.History)], scores);
            for (int i = 0; i < batch.Length; i++)
                ranked.Add(Best(scores.AsSpan(i * items, items), batch[i].LeftOut, count));
        }
        return ranked;
    }

    private static RankedGroup[] Best(ReadOnlySpan<float> scores, int[] leftOut, int count)
    {
        var without = new HashSet<int>(leftOut);
        // The worst of those kept comes out first: the smaller score, of equal ones the larger row.
        var kept = new PriorityQueue<int, (float Score, int Order)>();
        for (int row = 0; row < scores.Length; row++)
        {
            if (without.Contains(row))
                continue;
            if (kept.Count < count)
                kept.Enqueue(row, (scores[row], -row));
            else
                kept.EnqueueDequeue(row, (scores[row], -row));
        }
        var best = new RankedGroup[kept.Count];
        for (int i = best.Length - 1; i >= 0; i--)
        {
            int row = kept.Dequeue();
            best[i] = new RankedGroup([row], scores[row]);
        }
        return best;
    }
}
