using System.Buffers;
using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Sids;

/// <summary>A node of a <see cref="SidTrie"/>: a prefix of <see cref="Level"/> codes that at least one item has.</summary>
/// <param name="Level">Length of the prefix; 0 is the root.</param>
/// <param name="Index">Position among the nodes of that level, in lexicographic order of the prefixes.</param>
public readonly record struct TrieNode(int Level, int Index)
{
    /// <summary>The empty prefix.</summary>
    public static TrieNode Root { get; }
}

/// <summary>
/// All SIDs of a catalogue as a tree in flat arrays, and the items of each SID. Immutable; reading is thread-safe.
/// <para>
/// Level l = 1 … L has N_l nodes, one per distinct prefix of l codes, in lexicographic order. The children of node i of level l are the
/// nodes <c>starts_l[i] … starts_l[i+1] − 1</c> of level l + 1, in ascending code; the items of leaf i are
/// <c>rows[starts_L[i] … starts_L[i+1] − 1]</c>, in ascending row.
/// </para>
/// <para>
/// File: <c>"MMESIDT1" · int64 levels L · int64 items n · int64 N_1 … N_L · starts_0 … starts_L (int32, N_l + 1 each, N_0 = 1) · rows (int32, n) ·
/// codes_1 … codes_L (uint16)</c>; every array starts on a multiple of 64 bytes; little-endian. A saved trie is used in place through a memory map.
/// Memory: <c>4·n + Σ_l (6·N_l + 4)</c> bytes.
/// </para>
/// </summary>
public sealed class SidTrie : IDisposable
{
    private const ulong kMagic = 0x3154_4449_5345_4D4D; // "MMESIDT1"
    private const int kAlignment = 64;
    private const int kMaximumLevels = 64;

    private readonly string _name;
    private readonly int[] _nodes;
    private readonly ReadOnlyMemory<int>[] _starts;
    private readonly ReadOnlyMemory<int> _rows;
    private readonly ReadOnlyMemory<ushort>[] _codes;
    private readonly MemoryMappedViewAccessor? _map;

    private SidTrie(string name, int[] nodes, ReadOnlyMemory<int>[] starts, ReadOnlyMemory<int> rows, ReadOnlyMemory<ushort>[] codes, MemoryMappedViewAccessor? map)
    {
        _name = name;
        _nodes = nodes;
        _starts = starts;
        _rows = rows;
        _codes = codes;
        _map = map;
        ByteCount = Layout(nodes, rows.Length).Bytes;
    }

    /// <summary>Codes per SID, L.</summary>
    public int Levels => _nodes.Length - 1;

    /// <summary>Number of items, n.</summary>
    public long Count => _rows.Length;

    /// <summary>Bytes of all arrays and of the header: memory taken, and size of the file.</summary>
    public long ByteCount { get; }

    /// <summary>Number of distinct prefixes of <paramref name="level"/> codes; 1 for level 0.</summary>
    public int NodeCount(int level) => _nodes[level];

    /// <summary>Builds the trie of a catalogue; row i of the table is item i. Time O(L·n); items that share a SID share a leaf.</summary>
    /// <param name="sids">n ≥ 0 SIDs, n &lt; 2³¹, at most 64 levels.</param>
    /// <exception cref="ArgumentException">More than 64 levels.</exception>
    public static SidTrie Build(SidTable sids)
    {
        ArgumentNullException.ThrowIfNull(sids);
        if (sids.Levels > kMaximumLevels)
            throw new ArgumentException($"SIDs have {sids.Levels} levels, a trie at most {kMaximumLevels}", nameof(sids));
        int[] order = SidOrder.Sort(sids);
        int levels = sids.Levels;
        var nodes = new int[levels + 1];
        nodes[0] = 1;
        for (int i = 0; i < order.Length; i++)
        {
            for (int level = SharedWithLast(sids, order, i) + 1; level <= levels; level++)
                nodes[level]++;
        }

        int[][] starts = Array.ConvertAll(nodes, count => new int[count + 1]);
        ushort[][] codes = Array.ConvertAll(nodes, count => new ushort[count]);
        var next = new int[levels + 1];
        next[0] = 1;
        for (int i = 0; i < order.Length; i++)
        {
            ReadOnlySpan<ushort> sid = sids[order[i]];
            for (int level = SharedWithLast(sids, order, i) + 1; level <= levels; level++)
            {
                codes[level][next[level]] = sid[level - 1];
                starts[level][next[level]] = level == levels ? i : next[level + 1];
                next[level]++;
            }
        }
        for (int level = 0; level <= levels; level++)
            starts[level][nodes[level]] = level == levels ? order.Length : nodes[level + 1];
        return new SidTrie("trie", nodes, Array.ConvertAll(starts, array => new ReadOnlyMemory<int>(array)), order,
            Array.ConvertAll(codes, array => new ReadOnlyMemory<ushort>(array)), map: null);
    }

