using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Bench;

/// <summary>Trains and tests rankers on real data by the commands of <see cref="RankingTables"/>, and writes the page of them.</summary>
internal static class Rankings
{
    private const string kTarget = "Rankings";

    /// <summary>Runs what is not yet done and writes <c>rankings.md</c> after every row.</summary>
    /// <param name="resultsFolder">Where the page goes.</param>
    /// <param name="work">Where stages keep what they make.</param>
    /// <param name="repository">Whose program is run, as it was built beside this one.</param>
    /// <param name="dataFolder">The real data, or null: then nothing is run.</param>
    /// <param name="machine">For the page.</param>
    /// <param name="wanted">Keys of tables to run, 'all' or 'none'; the page shows everything that is done.</param>
    /// <param name="size">How much is run.</param>
    /// <returns>The page's path.</returns>
    public static string Run(string resultsFolder, string work, string repository, string? dataFolder, Machine machine, string wanted, RankingSize size)
    {
        var experiments = new RankingTables(size);
        string[] chosen = ExperimentPage.Chosen([.. experiments.Tables.Select(table => table.Key)], wanted);
        var runner = new StageRunner(ExperimentPage.Program(repository), dataFolder ?? "", work, machine.Commit, experiments.Stages);
        Dictionary<RankingTable, RankingScores> scores = experiments.Tables.ToDictionary(table => table, table => new RankingScores(table, runner.PathOf, size));
        foreach (RankingTable table in experiments.Tables.Where(table => chosen.Contains(table.Key) && dataFolder is not null))
        {
            BenchRun.Say(table.Title);
            foreach (RankingRow row in table.Rows)
            {
                foreach (Stage stage in row.Sids is { } sids ? [sids, .. row.Tests] : row.Tests)
                    runner.Get(stage);
                Write(experiments, runner, scores, resultsFolder, machine, size);
            }
        }
        return Write(experiments, runner, scores, resultsFolder, machine, size);
    }

    private static string Write(RankingTables experiments, StageRunner runner, Dictionary<RankingTable, RankingScores> scores, string resultsFolder, Machine machine, RankingSize size)
    {
        StringBuilder page = ExperimentPage.Begin("Ranking on real data", kTarget, experiments.Stages, runner, machine);
        page.Append(CultureInfo.InvariantCulture, $"Each user's last click is told from {RankingTables.NegativesPerClick} items that the user never clicked, drawn in proportion to their clicks in training, as are the negatives of training (one per click); no data set here says what was shown and not clicked. ");
        page.Append(CultureInfo.InvariantCulture, $"The last click but one chooses the epoch. Every row is the mean of {size.Seeds} seeds, of its SIDs and of its training, over the same samples; intervals are 95 %, by a bootstrap over users and seeds, differences in pairs: the same users, seed by seed. ");
        page.Append(CultureInfo.InvariantCulture, $"Drawing {size.Seeds} seeds again understates how far seeds lie apart a little, and the {2 * experiments.Tables.Max(table => table.Pairs.Count)} differences of a table are not corrected for their number: of those that are none, one in twenty is expected to look decided. ");
        page.Append("*Cold*: items with fewer than 30 clicks in training; one without any is never drawn in proportion to clicks, so that among cold samples it stands on the side of the clicks alone. *AUC by user*: mean of each user's own, weighted by samples. ");
        page.Append("*Information*, *purity*: how each level of the SIDs of the first seed agrees with the embeddings they were made of, as adjusted mutual information with clusters of them (0 is chance, 1 equal) and as the share of 10 neighbours that have the same code: what PSRQ's paper calls semantic degradation where it falls with the level. ");
        page.Append("MCCA's SIDs are PSRQ's. The commands below each table make it again, here for the first seed: `$DATA` is the folder of the data, `$WORK` an empty folder.\n\n");
        var shown = new HashSet<Stage>();
        foreach (RankingTable table in experiments.Tables)
            AppendTable(page, table, runner, scores[table], shown);
        return ExperimentPage.Write(page, kTarget, resultsFolder);
    }

