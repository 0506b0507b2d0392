using System.CommandLine;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid append</c>: new items get SIDs; no SID that exists moves.</summary>
internal static class AppendCommand
{
    public static Command Create() => BundleEditing.CreateByRows(
        "append",
        "Assign new items, settle their collisions and add them to the bundle. No SID that exists moves; an item that is in the bundle already is refused.",
        BundleEdit.Append,
        "appended");
}
