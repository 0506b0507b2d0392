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
        var split = new LeaveOneOut(sequences);
        int[] rows = RowsOf(scorer.Items, sequences);
        var metrics = new RankingMetrics(cutoffs);
        int items = checked((int)scorer.Items.Count);
        int batch = (int)Math.Clamp(kScoresPerBatch / items, 1, 1024);
        var scores = new float[batch * items];
        // Histories of like length in one call: a model that pads them pads little.
        foreach (int[] users in split.Evaluated.OrderBy(user => sequences[user].Length).Chunk(batch))
        {
            (int[] History, int Target)[] known = Known(users, split, which, sequences, scorer.Items, rows, skipUnknown, metrics);
            if (known.Length > 0)
                scorer.Score([.. known.Select(user => user.History)], scores.AsSpan(0, known.Length * items));
            var ranks = new int[known.Length];
            Parallel.For(0, known.Length, i => ranks[i] = RankingMetrics.Rank(scores.AsSpan(i * items, items), known[i].Target, known[i].History));
            foreach (int rank in ranks)
                metrics.Add(rank);
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
        var split = new LeaveOneOut(sequences);
        int[] rows = RowsOf(recommender.Items, sequences);
        var metrics = new RankingMetrics(cutoffs);
        int count = metrics.Cutoffs.DefaultIfEmpty(1).Max();
        foreach (int[] users in split.Evaluated.OrderBy(user => sequences[user].Length).Chunk(kUsersPerCall))
        {
            (int[] History, int Target)[] known = Known(users, split, which, sequences, recommender.Items, rows, skipUnknown, metrics);
            IReadOnlyList<RankedGroup[]> ranked = recommender.Recommend(
                [.. known.Select(user => new NextItemQuery(user.History, [.. user.History.Where(item => item != user.Target)]))], count);
            for (int i = 0; i < known.Length; i++)
                Add(metrics, ranked[i], known[i].Target);
            evaluated?.Invoke(users.Length);
        }
        return metrics;
    }

    private static void Add(RankingMetrics metrics, RankedGroup[] ranked, int target)
    {
        int before = 0;
        foreach (RankedGroup group in ranked)
        {
            if (Array.IndexOf(group.Items, target) >= 0)
            {
                metrics.Add(before, group.Items.Length);
                return;
            }
            before += group.Items.Length;
        }
        metrics.AddMiss();
    }

    // The users' events as rows of the model; misses are counted at once.
    private static (int[] History, int Target)[] Known(
        int[] users, LeaveOneOut split, HeldOut which, InteractionSequences sequences, ItemIds items, int[] rows, bool skipUnknown, RankingMetrics metrics)
    {
        var known = new List<(int[], int)>();
        foreach (int user in users)
        {
            (int[] history, int target) = which == HeldOut.Test ? split.Test(user) : split.Validation(user);
            if (!skipUnknown && history.Append(target).FirstOrDefault(item => rows[item] < 0, -1) is >= 0 and int unknown)
                throw new InvalidDataException($"user '{sequences.Users[user]}': item '{sequences.Items[unknown]}' is none of the {items.Count} that the model knows");
            int[] left = [.. history.Select(item => rows[item]).Where(row => row >= 0)];
            if (rows[target] < 0 || left.Length == 0)
                metrics.AddMiss();
            else
                known.Add((left, rows[target]));
        }
        return [.. known];
    }

    // Row in the model of each item of the sequences, −1 where it knows none.
    private static int[] RowsOf(ItemIds known, InteractionSequences sequences)
    {
        var rows = new int[sequences.Items.Count];
        for (int i = 0; i < rows.Length; i++)
            rows[i] = known.TryFind(sequences.Items[i], out long row) ? (int)row : -1;
        return rows;
    }
}
