using System.CommandLine;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid update</c>: items get new rows.</summary>
internal static class UpdateCommand
{
    public static Command Create() => BundleEditing.CreateByRows(
        "update",
        "Give items of the bundle new rows. An item whose codes stay the same keeps its SID; no SID of another item moves.",
        BundleEdit.Update,
        "updated");
}
