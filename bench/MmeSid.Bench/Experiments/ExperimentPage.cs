using System.Globalization;
using System.Text;

namespace MmeSid.Bench;

/// <summary>What the pages of experiments share: which tables are run, the head, the commands and the notes behind them.</summary>
internal static class ExperimentPage
{
    /// <summary>Folder of the program <c>mmesid</c> of a repository: bin/&lt;configuration&gt;/&lt;framework&gt;/ as this program.</summary>
    public static string Program(string repository)
    {
        var own = new DirectoryInfo(AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar));
        return Path.Combine(repository, "src", "MmeSid.Cli", "bin", own.Parent!.Name, own.Name);
    }

    /// <summary>The tables that are to be run.</summary>
    /// <param name="keys">Of all tables.</param>
    /// <param name="wanted">Some of them with commas between, 'all' or 'none'.</param>
    /// <exception cref="ArgumentException">There is no such table.</exception>
    public static string[] Chosen(string[] keys, string wanted)
    {
        string[] chosen = wanted switch { "all" => keys, "none" => [], _ => wanted.Split(',', StringSplitOptions.TrimEntries) };
        return chosen.Except(keys).FirstOrDefault() is { } unknown ? throw new ArgumentException($"there is no table '{unknown}'; there are {string.Join(", ", keys)}") : chosen;
    }

    /// <summary>Begins a page.</summary>
    /// <param name="title">Its heading.</param>
    /// <param name="target">The target of the build that writes it; its small letters name the files.</param>
    /// <param name="stages">All.</param>
    /// <param name="runner">Which of them are done.</param>
    /// <param name="machine">Where.</param>
    public static StringBuilder Begin(string title, string target, IEnumerable<Stage> stages, StageRunner runner, Machine machine)
    {
        var page = new StringBuilder();
        string[] commits = [.. stages.Select(stage => runner.Find(stage)?.Commit).OfType<string>().Distinct()];
        page.Append(CultureInfo.InvariantCulture, $"# {title}\n\nWritten by `./build.sh --target {target}`; do not edit (the last section is `{NameOf(target)}.notes.md`). ");
        page.Append(CultureInfo.InvariantCulture, $"{machine.Date}{(commits.Length > 0 ? $"; run at the commits {string.Join(", ", commits)}" : "")}; {machine.Processor}.\n\n");
        return page;
    }

    /// <summary>Names the rows of a table that are missing.</summary>
    public static void AppendMissing(StringBuilder page, IReadOnlyList<string> missing)
    {
        if (missing.Count > 0)
            page.Append(CultureInfo.InvariantCulture, $"\nNot run yet: {string.Join("; ", missing)}.\n");
    }

    /// <summary>Adds the commands that no table before has shown.</summary>
    /// <param name="page">The page.</param>
    /// <param name="stages">That led to a table.</param>
    /// <param name="shown">Those of tables before; takes these.</param>
    public static void AppendCommands(StringBuilder page, IEnumerable<Stage> stages, HashSet<Stage> shown)
    {
        Stage[] commands = [.. stages.Distinct().Where(shown.Add)];
        if (commands.Length > 0)
            page.Append(CultureInfo.InvariantCulture, $"\n```\n{string.Join('\n', commands.Select(stage => stage.Command))}\n```\n");
        page.Append('\n');
    }

    /// <summary>Adds the notes, where there are any, and writes the file.</summary>
    /// <returns>Its path.</returns>
    public static string Write(StringBuilder page, string target, string resultsFolder)
    {
        string notes = Path.Combine(resultsFolder, $"{NameOf(target)}.notes.md"), path = Path.Combine(resultsFolder, $"{NameOf(target)}.md");
        if (File.Exists(notes))
            page.Append(File.ReadAllText(notes));
        Directory.CreateDirectory(resultsFolder);
        File.WriteAllText(path, page.ToString());
        return path;
    }

    private static string NameOf(string target) => target.ToLowerInvariant();
}
