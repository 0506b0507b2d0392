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
