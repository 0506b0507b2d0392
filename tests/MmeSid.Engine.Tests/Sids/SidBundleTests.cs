using System.Text;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Sids;

public sealed class SidBundleTests : IDisposable
{
    private const int kDimension = 6;

    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-bundle").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string PathOf(string name) => Path.Combine(_folder, name);

    private static BundleContent Content(QuantizerKind kind = QuantizerKind.RqKMeans, int count = 23, CollisionPolicy policy = CollisionPolicy.Resettle, ulong seed = 1)
    {
        Quantizer quantizer = SidCases.Quantizer(kind, kDimension, kind == QuantizerKind.Vq ? [64] : [4, 5, 7], 21);
        float[] rows = SidCases.Gaussians(count * kDimension, seed);
        SidTable codes = SidCases.Encode(quantizer, rows);
        ItemIds items = ItemIds.FromStrings(Enumerable.Range(0, count).Select(i => $"item {i} é\"{seed}"));
        using EmbeddingTable table = SidCases.Table(rows, kDimension, items);
        return new BundleContent
        {
            Quantizer = quantizer,
            Preprocessing = new Preprocessing([new TablePart(4, true, 0.1), new TablePart(2, false, 1) { Mean = [0.1f, -3e-9f] }]),
            Items = items,
            Codes = codes,
            Sids = SidCases.Settle(codes, quantizer, table, new SettlingOptions { Policy = policy }).Sids,
            Collisions = policy,
            Inputs = [BundleInput.Of(table)],
            Options = new Dictionary<string, string> { ["seed"] = "7", ["iterations"] = "20" },
            Metrics = new Dictionary<string, double> { ["error"] = 0.1, ["collision-rate"] = 1e-300 },
        };
    }

