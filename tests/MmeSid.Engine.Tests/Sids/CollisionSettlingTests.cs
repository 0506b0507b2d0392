using System.Diagnostics;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Sids;

public sealed class CollisionSettlingTests
{
    private static readonly SettlingOptions s_optimal = new() { Policy = CollisionPolicy.Resettle };
    private static readonly SettlingOptions s_greedy = new() { Policy = CollisionPolicy.Resettle, Method = SettlingMethod.Greedy };

    [Theory]
    [InlineData(QuantizerKind.Vq, new[] { 61 }, 60)]
    [InlineData(QuantizerKind.RqKMeans, new[] { 5, 4, 3 }, 60)]
    [InlineData(QuantizerKind.RqKMeans, new[] { 5, 4, 3 }, 33)]
    [InlineData(QuantizerKind.RqKMeans, new[] { 2, 37 }, 41)]
    [InlineData(QuantizerKind.Psrq, new[] { 5, 4, 3 }, 59)]
    [InlineData(QuantizerKind.Pq, new[] { 4, 5, 6 }, 101)]
    [InlineData(QuantizerKind.Opq, new[] { 4, 5, 6 }, 101)]
    public void ResettlingLeavesNoCollision(QuantizerKind kind, int[] codes, int count)
    {
        const int d = 6;
        Quantizer quantizer = SidCases.Quantizer(kind, d, codes, 11);
        float[] rows = SidCases.Gaussians(count * d, 12);
        SidTable raw = SidCases.Encode(quantizer, rows);
        using EmbeddingTable table = SidCases.Table(rows, d);
        foreach (SettlingOptions options in (SettlingOptions[])[s_optimal, s_greedy])
        {
            SettlingResult result = SidCases.Settle(raw, quantizer, table, options);
            Assert.True(SidCases.AllDifferent(result.Sids));
            CollisionSettling.CheckCodes(result.Sids, quantizer);
            long moved = 0, spilled = 0;
            for (int row = 0; row < count; row++)
            {
                moved += raw[row].SequenceEqual(result.Sids[row]) ? 0 : 1;
                spilled += raw[row][..^1].SequenceEqual(result.Sids[row][..^1]) ? 0 : 1;
            }
            Assert.Equal(moved, result.Report.Moved);
            Assert.Equal(spilled, result.Report.Spilled);
            var distinct = new HashSet<string>();
            for (int row = 0; row < count; row++)
                distinct.Add(SidText.Numbers(raw[row]));
            Assert.Equal(count - distinct.Count, result.Report.Colliding);
            Assert.True(moved >= result.Report.Colliding);
            if (kind is not QuantizerKind.Opq)
                Assert.Equal(SquaredError(quantizer, rows, result.Sids) - SquaredError(quantizer, rows, raw), result.Report.AddedSquaredError, 1e-3);
        }
    }

