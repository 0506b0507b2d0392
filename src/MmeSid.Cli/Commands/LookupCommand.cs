using System.CommandLine;
using System.Text.Json.Nodes;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid lookup</c>: SID → items, SID → vector, item → SID.</summary>
internal static class LookupCommand
{
    private const int kShownItems = 20;

    public static Command Create()
    {
        var item = new Option<string[]>("--item") { Description = "An item id: shows its SID and the items nearest by SID, those that share the longest prefix.", HelpName = "id" };
        var sid = new Option<string[]>("--sid")
        {
            Description = "A SID or the beginning of one, as 12-3-0 or '<a_12><b_3><c_0>': shows the items that have it.",
            HelpName = "codes",
        };
        var vector = new Option<bool>("--vector") { Description = "Show the vector that each whole SID stands for, d values." };
        var limit = new Option<int>("--limit") { Description = "Most items shown per line.", DefaultValueFactory = _ => kShownItems, HelpName = "count" };
        var command = new Command("lookup", "Find items by SID, SIDs by item, and the vector of a SID.") { BundleOptions.Bundle, item, sid, vector, limit };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string[] items = run.Get(item) ?? [], sids = run.Get(sid) ?? [];
            if (items.Length + sids.Length == 0)
                throw new ArgumentException("nothing to look up, expected --item or --sid");
            if (run.Need(limit) < 0)
                throw new ArgumentException($"--limit is {run.Need(limit)}, expected at least 0");
            SidBundle bundle = SidBundle.Open(run.Need(BundleOptions.Bundle));
            var found = new List<Entry>();
            foreach (string id in items)
                found.Add(OfItem(bundle, id, run.Need(limit)));
            foreach (string text in sids)
                found.Add(OfSid(bundle, text, run.Need(limit)));
            Show(run.Results, bundle, found, run.Get(vector));
        }));
        return command;
    }

    private static Entry OfItem(SidBundle bundle, string id, int limit)
    {
        if (!bundle.TryFindSid(id, out ReadOnlySpan<ushort> sid))
            throw new InvalidDataException($"{bundle.Folder}: has no item '{id}'; it holds {bundle.Count} items, the first is '{(bundle.Count > 0 ? bundle.Items[0] : "")}'");
        (int shared, IReadOnlyList<string> near, long count) = SidNeighbours.Of(bundle, id, sid, limit);
        return new Entry($"item {id}", sid.ToArray(), shared, near, count);
    }

    private static Entry OfSid(SidBundle bundle, string text, int limit)
    {
        ushort[] prefix = SidText.Parse(text);
        if (prefix.Length > bundle.Levels)
            throw new ArgumentException($"--sid {text} has {prefix.Length} codes, the SIDs of {bundle.Folder} have {bundle.Levels}");
        ReadOnlySpan<int> rows = bundle.Trie.Items(prefix);
        var names = new string[Math.Min(rows.Length, limit)];
        for (int i = 0; i < names.Length; i++)
            names[i] = bundle.Items[rows[i]];
        return new Entry($"sid {SidText.Numbers(prefix)}", prefix, prefix.Length, names, rows.Length);
    }

    private static void Show(ResultSheet results, SidBundle bundle, List<Entry> found, bool vector)
    {
        results.Table("found", ["query", "sid", "tokens", "shared_levels", "count", "items"], found.Select(entry => (IReadOnlyList<ResultSheet.Cell>)
        [
            entry.Query, SidText.Numbers(entry.Sid), SidText.Tokens(entry.Sid), (long)entry.SharedLevels, entry.Count,
            new ResultSheet.Cell(new JsonArray([.. entry.Items.Select(id => (JsonNode?)id)]), string.Join(' ', entry.Items) + (entry.Count > entry.Items.Count ? " …" : ""), false),
        ]));
        if (!vector)
            return;
        foreach (Entry entry in found.Where(entry => entry.Sid.Length >= bundle.Quantizer.Levels).DistinctBy(entry => SidText.Numbers(entry.Sid)))
        {
            float[] row = bundle.Vector(entry.Sid);
            results.Value($"vector {SidText.Numbers(entry.Sid)}", new JsonArray([.. row.Select(value => (JsonNode?)value)]), string.Join(' ', row));
        }
    }

    private sealed record Entry(string Query, ushort[] Sid, int SharedLevels, IReadOnlyList<string> Items, long Count);
}
