using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Engine.Tests.Evaluation;

public sealed class NextItemEvaluationTests
{
    [Theory]
    [InlineData(HeldOut.Test, 2 / 3.0)]
    [InlineData(HeldOut.Validation, 1 / 3.0)]
    public void HistoriesAreMaskedAndItemsAreMatchedById(HeldOut which, double share)
    {
        // The model knows its items in another order and one more; it scores by the id, so that the largest number is next.
        var scorer = new LargestNumber(ItemIds.FromStrings(["4", "2", "9", "1", "3", "5"]));
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 4, 5, 3], [3, 5, 2, 1, 4], [2, 3, 1, 4], [1, 2]]);
        int users = 0;
        RankingMetrics metrics = NextItemEvaluation.Run(scorer, sequences, which, [1, 2], count => users += count);
        Assert.Equal(3, metrics.Users);
        Assert.Equal(3, users);
        // 9 ranks before everything.
        Assert.Equal(0, metrics.HitRate(1));
        Assert.Equal(share, metrics.HitRate(2), 1e-15);
    }

    [Fact]
    public void AnItemThatTheModelLacksIsNamed()
    {
        var scorer = new LargestNumber(ItemIds.FromStrings(["1", "2"]));
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 2, 1], [2, 1, 3]]);
        string message = Assert.Throws<InvalidDataException>(() => NextItemEvaluation.Run(scorer, sequences, HeldOut.Test)).Message;
        Assert.Contains("user '2': item '3'", message, StringComparison.Ordinal);
    }

    /// <summary>A user whose target the model lacks, or of whose history nothing is left, is a miss; of the others what it knows counts.</summary>
    [Fact]
    public void UnknownItemsAreLeftOutOrMissed()
    {
        var scorer = new LargestNumber(ItemIds.FromStrings(["1", "2", "4"]));
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 3, 2, 4], [2, 1, 3], [3, 3, 4]]);
        foreach (RankingMetrics metrics in (RankingMetrics[])[NextItemEvaluation.Run(scorer, sequences, HeldOut.Test, [1], skipUnknown: true), NextItemEvaluation.Run(new FullRanking(scorer), sequences, HeldOut.Test, [1], skipUnknown: true)])
        {
            Assert.Equal(3, metrics.Users);
            Assert.Equal(1 / 3.0, metrics.HitRate(1), 1e-15);
        }
    }

    /// <summary>Users of whom the model knows nothing are not asked for, and the others keep their own results.</summary>
    [Fact]
    public void UnknownUsersDoNotShiftTheOthers()
    {
        var recommender = new Following(ItemIds.FromStrings(["1", "2", "3", "4", "5", "6"]));
        // Nothing of the second user's history is known, nor the target of the fourth: three of five hits.
        InteractionSequences sequences = InteractionSequences.FromItems([[9, 1, 2], [9, 8, 3], [1, 3, 4], [1, 4, 7], [1, 5, 6]]);
        RankingMetrics metrics = NextItemEvaluation.Run(recommender, sequences, HeldOut.Test, [1], skipUnknown: true);
        Assert.Equal(5, metrics.Users);
        Assert.Equal(3 / 5.0, metrics.HitRate(1), 1e-15);
        Assert.Equal(1, NextItemEvaluation.Compare(recommender, recommender, sequences, HeldOut.Test, [1], skipUnknown: true).Overlap(1));
    }

    [Theory]
    [InlineData(HeldOut.Test)]
    [InlineData(HeldOut.Validation)]
    public void ARecommenderThatFindsEverythingIsMeasuredAsAFullRanking(HeldOut which)
    {
        var scorer = new LargestNumber(ItemIds.FromStrings(["4", "2", "9", "1", "3", "5"]));
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 4, 5, 3], [3, 5, 2, 1, 4], [2, 3, 1, 4], [1, 2], [4, 1, 4, 4]]);
        RankingMetrics expected = NextItemEvaluation.Run(scorer, sequences, which, [1, 2, 6]), actual = NextItemEvaluation.Run(new FullRanking(scorer), sequences, which, [1, 2, 6]);
        foreach (int k in expected.Cutoffs)
            Assert.Equal((expected.HitRate(k), expected.Ndcg(k), expected.Mrr(k), expected.Users), (actual.HitRate(k), actual.Ndcg(k), actual.Mrr(k), actual.Users));
    }

    [Fact]
    public void ItemsThatShareAPlaceCountByTheirMeanAndOthersAsMisses()
    {
        // The groups {9, 5} and {3, 1}, without what is left out; 4 and 2 are never found.
        var recommender = new TwoGroups(ItemIds.FromStrings(["4", "2", "9", "1", "3", "5"]));
        InteractionSequences sequences = InteractionSequences.FromItems([[2, 4, 5], [5, 4, 3], [4, 5, 2], [2, 4, 1]]);
        RankingMetrics metrics = NextItemEvaluation.Run(recommender, sequences, HeldOut.Test, [1, 3]);
        Assert.Equal([3, 3, 3, 3], recommender.Counts);
        // 5 is first or second; 3 behind 9 second or third; 2 is missed; 1 third or fourth.
        Assert.Equal(0.5 / 4, metrics.HitRate(1), 1e-15);
        Assert.Equal((1 + 1 + 0 + 0.5) / 4, metrics.HitRate(3), 1e-15);
        Assert.Equal(((1 + 1 / 2.0) / 2 + (1 / 2.0 + 1 / 3.0) / 2 + 1 / 3.0 / 2) / 4, metrics.Mrr(3), 1e-15);
        // The test item is not in the history that the model is given; the validation item is.
        Assert.Equal(["2 4", "5 4", "4 5", "2 4"], recommender.Histories);
    }

    [Fact]
    public void TwoRecommendersAreComparedUserByUser()
    {
        InteractionSequences sequences = InteractionSequences.FromItems([[2, 4, 5], [5, 4, 3], [4, 5, 2], [2, 4, 1]]);
        var groups = new TwoGroups(ItemIds.FromStrings(["4", "2", "9", "1", "3", "5"]));
        // 9, 5, 4, 3, 2, 1 without the history, its items in another order.
        var numbers = new FullRanking(new LargestNumber(ItemIds.FromStrings(["1", "2", "3", "4", "5", "9"])));
        RankingComparison found = NextItemEvaluation.Compare(groups, numbers, sequences, HeldOut.Test, [1, 3]);
        Assert.Equal(NextItemEvaluation.Run(groups, sequences, HeldOut.Test, [1, 3]).Mrr(3), found.First.Mrr(3));
        // Ranks of the full ranking: 5 is second, 3 second, 2 third, 1 fourth of 9, 5, 3, 1.
        double[] first = [1, 1, 0, 0.5], second = [1, 1, 1, 0];
        double mean = first.Zip(second, (a, b) => (a - b) / 4).Sum();
        Assert.Equal(mean, found.Gains.HitRate(3), 1e-15);
        Assert.Equal(1.959963984540054 * Math.Sqrt(first.Zip(second, (a, b) => Math.Pow(a - b - mean, 2)).Sum() / 3 / 4), found.Gains.HitRateMargin(3), 1e-12);
        // The first three: 9 5 1 | 9 5 3;  9 1 3 | 9 3 2;  9 1 3 | 9 3 2;  9 5 1 | 9 5 3.
        Assert.Equal((2 + 2 + 2 + 2) / 12.0, found.Overlap(3), 1e-15);
        Assert.Equal(1, found.Overlap(1));
        Assert.Equal(1, NextItemEvaluation.Compare(numbers, numbers, sequences, HeldOut.Test, [1, 3]).Overlap(3));
    }

    private sealed class TwoGroups(ItemIds items) : INextItemRecommender
    {
        public ItemIds Items => items;

        public List<int> Counts { get; } = [];

        public List<string> Histories { get; } = [];

        public IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count)
        {
            Counts.AddRange(queries.Select(_ => count));
            Histories.AddRange(queries.Select(query => string.Join(' ', query.History.Select(row => items[row]))));
            return [.. queries.Select(query => (RankedGroup[])[new([.. new[] { 2, 5 }.Except(query.LeftOut)], -1), new([.. new[] { 3, 4 }.Except(query.LeftOut)], -2)])];
        }
    }

    // The item in the row after the last one of a history.
    private sealed class Following(ItemIds items) : INextItemRecommender
    {
        public ItemIds Items => items;

        public IReadOnlyList<RankedGroup[]> Recommend(IReadOnlyList<NextItemQuery> queries, int count) => [.. queries.Select(query => (RankedGroup[])[new([query.History[^1] + 1], 0)])];
    }

    private sealed class LargestNumber(ItemIds items) : INextItemScorer
    {
        public ItemIds Items => items;

        public void Score(IReadOnlyList<int[]> histories, Span<float> scores)
        {
            for (int i = 0; i < scores.Length; i++)
                scores[i] = int.Parse(items[i % items.Count]);
        }
    }
}
