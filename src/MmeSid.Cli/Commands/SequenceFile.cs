using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;

namespace MmeSid.Cli.Commands;

/// <summary>The option that names user sequences.</summary>
internal static class SequenceFile
{
    public static readonly Option<string> Option = new("--sequences", "-s")
    {
        Description = "User sequences: lines 'user item item …', oldest event first, items numbered from 1; .gz is unpacked.",
        HelpName = "file",
        Required = true,
    };

    /// <summary>Reads the file.</summary>
    public static InteractionSequences Read(CommandRun run) => Read(run, run.Need(Option));

    /// <summary>Reads a file that another option names.</summary>
    public static InteractionSequences Read(CommandRun run, string path) => run.Progress.Step("read", () => InteractionSequences.ReadFile(path));
}
