using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;

namespace MmeSid.Engine.Sids;

/// <summary>How collisions are settled.</summary>
public sealed record SettlingOptions
{
    /// <summary>What happens to items whose codes are equal.</summary>
    public CollisionPolicy Policy { get; init; } = CollisionPolicy.None;

    /// <summary>How <see cref="CollisionPolicy.Resettle"/> chooses inside a prefix.</summary>
    public SettlingMethod Method { get; init; } = SettlingMethod.Optimal;

    /// <summary>
    /// A prefix with more than this many items × last-level codes is settled greedily under <see cref="SettlingMethod.Optimal"/> too
    /// (its costs would take 8 bytes each). The report counts such prefixes.
    /// </summary>
    public long CostLimit { get; init; } = 1 << 24;

    /// <summary>Threads, 0 for all cores. Changes nothing in the result.</summary>
    public int Threads { get; init; }
}

/// <summary>What settling did.</summary>
/// <param name="Items">Items settled.</param>
/// <param name="Colliding">Items whose raw SID an earlier item, or an item that was there before, holds.</param>
/// <param name="Moved">Items whose settled codes differ from their raw ones (resettle only).</param>
/// <param name="Spilled">Moved items that left their prefix because it was full.</param>
/// <param name="AddedSquaredError">Σ over moved items of ‖x − x̂_settled‖² − ‖x − x̂_raw‖².</param>
/// <param name="GreedyPrefixes">Prefixes in which items moved greedily.</param>
public sealed record SettlingReport(long Items, long Colliding, long Moved, long Spilled, double AddedSquaredError, long GreedyPrefixes);

/// <summary>Settled SIDs and what it took.</summary>
/// <param name="Sids">[n, L], or [n, L + 1] under <see cref="CollisionPolicy.ExtraDigit"/>.</param>
/// <param name="Report">Counts.</param>
public sealed record SettlingResult(SidTable Sids, SettlingReport Report);

/// <summary>
/// Turns raw codes into SIDs. Deterministic: the result depends on the codes, the rows, the quantizer and the options only, not on threads.
/// <para>
/// <b>resettle.</b> Within each prefix (the first L − 1 codes) items get distinct last codes, by least total cost or greedily in item order
/// (<see cref="SettlingMethod"/>); a move costs the increase of the squared distance in the quantizer's own search, float64, ties to the
/// smaller code. Behind a learned encoder rows are encoded rows; hvq, which searches through a network, moves by the residual itself, so that a move costs
/// what it adds to ‖x_1 − x̂‖², at least 0. Of a prefix with more items than codes, the items that collide last in item order are spilled. Then, in item order, each
/// spilled item is encoded greedily once more over prefixes that still have a free SID: at every level it keeps its raw code while the SIDs
/// below it are not all taken, and from the first level where they are it takes the nearest codeword below which one is free. Such a
/// codeword always exists while the product of all K exceeds the number of items, so no two items share a SID in the end.
/// </para>
/// </summary>
public static class CollisionSettling
{
    /// <summary>Settles the collisions of n items, among themselves and with SIDs that are taken and do not move.</summary>
    /// <param name="codes">Raw codes, [n, L].</param>
    /// <param name="quantizer">What made them.</param>
    /// <param name="rows">The rows x that were encoded, [n, d]; needed by resettle only and read only where items move.</param>
    /// <param name="options">Policy and method.</param>
    /// <param name="taken">SIDs that are there already, [m, L] ([m, L + 1] for extra-digit); or null.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="ArgumentException">Shapes do not fit each other, or rows are missing.</exception>
    /// <exception cref="InvalidDataException">More items than SIDs, or more items with equal codes than an extra digit can number.</exception>
    public static SettlingResult Settle(SidTable codes, Quantizer quantizer, EmbeddingTable? rows, SettlingOptions options, SidTable? taken = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(quantizer);
        ArgumentNullException.ThrowIfNull(options);
        if (rows is not null && (rows.Count != codes.Count || rows.Dimension != quantizer.Dimension))
            throw new ArgumentException($"{rows.Name} has {rows.Count} rows of dimension {rows.Dimension}, expected {codes.Count} of {quantizer.Dimension}", nameof(rows));
        return SettleRows(codes, quantizer, rows is null ? null : (row, values) => rows.Read(row, 1, values), options, taken, cancellation);
    }

