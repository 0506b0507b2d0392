using System.CommandLine;

namespace MmeSid.Cli.Commands;

/// <summary>The option that names a trained model.</summary>
internal static class ModelOption
{
    public static Option<string> Create() => new("--model", "-m")
    {
        Description = "The model: a folder that 'train sasrec' wrote.",
        HelpName = "folder",
        Required = true,
    };
}
