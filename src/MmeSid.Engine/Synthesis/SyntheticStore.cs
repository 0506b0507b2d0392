using System.Text;

namespace MmeSid.Engine.Synthesis;

/// <summary>
/// Texts and histories of a made-up shop whose items and users follow one <see cref="SyntheticHierarchy"/>, so that tables of several
/// modalities, words and behaviour all know about the same clusters.
/// <para>
/// Words: every node of the tree owns six made-up words, and a few hundred words belong to nobody. A title has a word of the item's
/// node at depth 0, two of the deepest node above the leaf, two of the leaf and one of nobody's; attributes are a brand, which belongs to a
/// node above the leaf, and the path of category names.
/// </para>
/// <para>
/// Histories: a user has a home leaf. Each next item comes from the leaf of the last one (55 %), from that leaf's parent (25 %), from the home
/// leaf (12 %) or from anywhere (8 %); inside a set of items the one at share u² of its row order is taken, so early rows are popular. No user sees an item twice.
/// </para>
/// Deterministic for a seed on every machine. Thread-safe.
/// </summary>
public sealed class SyntheticStore
{
    private const int kWordsPerNode = 6;
    private const int kCommonWords = 300;
    private const int kShortestHistory = 5;
    private const int kLongestHistory = 50;
    private const double kOneMore = 6.0 / 7;
    private const int kAttempts = 12;

    private readonly SyntheticHierarchy _hierarchy;
    private readonly ulong _seed;
    private readonly int[] _rowsByLeaf;
    private readonly int[] _firstOfLeaf;

    /// <summary>Sorts the items by leaf.</summary>
    /// <param name="hierarchy">The clusters.</param>
    /// <param name="items">Number of items, 1 … 2³¹ − 57.</param>
    /// <param name="seed">Seed of words and histories.</param>
    /// <exception cref="ArgumentException">The number of items is out of range.</exception>
    public SyntheticStore(SyntheticHierarchy hierarchy, long items, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(hierarchy);
        if (items < 1 || items > Array.MaxLength)
            throw new ArgumentException($"the number of items is {items}, texts and sequences need 1 to {Array.MaxLength}", nameof(items));
        _hierarchy = hierarchy;
        _seed = seed;
        Items = (int)items;

        var leaves = new int[Items];
        _firstOfLeaf = new int[hierarchy.LeafCount + 1];
        for (int row = 0; row < Items; row++)
            _firstOfLeaf[(leaves[row] = hierarchy.Leaf(row)) + 1]++;
        for (int leaf = 0; leaf < hierarchy.LeafCount; leaf++)
            _firstOfLeaf[leaf + 1] += _firstOfLeaf[leaf];
        _rowsByLeaf = new int[Items];
        var next = _firstOfLeaf[..^1];
        for (int row = 0; row < Items; row++)
            _rowsByLeaf[next[leaves[row]]++] = row;
    }

    /// <summary>Number of items.</summary>
    public int Items { get; }

