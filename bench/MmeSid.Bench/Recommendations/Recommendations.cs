using System.Globalization;
using System.Text;

namespace MmeSid.Bench;

/// <summary>Trains and tests recommenders on real data by the commands of <see cref="RecommendationTables"/>, and writes the page of them.</summary>
internal static class Recommendations
{
    private const string kTarget = "Recommendations";

    /// <summary>Runs what is not yet done and writes <c>recommendations.md</c> after every row.</summary>
    /// <param name="resultsFolder">Where the page goes.</param>
    /// <param name="work">Where stages keep what they make; a command that was interrupted goes on.</param>
    /// <param name="repository">Whose program is run, as it was built beside this one.</param>
    /// <param name="dataFolder">The real data, or null: then nothing is run.</param>
    /// <param name="machine">For the page.</param>
    /// <param name="wanted">Keys of tables to run, 'all' or 'none'; the page shows everything that is done.</param>
    /// <returns>The page's path.</returns>
    public static string Run(string resultsFolder, string work, string repository, string? dataFolder, Machine machine, string wanted)
    {
        var experiments = new RecommendationTables();
        string[] chosen = ExperimentPage.Chosen([.. experiments.Tables.Select(table => table.Key)], wanted);
        var runner = new StageRunner(ExperimentPage.Program(repository), dataFolder ?? "", work, machine.Commit, experiments.Stages);
        foreach (RecommendationTable table in experiments.Tables.Where(table => chosen.Contains(table.Key) && dataFolder is not null))
        {
            BenchRun.Say(table.Title);
            foreach (TableRow row in table.Rows)
            {
                runner.Get(row.Test);
                Write(experiments, runner, resultsFolder, machine);
            }
        }
        return Write(experiments, runner, resultsFolder, machine);
    }

    private static string Write(RecommendationTables experiments, StageRunner runner, string resultsFolder, Machine machine)
    {
        StringBuilder page = ExperimentPage.Begin("Recommending on real data", kTarget, experiments.Stages, runner, machine);
        page.Append("Every user's last event is predicted among all items but those of the history; the last but one chooses the epoch. No model, embedding or SID of ours has seen either of them (what published SIDs have seen is not known here). ");
        page.Append("± is half the 95 % confidence interval over users, of gains that of differences within users; one seed. The commands below each table make it again: `$DATA` is the folder of the data, `$WORK` an empty folder. Seconds of training are those of its epochs, on one thread of a machine that had other work.\n\n");
        var shown = new HashSet<Stage>();
        foreach (RecommendationTable table in experiments.Tables)
            AppendTable(page, table, runner, shown);
        return ExperimentPage.Write(page, kTarget, resultsFolder);
    }

    private static void AppendTable(StringBuilder page, RecommendationTable table, StageRunner runner, HashSet<Stage> shown)
    {
        TableRow[] done = [.. table.Rows.Where(row => runner.Find(row.Test) is not null)];
        if (done.Length == 0)
            return;
        page.Append(CultureInfo.InvariantCulture, $"## {table.Title}\n\n{table.Text}\n\n| |{string.Join('|', table.Columns.Select(column => $" {column.Header} "))}|\n|---|{string.Concat(Enumerable.Repeat("---:|", table.Columns.Count))}\n");
        foreach (TableRow row in done)
            page.Append(CultureInfo.InvariantCulture, $"| {row.Name} |{string.Join('|', table.Columns.Select(column => $" {column.Value(row, runner.Find)} "))}|\n");
        ExperimentPage.AppendMissing(page, [.. table.Rows.Except(done).Select(row => row.Name)]);
        ExperimentPage.AppendCommands(page, done.SelectMany(row => runner.LeadingTo(row.Test)), shown);
    }
}