    [Fact]
    public void ResettlingIsABijectionWheneverThereIsRoom() => Prop.ForAll(
        Gen.Choose(1, 4).ListOf(3).SelectMany(codes => Gen.Choose(0, codes.Aggregate(1, (a, b) => a * b)).SelectMany(count =>
            Gen.Choose(0, 1_000_000).Select(seed => (codes: codes.ToArray(), count, seed)))).ToArbitrary(),
        drawn =>
        {
            const int d = 3;
            Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, drawn.codes, (ulong)drawn.seed);
            float[] rows = SidCases.Gaussians(drawn.count * d, (ulong)drawn.seed + 77);
            SidTable raw = SidCases.Encode(quantizer, rows);
            using EmbeddingTable table = SidCases.Table(rows, d);
            return SidCases.AllDifferent(SidCases.Settle(raw, quantizer, table, s_optimal).Sids)
                && SidCases.AllDifferent(SidCases.Settle(raw, quantizer, table, s_greedy).Sids);
        }).QuickCheckThrowOnFailure();

    // All items share the prefix; the assignment problem is small enough to try every order.
    [Fact]
    public void OptimalHasLeastTotalCost()
    {
        const int d = 4, count = 6;
        int better = 0;
        for (ulong seed = 1; seed <= 40; seed++)
        {
            Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, [1, 7], seed);
            float[] rows = SidCases.Gaussians(count * d, seed + 100, 0.3f);
            SidTable raw = SidCases.Encode(quantizer, rows);
            using EmbeddingTable table = SidCases.Table(rows, d);
            double[][] costs = [.. Enumerable.Range(0, count).Select(i => SidCases.Distances(quantizer, rows.AsSpan(i * d, d), [0], 1))];
            double Cost(IEnumerable<int> codes) => codes.Select((code, i) => costs[i][code]).Sum();
            double best = Permutations(7, count).Min(Cost);
            double optimal = Cost(LastCodes(SidCases.Settle(raw, quantizer, table, s_optimal).Sids));
            double greedy = Cost(LastCodes(SidCases.Settle(raw, quantizer, table, s_greedy).Sids));
            Assert.Equal(best, optimal, 1e-9);
            better += greedy > optimal + 1e-9 ? 1 : 0;
        }
        Assert.True(better > 10);
    }

    [Fact]
    public void SpillsLikeThePlainLoop()
    {
        const int d = 4, count = 2_399;
        int[] codeCounts = [10, 12, 20];
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, codeCounts, 31);
        float[] rows = SidCases.Gaussians(count * d, 32);
        SidTable raw = SidCases.Encode(quantizer, rows);
        using EmbeddingTable table = SidCases.Table(rows, d);
        SettlingResult result = SidCases.Settle(raw, quantizer, table, s_greedy with { Threads = 3 });

        var settled = new ushort[count][];
        var used = new Dictionary<string, int>();
        void Take(int row, ushort[] sid)
        {
            settled[row] = sid;
            for (int length = 0; length <= 3; length++)
                used[SidText.Numbers(sid.AsSpan(0, length))] = used.GetValueOrDefault(SidText.Numbers(sid.AsSpan(0, length))) + 1;
        }
        bool HasFree(ReadOnlySpan<ushort> prefix)
        {
            int capacity = 1;
            for (int level = prefix.Length; level < 3; level++)
                capacity *= codeCounts[level];
            return used.GetValueOrDefault(SidText.Numbers(prefix)) < capacity;
        }
        var spilled = new List<int>();
        for (int row = 0; row < count; row++)
        {
            if (HasFree(raw[row]))
                Take(row, raw[row].ToArray());
        }
        for (int pass = 0; pass < 2; pass++)
        {
            for (int row = 0; row < count; row++)
            {
                if (settled[row] is not null || (pass == 0 && !HasFree(raw[row][..2])))
                    continue;
                spilled.AddRange(pass == 1 ? [row] : []);
                ushort[] sid = raw[row].ToArray();
                bool changed = false;
                for (int level = 0; level < 3; level++)
                {
                    if (!changed && HasFree(sid.AsSpan(0, level + 1)))
                        continue;
                    changed = true;
                    double[] distances = SidCases.Distances(quantizer, rows.AsSpan(row * d, d), sid.AsSpan(0, level), level);
                    sid[level] = (ushort)Enumerable.Range(0, codeCounts[level]).OrderBy(code => distances[code]).First(code => HasFree([.. sid[..level], (ushort)code]));
                }
                Take(row, sid);
            }
        }
        Assert.True(spilled.Count > 600);
        Assert.Equal(spilled.Count, result.Report.Spilled);
        Assert.Equal(settled.SelectMany(sid => sid), result.Sids.Codes.ToArray());
    }

    [Fact]
    public void GreedyMovesToTheNearestFreeCode()
    {
        // Codewords 0, 10, 11, 30 on a line; three items near 10: the first keeps 10, then 11, then 0 (distance 10) before 30 (20).
        var quantizer = new Quantizer(QuantizerKind.RqKMeans, 1, [[0f], [0f, 10f, 11f, 30f]]);
        float[] rows = [10f, 10.1f, 10.2f, 29f];
        using EmbeddingTable table = SidCases.Table(rows, 1);
        SettlingResult result = SidCases.Settle(SidCases.Encode(quantizer, rows), quantizer, table, s_greedy);
        Assert.Equal([0, 1, 0, 2, 0, 0, 0, 3], result.Sids.Codes.ToArray());
        Assert.Equal(1, result.Report.GreedyPrefixes);
        Assert.Equal(2, result.Report.Moved);
    }

    [Fact]
    public void OptimalMayMoveAnItemThatDoesNotCollide()
    {
        // Items at 10, 10 and 11 with codewords 10, 11, 12, −90: moving the second to 11 (cost 1) and 11 to 12 (cost 1) beats moving it to 12 (cost 4).
        var quantizer = new Quantizer(QuantizerKind.RqKMeans, 1, [[0f], [10f, 11f, 12f, -90f]]);
        float[] rows = [10f, 10f, 11f];
        using EmbeddingTable table = SidCases.Table(rows, 1);
        SettlingResult result = SidCases.Settle(SidCases.Encode(quantizer, rows), quantizer, table, s_optimal);
        Assert.Equal([0, 0, 0, 1, 0, 2], result.Sids.Codes.ToArray());
        Assert.Equal(2, result.Report.AddedSquaredError, 1e-12);
    }

    [Fact]
    public void FullPrefixSpillsToTheNextNearest()
    {
        // Prefixes at 0, 100 and 1000, two codes each; five items at 1, one at 99.
        var quantizer = new Quantizer(QuantizerKind.RqKMeans, 1, [[1000f, 100f, 0f], [0f, 1f]]);
        float[] rows = [1f, 1f, 1f, 99f, 1f, 1f];
        using EmbeddingTable table = SidCases.Table(rows, 1);
        foreach (SettlingOptions options in (SettlingOptions[])[s_optimal, s_greedy])
        {
            SettlingResult result = SidCases.Settle(SidCases.Encode(quantizer, rows), quantizer, table, options);
            // Rows 0 and 1 fill prefix 2; row 2 goes to prefix 1 beside row 3 (100 + 0); rows 4 and 5 are left prefix 0.
            Assert.Equal([2, 1, 2, 0, 1, 1, 1, 0, 0, 0, 0, 1], result.Sids.Codes.ToArray());
            Assert.Equal(3, result.Report.Spilled);
        }
    }

    [Fact]
    public void TooManyItemsAreRefused()
    {
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, 2, [2, 3], 1);
        float[] rows = SidCases.Gaussians(14, 2);
        using EmbeddingTable table = SidCases.Table(rows, 2);
        SidTable raw = SidCases.Encode(quantizer, rows);
        Assert.Contains("2 × 3", Assert.Throws<InvalidDataException>(() => SidCases.Settle(raw, quantizer, table, s_optimal)).Message);
        SidTable six = raw.Select([0, 1, 2, 3, 4, 5]);
        using EmbeddingTable sixRows = SidCases.Table(rows[..12], 2);
        SidTable settled = SidCases.Settle(six, quantizer, sixRows, s_optimal).Sids;
        using EmbeddingTable last = SidCases.Table(rows[12..], 2);
        Assert.Throws<InvalidDataException>(() => SidCases.Settle(raw.Select([6]), quantizer, last, s_optimal, settled));
    }

    [Fact]
    public void ThreadsAndCostLimitsAreSafe()
    {
        const int d = 5, count = 997;
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, [7, 7, 33], 3);
        float[] rows = SidCases.Gaussians(count * d, 4);
        SidTable raw = SidCases.Encode(quantizer, rows);
        using EmbeddingTable table = SidCases.Table(rows, d);
        SettlingResult one = SidCases.Settle(raw, quantizer, table, s_optimal with { Threads = 1 });
        SettlingResult many = SidCases.Settle(raw, quantizer, table, s_optimal with { Threads = 5 });
        Assert.Equal(one.Sids.Codes.ToArray(), many.Sids.Codes.ToArray());
        Assert.Equal(one.Report, many.Report);
        SettlingResult limited = SidCases.Settle(raw, quantizer, table, s_optimal with { CostLimit = 33 * 20 });
        Assert.True(limited.Report.GreedyPrefixes > 0);
        Assert.True(SidCases.AllDifferent(limited.Sids));
    }

    [Fact]
    public void ExtraDigitNumbersEqualCodesInItemOrder()
    {
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, 2, [9, 9], 1);
        var options = new SettlingOptions { Policy = CollisionPolicy.ExtraDigit };
        SettlingResult result = SidCases.Settle(new SidTable(2, [1, 2, 3, 4, 1, 2, 1, 2]), quantizer, null, options);
        Assert.Equal([1, 2, 0, 3, 4, 0, 1, 2, 1, 1, 2, 2], result.Sids.Codes.ToArray());
        Assert.Equal(2, result.Report.Colliding);
        // Taken: digits 1 and 3 of (1, 2), digit 0 of (3, 4).
        var taken = new SidTable(3, [3, 4, 0, 1, 2, 3, 1, 2, 1]);
        result = SidCases.Settle(new SidTable(2, [1, 2, 3, 4, 1, 2, 1, 2]), quantizer, null, options, taken);
        Assert.Equal([1, 2, 0, 3, 4, 1, 1, 2, 2, 1, 2, 4], result.Sids.Codes.ToArray());
        SidTable many = new(1, new ushort[65_537]);
        Assert.Throws<InvalidDataException>(() => SidCases.Settle(many, SidCases.Quantizer(QuantizerKind.Vq, 1, [2], 1), null, options));
    }

    [Fact]
    public void MillionItemsSettleInSeconds()
    {
        // Raw codes below 40 of 64: 2.6M raw SIDs, so that every sixth item collides.
        const int d = 8, count = 1_000_000;
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, [64, 64, 64, 64], 5);
        float[] rows = SidCases.Gaussians(count * d, 6);
        SidTable raw = SidCases.Random(count, 4, 40, 7);
        using EmbeddingTable table = SidCases.Table(rows, d);
        var watch = Stopwatch.StartNew();
        SettlingResult result = SidCases.Settle(raw, quantizer, table, s_optimal);
        TestContext.Current.SendDiagnosticMessage($"1M items: {watch.Elapsed.TotalSeconds:F2} s, {result.Report}");
        using var trie = SidTrie.Build(result.Sids);
        Assert.Equal(count, trie.NodeCount(4));
    }

    private static int[] LastCodes(SidTable sids) => [.. sids.Level(sids.Levels - 1).Select(code => (int)code)];

    private static IEnumerable<int[]> Permutations(int codes, int length) => length == 0
        ? [[]]
        : Permutations(codes, length - 1).SelectMany(head => Enumerable.Range(0, codes).Except(head).Select(next => (int[])[.. head, next]));

    private static double SquaredError(Quantizer quantizer, float[] rows, SidTable sids)
    {
        var reconstruction = new float[rows.Length];
        quantizer.Reconstruct(sids.Codes, reconstruction);
        return rows.Zip(reconstruction, (x, y) => ((double)x - y) * ((double)x - y)).Sum();
    }
}
