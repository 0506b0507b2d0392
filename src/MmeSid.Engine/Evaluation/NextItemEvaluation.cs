using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Evaluation;

/// <summary>A model that says of every item how likely it comes next.</summary>
public interface INextItemScorer
{
    /// <summary>The items by row.</summary>
    ItemIds Items { get; }

    /// <summary>Scores all items for several users. Deterministic; equal histories need not get equal bits in different batches.</summary>
    /// <param name="histories">Item rows, oldest first, each with at least one.</param>
    /// <param name="scores">[histories, items], larger is better.</param>
    void Score(IReadOnlyList<int[]> histories, Span<float> scores);
}

/// <summary>Which held-out event is predicted.</summary>
public enum HeldOut
{
    /// <summary>The last but one, from what comes before it.</summary>
    Validation,

    /// <summary>The last, from what comes before it, the validation event included.</summary>
    Test,
}

/// <summary>Leave-one-out over all items: nothing is sampled, and items of the history are left out of the ranking.</summary>
public static class NextItemEvaluation
{
    private const long kScoresPerBatch = 1 << 22;
    private const int kUsersPerCall = 64;

    /// <summary>Ranks each user's held-out item.</summary>
    /// <param name="scorer">The model.</param>
    /// <param name="sequences">Users with at least <see cref="LeaveOneOut.LeastEvents"/> events take part; items are matched by id.</param>
    /// <param name="which">Which event is predicted.</param>
    /// <param name="cutoffs">See <see cref="RankingMetrics"/>.</param>
    /// <param name="evaluated">Told how many users have been ranked since the last call.</param>
    /// <param name="skipUnknown">Leaves items that the model does not know out of histories; a user whose held-out item is one of them, or of whose history nothing is left, counts as a miss.</param>
    /// <exception cref="InvalidDataException">An event's item is none of the model's; user and item named.</exception>
    public static RankingMetrics Run(
        INextItemScorer scorer, InteractionSequences sequences, HeldOut which, IReadOnlyList<int>? cutoffs = null, Action<int>? evaluated = null, bool skipUnknown = false)
    {
        ArgumentNullException.ThrowIfNull(scorer);
        ArgumentNullException.ThrowIfNull(sequences);
        var events = new HeldOutEvents(sequences, which, scorer.Items, skipUnknown);
        var metrics = new RankingMetrics(cutoffs);
        int items = checked((int)scorer.Items.Count);
        int batch = (int)Math.Clamp(kScoresPerBatch / items, 1, 1024);
        var scores = new float[batch * items];
        foreach (int[] users in HeldOutEvents.Batches(sequences, batch))
        {
            (int[] History, int Target)[] known = [.. users.Select(events.Of).OfType<(int[], int)>()];
            if (known.Length > 0)
                scorer.Score([.. known.Select(user => user.History)], scores.AsSpan(0, known.Length * items));
            var ranks = new int[known.Length];
            Parallel.For(0, known.Length, i => ranks[i] = RankingMetrics.Rank(scores.AsSpan(i * items, items), known[i].Target, known[i].History));
            foreach (int rank in ranks)
                metrics.Add(rank);
            for (int missed = known.Length; missed < users.Length; missed++)
                metrics.AddMiss();
            evaluated?.Invoke(users.Length);
        }
        return metrics;
    }

    /// <summary>
    /// Finds each user's held-out item among what a recommender returns: as many items as the largest cutoff. Items that share a place count as in
    /// <see cref="RankingMetrics.Add(int, int)"/>, an item that is not returned as a miss. A held-out item that the history holds as well is not left out.
    /// </summary>
    /// <param name="recommender">The model.</param>
    /// <param name="sequences">Users with at least <see cref="LeaveOneOut.LeastEvents"/> events take part; items are matched by id.</param>
    /// <param name="which">Which event is predicted.</param>
    /// <param name="cutoffs">See <see cref="RankingMetrics"/>.</param>
    /// <param name="evaluated">Told how many users have been ranked since the last call.</param>
    /// <param name="skipUnknown">Leaves items that the model does not know out of histories; a user whose held-out item is one of them, or of whose history nothing is left, counts as a miss.</param>
    /// <exception cref="InvalidDataException">An event's item is none of the model's; user and item named.</exception>
    public static RankingMetrics Run(
        INextItemRecommender recommender, InteractionSequences sequences, HeldOut which, IReadOnlyList<int>? cutoffs = null, Action<int>? evaluated = null, bool skipUnknown = false)
    {
        ArgumentNullException.ThrowIfNull(recommender);
        ArgumentNullException.ThrowIfNull(sequences);
        var events = new HeldOutEvents(sequences, which, recommender.Items, skipUnknown);
        var metrics = new RankingMetrics(cutoffs);
        int count = metrics.Cutoffs.DefaultIfEmpty(1).Max();
        foreach (int[] users in HeldOutEvents.Batches(sequences, kUsersPerCall))
        {
            foreach (RankedTarget user in events.Rank(recommender, users, count))
                metrics.Add(user.Place, null);
            evaluated?.Invoke(users.Length);
        }
        return metrics;
    }

    /// <summary>Asks two recommenders for the same users, as <see cref="Run(INextItemRecommender, InteractionSequences, HeldOut, IReadOnlyList{int}?, Action{int}?, bool)"/> does.</summary>
    /// <param name="first">A model.</param>
    /// <param name="second">The one it is held against; its items need not be in the same order.</param>
    /// <param name="sequences">Users with at least <see cref="LeaveOneOut.LeastEvents"/> events take part; items are matched by id.</param>
    /// <param name="which">Which event is predicted.</param>
    /// <param name="cutoffs">See <see cref="RankingMetrics"/>.</param>
    /// <param name="evaluated">Told how many users have been ranked since the last call.</param>
    /// <param name="skipUnknown">Leaves items that a model does not know out of its histories.</param>
    /// <exception cref="InvalidDataException">An event's item is none of a model's; user and item named.</exception>
    public static RankingComparison Compare(
        INextItemRecommender first, INextItemRecommender second, InteractionSequences sequences, HeldOut which, IReadOnlyList<int>? cutoffs = null, Action<int>? evaluated = null, bool skipUnknown = false)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        ArgumentNullException.ThrowIfNull(sequences);
        HeldOutEvents events = new(sequences, which, first.Items, skipUnknown), others = new(sequences, which, second.Items, skipUnknown);
        var comparison = new RankingComparison(cutoffs);
        int count = comparison.First.Cutoffs.DefaultIfEmpty(1).Max();
        foreach (int[] users in HeldOutEvents.Batches(sequences, kUsersPerCall))
        {
            foreach ((RankedTarget user, RankedTarget other) in events.Rank(first, users, count).Zip(others.Rank(second, users, count)))
                comparison.Add(user, other);
            evaluated?.Invoke(users.Length);
        }
        return comparison;
    }
}
