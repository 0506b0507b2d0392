using System.Numerics;

namespace MmeSid.Engine.Evaluation;

/// <summary>
/// How high the one relevant item of each user ranks: HR@k, the share of users who have it among the first k; nDCG@k, the mean of
/// 1 / log2(1 + rank) where the rank is at most k; MRR@k, the mean of 1 / rank where it is. Sums are added in the order of the calls.
/// <para>
/// An item that shares its place with g − 1 others, behind b items, has each of the ranks b + 1 … b + g equally often when the order inside the group is random. A user then
/// adds the expectation: <c>HR@k = min(g, max(0, k − b)) / g</c>, <c>nDCG@k = 1/g · Σ 1 / log2(1 + r)</c> and <c>MRR@k = 1/g · Σ 1 / r</c>, both over r = b + 1 … min(b + g, k).
/// For g = 1 these are the plain measures.
/// </para>
/// </summary>
public sealed class RankingMetrics
{
    private readonly int[] _cutoffs;
    private readonly Sums[] _hits, _gains, _reciprocals;

    /// <summary>No users yet.</summary>
    /// <param name="cutoffs">The k, at least 1; null for 5, 10 and 20.</param>
    public RankingMetrics(IReadOnlyList<int>? cutoffs = null)
    {
        _cutoffs = [.. cutoffs ?? [5, 10, 20]];
        foreach (int cutoff in _cutoffs)
            ArgumentOutOfRangeException.ThrowIfLessThan(cutoff, 1, nameof(cutoffs));
        (_hits, _gains, _reciprocals) = (new Sums[_cutoffs.Length], new Sums[_cutoffs.Length], new Sums[_cutoffs.Length]);
    }

    /// <summary>The k.</summary>
    public IReadOnlyList<int> Cutoffs => _cutoffs;

    /// <summary>Users so far.</summary>
    public long Users { get; private set; }

