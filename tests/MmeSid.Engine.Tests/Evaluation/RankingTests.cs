using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Engine.Tests.Evaluation;

public sealed class RankingTests
{
    [Fact]
    public void MeasuresOfThreeUsersAreThoseComputedByHand()
    {
        var metrics = new RankingMetrics();
        foreach (int rank in (int[])[1, 7, 30])
            metrics.Add(rank);

        Assert.Equal(3, metrics.Users);
        Assert.Equal([5, 10, 20], metrics.Cutoffs);
        Assert.Equal(1 / 3.0, metrics.HitRate(5), 1e-15);
        Assert.Equal(2 / 3.0, metrics.HitRate(10), 1e-15);
        // 1 / log2(2) and 1 / log2(8).
        Assert.Equal(1 / 3.0, metrics.Ndcg(5), 1e-15);
        Assert.Equal((1 + 1 / 3.0) / 3, metrics.Ndcg(20), 1e-15);
        Assert.Equal((1 + 1 / 7.0) / 3, metrics.Mrr(10), 1e-15);
        Assert.Throws<ArgumentException>(() => metrics.Ndcg(6));
        Assert.Throws<ArgumentOutOfRangeException>(() => metrics.Add(0));
    }

    [Fact]
    public void MarginsAreThoseOfTheMeanOverUsers()
    {
        var metrics = new RankingMetrics([10]);
        metrics.Add(1);
        metrics.Add(1);
        metrics.Add(4);
        metrics.AddMiss();
        // Reciprocal ranks 1, 1, ¼ and 0: variance 0.265625, over four users.
        Assert.Equal(1.959964 * Math.Sqrt(0.265625 / 4), metrics.MrrMargin(10), 1e-6);
        Assert.Equal(1.959964 * Math.Sqrt(0.25 / 4), metrics.HitRateMargin(10), 1e-6);
        Assert.Equal(0, new RankingMetrics([3]).NdcgMargin(3));
    }

    [Fact]
    public void NobodyIsNoError() => Assert.Equal(0, new RankingMetrics([3]).HitRate(3));

    [Fact]
    public void ARankCutsOffAtItsLastPlace()
    {
        var metrics = new RankingMetrics([5]);
        metrics.Add(5);
        metrics.Add(6);
        Assert.Equal(0.5, metrics.HitRate(5));
    }

    [Fact]
    public void GroupsAddTheMeanOverAllOrders()
    {
        for (int before = 0; before <= 7; before++)
        {
            for (int size = 1; size <= 5; size++)
            {
                var expectation = new RankingMetrics([1, 3, 5, 8]);
                var orders = new RankingMetrics([1, 3, 5, 8]);
                expectation.Add(before, size);
                foreach (int[] order in Orders([.. Enumerable.Range(0, size)]))
                    orders.Add(before + Array.IndexOf(order, 0) + 1);
                Assert.Equal(1, expectation.Users);
                foreach (int k in orders.Cutoffs)
                {
                    Assert.Equal(orders.HitRate(k), expectation.HitRate(k), 1e-14);
                    Assert.Equal(orders.Ndcg(k), expectation.Ndcg(k), 1e-14);
                    Assert.Equal(orders.Mrr(k), expectation.Mrr(k), 1e-14);
                }
            }
        }
    }

    private static IEnumerable<int[]> Orders(int[] items) => items.Length == 1 ? [items]
        : items.SelectMany(first => Orders([.. items.Where(item => item != first)]).Select(rest => (int[])[first, .. rest]));

    [Fact]
    public void AMissCountsAsAUser()
    {
        var metrics = new RankingMetrics();
        metrics.Add(1);
        metrics.AddMiss();
        Assert.Equal(2, metrics.Users);
        Assert.Equal(0.5, metrics.HitRate(20));
        Assert.Equal(0.5, metrics.Ndcg(5));
        Assert.Throws<ArgumentOutOfRangeException>(() => metrics.Add(0, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => metrics.Add(-1, 1));
    }

    [Theory]
    [InlineData(2, new int[0], 2)]
    [InlineData(2, new[] { 1 }, 1)]
    [InlineData(2, new[] { 1, 1, 0 }, 1)]
    [InlineData(0, new int[0], 3)]
    // Equal scores: the smaller index comes first.
    [InlineData(3, new int[0], 4)]
    [InlineData(4, new[] { 2, 3, 4 }, 3)]
    public void TheRankLeavesTheHistoryOut(int target, int[] history, int rank) =>
        Assert.Equal(rank, RankingMetrics.Rank([1, 3, 2, 1, 0], target, history));

    [Fact]
    public void TheRankEqualsThatOfASort()
    {
        var random = new Random(5);
        float[] scores = [.. Enumerable.Range(0, 300).Select(_ => (float)random.Next(40))];
        for (int round = 0; round < 50; round++)
        {
            int target = random.Next(300);
            int[] history = [.. Enumerable.Range(0, 20).Select(_ => random.Next(300)).Where(item => item != target)];
            int[] order = [.. Enumerable.Range(0, 300).Where(item => !history.Contains(item)).OrderByDescending(item => scores[item]).ThenBy(item => item)];
            Assert.Equal(Array.IndexOf(order, target) + 1, RankingMetrics.Rank(scores, target, history));
        }
    }

    [Fact]
    public void ScoresThatAreNoNumbersAndItemsWithoutScoresAreRefused()
    {
        Assert.Contains("item 1", Assert.Throws<ArgumentException>(() => RankingMetrics.Rank([1, float.NaN], 0, [])).Message, StringComparison.Ordinal);
        Assert.Contains("item 7", Assert.Throws<ArgumentException>(() => RankingMetrics.Rank([1, 2], 0, [7])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => RankingMetrics.Rank([1, 2], 2, []));
    }

    [Fact]
    public void TheLastTwoEventsAreHeldOut()
    {
        var split = new LeaveOneOut(InteractionSequences.FromItems([[4, 2, 9, 2], [1, 2], [3, 4, 5]]));
        // Items 1, 2, 3, 4, 5, 9 are rows 0 … 5.
        Assert.Equal([0, 2], split.Evaluated);
        Assert.Equal([3, 1], split.Training(0).ToArray());
        Assert.Equal([0, 1], split.Training(1).ToArray());
        (int[] history, int target) = split.Validation(0);
        Assert.Equal([3, 1], history);
        Assert.Equal(5, target);
        (history, target) = split.Test(0);
        Assert.Equal([3, 1, 5], history);
        Assert.Equal(1, target);
        Assert.Contains("user 2 has 2 events", Assert.Throws<ArgumentException>(() => split.Test(1)).Message, StringComparison.Ordinal);
    }
}
