using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid append</c>: new items get SIDs; no SID that exists moves.</summary>
internal static class AppendCommand
{
    public static Command Create()
    {
        var command = new Command("append", "Assign new items, settle their collisions and add them to the bundle. No SID that exists moves; an item that is in the bundle already is refused.")
        {
            BundleOptions.Bundle, BundleEditing.Output, OutputOptions.Force, BundleOptions.Beam,
        };
        TableOptions.AddReading(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => BundleEditing.ChangeByRows(run,
            (bundle, table, codes) => BundleEdit.Append(bundle, table, codes, GlobalOptions.ThreadCount(parsed), run.Cancellation), "appended")));
        return command;
    }
}