    internal static SettlingResult SettleRows(SidTable codes, Quantizer quantizer, RowReader? read, SettlingOptions options, SidTable? taken, CancellationToken cancellation)
    {
        CheckCodes(codes, quantizer);
        int settledLevels = codes.Levels + (options.Policy == CollisionPolicy.ExtraDigit ? 1 : 0);
        if (taken is not null && taken.Levels != settledLevels)
            throw new ArgumentException($"the SIDs that are taken have {taken.Levels} levels, expected {settledLevels}", nameof(taken));
        return options.Policy switch
        {
            CollisionPolicy.None => new SettlingResult(codes, new SettlingReport(codes.Count, CountColliding(codes, taken), 0, 0, 0, 0)),
            CollisionPolicy.ExtraDigit => AddDigit(codes, taken),
            CollisionPolicy.Resettle => Resettle(codes, quantizer, read ?? throw new ArgumentException("resettling needs the rows that were encoded", nameof(read)), options, taken, cancellation),
            _ => throw new ArgumentException($"{(int)options.Policy} is no collision policy", nameof(options)),
        };
    }

    /// <summary>Refuses more items than there are SIDs, which <see cref="CollisionPolicy.Resettle"/> cannot tell apart.</summary>
    /// <param name="codeCounts">K per level.</param>
    /// <param name="items">Items in all.</param>
    /// <exception cref="InvalidDataException">∏ K is less than the items.</exception>
    public static void RequireRoom(ReadOnlySpan<int> codeCounts, long items)
    {
        long capacity = FreeSids.Capacities(codeCounts)[0];
        if (items > capacity)
            throw new InvalidDataException($"{items} items cannot have different SIDs: {string.Join(" × ", codeCounts.ToArray())} codes make {capacity}; use more codes or levels, or the extra digit");
    }

    /// <summary>Checks that SIDs fit a quantizer.</summary>
    internal static void CheckCodes(SidTable codes, Quantizer quantizer)
    {
        if (codes.Levels != quantizer.Levels)
            throw new ArgumentException($"the codes have {codes.Levels} levels, the quantizer has {quantizer.Levels}", nameof(codes));
        for (int level = 0; level < codes.Levels; level++)
        {
            int count = quantizer.CodeCount(level);
            ReadOnlySpan<ushort> all = codes.Codes;
            for (int i = level; i < all.Length; i += codes.Levels)
            {
                if (all[i] >= count)
                    throw new ArgumentException($"row {i / codes.Levels}, level {level} has code {all[i]}, expected less than {count}", nameof(codes));
            }
        }
    }

    private static long CountColliding(SidTable codes, SidTable? taken)
    {
        SidTable all = taken is null ? codes : taken.Append(codes);
        int[] order = SidOrder.Sort(all);
        long first = taken?.Count ?? 0, colliding = 0;
        for (int i = 1; i < order.Length; i++)
            colliding += order[i] >= first && all[order[i]].SequenceEqual(all[order[i - 1]]) ? 1 : 0;
        return colliding;
    }

    // Items with equal codes get the smallest numbers that no taken SID of these codes has, in item order.
    private static SettlingResult AddDigit(SidTable codes, SidTable? taken)
    {
        int levels = codes.Levels;
        var settled = new ushort[checked((codes.Count * (levels + 1)))];
        int[] order = SidOrder.Sort(codes);
        int[] takenOrder = taken is null ? [] : SidOrder.Sort(taken);
        long colliding = 0;
        for (int start = 0, at = 0, end; start < order.Length; start = end)
        {
            ReadOnlySpan<ushort> sid = codes[order[start]];
            while (at < takenOrder.Length && taken![takenOrder[at]][..levels].SequenceCompareTo(sid) < 0)
                at++;
            int digit = 0;
            for (end = start; end < order.Length && codes[order[end]].SequenceEqual(sid); end++, digit++)
            {
                // Taken digits of these codes come in ascending order, so one walk over them finds the gaps.
                for (; at < takenOrder.Length && taken![takenOrder[at]][..levels].SequenceEqual(sid) && taken[takenOrder[at]][levels] <= digit; at++)
                    digit = taken[takenOrder[at]][levels] + 1;
                if (digit > ushort.MaxValue)
                    throw new InvalidDataException($"more than {ushort.MaxValue + 1} items have the codes {SidText.Numbers(sid)}; an extra digit cannot number them");
                Span<ushort> target = settled.AsSpan(order[end] * (levels + 1), levels + 1);
                sid.CopyTo(target);
                target[levels] = (ushort)digit;
                colliding += digit > 0 ? 1 : 0;
            }
        }
        return new SettlingResult(new SidTable(levels + 1, settled), new SettlingReport(codes.Count, colliding, 0, 0, 0, 0));
    }

