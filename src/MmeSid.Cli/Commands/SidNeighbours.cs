using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>Items that are near by SID alone: those that share the longest prefix.</summary>
internal static class SidNeighbours
{
    /// <summary>The other items below the deepest trie node of <paramref name="sid"/> that has any.</summary>
    /// <returns>Levels shared, the first <paramref name="limit"/> of them in order of SID, and how many there are.</returns>
    public static (int SharedLevels, IReadOnlyList<string> Items, long Count) Of(SidBundle bundle, string item, ReadOnlySpan<ushort> sid, int limit)
    {
        for (int shared = sid.Length; shared >= 0; shared--)
        {
            ReadOnlySpan<int> rows = bundle.Trie.Items(sid[..shared]);
            if (rows.Length < 2)
                continue;
            var near = new List<string>();
            foreach (int row in rows)
            {
                if (near.Count == limit)
                    break;
                string other = bundle.Items[row];
                if (other != item)
                    near.Add(other);
            }
            return (shared, near, rows.Length - 1);
        }
        return (0, [], 0);
    }
}