    private static void AppendTable(StringBuilder page, RankingTable table, StageRunner runner, RankingScores scores, HashSet<Stage> shown)
    {
        RankingRow[] done = [.. table.Rows.Where(row => row.Tests.All(test => runner.Find(test) is not null))];
        if (done.Length == 0)
            return;
        ClickScores samples = scores.Samples(done[0]);
        page.Append(CultureInfo.InvariantCulture, $"## {table.Title}\n\n{table.Text} {samples.Users:N0} users are tested on {samples.Samples:N0} samples, {samples.ColdSamples:N0} of them of cold items; {scores.NewClicks:N0} of their {samples.Clicks:N0} clicks are of items that nobody clicked in training.\n\n");
        page.Append("| | AUC | AUC cold | AUC by user | log loss | information by level | purity by level |\n|---|---:|---:|---:|---:|---|---|\n");
        foreach (RankingRow row in done)
        {
            ClickIntervals measured = scores.Of(row);
            JsonArray? levels = row.Sids is { } sids ? runner.Find(sids)?.Figures?["levels"]?.AsArray() : null;
            page.Append(CultureInfo.InvariantCulture, $"| {row.Name} | {WithMargin(measured.Auc)} | {WithMargin(measured.ColdAuc)} | {WithMargin(measured.GroupedAuc)} | {WithMargin(measured.LogLoss)} | {ByLevel(levels, "mutual_information")} | {ByLevel(levels, "neighbour_purity")} |\n");
        }
        ExperimentPage.AppendMissing(page, [.. table.Rows.Except(done).Select(row => row.Name)]);
        AppendDifferences(page, table, done, scores);
        ExperimentPage.AppendCommands(page, done.SelectMany(row => (Stage[])[.. row.Sids is { } sids ? runner.LeadingTo(sids) : [], .. runner.LeadingTo(row.Tests[0])]), shown);
    }

    private static void AppendDifferences(StringBuilder page, RankingTable table, RankingRow[] done, RankingScores scores)
    {
        (RankingRow First, RankingRow Second)[] pairs = [.. table.Pairs.Select(pair => (done.FirstOrDefault(row => row.Name == pair.First), done.FirstOrDefault(row => row.Name == pair.Second)))
            .Where(pair => pair.Item1 is not null && pair.Item2 is not null).Select(pair => (pair.Item1!, pair.Item2!))];
        if (pairs.Length == 0)
            return;
        page.Append("\n| difference | AUC | | AUC cold | |\n|---|---:|---|---:|---|\n");
        foreach ((RankingRow first, RankingRow second) in pairs)
        {
            ClickIntervals difference = scores.Difference(first, second);
            page.Append(CultureInfo.InvariantCulture, $"| {first.Name} − {second.Name} | {WithEnds(difference.Auc)} | {Judged(difference.Auc)} | {WithEnds(difference.ColdAuc)} | {Judged(difference.ColdAuc)} |\n");
        }
    }

    private static string Judged(BootstrapInterval difference) => !difference.ExcludesZero ? "not decided" : difference.Value > 0 ? "better" : "worse";

    private static string WithMargin(BootstrapInterval measured) => double.IsNaN(measured.Value) ? "" : string.Create(CultureInfo.InvariantCulture, $"{measured.Value:F4} ± {measured.Margin:F4}");

    private static string WithEnds(BootstrapInterval difference) => double.IsNaN(difference.Value) ? "" : string.Create(CultureInfo.InvariantCulture, $"{difference.Value:+0.0000;−0.0000} ({difference.Low:+0.0000;−0.0000} … {difference.High:+0.0000;−0.0000})");

    private static string ByLevel(JsonArray? levels, string column) => levels is null ? "" : string.Join(' ', levels.Select(level => level![column]?.GetValue<double>().ToString("F2", CultureInfo.InvariantCulture)));
}
