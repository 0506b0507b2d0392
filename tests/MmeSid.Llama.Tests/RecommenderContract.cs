using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Engine.Tests;
using MmeSid.Engine.Tests.Generation;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Llama.Tests;

/// <summary>What the recommenders give on a tiny Llama, whichever library runs it, against its float64 forward pass.</summary>
public abstract class RecommenderContract : IDisposable
{
    /// <summary>
    /// Hidden states differ by 1e-5 of the largest value at most (see <see cref="LanguageModelContract"/>); a logit sums 32 of them times normal weights, a score three logits and their normalisers.
    /// </summary>
    private const double kScore = 3e-4;

    // Queries in half precision move each of the three logits, of about twenty, by 3e-4 of it, and their normalisers.
    private const double kFastScore = 3e-2;

    private static readonly int[] s_codes = [4, 3, 5];

    private readonly ScratchFolder _scratch = new();

    /// <summary>Why the provider cannot run here, or null.</summary>
    protected abstract string? UnavailableReason { get; }

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    protected abstract ILanguageModel Load(string path);

    /// <summary>The scores of the items of a catalogue for a few users together, by search and by scoring, to hold providers against each other.</summary>
    protected (double[][] Searched, float[] Scored) Scores(Func<string, ILanguageModel> load, bool skipsUnseen)
    {
        var tiny = new TinyLlama();
        using var language = new AdaptedLanguageModel(load(tiny.Write(_scratch["tiny.gguf"])));
        var catalogue = new SidCatalogue(200, [6, 5, 7], tiny.Dimension);
        int[][] histories = catalogue.Histories(7);
        using var search = new SidRecommender(catalogue.Model, language, new() { Beams = 250, Users = 4, Threads = 1, SkipsUnseen = skipsUnseen });
        double[][] searched = [.. search.Recommend([.. histories.Select(history => new NextItemQuery(history, []))], 200).Select(groups =>
            groups.SelectMany(group => group.Items.Select(item => (item, group.Score))).OrderBy(entry => entry.item).Select(entry => entry.Score).ToArray())];
        using var model = new MmeSidModel(ItemIds.Sequential(200), Matrix(tiny.Weights["token_embd.weight"].Values.AsSpan(0, 200 * tiny.Dimension), tiny.Dimension),
            Matrix(Gaussian(200 * tiny.Dimension, 3), tiny.Dimension), 4, "hello", "");
        using var scoring = new ScoringRecommender(model, language, new ScalarBackend(), new() { Users = 4, Threads = 1 });
        var scored = new float[histories.Length * 200];
        scoring.Score(histories, scored);
        return (searched, scored);
    }

    private ILanguageModel Load(TinyLlama tiny)
    {
        Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");
        return Load(tiny.Write(_scratch["tiny.gguf"]));
    }

    private static RowMatrix Matrix(ReadOnlySpan<float> values, int dimension)
    {
        var matrix = new RowMatrix(values.Length / dimension, dimension);
        values.CopyTo(matrix.Rows(0, (int)matrix.Count));
        return matrix;
    }

