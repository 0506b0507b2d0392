using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Evaluation;

/// <summary>How many items share their SID.</summary>
/// <param name="Items">n.</param>
/// <param name="Distinct">Different SIDs.</param>
/// <param name="LargestGroup">Items of the most shared SID; 0 for no items.</param>
/// <param name="Sharing">Items whose SID another item has too.</param>
public sealed record CollisionRate(long Items, long Distinct, long LargestGroup, long Sharing)
{
    /// <summary>1 − distinct/n, 0 … 1; 0 for no items.</summary>
    public double Rate => Items == 0 ? 0 : 1 - (double)Distinct / Items;

    /// <summary>Counts equal SIDs, whole ones.</summary>
    public static CollisionRate Measure(SidTable sids)
    {
        ArgumentNullException.ThrowIfNull(sids);
        int[] order = SidOrder.Sort(sids);
        long distinct = 0, largest = 0, sharing = 0;
        for (int start = 0, end; start < order.Length; start = end)
        {
            for (end = start + 1; end < order.Length && sids[order[end]].SequenceEqual(sids[order[start]]); end++)
            {
            }
            distinct++;
            largest = Math.Max(largest, end - start);
            sharing += end - start > 1 ? end - start : 0;
        }
        return new CollisionRate(sids.Count, distinct, largest, sharing);
    }
}
