using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>
/// Does an item's quantized vector in one modality find the same item's in another? For each item the candidates of the largest cosine, among all items; where
/// several share it (items with equal SIDs always do) one of them is drawn: an item counts 1/(number of such candidates) if it is among them, else 0. A vector
/// of zeros has cosine 0 to everything.
/// </summary>
internal static class CrossModalRetrieval
{
    /// <summary>Expected share of items that find themselves.</summary>
    /// <param name="querySids">[n, L].</param>
    /// <param name="queries">What they stand for, [n, w].</param>
    /// <param name="candidateSids">[n, L'], the same items.</param>
    /// <param name="candidates">What they stand for, [n, w].</param>
    public static double TopOne(SidTable querySids, RowMatrix queries, SidTable candidateSids, RowMatrix candidates)
    {
        if (queries.Dimension != candidates.Dimension || queries.Count != candidates.Count)
            throw new ArgumentException($"queries are [{queries.Count}, {queries.Dimension}], candidates [{candidates.Count}, {candidates.Dimension}], expected the same items in one space");
        (int[] queryGroups, List<int[]> queryMembers) = Group(querySids);
        (int[] groups, List<int[]> members) = Group(candidateSids);
        using RowMatrix unit = Normalized(candidates, members);
        var found = new double[queryGroups.Length];
        Parallel.For(0, queryMembers.Count, query =>
        {
            ReadOnlySpan<float> vector = queries.Rows(queryMembers[query][0], 1);
            var cosines = new float[members.Count];
            for (int group = 0; group < cosines.Length; group++)
                cosines[group] = TensorPrimitives.Dot(vector, unit.Rows(group, 1));
            float largest = TensorPrimitives.Max<float>(cosines);
            long tied = 0;
            for (int group = 0; group < cosines.Length; group++)
                tied += cosines[group] == largest ? members[group].Length : 0;
            foreach (int item in queryMembers[query])
                found[item] = cosines[groups[item]] == largest ? 1.0 / tied : 0;
        });
        return found.Length == 0 ? 0 : found.Average();
    }

    // Items of equal SIDs, whose vectors are equal: the group of each item, and the items of each group.
    private static (int[] Groups, List<int[]> Members) Group(SidTable sids)
    {
        var rows = Enumerable.Range(0, (int)sids.Count).GroupBy(row => new string(MemoryMarshal.Cast<ushort, char>(sids[row])), StringComparer.Ordinal).Select(group => group.ToArray()).ToList();
        var groups = new int[sids.Count];
        for (int group = 0; group < rows.Count; group++)
        {
            foreach (int row in rows[group])
                groups[row] = group;
        }
        return (groups, rows);
    }

    private static RowMatrix Normalized(RowMatrix vectors, List<int[]> members)
    {
        var unit = new RowMatrix(members.Count, vectors.Dimension);
        for (int group = 0; group < members.Count; group++)
        {
            ReadOnlySpan<float> vector = vectors.Rows(members[group][0], 1);
            float norm = TensorPrimitives.Norm(vector);
            if (norm > 0)
                TensorPrimitives.Divide(vector, norm, unit.Rows(group, 1));
            else
                unit.Rows(group, 1).Clear();
        }
        return unit;
    }
}
