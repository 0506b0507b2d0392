using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Generation;

/// <summary>
/// The nodes of a trie below which every item is left out: no beam may enter them, or it would keep a better one out and end with nothing to show. A leaf is masked when all items that have its SID
/// are left out, an inner node when all its children are masked.
/// </summary>
internal sealed class MaskedNodes
{
    private readonly int[][] _nodes;

    private MaskedNodes(int[][] nodes) => _nodes = nodes;

    /// <summary>Masked nodes of a level, ascending.</summary>
    public ReadOnlySpan<int> this[int level] => _nodes[level];

    /// <summary>Finds them. Time O(m · L · log K) for m items that are left out.</summary>
    /// <param name="trie">The catalogue.</param>
    /// <param name="sids">Its SIDs by row.</param>
    /// <param name="leftOut">Rows, in any order, repetitions allowed.</param>
    public static MaskedNodes Of(SidTrie trie, SidTable sids, IReadOnlyCollection<int> leftOut)
    {
        var nodes = new int[trie.Levels + 1][];
        // Of each node how many of its items or children are masked; from the leaves up. One row stands for the path to a node.
        Dictionary<int, (int Count, int Row)> counted = Count(leftOut.Distinct(), row => row, trie.Levels);
        for (int level = trie.Levels; level >= 0; level--)
        {
            (int Node, int Row)[] whole = [.. counted.Where(entry => entry.Value.Count == Below(new TrieNode(level, entry.Key))).Select(entry => (entry.Key, entry.Value.Row))];
            nodes[level] = [.. whole.Select(entry => entry.Node).Order()];
            if (level > 0)
                counted = Count(whole, entry => entry.Row, level - 1);
        }
        return new MaskedNodes(nodes);

        int Below(TrieNode node) => node.Level == trie.Levels ? trie.Items(node).Length : trie.ChildCodes(node).Length;

        Dictionary<int, (int Count, int Row)> Count<T>(IEnumerable<T> parts, Func<T, int> rowOf, int level)
        {
            var counts = new Dictionary<int, (int Count, int Row)>();
            foreach (T part in parts)
            {
                int row = rowOf(part);
                if (!trie.TryFind(sids[row][..level], out TrieNode node))
                    throw new ArgumentException($"row {row} is not in the trie");
                counts[node.Index] = (counts.GetValueOrDefault(node.Index).Count + 1, row);
            }
            return counts;
        }
    }
}
