namespace MmeSid.Engine.Evaluation;

/// <summary>
/// Two recommenders for the same users: what the first gains over the second, and how alike what they return is. A gain is the mean of differences within a user, whose interval is far
/// narrower than those of the two figures: what makes a user hard for one makes them hard for the other.
/// </summary>
public sealed class RankingComparison
{
    private readonly double[] _shared;
    private double _differences;
    private long _pairs;

    /// <summary>No users yet.</summary>
    /// <param name="cutoffs">See <see cref="RankingMetrics"/>.</param>
    internal RankingComparison(IReadOnlyList<int>? cutoffs)
    {
        (First, Gains) = (new RankingMetrics(cutoffs), new RankingMetrics(cutoffs));
        _shared = new double[First.Cutoffs.Count];
    }

    /// <summary>How well the first does.</summary>
    public RankingMetrics First { get; }

    /// <summary>The first less the second: means of differences, −1 … 1, and margins of these.</summary>
    public RankingMetrics Gains { get; }

    /// <summary>The share of the first recommender's k best items that are among the second's k best as well, mean over users, in the order in which they are returned; 1 where both return nothing.</summary>
    /// <param name="cutoff">k.</param>
    public double Overlap(int cutoff) => First.Users == 0 ? 1 : _shared[First.Cutoffs.Index().First(entry => entry.Item == cutoff).Index] / First.Users;

    /// <summary>The mean of |s − s′| over users and items that both return, s being the score of one and s′ of the other; 0 where there is none. Of models that generate SIDs: of log-probabilities.</summary>
    public double ScoreDifference => _pairs == 0 ? 0 : _differences / _pairs;

    internal void Add(RankedTarget user, RankedTarget other)
    {
        First.Add(user.Place, null);
        Gains.Add(user.Place, other.Place);
        for (int i = 0; i < _shared.Length; i++)
        {
            string[] own = [.. user.Items.Take(First.Cutoffs[i]).Select(entry => entry.Item)];
            _shared[i] += own.Length == 0 ? (other.Items.Length == 0 ? 1 : 0) : (double)own.Intersect(other.Items.Take(First.Cutoffs[i]).Select(entry => entry.Item)).Count() / own.Length;
        }
        var scores = other.Items.ToDictionary(entry => entry.Item, entry => entry.Score);
        foreach ((string item, double score) in user.Items)
        {
            if (!scores.TryGetValue(item, out double second))
                continue;
            _differences += Math.Abs(score - second);
            _pairs++;
        }
    }
}