    /// <summary>Writes the trie to a file that <see cref="Open"/> maps.</summary>
    /// <exception cref="IOException">The file exists and <paramref name="force"/> is false, or cannot be written.</exception>
    public void Save(string path, bool force)
    {
        using var output = OutputFile.Create(path, force);
        TrieLayout layout = Layout(_nodes, _rows.Length);
        var header = new long[2 + _nodes.Length];
        header[0] = unchecked((long)kMagic);
        header[1] = Levels;
        header[2] = Count;
        for (int level = 1; level <= Levels; level++)
            header[2 + level] = _nodes[level];
        WriteAt(output.Stream, 0, header);
        for (int level = 0; level <= Levels; level++)
            WriteAt(output.Stream, layout.Starts[level], _starts[level].Span);
        WriteAt(output.Stream, layout.Rows, _rows.Span);
        for (int level = 1; level <= Levels; level++)
            WriteAt(output.Stream, layout.Codes[level], _codes[level].Span);
        output.Commit();
    }

    /// <summary>
    /// Maps a saved trie. Nothing is read but the header, whose sizes are checked against the length of the file. What the trie returns
    /// lies in the map: keep the trie as long as it is used.
    /// </summary>
    /// <exception cref="InvalidDataException">The file is no trie, or its length does not fit its header.</exception>
    public static SidTrie Open(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        var header = new byte[(3 + kMaximumLevels) * sizeof(long)];
        int read = file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        ReadOnlySpan<long> fields = MemoryMarshal.Cast<byte, long>(header.AsSpan(0, read / sizeof(long) * sizeof(long)));
        if (fields.Length < 3 || unchecked((ulong)fields[0]) != kMagic)
            throw new InvalidDataException($"{path}: is no SID trie, expected a file that starts with MMESIDT1");
        long levels = fields[1], items = fields[2];
        if (levels is < 1 or > kMaximumLevels || items is < 0 or > int.MaxValue || fields.Length < 3 + levels)
            throw new InvalidDataException($"{path}: the header names {levels} levels and {items} items, expected 1 … {kMaximumLevels} levels and less than 2^31 items");
        var nodes = new int[levels + 1];
        nodes[0] = 1;
        for (int level = 1; level <= levels; level++)
        {
            long count = fields[2 + level], fewest = items == 0 ? 0 : nodes[level - 1];
            if (count < fewest || count > items)
                throw new InvalidDataException($"{path}: the header names {count} nodes on level {level}, expected {fewest} … {items}");
            nodes[level] = (int)count;
        }
        TrieLayout layout = Layout(nodes, (int)items);
        if (file.Length != layout.Bytes)
            throw new InvalidDataException($"{path}: has {file.Length} bytes, the header asks for {layout.Bytes}");
        using var mapped = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        MemoryMappedViewAccessor map = mapped.CreateViewAccessor(0, layout.Bytes, MemoryMappedFileAccess.Read);
        var starts = new ReadOnlyMemory<int>[nodes.Length];
        var codes = new ReadOnlyMemory<ushort>[nodes.Length];
        for (int level = 0; level < nodes.Length; level++)
        {
            starts[level] = new MappedArray<int>(map, layout.Starts[level], nodes[level] + 1).Memory;
            codes[level] = level == 0 ? default : new MappedArray<ushort>(map, layout.Codes[level], nodes[level]).Memory;
        }
        return new SidTrie(path, nodes, starts, new MappedArray<int>(map, layout.Rows, (int)items).Memory, codes, map);
    }

    /// <summary>The codes that may follow a prefix, ascending; empty below a leaf.</summary>
    public ReadOnlySpan<ushort> ChildCodes(TrieNode node)
    {
        if (node.Level == Levels)
            return default;
        (int first, int end) = Below(node.Level, node.Index, node.Index + 1);
        return _codes[node.Level + 1].Span[first..end];
    }

    /// <summary>The <paramref name="position"/>-th child of a node, in the order of <see cref="ChildCodes"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The node has no such child.</exception>
    public TrieNode Child(TrieNode node, int position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(position, ChildCodes(node).Length);
        return new TrieNode(node.Level + 1, _starts[node.Level].Span[node.Index] + position);
    }

