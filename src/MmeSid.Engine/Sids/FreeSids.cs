namespace MmeSid.Engine.Sids;

/// <summary>Which SIDs are free below each prefix: those of a trie are taken, and more are taken one by one.</summary>
internal sealed class FreeSids
{
    private readonly SidTrie _placed;
    private readonly int[] _codeCounts;
    private readonly long[] _capacity;
    private readonly Dictionary<long, int> _children = [];
    private readonly List<long> _used = [0];

    /// <param name="placed">SIDs taken at the start.</param>
    /// <param name="codeCounts">[L], K per level.</param>
    public FreeSids(SidTrie placed, int[] codeCounts)
    {
        _placed = placed;
        _codeCounts = codeCounts;
        _capacity = Capacities(codeCounts);
    }

    /// <summary>A prefix: its node among the placed SIDs and among the added ones, −1 where there is none.</summary>
    public readonly record struct Prefix(int Level, int Placed, int Added);

    /// <summary>The empty prefix.</summary>
    public static Prefix Root { get; } = new(0, 0, 0);

    /// <summary>SIDs below a prefix of l codes, for l = 0 … L: the product of the later levels' K, at most 2⁶³ − 1.</summary>
    public static long[] Capacities(ReadOnlySpan<int> codeCounts)
    {
        var capacity = new long[codeCounts.Length + 1];
        capacity[^1] = 1;
        for (int level = codeCounts.Length - 1; level >= 0; level--)
            capacity[level] = capacity[level + 1] > long.MaxValue / codeCounts[level] ? long.MaxValue : capacity[level + 1] * codeCounts[level];
        return capacity;
    }

    /// <summary>The prefix one code longer.</summary>
    public Prefix Extend(Prefix prefix, int code)
    {
        int placed = prefix.Placed >= 0 && _placed.TryChild(new TrieNode(prefix.Level, prefix.Placed), (ushort)code, out TrieNode child) ? child.Index : -1;
        int added = prefix.Added >= 0 && _children.TryGetValue(Key(prefix.Added, code), out int node) ? node : -1;
        return new Prefix(prefix.Level + 1, placed, added);
    }

    /// <summary>Whether a SID below the prefix is free.</summary>
    public bool HasFree(Prefix prefix)
    {
        long used = (prefix.Placed < 0 ? 0 : _placed.SidCount(new TrieNode(prefix.Level, prefix.Placed))) + (prefix.Added < 0 ? 0 : _used[prefix.Added]);
        return used < _capacity[prefix.Level];
    }

    /// <summary>Takes a free SID.</summary>
    public void Take(ReadOnlySpan<ushort> sid)
    {
        int node = 0;
        _used[0]++;
        for (int level = 0; level < _codeCounts.Length; level++)
        {
            if (!_children.TryGetValue(Key(node, sid[level]), out int child))
            {
                child = _used.Count;
                _used.Add(0);
                _children.Add(Key(node, sid[level]), child);
            }
            node = child;
            _used[node]++;
        }
    }

    private static long Key(int node, int code) => ((long)node << 16) | (uint)code;
}
