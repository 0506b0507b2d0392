using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid remove</c>: items leave the bundle, the others keep their SIDs.</summary>
internal static class RemoveCommand
{
    public static Command Create()
    {
        var item = new Option<string[]>("--item") { Description = "An item to remove; may be given several times.", HelpName = "id" };
        var items = new Option<string?>("--items") { Description = "Items to remove, one id per line.", HelpName = "file" };
        var command = new Command("remove", "Remove items from the bundle. The others keep their order and their SIDs.")
        {
            BundleOptions.Bundle, item, items, BundleEditing.Output, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            var ids = new List<string>(run.Get(item) ?? []);
            if (run.Get(items) is string file)
                ids.AddRange(ItemIds.ReadFile(file));
            if (ids.Count == 0)
                throw new ArgumentException("nothing to remove, expected --item or --items");
            BundleEditing.Change(run, run.Need(BundleOptions.Bundle), bundle =>
            {
                BundleChange changed = BundleEdit.Remove(bundle, ids);
                run.Results.Value("removed", ids.Count);
                run.Results.Value("items", changed.Content.Items.Count);
                return changed;
            });
        }));
        return command;
    }
}
