namespace MmeSid.Engine.Sids;

/// <summary>
/// Places items whose prefix is full, one after the other in item order: greedy encoding over prefixes that still have a free SID. At every
/// level an item keeps its raw code while a SID below it is free; from the first level where none is, it takes the nearest codeword below
/// which one is free, ties to the smaller code.
/// <para>
/// The order makes the result, so items cannot be placed at once; but the distances, which are nearly all of the work, can be computed ahead:
/// a block of items is placed tentatively by all threads against the SIDs that are free when the block begins, and then for good one by one.
/// What was taken meanwhile can only change a choice, never a distance; where the choice led to another prefix, its distances are computed then.
/// </para>
/// </summary>
/// <param name="free">Free SIDs; those that are placed are taken.</param>
/// <param name="codeCounts">[L], K per level.</param>
/// <param name="newSearch">Distances, one per thread.</param>
internal sealed class SpillPlacement(FreeSids free, int[] codeCounts, Func<RowSearch> newSearch)
{
    private const int kMostItemsPerBlock = 512;
    private const long kDistancesPerBlock = 1 << 22;

    private readonly int _itemsPerBlock = (int)Math.Clamp(kDistancesPerBlock / codeCounts.Sum(count => (long)count), 1, kMostItemsPerBlock);

    /// <summary>Places the items.</summary>
    /// <param name="rows">Their rows, ascending.</param>
    /// <param name="codes">Raw codes of the whole table.</param>
    /// <param name="settled">[n, L] of the whole table; the items' SIDs are written there.</param>
    /// <param name="parallel">Threads and cancellation.</param>
    /// <returns>Σ over the items of the increase of ‖x − x̂‖².</returns>
    public double Place(List<int> rows, SidTable codes, ushort[] settled, ParallelOptions parallel)
    {
        int levels = codeCounts.Length;
        RowSearch own = newSearch();
        var ahead = new DistancesAhead[Math.Min(_itemsPerBlock, rows.Count)];
        for (int i = 0; i < ahead.Length; i++)
            ahead[i] = new DistancesAhead(levels);
        var added = new double[ahead.Length];
        double total = 0;
        for (int first = 0; first < rows.Count; first += _itemsPerBlock)
        {
            int start = first, count = Math.Min(_itemsPerBlock, rows.Count - first);
            Parallel.For(0, count, parallel, newSearch, (i, _, search) =>
            {
                ahead[i].Clear();
                Span<ushort> tentative = stackalloc ushort[levels];
                codes[rows[start + i]].CopyTo(tentative);
                Choose(rows[start + i], tentative, ahead[i], search);
                return search;
            }, _ => { });
            for (int i = 0; i < count; i++)
            {
                Span<ushort> sid = settled.AsSpan(rows[start + i] * levels, levels);
                Choose(rows[start + i], sid, ahead[i], own);
                free.Take(sid);
            }
            Parallel.For(0, count, parallel, newSearch, (i, _, search) =>
            {
                int row = rows[start + i];
                added[i] = search.AddedError(row, codes[row], settled.AsSpan(row * levels, levels));
                return search;
            }, _ => { });
            for (int i = 0; i < count; i++)
                total += added[i];
        }
        return total;
    }

    private void Choose(int row, Span<ushort> sid, DistancesAhead ahead, RowSearch search)
    {
        FreeSids.Prefix prefix = FreeSids.Root;
        bool changed = false;
        for (int level = 0; level < sid.Length; level++)
        {
            FreeSids.Prefix next = free.Extend(prefix, sid[level]);
            if (changed || !free.HasFree(next))
            {
                changed = true;
                ReadOnlySpan<double> distances = ahead.Get(level, row, sid, codeCounts[level], search);
                int best = -1;
                for (int code = 0; code < distances.Length; code++)
                {
                    if (best >= 0 && distances[code] >= distances[best])
                        continue;
                    FreeSids.Prefix candidate = free.Extend(prefix, code);
                    if (free.HasFree(candidate))
                        (best, next) = (code, candidate);
                }
                sid[level] = (ushort)best;
            }
            prefix = next;
        }
    }

    /// <summary>Distances of one item by level, each for the prefix they were computed after.</summary>
    private sealed class DistancesAhead(int levels)
    {
        private readonly double[]?[] _distances = new double[levels][];
        private readonly ushort[]?[] _prefixes = new ushort[levels][];

        public void Clear() => Array.Clear(_prefixes);

        public ReadOnlySpan<double> Get(int level, int row, ReadOnlySpan<ushort> sid, int codes, RowSearch search)
        {
            double[] distances = _distances[level] ??= new double[codes];
            if (_prefixes[level] is not { } prefix || !sid[..level].SequenceEqual(prefix))
            {
                search.Distances(level, row, sid, distances);
                _prefixes[level] = sid[..level].ToArray();
            }
            return distances;
        }
    }
}
