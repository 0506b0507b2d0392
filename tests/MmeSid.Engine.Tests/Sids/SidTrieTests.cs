using System.Diagnostics;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Sids;

public sealed class SidTrieTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-trie").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void EqualsADictionaryOfPrefixes() => Prop.ForAll(
        Gen.Choose(0, 300).SelectMany(count => Gen.Choose(1, 5).SelectMany(levels => Gen.Choose(1, 6).SelectMany(codes =>
            Gen.Choose(0, int.MaxValue).Select(seed => (count, levels, codes, seed))))).ToArbitrary(),
        drawn => AssertEqualsDictionary(SidCases.Random(drawn.count, drawn.levels, drawn.codes, (ulong)drawn.seed))).QuickCheckThrowOnFailure();

    private void AssertEqualsDictionary(SidTable sids)
    {
        var prefixes = new Dictionary<string, List<int>>();
        for (int row = 0; row < sids.Count; row++)
        {
            for (int length = 0; length <= sids.Levels; length++)
            {
                string key = SidText.Numbers(sids[row][..length]);
                prefixes.TryAdd(key, []);
                prefixes[key].Add(row);
            }
        }
        string path = Path.Combine(_folder, "trie");
        using var built = SidTrie.Build(sids);
        built.Save(path, force: true);
        using var mapped = SidTrie.Open(path);
        Assert.Equal(new FileInfo(path).Length, built.ByteCount);
        foreach (SidTrie trie in (SidTrie[])[built, mapped])
        {
            Assert.Equal(sids.Count, trie.Count);
            Assert.Equal(sids.Levels, trie.Levels);
            Assert.Equal(prefixes.Keys.Count(key => key.Length > 0 && key.Split('-').Length == sids.Levels), trie.NodeCount(sids.Levels));
            foreach ((string key, List<int> rows) in prefixes)
            {
                ushort[] prefix = key.Length == 0 ? [] : SidText.Parse(key);
                Assert.True(trie.TryFind(prefix, out TrieNode node));
                Assert.Equal(prefix.Length == sids.Levels, trie.Contains(prefix));
                Assert.Equal(rows.OrderBy(row => SortKey(sids[row])).ThenBy(row => row), trie.Items(prefix).ToArray());
                Assert.Equal(rows.Select(row => SortKey(sids[row])).Distinct().Count(), trie.SidCount(node));
                ushort[] children = trie.ChildCodes(node).ToArray();
                Assert.Equal(prefix.Length == sids.Levels ? [] : rows.Select(row => sids[row][prefix.Length]).Distinct().Order(), children);
                for (int i = 0; i < children.Length; i++)
                {
                    Assert.True(trie.TryChild(node, children[i], out TrieNode child));
                    Assert.Equal(trie.Child(node, i), child);
                }
                Assert.False(trie.TryChild(node, 60_000, out _));
            }
        }
    }

    private static string SortKey(ReadOnlySpan<ushort> sid)
    {
        string key = "";
        foreach (ushort code in sid)
            key += code.ToString("D5");
        return key;
    }

    [Fact]
    public void FindsNothingThatIsNotThere()
    {
        using var trie = SidTrie.Build(new SidTable(3, [1, 2, 3, 1, 2, 65_535, 1, 2, 3]));
        Assert.False(trie.Contains([1, 2]));
        Assert.False(trie.Contains([1, 2, 4]));
        Assert.False(trie.Contains([1, 2, 3, 0]));
        Assert.True(trie.Contains([1, 2, 65_535]));
        Assert.Equal([0, 2], trie.Items([1, 2, 3]).ToArray());
        Assert.True(trie.Items([7]).IsEmpty);
        using var empty = SidTrie.Build(new SidTable(3, []));
        Assert.False(empty.TryFind([], out _));
        Assert.True(empty.Items([]).IsEmpty);
        Assert.Throws<ArgumentOutOfRangeException>(() => trie.Child(TrieNode.Root, 1));
    }

    [Fact]
    public void RefusesDamagedFiles()
    {
        string path = Path.Combine(_folder, "damaged");
        using (var trie = SidTrie.Build(SidCases.Random(97, 3, 5, 1)))
            trie.Save(path, force: false);
        byte[] good = File.ReadAllBytes(path);
        var random = new RandomSource(5);
        for (int length = 0; length < good.Length; length += 1 + random.NextInt(40))
        {
            File.WriteAllBytes(path, good[..length]);
            Assert.Contains(path, Assert.Throws<InvalidDataException>(() => SidTrie.Open(path)).Message);
        }
        for (int round = 0; round < 300; round++)
        {
            byte[] bad = (byte[])good.Clone();
            bad[random.NextInt(bad.Length)] = (byte)random.NextUInt64();
            File.WriteAllBytes(path, bad);
            try
            {
                using var trie = SidTrie.Open(path);
                for (ushort code = 0; code < 5; code++)
                    _ = trie.Items([code]).Length + trie.Items([code, 2]).Length + trie.Items([code, 1, 3]).Length;
            }
            catch (InvalidDataException)
            {
                // Named the file; anything else fails the test.
            }
        }
    }

    [Fact]
    public void TenMillionSidsFitTheBudget()
    {
        SidTable sids = SidCases.Random(10_000_000, 4, 256, 3);
        var watch = Stopwatch.StartNew();
        using var trie = SidTrie.Build(sids);
        TestContext.Current.SendDiagnosticMessage($"10M SIDs: {watch.Elapsed.TotalSeconds:F2} s, {trie.ByteCount / 1e6:F1} MB");
        Assert.InRange(trie.ByteCount, 0, 250_000_000);
        for (int row = 0; row < sids.Count; row += 999_983)
            Assert.Contains(row, trie.Items(sids[row]).ToArray());
    }
}
