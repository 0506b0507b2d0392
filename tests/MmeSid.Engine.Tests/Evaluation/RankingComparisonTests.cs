using MmeSid.Engine.Evaluation;

namespace MmeSid.Engine.Tests.Evaluation;

public sealed class RankingComparisonTests
{
    private static RankedTarget Returned(params (string Item, double Score)[] items) => new(null, items);

    /// <summary>What the first returns is what its share is of, also where that is less than was asked for or than the second returns.</summary>
    [Fact]
    public void TheOverlapIsAShareOfWhatTheFirstReturns()
    {
        var comparison = new RankingComparison([2, 5]);
        Assert.Equal(1, comparison.Overlap(2));
        comparison.Add(Returned(("a", 0), ("b", 0), ("c", 0)), Returned(("b", 0), ("d", 0), ("a", 0), ("e", 0)));
        Assert.Equal(1 / 2.0, comparison.Overlap(2), 1e-15);
        Assert.Equal(2 / 3.0, comparison.Overlap(5), 1e-15);
        // Two who return nothing agree; one who does not and one who does share nothing.
        comparison.Add(Returned(), Returned());
        Assert.Equal((1 / 2.0 + 1) / 2, comparison.Overlap(2), 1e-15);
        comparison.Add(Returned(), Returned(("a", 0)));
        comparison.Add(Returned(("a", 0)), Returned());
        Assert.Equal((1 / 2.0 + 1) / 4, comparison.Overlap(2), 1e-15);
        Assert.Equal((2 / 3.0 + 1) / 4, comparison.Overlap(5), 1e-15);
    }

    [Fact]
    public void ScoresDifferByTheMeanOverItemsThatBothReturn()
    {
        var comparison = new RankingComparison([2]);
        comparison.Add(Returned(("a", 5)), Returned(("b", 7)));
        Assert.Equal(0, comparison.ScoreDifference);
        // By ½ one way and by 2 the other.
        comparison.Add(Returned(("a", -1), ("b", -2), ("c", -3)), Returned(("b", -1.5), ("d", -2), ("a", -3)));
        Assert.Equal((0.5 + 2) / 2, comparison.ScoreDifference, 1e-15);
        // Every pair counts the same, whichever user it is of.
        comparison.Add(Returned(("a", 1)), Returned(("a", 2)));
        Assert.Equal((0.5 + 2 + 1) / 3, comparison.ScoreDifference, 1e-15);
    }

    [Fact]
    public void TheFirstGainsWhatItRanksBetter()
    {
        var comparison = new RankingComparison([1, 2]);
        comparison.Add(new RankedTarget((0, 1), []), new RankedTarget((1, 1), []));
        Assert.Equal((1, 0), (comparison.Gains.HitRate(1), comparison.Gains.HitRate(2)));
        Assert.Equal(1 - (1 / Math.Log2(3)), comparison.Gains.Ndcg(2), 1e-15);
        Assert.Equal(1 - (1 / 2.0), comparison.Gains.Mrr(2), 1e-15);
        Assert.Equal(1, comparison.First.Mrr(2));
    }
}
