namespace MmeSid.Engine.Synthesis;

/// <summary>
/// A tree of item clusters whose truth is known: depth t has <c>Branching[t]</c> children per node, and every item sits in one leaf.
/// Child c of a node is taken with probability ∝ (c + 1)^−<see cref="Skew"/>, so low-numbered clusters are larger, as in real catalogues.
/// Leaves are numbered depth first: the leaves of one node are consecutive. Immutable and thread-safe; the same seed gives the same
/// leaves on every machine, and the leaf of an item does not depend on how many items there are.
/// </summary>
public sealed class SyntheticHierarchy
{
    private readonly double[] _cumulative;
    private readonly int[] _leavesBelow;

    /// <summary>Builds the tree.</summary>
    /// <param name="branching">Children per node at each depth, each at least 1, at most 2²⁴ leaves in all.</param>
    /// <param name="skew">Exponent of cluster sizes, at least 0; 0 makes all leaves equally likely.</param>
    /// <param name="seed">Decides which leaf each item falls into.</param>
    /// <exception cref="ArgumentException">A branching factor is below 1, the tree has too many leaves, or the skew is negative or not finite.</exception>
    public SyntheticHierarchy(IReadOnlyList<int> branching, double skew = 0.5, ulong seed = 1)
    {
        ArgumentNullException.ThrowIfNull(branching);
        if (branching.Count == 0)
            throw new ArgumentException("a hierarchy needs at least one depth", nameof(branching));
        if (!double.IsFinite(skew) || skew < 0)
            throw new ArgumentException($"skew is {skew}, expected a finite value of at least 0", nameof(skew));
        long leaves = 1;
        foreach (int children in branching)
        {
            if (children < 1)
                throw new ArgumentException($"a branching factor is {children}, expected at least 1", nameof(branching));
            leaves *= children;
            if (leaves > 1 << 24)
                throw new ArgumentException($"the branching factors {string.Join(" × ", branching)} make more than {1 << 24} leaves", nameof(branching));
        }
        Branching = [.. branching];
        Skew = skew;
        Seed = seed;
        LeafCount = (int)leaves;

        _leavesBelow = new int[Depth];
        int below = LeafCount;
        for (int depth = 0; depth < Depth; depth++)
            _leavesBelow[depth] = below /= Branching[depth];

        _cumulative = new double[LeafCount];
        double total = 0;
        for (int leaf = 0; leaf < LeafCount; leaf++)
        {
            double weight = 1;
            for (int depth = 0; depth < Depth; depth++)
                weight *= Math.Pow(Node(leaf, depth) % Branching[depth] + 1, -skew);
            _cumulative[leaf] = total += weight;
        }
        for (int leaf = 0; leaf < LeafCount; leaf++)
            _cumulative[leaf] /= total;
    }

    /// <summary>Children per node at each depth.</summary>
    public IReadOnlyList<int> Branching { get; }

    /// <summary>Exponent of cluster sizes.</summary>
    public double Skew { get; }

    /// <summary>Decides which leaf each item falls into.</summary>
    public ulong Seed { get; }

    /// <summary>Depths of the tree, the root not counted.</summary>
    public int Depth => Branching.Count;

    /// <summary>Number of leaves, the product of <see cref="Branching"/>.</summary>
    public int LeafCount { get; }

    /// <summary>Number of nodes at a depth; depth 0 holds the root's children.</summary>
    public int NodeCount(int depth) => LeafCount / _leavesBelow[depth];

    /// <summary>The node at a depth that holds the leaf.</summary>
    public int Node(int leaf, int depth) => leaf / _leavesBelow[depth];

    /// <summary>The true leaf of an item.</summary>
    /// <param name="row">The item's row, from 0.</param>
    public int Leaf(long row) => Draw(Unit(Seed, (ulong)row));

    /// <summary>
    /// The leaf as one modality shows it: the true one with probability <paramref name="agreement"/>, otherwise any leaf of the same
    /// node at depth 0. Text, image and behaviour of an item agree about its broad kind, and mostly about the rest.
    /// </summary>
    /// <param name="row">The item's row, from 0.</param>
    /// <param name="view">Which modality: the same number gives the same leaves.</param>
    /// <param name="agreement">0 … 1.</param>
    public int Leaf(long row, ulong view, double agreement)
    {
        int leaf = Leaf(row);
        ulong stream = Mix(Seed ^ Mix(view + 1));
        if (Unit(stream, 2 * (ulong)row) < agreement)
            return leaf;
        int below = _leavesBelow[0];
        return leaf / below * below + (int)(Unit(stream, 2 * (ulong)row + 1) * below);
    }

    private int Draw(double u)
    {
        int low = 0, high = LeafCount - 1;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (u < _cumulative[middle])
                high = middle;
            else
                low = middle + 1;
        }
        return low;
    }

    /// <summary>Element <paramref name="index"/> of the random sequence <paramref name="stream"/>, in [0, 1).</summary>
    internal static double Unit(ulong stream, ulong index) => (Mix(Mix(stream) + index * kGolden) >> 11) * (1.0 / (1UL << 53));

    /// <summary>splitmix64's step: neighbouring inputs give unrelated outputs.</summary>
    internal static ulong Mix(ulong z)
    {
        z += kGolden;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    private const ulong kGolden = 0x9E3779B97F4A7C15;
}
