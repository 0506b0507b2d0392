using System.CommandLine;

namespace MmeSid.Cli.Commands;

/// <summary>Options of commands that write a file or folder.</summary>
internal static class OutputOptions
{
    public static Option<string> Out(string description) => new("--out", "-o")
    {
        Description = description + " It appears whole or not at all.",
        HelpName = "path",
        Required = true,
    };

    public static readonly Option<bool> Force = new("--force", "-f")
    {
        Description = "Replace the output where it exists.",
    };
}