    private readonly record struct PrefixGroup(int Start, int End, int TakenStart, int TakenEnd);

    private static SettlingResult Resettle(SidTable codes, Quantizer quantizer, RowReader read, SettlingOptions options, SidTable? taken, CancellationToken cancellation)
    {
        int levels = codes.Levels;
        var codeCounts = new int[levels];
        for (int level = 0; level < levels; level++)
            codeCounts[level] = quantizer.CodeCount(level);
        RequireRoom(codeCounts, codes.Count + (taken?.Count ?? 0));

        ushort[] settled = codes.Codes.ToArray();
        int[] order = SidOrder.Sort(codes);
        int[] takenOrder = taken is null ? [] : SidOrder.Sort(taken);
        List<PrefixGroup> groups = FindConflicts(codes, order, taken, takenOrder);

        var search = new CodewordSearch(quantizer);
        var outcomes = new PrefixSettling.Outcome[groups.Count];
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Threads > 0 ? options.Threads : Environment.ProcessorCount, CancellationToken = cancellation };
        Parallel.For(0, groups.Count, parallel, () => new PrefixSettling(new RowSearch(search, read), options.Method, options.CostLimit), (index, _, settling) =>
        {
            PrefixGroup group = groups[index];
            Span<int> rows = order.AsSpan(group.Start, group.End - group.Start);
            rows.Sort();
            var closed = new ushort[group.TakenEnd - group.TakenStart];
            for (int i = 0; i < closed.Length; i++)
                closed[i] = taken![takenOrder[group.TakenStart + i]][levels - 1];
            outcomes[index] = settling.Settle(rows, codes, closed, settled);
            return settling;
        }, _ => { });

        long colliding = 0, moved = 0, greedy = 0;
        double added = 0;
        var spilled = new List<int>();
        foreach (PrefixSettling.Outcome outcome in outcomes)
        {
            colliding += outcome.Colliding;
            moved += outcome.Moved;
            added += outcome.AddedError;
            greedy += outcome.Greedy ? 1 : 0;
            spilled.AddRange(outcome.Spilled);
        }
        if (spilled.Count > 0)
        {
            spilled.Sort();
            using var placed = SidTrie.Build(WithoutRows(settled, levels, spilled, taken));
            var placement = new SpillPlacement(new FreeSids(placed, codeCounts), codeCounts, () => new RowSearch(search, read));
            added += placement.Place(spilled, codes, settled, parallel);
        }
        return new SettlingResult(new SidTable(levels, settled), new SettlingReport(codes.Count, colliding, moved + spilled.Count, spilled.Count, added, greedy));
    }

    private static List<PrefixGroup> FindConflicts(SidTable codes, int[] order, SidTable? taken, int[] takenOrder)
    {
        int prefix = codes.Levels - 1;
        var groups = new List<PrefixGroup>();
        for (int start = 0, at = 0, end; start < order.Length; start = end)
        {
            ReadOnlySpan<ushort> first = codes[order[start]];
            while (at < takenOrder.Length && taken![takenOrder[at]][..prefix].SequenceCompareTo(first[..prefix]) < 0)
                at++;
            int takenEnd = at;
            while (takenEnd < takenOrder.Length && taken![takenOrder[takenEnd]][..prefix].SequenceEqual(first[..prefix]))
                takenEnd++;

            bool conflict = false;
            int held = at;
            for (end = start; end < order.Length && codes[order[end]][..prefix].SequenceEqual(first[..prefix]); end++)
            {
                ushort code = codes[order[end]][prefix];
                while (held < takenEnd && taken![takenOrder[held]][prefix] < code)
                    held++;
                conflict |= end > start && codes[order[end - 1]][prefix] == code;
                conflict |= held < takenEnd && taken![takenOrder[held]][prefix] == code;
            }
            if (conflict)
                groups.Add(new PrefixGroup(start, end, at, takenEnd));
        }
        return groups;
    }

    private static SidTable WithoutRows(ushort[] settled, int levels, List<int> rows, SidTable? taken)
    {
        var kept = new ushort[settled.Length - rows.Count * levels];
        int from = 0, to = 0;
        foreach (int row in rows)
        {
            int length = row * levels - from;
            settled.AsSpan(from, length).CopyTo(kept.AsSpan(to));
            to += length;
            from = (row + 1) * levels;
        }
        settled.AsSpan(from).CopyTo(kept.AsSpan(to));
        var table = new SidTable(levels, kept);
        return taken is null ? table : table.Append(taken);
    }
}
