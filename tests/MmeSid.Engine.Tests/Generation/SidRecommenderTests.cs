using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Generation;

public sealed class SidRecommenderTests
{
    /// <summary>Hidden states and products are float32 in the search, float64 in the oracle: 16 products of values about 1 a level, each within 6e-8 of its size.</summary>
    private const double kFloat32 = 2e-5;

    private static void Same(RankedGroup[] expected, RankedGroup[] actual, int count)
    {
        int items = 0, groups = 0;
        while (groups < expected.Length && items < count)
            items += expected[groups++].Items.Length;
        Assert.Equal(groups, actual.Length);
        for (int i = 0; i < groups; i++)
        {
            Assert.Equal(expected[i].Items, actual[i].Items);
            Assert.Equal(expected[i].Score, actual[i].Score, kFloat32);
        }
    }

    private static NextItemQuery[] Queries(int[][] histories, bool masked = true) => [.. histories.Select(history => new NextItemQuery(history, masked ? history : []))];

    [Theory]
    [InlineData(SidScores.Raw, 1, "")]
    [InlineData(SidScores.Raw, 3, "Read this: ")]
    [InlineData(SidScores.Renormalised, 2, "")]
    public void Wide_beams_are_exhaustive_scoring(SidScores scores, int users, string prefix)
    {
        var catalogue = new SidCatalogue(150, [5, 4, 7], 16, prefix: prefix);
        using var language = new RecurrentLanguageModel(16);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 1000, Scores = scores, Users = users, BatchSize = 37 });
        int[][] histories = catalogue.Histories(7);
        IReadOnlyList<RankedGroup[]> results = recommender.Recommend(Queries(histories), 1000);
        for (int user = 0; user < histories.Length; user++)
        {
            double[] all = catalogue.Exhaustive(language, histories[user], scores);
            Same(catalogue.Ranking(all, histories[user]), results[user], 1000);
            if (scores == SidScores.Renormalised)
                Assert.Equal(1, catalogue.Ranking(all, []).Sum(group => Math.Exp(group.Score)), 1e-9);
        }
    }

    // Many calls of the language model for a chunk, or room for several chunks in one: they still take one another's sequences.
    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void More_beams_than_sequences_go_in_chunks_to_the_same_result(int batchSize)
    {
        // 1,200 items: levels of 6, about 60 and about 700 prefixes; a context has 256 sequences.
        var catalogue = new SidCatalogue(1200, [6, 10, 16, 9], 8, length: 4);
        using var language = new RecurrentLanguageModel(8);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 2000, BatchSize = batchSize });
        Assert.True(catalogue.Model.Trie.NodeCount(3) > 600);
        Assert.Equal(256, language.LastOptions!.Sequences);
        int[][] histories = catalogue.Histories(2);
        IReadOnlyList<RankedGroup[]> results = recommender.Recommend(Queries(histories), 1500);
        for (int user = 0; user < histories.Length; user++)
            Same(catalogue.Ranking(catalogue.Exhaustive(language, [.. histories[user].TakeLast(4)], SidScores.Raw), histories[user]), results[user], 1500);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(20)]
    public void Narrow_beams_are_the_search_by_plain_loops(int beams)
    {
        var catalogue = new SidCatalogue(400, [12, 9, 11], 12, seed: 3, scale: 1.5);
        using var language = new RecurrentLanguageModel(12);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = beams, Users = 6 });
        int[][] histories = catalogue.Histories(9);
        IReadOnlyList<RankedGroup[]> results = recommender.Recommend(Queries(histories), Math.Min(beams, 10));
        for (int user = 0; user < histories.Length; user++)
            Same(Search(catalogue, language, histories[user], beams), results[user], Math.Min(beams, 10));
    }

    // Level by level the best prefixes below which something is not left out, by sorting.
    private static RankedGroup[] Search(SidCatalogue catalogue, RecurrentLanguageModel language, int[] history, int beams)
    {
        SidTable sids = catalogue.Sids;
        int[] allowed = [.. Enumerable.Range(0, (int)sids.Count).Except(history)];
        var kept = new List<string> { "" };
        for (int level = 1; level < sids.Levels; level++)
        {
            var shorter = new SidCatalogueScores(catalogue, language, history, level);
            kept = [.. allowed.Select(item => SidText.Numbers(sids[item][..level])).Distinct().Where(prefix => level == 1 || kept.Contains(prefix[..prefix.LastIndexOf('-')]))
                .OrderByDescending(shorter.Of).Take(beams)];
        }
        double[] all = catalogue.Exhaustive(language, history, SidScores.Raw);
        return [.. catalogue.Ranking(all, history).Where(group => kept.Contains(SidText.Numbers(sids[group.Items[0]][..(sids.Levels - 1)]))).Take(beams)];
    }

    // Log-probabilities of prefixes.
    private sealed class SidCatalogueScores(SidCatalogue catalogue, RecurrentLanguageModel language, int[] history, int level)
    {
        private readonly Dictionary<string, double> _scores = [];

        public double Of(string prefix)
        {
            if (_scores.TryGetValue(prefix, out double score))
                return score;
            double[] state = language.Next(new double[language.EmbeddingDimension], catalogue.Model.BeginVector);
            foreach (int item in history)
            {
                for (int l = 0; l < catalogue.Model.Levels; l++)
                    state = language.Next(state, catalogue.Model.CodeVector(l, catalogue.Sids[item][l]));
            }
            ushort[] codes = SidText.Parse(prefix);
            for (int l = 0; l < level; l++)
            {
                var head = new double[catalogue.Codes[l]];
                for (int code = 0; code < head.Length; code++)
                {
                    for (int i = 0; i < state.Length; i++)
                        head[code] += catalogue.Model.Head(l)[code][i] * state[i];
                }
                score += head[codes[l]] - Math.Log(head.Sum(Math.Exp));
                state = language.Next(state, catalogue.Model.CodeVector(l, codes[l]));
            }
            return _scores[prefix] = score;
        }
    }

    [Fact]
    public void Every_result_is_a_real_SID_and_a_batch_of_users_is_each_alone()
    {
        var catalogue = new SidCatalogue(3000, [32, 32, 32, 32], 16, seed: 7);
        using var language = new RecurrentLanguageModel(16);
        using var together = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 20, Users = 8, BatchSize = 64 });
        using var alone = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 20, Users = 1 });
        NextItemQuery[] queries = Queries(catalogue.Histories(21));
        IReadOnlyList<RankedGroup[]> results = together.Recommend(queries, 20);
        for (int user = 0; user < queries.Length; user++)
        {
            RankedGroup[] single = alone.Recommend([queries[user]], 20)[0];
            Assert.Equal(single.Select(group => group.Score), results[user].Select(group => group.Score));
            Assert.Equal(single.SelectMany(group => group.Items), results[user].SelectMany(group => group.Items));
            Assert.True(results[user].Sum(group => group.Items.Length) >= 20);
            Assert.Empty(results[user].SelectMany(group => group.Items).Intersect(queries[user].History));
            foreach (RankedGroup group in results[user])
            {
                ushort[] sid = catalogue.Sids[group.Items[0]].ToArray();
                Assert.Equal(catalogue.Model.Trie.Items(sid).ToArray().Except(queries[user].LeftOut), group.Items);
            }
        }
        // Three steps of 20 beams and a prompt for each user; nothing is read twice.
        int before = language.EntriesRead;
        alone.Recommend([queries[0]], 20);
        Assert.Equal((queries[0].History.Length * 4) + 60, language.EntriesRead - before);
    }

    [Fact]
    public void What_was_seen_takes_no_place_of_the_result()
    {
        // Two levels: all items of prefix 0 were seen but for one of two that share a SID.
        ushort[] sids = [0, 0, 0, 1, 0, 1, 1, 0, 1, 1, 2, 0];
        var catalogue = new SidCatalogue(6, [3, 2], 8, sids: sids);
        using var language = new RecurrentLanguageModel(8);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 1 });
        for (int last = 0; last < 3; last++)
        {
            int[] seen = last == 0 ? [0, 1, 2] : last == 1 ? [0, 1] : [3, 4, 0];
            foreach (int[] history in (int[][])[seen, [.. seen.Reverse()], [.. seen, .. seen]])
            {
                // One beam: were a prefix followed below which all was seen, nothing would come out.
                RankedGroup[] result = recommender.Recommend([new NextItemQuery(history, history)], 1)[0];
                Assert.Single(result);
                Assert.Empty(result[0].Items.Intersect(history));
                Assert.Equal(Search(catalogue, language, history, 1)[0].Items, result[0].Items);
            }
        }
        Assert.Empty(recommender.Recommend([new NextItemQuery([0], [0, 1, 2, 3, 4, 5])], 1)[0]);
        // With equal scores prefix 0 would be followed first.
        var equal = new SidCatalogue(6, [3, 2], 8, scale: 0, sids: sids);
        using var first = new SidRecommender(equal.Model, new AdaptedLanguageModel(language), new() { Beams = 1 });
        Assert.Equal([3], Assert.Single(first.Recommend([new NextItemQuery([0], [2, 1, 0])], 1)[0]).Items);
        Assert.Equal([2], Assert.Single(first.Recommend([new NextItemQuery([0], [1, 0])], 1)[0]).Items);
        // An item that is named twice is not two of a SID.
        Assert.Equal([2], Assert.Single(first.Recommend([new NextItemQuery([0], [1, 0, 1])], 1)[0]).Items);
        // Seen items come back where they are not left out.
        using var wide = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language));
        Assert.Equal([0, 1, 2, 3, 4, 5], wide.Recommend([new NextItemQuery([0, 1], [])], 6)[0].SelectMany(group => group.Items).Order());
    }

    [Fact]
    public void Equal_scores_rank_by_SID_and_shared_SIDs_by_row()
    {
        // With a scale of 0 all codes are equally likely.
        var catalogue = new SidCatalogue(7, [3, 2], 4, scale: 0, sids: [2, 1, 0, 1, 1, 0, 0, 1, 0, 0, 2, 1, 2, 0]);
        using var language = new RecurrentLanguageModel(4);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language));
        RankedGroup[] result = recommender.Recommend([new NextItemQuery([0], [])], 7)[0];
        Assert.Equal([[4], [1, 3], [2], [6], [0, 5]], result.Select(group => group.Items));
        Assert.All(result, group => Assert.Equal(-Math.Log(6), group.Score, 1e-12));
        using var one = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 2 });
        Assert.Equal([[4], [1, 3]], one.Recommend([new NextItemQuery([0], [])], 2)[0].Select(group => group.Items));
    }

    [Theory]
    [InlineData(5, 1000, 5)]
    [InlineData(50, 19, 4)]
    public void Of_a_long_history_the_oldest_items_are_dropped(int length, int context, int expected)
    {
        // A context of 19: prefix of 3 and begin vector, two codes that may follow, leave 13 entries, 4 items of 3.
        var catalogue = new SidCatalogue(60, [4, 5, 6], 8, length: length, prefix: "abc");
        using var language = new RecurrentLanguageModel(8) { TrainedContext = context };
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 60 });
        Assert.Equal(expected, recommender.MaximumHistory);
        int[] history = [.. Enumerable.Range(0, 12)];
        Same(catalogue.Ranking(catalogue.Exhaustive(language, [.. history.TakeLast(expected)], SidScores.Raw), history), recommender.Recommend([new NextItemQuery(history, history)], 60)[0], 60);
    }

    [Fact]
    public void What_does_not_fit_is_refused_in_one_line()
    {
        var catalogue = new SidCatalogue(60, [4, 5, 6], 8);
        using var language = new RecurrentLanguageModel(8);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 5 });
        Assert.Contains("history 0 is empty", Assert.Throws<ArgumentException>(() => recommender.Recommend([new NextItemQuery([], [])], 5)).Message);
        Assert.Contains("item row 60", Assert.Throws<ArgumentException>(() => recommender.Recommend([new NextItemQuery([60], [])], 5)).Message);
        Assert.Contains("6 items are wanted of 5 beams", Assert.Throws<ArgumentException>(() => recommender.Recommend([new NextItemQuery([1], [])], 6)).Message);
        using var narrow = new RecurrentLanguageModel(7);
        Assert.Contains("dimension 7, the SID vectors have 8", Assert.Throws<InvalidDataException>(() => new SidRecommender(catalogue.Model, new AdaptedLanguageModel(narrow))).Message);
        using var brief = new RecurrentLanguageModel(8) { TrainedContext = 5 };
        Assert.Contains("no room", Assert.Throws<InvalidDataException>(() => new SidRecommender(catalogue.Model, new AdaptedLanguageModel(brief))).Message);
        var infinite = new SidCatalogue(60, [4, 5, 6], 8, scale: 1e38);
        using var broken = new SidRecommender(infinite.Model, new AdaptedLanguageModel(language));
        Assert.Throws<NotFiniteNumberException>(() => broken.Recommend([new NextItemQuery([1], [])], 5));
    }

    /// <summary>Whichever call of the language model fails, nothing of that search is left in the next one.</summary>
    [Fact]
    public void After_a_failure_the_next_search_is_whole()
    {
        var catalogue = new SidCatalogue(150, [5, 4, 7], 8);
        using var language = new RecurrentLanguageModel(8);
        // A level of beams takes several calls.
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 20, Users = 2, BatchSize = 7 });
        NextItemQuery[] queries = Queries(catalogue.Histories(2));
        string Result() => string.Join('\n', recommender.Recommend(queries, 20).SelectMany(groups => groups).Select(group => $"{group.Score:R} {string.Join(' ', group.Items)}"));
        int before = language.Decodes;
        string whole = Result();
        int calls = language.Decodes - before;
        for (int call = 0; call < calls; call++)
        {
            language.DecodesUntilFailure = call;
            Assert.Throws<NativeException>(Result);
            Assert.Equal(whole, Result());
        }
    }

    [Fact]
    public void One_level_is_enough()
    {
        var catalogue = new SidCatalogue(30, [40], 8);
        using var language = new RecurrentLanguageModel(8);
        using var recommender = new SidRecommender(catalogue.Model, new AdaptedLanguageModel(language), new() { Beams = 40 });
        Same(catalogue.Ranking(catalogue.Exhaustive(language, [3], SidScores.Raw), [3]), recommender.Recommend([new NextItemQuery([3], [3])], 40)[0], 40);
    }

    [Fact]
    public void A_search_allocates_little()
    {
        var catalogue = new SidCatalogue(3000, [64, 64, 64, 64], 8);
        using var language = new RecurrentLanguageModel(8);
        var masked = MaskedNodes.Of(catalogue.Model.Trie, catalogue.Sids, [1, 2, 3]);
        var beams = new SidBeams(20, 4);
        void Steps()
        {
            beams.Start(masked);
            for (int level = 0; level < 4; level++)
            {
                for (int i = 0; i < 1000; i++)
                    beams.Offer(i, -i, 0, 1);
                beams.Advance();
                beams.Place();
            }
        }
        Steps();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Steps();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
