using System.CommandLine;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid import</c>: what others made, in our formats.</summary>
internal static class ImportCommand
{
    public static Command Create() => new("import", "Take models and SIDs from elsewhere.")
    {
        ImportModelCommand.Create(),
        ImportSidsCommand.Create(),
    };
}