    /// <summary>The item's title, six words.</summary>
    public string Title(long row)
    {
        (int leaf, RandomSource random) = Draw(row);
        int parent = Math.Max(0, _hierarchy.Depth - 2);
        var words = new List<string>
        {
            NodeWord(0, leaf, random.NextInt(kWordsPerNode)),
            NodeWord(parent, leaf, random.NextInt(kWordsPerNode)),
            NodeWord(parent, leaf, random.NextInt(kWordsPerNode)),
            NodeWord(_hierarchy.Depth - 1, leaf, random.NextInt(kWordsPerNode)),
            NodeWord(_hierarchy.Depth - 1, leaf, random.NextInt(kWordsPerNode)),
            Word(random.NextInt(kCommonWords)),
        };
        random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(words));
        return string.Join(' ', words);
    }

    /// <summary>The item's brand and categories: <c>brand; category; narrower category; …</c>.</summary>
    public string Attributes(long row)
    {
        (int leaf, RandomSource random) = Draw(row);
        var text = new StringBuilder(NodeWord(Math.Max(0, _hierarchy.Depth - 2), leaf, (int)(random.NextUInt64() >> 62)));
        for (int depth = 0; depth < _hierarchy.Depth; depth++)
            text.Append("; ").Append(NodeWord(depth, leaf, 0));
        return text.ToString();
    }

    /// <summary>The items that one user met, oldest first: rows from 0, all different; fewer than five only where the shop is that small.</summary>
    /// <param name="user">From 0.</param>
    public IReadOnlyList<int> History(long user)
    {
        var random = new RandomSource(SyntheticHierarchy.Mix(_seed ^ 0x75736572) + (ulong)user);
        int length = kShortestHistory;
        while (length < kLongestHistory && random.NextDouble() < kOneMore)
            length++;
        int home = _hierarchy.Leaf(_rowsByLeaf[Popular(0, Items, random)]);
        int leaf = home;
        var seen = new HashSet<int>();
        var history = new List<int>(length);
        while (history.Count < Math.Min(length, Items))
        {
            int row = Next(leaf, home, seen, random);
            seen.Add(row);
            history.Add(row);
            leaf = _hierarchy.Leaf(row);
        }
        return history;
    }

    private int Next(int leaf, int home, HashSet<int> seen, RandomSource random)
    {
        for (int attempt = 0; attempt < kAttempts; attempt++)
        {
            double place = random.NextDouble();
            (int first, int end) = place switch
            {
                < 0.55 => Range(leaf, _hierarchy.Depth - 1),
                < 0.80 => Range(leaf, Math.Max(0, _hierarchy.Depth - 2)),
                < 0.92 => Range(home, _hierarchy.Depth - 1),
                _ => (0, Items),
            };
            int row = _rowsByLeaf[first + Popular(first, end, random)];
            if (!seen.Contains(row))
                return row;
        }
        int unseen = random.NextInt(Items);
        while (seen.Contains(unseen))
            unseen = (unseen + 1) % Items;
        return unseen;
    }

    private (int First, int End) Range(int leaf, int depth)
    {
        int leaves = _hierarchy.LeafCount / _hierarchy.NodeCount(depth);
        int first = leaf / leaves * leaves;
        return (_firstOfLeaf[first], _firstOfLeaf[first + leaves]);
    }

    private static int Popular(int first, int end, RandomSource random)
    {
        double u = random.NextDouble();
        return (int)(u * u * (end - first));
    }

    private (int Leaf, RandomSource Random) Draw(long row)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(row);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Items);
        return (_hierarchy.Leaf(row), new RandomSource(SyntheticHierarchy.Mix(_seed ^ 0x74657874) + (ulong)row));
    }

    private string NodeWord(int depth, int leaf, int index)
    {
        int node = _hierarchy.Node(leaf, depth);
        for (int above = 0; above < depth; above++)
            node += _hierarchy.NodeCount(above);
        return Word(kCommonWords + (long)node * kWordsPerNode + index);
    }

    /// <summary>A pronounceable word per number: syllables of a consonant and a vowel, at least three, no two numbers alike.</summary>
    private static string Word(long number)
    {
        const string kConsonants = "bdfgklmnprstvz";
        const string kVowels = "aeiou";
        const int kSyllables = 14 * 5;
        const long kThree = kSyllables * kSyllables * kSyllables;
        // Multiplying by a number coprime to 70³ permutes the first 70³ words, so that neighbours do not look alike.
        long code = number < kThree ? number * 123_457 % kThree : number;
        var word = new StringBuilder();
        for (int syllable = 0; syllable < 3 || code > 0; syllable++)
        {
            int part = (int)(code % kSyllables);
            word.Append(kConsonants[part / 5]).Append(kVowels[part % 5]);
            code /= kSyllables;
        }
        return word.ToString();
    }
}