    /// <summary>Follows one code from a node. False when no item has that prefix.</summary>
    public bool TryChild(TrieNode node, ushort code, out TrieNode child)
    {
        int position = ChildCodes(node).BinarySearch(code);
        child = position < 0 ? default : new TrieNode(node.Level + 1, _starts[node.Level].Span[node.Index] + position);
        return position >= 0;
    }

    /// <summary>Finds a prefix of 0 … L codes. False when no item has it.</summary>
    public bool TryFind(ReadOnlySpan<ushort> prefix, out TrieNode node)
    {
        node = TrieNode.Root;
        if (prefix.Length > Levels || Count == 0)
            return false;
        foreach (ushort code in prefix)
        {
            if (!TryChild(node, code, out node))
                return false;
        }
        return true;
    }

    /// <summary>Whether an item has this whole SID.</summary>
    public bool Contains(ReadOnlySpan<ushort> sid) => sid.Length == Levels && TryFind(sid, out _);

    /// <summary>Rows of the items whose SID is, or starts with, <paramref name="prefix"/>: in order of SID, equal SIDs in row order; empty when there is none.</summary>
    public ReadOnlySpan<int> Items(ReadOnlySpan<ushort> prefix) => TryFind(prefix, out TrieNode node) ? Items(node) : default;

    /// <summary>Rows of the items below a node: in order of SID, equal SIDs in row order.</summary>
    public ReadOnlySpan<int> Items(TrieNode node)
    {
        (int first, int end) = Leaves(node);
        (first, end) = Below(Levels, first, end);
        return _rows.Span[first..end];
    }

    /// <summary>Number of distinct SIDs below a node.</summary>
    public int SidCount(TrieNode node)
    {
        (int first, int end) = Leaves(node);
        return end - first;
    }

    /// <summary>Closes the map of a trie that was opened from a file.</summary>
    public void Dispose() => _map?.Dispose();

    private (int First, int End) Leaves(TrieNode node)
    {
        (int first, int end) = (node.Index, node.Index + 1);
        for (int level = node.Level; level < Levels; level++)
            (first, end) = Below(level, first, end);
        return (first, end);
    }

    // What lies below nodes first … end − 1 of a level: nodes of the next one, or positions in the rows.
    private (int First, int End) Below(int level, int first, int end)
    {
        ReadOnlySpan<int> starts = _starts[level].Span;
        int below = level == Levels ? _rows.Length : _nodes[level + 1];
        (first, end) = (starts[first], starts[end]);
        if (first < 0 || end < first || end > below)
            throw new InvalidDataException($"{_name}: a child range of level {level} is {first} … {end}, outside 0 … {below}; the file was altered");
        return (first, end);
    }

    private static int SharedWithLast(SidTable sids, int[] order, int i) => i == 0 ? 0 : sids[order[i - 1]].CommonPrefixLength(sids[order[i]]);

    private static void WriteAt<T>(FileStream stream, long offset, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        stream.Position = offset;
        // A span of bytes ends at 2 GiB; an array of values need not.
        const int step = 1 << 24;
        for (int start = 0; start < values.Length; start += step)
            stream.Write(MemoryMarshal.AsBytes(values.Slice(start, Math.Min(step, values.Length - start))));
    }

    private readonly record struct TrieLayout(long[] Starts, long Rows, long[] Codes, long Bytes);

    private static TrieLayout Layout(int[] nodes, int items)
    {
        long end = (2L + nodes.Length) * sizeof(long);
        long Take(long bytes)
        {
            long start = (end + kAlignment - 1) / kAlignment * kAlignment;
            end = bytes == 0 ? end : start + bytes;
            return start;
        }

        long[] starts = Array.ConvertAll(nodes, count => Take((count + 1L) * sizeof(int)));
        long rows = Take((long)items * sizeof(int));
        var codes = new long[nodes.Length];
        for (int level = 1; level < nodes.Length; level++)
            codes[level] = Take((long)nodes[level] * sizeof(ushort));
        return new TrieLayout(starts, rows, codes, end);
    }

    /// <summary>An array inside a mapped file.</summary>
    private sealed unsafe class MappedArray<T>(MemoryMappedViewAccessor map, long offset, int length) : MemoryManager<T>
        where T : unmanaged
    {
        public override Span<T> GetSpan() => new(Start(), length);

        public override MemoryHandle Pin(int elementIndex = 0) => new(Start() + elementIndex);

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }

        private T* Start()
        {
            ObjectDisposedException.ThrowIf(map.SafeMemoryMappedViewHandle.IsClosed, typeof(SidTrie));
            return (T*)((byte*)map.SafeMemoryMappedViewHandle.DangerousGetHandle() + map.PointerOffset + offset);
        }
    }
}
