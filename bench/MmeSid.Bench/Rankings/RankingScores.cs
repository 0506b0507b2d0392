using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Bench;

/// <summary>The scores that the rows of a table gave to the samples of their tests, and intervals of their measures; each is computed once.</summary>
/// <param name="table">Whose rows.</param>
/// <param name="pathOf">The file that a name of the shell stands for.</param>
/// <param name="size">Of the tests.</param>
internal sealed class RankingScores(RankingTable table, Func<string, string> pathOf, RankingSize size)
{
    private const int kColdBelow = 30;

    private readonly Dictionary<string, ClickScores[]> _scores = [];
    private readonly Dictionary<string, ClickIntervals> _intervals = [];
    private (ClickLog Log, ClickSample[] Samples, long[] Clicks)? _test;

    /// <summary>Measures of a row that is done.</summary>
    public ClickIntervals Of(RankingRow row) => Remembered(row.Name, () => UserBootstrap.Of(Scores(row), Options));

    /// <summary>One row less another, both done.</summary>
    public ClickIntervals Difference(RankingRow first, RankingRow second) => Remembered($"{first.Name}\n{second.Name}", () => UserBootstrap.Difference(Scores(first), Scores(second), Options));

    /// <summary>Samples of the tests.</summary>
    public ClickScores Samples(RankingRow row) => Scores(row)[0];

    /// <summary>Clicks of the tests on items that nobody clicked in training, which are never drawn beside a click.</summary>
    public int NewClicks => Test.Samples.Count(sample => sample.IsClicked && Test.Clicks[sample.Item] == 0);

    private BootstrapOptions Options { get; } = new() { Resamples = size.Quick ? 50 : 1000, Threads = 1 };

    private ClickIntervals Remembered(string key, Func<ClickIntervals> measure)
    {
        if (!_intervals.TryGetValue(key, out ClickIntervals? found))
            _intervals.Add(key, found = measure());
        return found;
    }

    private ClickScores[] Scores(RankingRow row)
    {
        if (!_scores.TryGetValue(row.Name, out ClickScores[]? found))
            _scores.Add(row.Name, found = [.. row.Tests.Select(Read)]);
        return found;
    }

    // The samples that 'evaluate' draws by default.
    private (ClickLog Log, ClickSample[] Samples, long[] Clicks) Test
    {
        get
        {
            if (_test is { } found)
                return found;
            ClickLog log = ClickLog.Of(InteractionSequences.ReadFile(pathOf(table.Sequences)));
            ClickSample[] samples = HeldOutSamples.Draw(log, new HeldOutSampleOptions { Negatives = NegativeItems.Popularity, NegativesPerClick = RankingTables.NegativesPerClick, MaximumUsers = size.Users }).Samples;
            return (_test = (log, samples, log.TrainingClicks())).Value;
        }
    }

    private ClickScores Read(Stage test) =>
        new(Test.Samples, ClickScoreFile.Read(pathOf($"{Stage.Work}/{test.Name}.tsv"), Test.Log.Clicks, Test.Samples), item => Test.Clicks[item] < kColdBelow);
}
