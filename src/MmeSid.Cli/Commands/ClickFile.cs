using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Cli.Commands;

/// <summary>The options that name what users clicked: sequences, or samples that say what was not clicked as well.</summary>
internal static class ClickFile
{
    /// <summary>Clicks alone.</summary>
    public static readonly Option<string?> Sequences = new("--sequences", "-s")
    {
        Description = "User sequences: lines 'user item item …', oldest event first, items numbered from 1; .gz is unpacked.",
        HelpName = "file",
    };

    /// <summary>Clicks and what was passed over.</summary>
    public static readonly Option<string?> Samples = new("--samples")
    {
        Description = "Of a ranker, instead of --sequences: what was clicked and what was not, a table with the columns user, item and label (1 or 0), each user's lines in the order of time; "
            + ".tsv or comma-separated. What was passed over belongs with the click after it.",
        HelpName = "file",
    };

    /// <summary>Adds both options, of which one must be given.</summary>
    public static void AddTo(Command command)
    {
        command.Add(Sequences);
        command.Add(Samples);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(Sequences) is null == parsed.GetValue(Samples) is null)
                parsed.AddError($"expected either {Sequences.Name} or {Samples.Name}");
        });
    }

    /// <summary>The file that is given.</summary>
    public static string PathOf(CommandRun run) => run.Get(Sequences) ?? run.Get(Samples)!;

    /// <summary>Reads the clicks.</summary>
    public static ClickLog Read(CommandRun run) => run.Progress.Step("read", () => run.Get(Samples) is { } samples ? ClickLog.ReadFile(samples) : ClickLog.Of(InteractionSequences.ReadFile(run.Get(Sequences)!)));
}
