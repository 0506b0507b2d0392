using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Engine.Tests.Generation;

public sealed class ScoringRecommenderTests
{
    private const int kItems = 300, kDimension = 12;

    private static RowMatrix Matrix(ulong seed, double scale = 1)
    {
        var random = new RandomSource(seed);
        var matrix = new RowMatrix(kItems, kDimension);
        foreach (ref float value in matrix.Rows(0, kItems))
            value = (float)(scale * random.NextGaussian());
        return matrix;
    }

    private static MmeSidModel Model(string prefix = "", string suffix = "", int length = 6, double scale = 1) => new(ItemIds.Sequential(kItems), Matrix(1), Matrix(2, scale), length, prefix, suffix);

    private static int[][] Histories(int count)
    {
        var random = new RandomSource(5);
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, 1 + (int)random.NextLong(9)).Select(_ => (int)random.NextLong(kItems)).ToArray())];
    }

    // One entry after the other, float64.
    private static double[] Expected(MmeSidModel model, RecurrentLanguageModel language, int[] history)
    {
        double[] state = new double[kDimension];
        foreach (char letter in model.Prefix)
            state = language.Next(state, language.Embedding(letter));
        foreach (int item in history.TakeLast(model.Length))
            state = language.Next(state, model.Input(item));
        foreach (char letter in model.Suffix)
            state = language.Next(state, language.Embedding(letter));
        return [.. Enumerable.Range(0, kItems).Select(item => model.Output(item).ToArray().Select((value, i) => value * state[i]).Sum())];
    }

    [Theory]
    [InlineData("", "", 1)]
    [InlineData("before", "", 4)]
    [InlineData("", "behind", 4)]
    [InlineData("before", "behind", 3)]
    public void The_best_are_those_of_plain_loops(string prefix, string suffix, int users)
    {
        using MmeSidModel model = Model(prefix, suffix);
        using var language = new RecurrentLanguageModel(kDimension);
        using var recommender = new ScoringRecommender(model, new AdaptedLanguageModel(language), new ScalarBackend(), new() { Users = users, BatchSize = 7 });
        int[][] histories = Histories(10);
        IReadOnlyList<RankedGroup[]> results = recommender.Recommend([.. histories.Select(history => new NextItemQuery(history, history))], 15);
        var scores = new float[histories.Length * kItems];
        recommender.Score(histories, scores);
        IReadOnlyList<RankedGroup[]> ranked = new FullRanking(recommender).Recommend([.. histories.Select(history => new NextItemQuery(history, history))], 15);
        for (int user = 0; user < histories.Length; user++)
        {
            double[] expected = Expected(model, language, histories[user]);
            int[] best = [.. Enumerable.Range(0, kItems).Except(histories[user]).OrderByDescending(item => expected[item]).Take(15)];
            Assert.Equal(best, results[user].Select(group => Assert.Single(group.Items)));
            Assert.Equal(best, ranked[user].Select(group => Assert.Single(group.Items)));
            for (int item = 0; item < kItems; item++)
                Assert.Equal(expected[item], scores[(user * kItems) + item], 1e-5);
            Assert.All(results[user], group => Assert.Equal(expected[group.Items[0]], group.Score, 1e-5));
        }
    }

    [Fact]
    public void Ties_rank_by_row_and_everything_can_be_left_out()
    {
        using MmeSidModel model = Model(scale: 0);
        using var language = new RecurrentLanguageModel(kDimension);
        using var recommender = new ScoringRecommender(model, new AdaptedLanguageModel(language), new ScalarBackend());
        foreach (INextItemRecommender each in (INextItemRecommender[])[recommender, new FullRanking(recommender)])
        {
            Assert.Equal([0, 2, 3], each.Recommend([new NextItemQuery([5], [1, 1])], 3)[0].Select(group => group.Items[0]));
            Assert.Empty(each.Recommend([new NextItemQuery([5], [.. Enumerable.Range(0, kItems)])], 3)[0]);
            Assert.Equal(kItems - 1, each.Recommend([new NextItemQuery([5], [5])], int.MaxValue)[0].Length);
        }
    }

    /// <summary>Who leaves out the best items gets the next ones, and no more products are fetched for that than those items call for.</summary>
    [Fact]
    public void Users_who_leave_out_different_numbers_of_items_get_as_many()
    {
        const int kCount = 4, kLeftOut = 6;
        using MmeSidModel model = Model();
        using var language = new RecurrentLanguageModel(kDimension);
        var backend = new CountingBackend();
        using var recommender = new ScoringRecommender(model, new AdaptedLanguageModel(language), backend, new() { Users = 3 });
        int[] history = [1, 2];
        double[] expected = Expected(model, language, history);
        int[] ranking = [.. Enumerable.Range(0, kItems).OrderByDescending(item => expected[item])];
        int[] best = ranking[..kLeftOut];
        IReadOnlyList<RankedGroup[]> results = recommender.Recommend([new NextItemQuery(history, []), new NextItemQuery(history, [.. best, .. best]), new NextItemQuery(history, [best[0]])], kCount);
        Assert.Equal(ranking[..kCount], results[0].Select(group => group.Items[0]));
        Assert.Equal(ranking[kLeftOut..(kLeftOut + kCount)], results[1].Select(group => group.Items[0]));
        Assert.Equal(ranking[1..(1 + kCount)], results[2].Select(group => group.Items[0]));
        Assert.Equal([kCount + kLeftOut], backend.Counts);
    }

    // The scalar backend, and how many products of each query it was asked for.
    private sealed class CountingBackend : IBackend
    {
        private readonly ScalarBackend _scalar = new();

        public List<int> Counts { get; } = [];

        public string Name => _scalar.Name;

        public string Device => _scalar.Device;

        public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null) => throw new NotSupportedException();

        public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts) => throw new NotSupportedException();

        public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel) => throw new NotSupportedException();

        public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) => throw new NotSupportedException();

        public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
        {
            Counts.Add(count);
            _scalar.TopInnerProducts(queries, items, count, indices, scores);
        }
    }

    [Fact]
    public void What_does_not_fit_is_refused_in_one_line()
    {
        using MmeSidModel model = Model("before", "behind");
        using var language = new RecurrentLanguageModel(kDimension);
        using var recommender = new ScoringRecommender(model, new AdaptedLanguageModel(language), new ScalarBackend());
        Assert.Contains("history 1 is empty", Assert.Throws<ArgumentException>(() => recommender.Score([[1], []], new float[2 * kItems])).Message);
        Assert.Contains("need 300 scores, the span has 3", Assert.Throws<ArgumentException>(() => recommender.Score([[1]], new float[3])).Message);
        Assert.Contains("item row -1", Assert.Throws<ArgumentException>(() => recommender.Recommend([new NextItemQuery([1], [-1])], 1)).Message);
        using var narrow = new RecurrentLanguageModel(kDimension + 1);
        Assert.Contains("dimension 13, the items have 12", Assert.Throws<InvalidDataException>(() => new ScoringRecommender(model, new AdaptedLanguageModel(narrow), new ScalarBackend())).Message);
        using var brief = new RecurrentLanguageModel(kDimension) { TrainedContext = 12 };
        Assert.Contains("no room for an item", Assert.Throws<InvalidDataException>(() => new ScoringRecommender(model, new AdaptedLanguageModel(brief), new ScalarBackend())).Message);
        using var fitting = new RecurrentLanguageModel(kDimension) { TrainedContext = 15 };
        using var short3 = new ScoringRecommender(model, new AdaptedLanguageModel(fitting), new ScalarBackend());
        Assert.Equal(3, short3.MaximumHistory);
        Assert.NotEmpty(short3.Recommend([new NextItemQuery([1, 2, 3, 4, 5], [])], 1)[0]);
    }
}