    /// <summary>Adds a user.</summary>
    /// <param name="rank">Of the relevant item, 1 the first.</param>
    public void Add(int rank)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rank, 1);
        Add(rank - 1, 1);
    }

    /// <summary>Adds a user whose relevant item shares its place with others: the expectation over a random order among them.</summary>
    /// <param name="before">b, items before the group.</param>
    /// <param name="groupSize">g, items of the group, the relevant one included.</param>
    public void Add(int before, int groupSize)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(before);
        ArgumentOutOfRangeException.ThrowIfLessThan(groupSize, 1);
        Add((before, groupSize), null);
    }

    /// <summary>Adds a user whose relevant item was not found at all.</summary>
    public void AddMiss() => Users++;

    /// <summary>Adds what a user gains by one ranking over another: all measures are means of differences from then on, and their margins those of pairs.</summary>
    /// <param name="place">Items before the group of the relevant item, and the size of the group; null where it was not found.</param>
    /// <param name="other">The same in the other ranking.</param>
    internal void Add((int Before, int GroupSize)? place, (int Before, int GroupSize)? other)
    {
        Users++;
        for (int i = 0; i < _cutoffs.Length; i++)
        {
            (double hit, double gain, double reciprocal) = Gains(place, _cutoffs[i]);
            (double otherHit, double otherGain, double otherReciprocal) = Gains(other, _cutoffs[i]);
            _hits[i].Add(hit - otherHit);
            _gains[i].Add(gain - otherGain);
            _reciprocals[i].Add(reciprocal - otherReciprocal);
        }
    }

    /// <summary>HR@k, 0 … 1; 0 without users. With one relevant item it is also recall@k.</summary>
    public double HitRate(int cutoff) => _hits[Index(cutoff)].Mean(Users);

    /// <summary>nDCG@k, 0 … 1; 0 without users. The ideal gain of one relevant item is 1.</summary>
    public double Ndcg(int cutoff) => _gains[Index(cutoff)].Mean(Users);

    /// <summary>MRR@k, 0 … 1; 0 without users.</summary>
    public double Mrr(int cutoff) => _reciprocals[Index(cutoff)].Mean(Users);

    /// <summary>Half the 95 % confidence interval of <see cref="HitRate"/> as a mean over users drawn at random (normal approximation); 0 below two users.</summary>
    public double HitRateMargin(int cutoff) => _hits[Index(cutoff)].Margin(Users);

    /// <summary>The same of <see cref="Ndcg"/>.</summary>
    public double NdcgMargin(int cutoff) => _gains[Index(cutoff)].Margin(Users);

    /// <summary>The same of <see cref="Mrr"/>.</summary>
    public double MrrMargin(int cutoff) => _reciprocals[Index(cutoff)].Margin(Users);

    /// <summary>The rank of an item among all items but those of a history: full ranking, nothing sampled.</summary>
    /// <param name="scores">[items], larger first; equal scores rank by index.</param>
    /// <param name="target">The relevant item; ranked even where the history holds it.</param>
    /// <param name="history">Items that are left out, in any order, repetitions allowed.</param>
    /// <returns>1 for the first.</returns>
    /// <exception cref="ArgumentException">A score is NaN, or an item is none of the scores'.</exception>
    public static int Rank(ReadOnlySpan<float> scores, int target, ReadOnlySpan<int> history)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(target);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(target, scores.Length);
        int before = CountBefore(scores, target);
        var seen = new HashSet<int>();
        foreach (int item in history)
        {
            if (item < 0 || item >= scores.Length)
                throw new ArgumentException($"item {item} of the history is none of the {scores.Length} items that have a score", nameof(history));
            if (seen.Add(item) && IsBefore(scores, item, target))
                before--;
        }
        return before + 1;
    }

    private static int CountBefore(ReadOnlySpan<float> scores, int target)
    {
        int before = 0, i = 0;
        Vector<float> bar = new(scores[target]);
        for (; i <= scores.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            var part = new Vector<float>(scores[i..]);
            if (!Vector.EqualsAll(part, part))
                break;
            // Of equal scores, those before the target rank before it.
            Vector<int> ahead = Vector.GreaterThan(part, bar) | (Vector.Equals(part, bar) & Vector.LessThan(new Vector<int>(i) + Vector<int>.Indices, new Vector<int>(target)));
            before -= Vector.Sum(ahead);
        }
        for (; i < scores.Length; i++)
        {
            if (float.IsNaN(scores[i]))
                throw new ArgumentException($"the score of item {i} is NaN, expected a number", nameof(scores));
            before += IsBefore(scores, i, target) ? 1 : 0;
        }
        return before;
    }

    private static bool IsBefore(ReadOnlySpan<float> scores, int item, int target) =>
        scores[item] > scores[target] || (scores[item] == scores[target] && item < target);

    private static (double Hit, double Gain, double Reciprocal) Gains((int Before, int GroupSize)? place, int cutoff)
    {
        if (place is not var (before, groupSize) || before >= cutoff)
            return default;
        int inside = Math.Min(groupSize, cutoff - before);
        double gain = 0, reciprocal = 0;
        for (int rank = before + 1; rank <= before + inside; rank++)
        {
            gain += 1 / Math.Log2(1 + rank);
            reciprocal += 1.0 / rank;
        }
        return ((double)inside / groupSize, gain / groupSize, reciprocal / groupSize);
    }

    private int Index(int cutoff)
    {
        int index = Array.IndexOf(_cutoffs, cutoff);
        return index >= 0 ? index : throw new ArgumentException($"nothing was counted for {cutoff}, only for {string.Join(", ", _cutoffs)}", nameof(cutoff));
    }

    // What users add to a measure; those who add nothing are in the number of users alone.
    private struct Sums
    {
        // The 97.5 % quantile of the normal distribution.
        private const double kUpper = 1.959963984540054;

        private double _values, _squares;

        public void Add(double value)
        {
            _values += value;
            _squares += value * value;
        }

        public readonly double Mean(long users) => users == 0 ? 0 : _values / users;

        public readonly double Margin(long users) =>
            users < 2 ? 0 : kUpper * Math.Sqrt(Math.Max(0, _squares - (_values * _values / users)) / (users - 1.0) / users);
    }
}
