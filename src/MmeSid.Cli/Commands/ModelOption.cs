using System.CommandLine;

namespace MmeSid.Cli.Commands;

/// <summary>The option that names a trained model.</summary>
internal static class ModelOption
{
    /// <param name="kinds">The kinds of models that the command takes.</param>
    public static Option<string> Create(string kinds) => new("--model", "-m")
    {
        Description = $"The model: a folder that 'train' wrote, of kind {kinds}.",
        HelpName = "folder",
        Required = true,
    };
}
