using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid update</c>: items get new rows.</summary>
internal static class UpdateCommand
{
    public static Command Create()
    {
        var command = new Command("update", "Give items of the bundle new rows. An item whose codes stay the same keeps its SID; no SID of another item moves.")
        {
            BundleOptions.Bundle, BundleEditing.Output, OutputOptions.Force, BundleOptions.Beam,
        };
        TableOptions.AddReading(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => BundleEditing.ChangeByRows(run,
            (bundle, table, codes) => BundleEdit.Update(bundle, table, codes, GlobalOptions.ThreadCount(parsed), run.Cancellation), "updated")));
        return command;
    }
}