    private static float[] Gaussian(int count, ulong seed)
    {
        var random = new RandomSource(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)random.NextGaussian())];
    }

    // Code r is token r of the model and the begin vector the token behind them, so that its own forward pass reads the same.
    private static SidLanguageModel Sids(TinyLlama tiny, string prefix, float[] head)
    {
        int total = s_codes.Sum();
        var random = new RandomSource(8);
        ushort[] sids = [.. Enumerable.Range(0, 45 * s_codes.Length).Select(i => (ushort)random.NextLong(s_codes[i % s_codes.Length]))];
        return new SidLanguageModel(ItemIds.Sequential(45), new SidTable(s_codes.Length, sids), s_codes,
            Matrix(tiny.Weights["token_embd.weight"].Values.AsSpan(0, (total + 1) * tiny.Dimension), tiny.Dimension), Matrix(head, tiny.Dimension), 10, prefix);
    }

    private static IEnumerable<int> Tokens(ReadOnlySpan<ushort> sid) => sid.ToArray().Select((code, level) => s_codes[..level].Sum() + code);

    private static double[] Logits(double[] hidden, float[] head, int level) =>
        [.. Enumerable.Range(s_codes[..level].Sum(), s_codes[level]).Select(row => hidden.Select((value, i) => value * head[(row * hidden.Length) + i]).Sum())];

    // Log-probabilities of all items.
    private static double[] Expected(TinyLlama tiny, SidLanguageModel model, float[] head, int[] prompt) => [.. Enumerable.Range(0, (int)model.Items.Count).Select(item =>
    {
        int[] path = [.. Tokens(model.Sids[item])];
        double[][] hidden = tiny.Forward([.. prompt, .. path[..^1]]).Hidden;
        double score = 0;
        for (int level = 0; level < s_codes.Length; level++)
        {
            double[] logits = Logits(hidden[prompt.Length - 1 + level], head, level);
            score += logits[model.Sids[item][level]] - Math.Log(logits.Sum(Math.Exp));
        }
        return score;
    })];

    [Theory]
    [InlineData("", false, false)]
    [InlineData("hello ", true, false)]
    [InlineData("hello ", false, true)]
    public void The_search_finds_what_the_forward_pass_of_every_item_finds(string prefix, bool adapted, bool fast)
    {
        var tiny = new TinyLlama();
        using ILanguageModel llama = Load(tiny);
        string? adapter = null;
        if (adapted)
        {
            LoraUpdate[] updates = [new("blk.0.ffn_down.weight", Gaussian(2 * 48, 3), Gaussian(32 * 2, 4), 2), new("blk.1.ffn_gate.weight", Gaussian(2 * 32, 5), Gaussian(48 * 2, 6), 2)];
            using FileStream stream = File.Create(adapter = _scratch["adapter.gguf"]);
            GgufLora.Write(stream, "llama", alpha: 1, updates);
            tiny = tiny.Merged(updates, 0.25 * 1 / 2);
        }
        float[] head = Gaussian(s_codes.Sum() * 32, 2);
        using SidLanguageModel model = Sids(tiny, prefix, head);
        using var language = AdaptedLanguageModel.Load(new LanguageModelFiles("", adapter, 0.25f), _ => llama);
        using var recommender = new SidRecommender(model, language, new() { Beams = 60, Threads = 1, SkipsUnseen = fast });
        foreach (int[] history in (int[][])[[3], [7, 1, 30, 3]])
        {
            int[] prompt = [.. llama.Tokenize(prefix, false, true), s_codes.Sum(), .. history.SelectMany(item => Tokens(model.Sids[item]))];
            double[] expected = Expected(tiny, model, head, prompt);
            RankedGroup[] result = recommender.Recommend([new NextItemQuery(history, [])], 45)[0];
            Assert.Equal(Enumerable.Range(0, 45), result.SelectMany(group => group.Items).Order());
            Assert.All(result, group => Assert.All(group.Items, item => Assert.Equal(expected[item], group.Score, fast ? kFastScore : kScore)));
            Assert.Equal(result.OrderByDescending(group => group.Score).Select(group => group.Score), result.Select(group => group.Score));
        }
    }

    [Fact]
    public void Users_together_get_what_each_gets_alone()
    {
        using ILanguageModel llama = Load(new TinyLlama());
        var catalogue = new SidCatalogue(2000, [24, 24, 24], 32, seed: 4);
        using var language = new AdaptedLanguageModel(llama);
        using var together = new SidRecommender(catalogue.Model, language, new() { Users = 8, BatchSize = 100, Threads = 1 });
        using var alone = new SidRecommender(catalogue.Model, language, new() { Users = 1, Threads = 1 });
        NextItemQuery[] queries = [.. catalogue.Histories(21).Select(history => new NextItemQuery(history, history))];
        IReadOnlyList<RankedGroup[]> results = together.Recommend(queries, 20);
        for (int user = 0; user < queries.Length; user++)
        {
            RankedGroup[] single = alone.Recommend([queries[user]], 20)[0];
            Assert.Equal(single.Select(group => string.Join(' ', group.Items)), results[user].Select(group => string.Join(' ', group.Items)));
            Assert.All(single.Zip(results[user]), pair => Assert.Equal(pair.First.Score, pair.Second.Score, 1e-5));
        }
    }

    [Fact]
    public void Chunks_of_beams_find_the_same()
    {
        using ILanguageModel llama = Load(new TinyLlama());
        var catalogue = new SidCatalogue(900, [6, 10, 16, 9], 32, length: 6);
        using var language = new AdaptedLanguageModel(llama);
        using var wide = new SidRecommender(catalogue.Model, language, new() { Beams = 2000, Threads = 1 });
        int[] history = catalogue.Histories(1)[0];
        RankedGroup[] all = wide.Recommend([new NextItemQuery(history, history)], 900)[0];
        Assert.Equal(Enumerable.Range(0, 900).Except(history), all.SelectMany(group => group.Items).Order());
        // The best of all are what a search of 250 beams, which all fit, gives the same scores.
        using var fitting = new SidRecommender(catalogue.Model, language, new() { Beams = 250, Threads = 1 });
        Dictionary<int, double> scores = all.ToDictionary(group => group.Items[0], group => group.Score);
        Assert.All(fitting.Recommend([new NextItemQuery(history, history)], 200)[0], group => Assert.Equal(scores[group.Items[0]], group.Score, 1e-5));
    }

    [Fact]
    public void A_score_is_that_of_the_forward_pass()
    {
        var tiny = new TinyLlama();
        using ILanguageModel llama = Load(tiny);
        float[] outputs = Gaussian(50 * 32, 3);
        // Item i is token i.
        using var model = new MmeSidModel(ItemIds.Sequential(50), Matrix(tiny.Weights["token_embd.weight"].Values.AsSpan(0, 50 * 32), 32), Matrix(outputs, 32), 4, TinyLlama.Begin + "hello", " he");
        using var language = new AdaptedLanguageModel(llama);
        using var recommender = new ScoringRecommender(model, language, new ScalarBackend(), new() { Users = 2, Threads = 1 });
        int[][] histories = [[1, 2, 3], [9], [10, 11, 12, 13, 14, 15]];
        var scores = new float[3 * 50];
        recommender.Score(histories, scores);
        int[] suffix = llama.Tokenize(" he", false, false);
        IReadOnlyList<RankedGroup[]> best = recommender.Recommend([.. histories.Select(history => new NextItemQuery(history, history))], 5);
        for (int user = 0; user < histories.Length; user++)
        {
            double[] hidden = tiny.Forward([TinyLlama.BeginToken, 259, .. histories[user].TakeLast(4), .. suffix]).Hidden[^1];
            double[] expected = [.. Enumerable.Range(0, 50).Select(item => hidden.Select((value, i) => value * outputs[(item * 32) + i]).Sum())];
            for (int item = 0; item < 50; item++)
                Assert.Equal(expected[item], scores[(user * 50) + item], kScore);
            Assert.Equal(Enumerable.Range(0, 50).Except(histories[user]).OrderByDescending(item => expected[item]).Take(5), best[user].Select(group => group.Items[0]));
        }
    }
}