    [Theory]
    [InlineData(QuantizerKind.Vq, CollisionPolicy.None)]
    [InlineData(QuantizerKind.Pq, CollisionPolicy.ExtraDigit)]
    [InlineData(QuantizerKind.Opq, CollisionPolicy.Resettle)]
    [InlineData(QuantizerKind.RqKMeans, CollisionPolicy.ExtraDigit)]
    [InlineData(QuantizerKind.Psrq, CollisionPolicy.Resettle)]
    public void ComesBackAsItWasWritten(QuantizerKind kind, CollisionPolicy policy)
    {
        BundleContent content = Content(kind, policy: policy);
        SidBundle.Write(PathOf("b"), content, force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        Assert.Equal(kind, bundle.Quantizer.Kind);
        for (int level = 0; level < content.Quantizer.Levels; level++)
            Assert.Equal(content.Quantizer.Codebook(level), bundle.Quantizer.Codebook(level));
        Assert.Equal(content.Quantizer.Rotation, bundle.Quantizer.Rotation);
        Assert.Equal(content.Preprocessing, bundle.Preprocessing);
        Assert.True(content.Items.SameAs(bundle.Items));
        Assert.Equal(content.Codes.Codes.ToArray(), bundle.Codes.Codes.ToArray());
        Assert.Equal(content.Sids.Codes.ToArray(), bundle.Sids.Codes.ToArray());
        Assert.Equal(content.Inputs, bundle.Manifest.Inputs);
        Assert.Equal(content.Options, bundle.Manifest.Options);
        Assert.Equal(content.Metrics, bundle.Manifest.Metrics);
        Assert.Equal((policy, 23), (bundle.Manifest.Collisions, bundle.Manifest.Items));
        Assert.Equal([new FileInfo(PathOf("b/codes.npy")).Length], [bundle.Manifest.Files["codes.npy"].Bytes]);

        SidBundle.Write(PathOf("again"), bundle.ToContent(), force: false);
        foreach (string file in Directory.GetFiles(PathOf("b")))
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(PathOf("again"), Path.GetFileName(file))));
        Assert.Equal(bundle.Fingerprint, SidBundle.Open(PathOf("again")).Fingerprint);
        Assert.Equal(5, Directory.GetFiles(PathOf("b")).Length);
    }

    [Fact]
    public void LooksUpItemsSidsAndVectors()
    {
        BundleContent content = Content(policy: CollisionPolicy.None, count: 61);
        SidBundle.Write(PathOf("b"), content, force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        for (long row = 0; row < bundle.Count; row++)
        {
            Assert.True(bundle.TryFindSid(bundle.Items[row], out ReadOnlySpan<ushort> sid));
            Assert.Equal(bundle.Sids[row].ToArray(), sid.ToArray());
            Assert.Contains(bundle.Items[row], bundle.ItemsOf(sid));
            Assert.Contains(bundle.Items[row], bundle.ItemsOf(sid[..1]));
            var expected = new float[kDimension];
            bundle.Quantizer.Reconstruct(sid, expected);
            Assert.Equal(expected, bundle.Vector(sid));
        }
        Assert.False(bundle.TryFindSid("nobody", out _));
        Assert.Equal(61, bundle.ItemsOf([]).Count);
        Assert.Throws<ArgumentException>(() => bundle.Vector([1, 2]));
        Assert.Throws<ArgumentException>(() => bundle.Vector([1, 2, 7]));
    }

    [Theory]
    [InlineData("codes.npy")]
    [InlineData("sids.npy")]
    [InlineData("items.txt")]
    [InlineData("codebooks.safetensors")]
    [InlineData("manifest.json")]
    public void NamesTheAlteredFile(string name)
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        string path = Path.Combine(PathOf("b"), name);
        byte[] good = File.ReadAllBytes(path);
        foreach (int at in (int[])[0, good.Length / 2, good.Length - 1])
        {
            byte[] bad = (byte[])good.Clone();
            bad[at] ^= 1;
            File.WriteAllBytes(path, bad);
            Assert.Contains(name, Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
        }
        File.WriteAllBytes(path, [.. good, 0]);
        Assert.Contains(name, Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
        File.Delete(path);
        Assert.Contains(name, Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
    }

    [Fact]
    public void CorruptManifestsAreRefused()
    {
        SidBundle.Write(PathOf("b"), Content(QuantizerKind.Opq), force: false);
        string path = PathOf("b/manifest.json");
        byte[] good = File.ReadAllBytes(path);
        var random = new RandomSource(9);
        for (int round = 0; round < 400; round++)
        {
            byte[] bad = (byte[])good.Clone();
            for (int flips = 1 + random.NextInt(3); flips > 0; flips--)
                bad[random.NextInt(bad.Length)] = (byte)random.NextUInt64();
            byte[] written = round % 4 == 0 ? good[..random.NextInt(good.Length)] : bad;
            File.WriteAllBytes(path, written);
            Exception? problem = Record.Exception(() => SidBundle.Open(PathOf("b")));
            Assert.True(problem is InvalidDataException || (problem is null && written.AsSpan().SequenceEqual(good)), $"round {round}: {problem}");
        }
    }

    [Theory]
    [InlineData("\"schema\": 1", "\"schema\": 2", "schema is 2, expected 1")]
    [InlineData("\"kind\": \"rq-kmeans\"", "\"kind\": \"rq\"", "quantizer.kind: unknown quantizer 'rq'")]
    [InlineData("\"kind\": \"rq-kmeans\"", "\"kind\": \"psrq\"", "codebook")]
    [InlineData("\"items\": 23", "\"items\": 24", "codes.npy: shape (23, 3), expected (24, 3)")]
    [InlineData("\"items\": 23", "\"items\": -1", "items is -1, expected a count")]
    [InlineData("\"levels\": 3", "\"levels\": 4", "sids.levels is 4, expected 3")]
    [InlineData("\"dimension\": 6", "\"dimension\": 3", "codebook")]
    [InlineData("\"normalize\": true", "\"normalise\": true", "lacks preprocessing[0].normalize")]
    [InlineData("\"codes.npy\"", "\"../codes.npy\"", "names a file '../codes.npy'")]
    [InlineData("\"iterations\": \"20\"", "\"iterations\": \"\\ud800\"", "is no JSON")]
    [InlineData("    4,", "    3,", "codebook.0 has shape (4, 6), expected (3, 6)")]
    public void ManifestErrorsSayWhat(string found, string replacement, string message)
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        string path = PathOf("b/manifest.json");
        string text = File.ReadAllText(path);
        int at = text.IndexOf(found, StringComparison.Ordinal);
        Assert.True(at >= 0, text);
        File.WriteAllText(path, Sealed(text[..at] + replacement + text[(at + found.Length)..]));
        Assert.Contains(message, Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
    }

    [Fact]
    public void AlteredManifestIsNoticedThoughItStillFits()
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        string path = PathOf("b/manifest.json"), text = File.ReadAllText(path);
        File.WriteAllText(path, text.Replace("\"weight\": 0.1", "\"weight\": 0.2", StringComparison.Ordinal));
        Assert.Contains("manifest.json: was altered", Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
        Assert.Equal(text, Sealed(text));
    }

    /// <summary>The text with the hash of itself, reckoned apart from the engine.</summary>
    internal static string Sealed(string text)
    {
        const string name = "\"manifest_sha256\": \"";
        int start = text.LastIndexOf(name, StringComparison.Ordinal) + name.Length, end = text.IndexOf('"', start);
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(text[..start] + text[end..])));
        return text[..start] + hash + text[end..];
    }

    [Fact]
    public void ReplacesOnlyWithForceAndOnlyABundle()
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        Assert.Contains("--force", Assert.Throws<IOException>(() => SidBundle.Write(PathOf("b"), Content(count: 5), force: false)).Message);
        SidBundle.Write(PathOf("b"), Content(count: 5), force: true);
        Assert.Equal(5, SidBundle.Open(PathOf("b")).Count);
        Directory.CreateDirectory(PathOf("mine"));
        File.WriteAllText(PathOf("mine/thesis.txt"), "x");
        Assert.Throws<IOException>(() => SidBundle.Write(PathOf("mine"), Content(), force: true));
        Assert.Throws<ArgumentException>(() => SidBundle.Write(PathOf("c"), Content() with { Items = ItemIds.Sequential(22) }, force: false));
        Assert.Throws<ArgumentException>(() => SidBundle.Write(PathOf("c"), Content() with { Metrics = new Dictionary<string, double> { ["x"] = double.NaN } }, force: false));
        Assert.Equal(["b", "mine"], Directory.GetFileSystemEntries(_folder).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void ListsBundlesOfSeveralModalities()
    {
        Directory.CreateDirectory(PathOf("all"));
        foreach (string name in (string[])["text", "audio", "joint"])
            SidBundle.Write(PathOf($"all/{name}"), Content(), force: false);
        Assert.Equal(["audio", "joint", "text"], SidBundle.List(PathOf("all")).Select(entry => entry.Name));
        Assert.Equal([("", PathOf("all/text"))], SidBundle.List(PathOf("all/text")));
        Directory.CreateDirectory(PathOf("empty"));
        Assert.Throws<InvalidDataException>(() => SidBundle.List(PathOf("empty")));
        Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("empty")));
        Assert.Throws<DirectoryNotFoundException>(() => SidBundle.Open(PathOf("nowhere")));
    }

    [Theory]
    [InlineData(CollisionPolicy.None)]
    [InlineData(CollisionPolicy.ExtraDigit)]
    [InlineData(CollisionPolicy.Resettle)]
    public void EditsNeverMoveAnotherItem(CollisionPolicy policy)
    {
        int round = 0;
        Prop.ForAll(
            Gen.Choose(0, 60).SelectMany(first => Gen.Choose(0, 60).SelectMany(second => Gen.Choose(1, 1_000_000).Select(seed => (first, second, seed: (ulong)seed)))).ToArbitrary(),
            drawn =>
            {
                string name = PathOf($"e{round++}");
                SidBundle.Write(name, Content(count: drawn.first, policy: policy, seed: drawn.seed), force: false);
                var bundle = SidBundle.Open(name);
                float[] rows = SidCases.Gaussians(drawn.second * kDimension, drawn.seed + 1);
                using EmbeddingTable table = SidCases.Table(rows, kDimension, ItemIds.FromStrings(Enumerable.Range(0, drawn.second).Select(i => $"new {i}")));
                BundleChange change = BundleEdit.Append(bundle, table, SidCases.Encode(bundle.Quantizer, rows), cancellation: Token);
                SidBundle.Write(name, change.Content, force: true);
                var appended = SidBundle.Open(name);
                Assert.Equal(drawn.first + drawn.second, appended.Count);
                Assert.Equal(bundle.Sids.Codes.ToArray(), appended.Sids.Codes[..bundle.Sids.Codes.Length].ToArray());
                AssertSettled(appended);

                // Update every third old item with a new row, remove every fifth.
                int[] third = [.. Enumerable.Range(0, drawn.first).Where(i => i % 3 == 0)];
                float[] updatedRows = SidCases.Gaussians(third.Length * kDimension, drawn.seed + 2);
                using EmbeddingTable updatedTable = SidCases.Table(updatedRows, kDimension, ItemIds.FromStrings(third.Select(i => bundle.Items[i])));
                SidTable newCodes = SidCases.Encode(bundle.Quantizer, updatedRows);
                SidBundle.Write(name, BundleEdit.Update(appended, updatedTable, newCodes, cancellation: Token).Content, force: true);
                var updated = SidBundle.Open(name);
                AssertSettled(updated);
                for (int row = 0; row < appended.Count; row++)
                {
                    bool changed = row < drawn.first && row % 3 == 0 && !newCodes[row / 3].SequenceEqual(appended.Codes[row]);
                    if (!changed)
                        Assert.Equal(appended.Sids[row].ToArray(), updated.Sids[row].ToArray());
                    else
                        Assert.Equal(newCodes[row / 3].ToArray(), updated.Codes[row].ToArray());
                }
                string[] gone = [.. appended.Items.Where((_, i) => i % 5 == 0)];
                SidBundle.Write(name, BundleEdit.Remove(updated, gone).Content, force: true);
                var removed = SidBundle.Open(name);
                Assert.Equal(updated.Count - gone.Length, removed.Count);
                foreach (string item in removed.Items)
                {
                    Assert.True(updated.TryFindSid(item, out ReadOnlySpan<ushort> before) && removed.TryFindSid(item, out ReadOnlySpan<ushort> after) && before.SequenceEqual(after));
                }
            }).Check(Config.QuickThrowOnFailure.WithMaxTest(20));

        void AssertSettled(SidBundle bundle)
        {
            if (policy != CollisionPolicy.None)
                Assert.True(SidCases.AllDifferent(bundle.Sids));
            else
                Assert.Equal(bundle.Codes.Codes.ToArray(), bundle.Sids.Codes.ToArray());
        }
    }

    [Fact]
    public void EditsRefuseItemsThatDoNotFit()
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        using EmbeddingTable known = SidCases.Table(new float[kDimension], kDimension, ItemIds.FromStrings([bundle.Items[3]]));
        using EmbeddingTable unknown = SidCases.Table(new float[kDimension], kDimension, ItemIds.FromStrings(["nobody"]));
        using EmbeddingTable narrow = SidCases.Table(new float[3], 3, ItemIds.FromStrings(["nobody"]));
        var codes = new SidTable(3, [0, 0, 0]);
        Assert.Contains("update it", Assert.Throws<InvalidDataException>(() => BundleEdit.Append(bundle, known, codes, cancellation: Token)).Message);
        Assert.Contains("append it", Assert.Throws<InvalidDataException>(() => BundleEdit.Update(bundle, unknown, codes, cancellation: Token)).Message);
        Assert.Throws<ArgumentException>(() => BundleEdit.Append(bundle, narrow, codes, cancellation: Token));
        Assert.Throws<ArgumentException>(() => BundleEdit.Append(bundle, unknown, new SidTable(3, [0, 0, 7]), cancellation: Token));
        Assert.Throws<InvalidDataException>(() => BundleEdit.Remove(bundle, ["nobody"]));
        Assert.Throws<InvalidDataException>(() => BundleEdit.Remove(bundle, [bundle.Items[0], bundle.Items[0]]));
    }

    [Fact]
    public void ExportsJsonAndCsv()
    {
        ItemIds items = ItemIds.FromStrings(["a,b", "c\"d", "=é"]);
        var sids = new SidTable(2, [1, 2, 3, 4, 65_535, 0]);
        SidExport.WriteJson(items, sids, PathOf("sids.json"), force: false);
        SidExport.WriteCsv(items, sids, PathOf("sids.csv"), force: false);
        Assert.Equal("{\n\"a,b\": [\"<a_1>\", \"<b_2>\"],\n\"c\\\"d\": [\"<a_3>\", \"<b_4>\"],\n\"=é\": [\"<a_65535>\", \"<b_0>\"]\n}\n", File.ReadAllText(PathOf("sids.json"), Encoding.UTF8));
        Assert.Equal("item,code_1,code_2\n\"a,b\",1,2\n\"c\"\"d\",3,4\n=é,65535,0\n", File.ReadAllText(PathOf("sids.csv"), Encoding.UTF8));
        SidExport.WriteJson(ItemIds.Sequential(0), new SidTable(2, []), PathOf("none.json"), force: false);
        Assert.Equal("{\n}\n", File.ReadAllText(PathOf("none.json")));
    }

    [Fact]
    public void ReadsPublishedArrays()
    {
        using (FileStream stream = File.Create(PathOf("p.npy")))
            NpyFile.Write<short>(stream, [1, 2, 3, 4], 2, 2);
        Assert.Equal([1, 2, 3, 4], SidTable.ReadNpy(PathOf("p.npy")).Codes.ToArray());
        using (FileStream stream = File.Create(PathOf("p.npy")))
            NpyFile.Write<short>(stream, [1, 2, -1, 4], 2, 2);
        Assert.Contains("row 1, level 0 is -1", Assert.Throws<InvalidDataException>(() => SidTable.ReadNpy(PathOf("p.npy"))).Message);
        using (FileStream stream = File.Create(PathOf("p.npy")))
            NpyFile.Write<float>(stream, [1, 2, -1, 4], 2, 2);
        Assert.Throws<InvalidDataException>(() => SidTable.ReadNpy(PathOf("p.npy")));
        using (FileStream stream = File.Create(PathOf("p.npy")))
            NpyFile.Write<long>(stream, [65_536], 1, 1);
        Assert.Throws<InvalidDataException>(() => SidTable.ReadNpy(PathOf("p.npy")));
    }
}
