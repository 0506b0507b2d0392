using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Tests;

/// <summary>append, update, remove, export, inspect, embed and demo on what train wrote.</summary>
public sealed class BundleCommandTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("none")]
    [InlineData("extra-digit")]
    [InlineData("resettle")]
    public void AppendAndRemoveMoveNoSid(string collisions)
    {
        string table = _scratch.Table("x.npy", 150, 4);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "9", "--levels", "3", "--collisions", collisions, "--out", _scratch["B"]).Succeeded();
        SidBundle before = SidBundle.Open(_scratch["B"]);
        // Every other new item has the row of an item that is there, so that collisions are certain.
        float[] rows = NpyFile.Read<float>(table).Values;
        string more = _scratch.Table("more.npy", 60, 4, (row, column) => rows[row / 2 * 4 + column] + (row % 2 == 0 ? 0 : column * 0.3f));
        string names = _scratch.Text("more.txt", string.Join('\n', Enumerable.Range(0, 60).Select(i => $"new-{i}")));
        string[] append = ["append", "--bundle", _scratch["B"], "--embeddings", more, "--items", names];
        JsonNode json = JsonNode.Parse(Mmesid.Run([.. append, "--out", _scratch["C"], "--json"]).Succeeded().Output)!;
        Assert.Equal(210, (int)json["items"]!);
        Assert.InRange((int)json["colliding_items"]!, 30, 60);
        SidBundle after = SidBundle.Open(_scratch["C"]);
        Assert.Equal(before.Sids.Codes, after.Sids.Codes[..before.Sids.Codes.Length]);
        Assert.Equal(before.Codes.Codes, after.Codes.Codes[..before.Codes.Codes.Length]);
        Assert.Equal("new-59", after.Items[209]);
        if (collisions != "none")
            Assert.Equal(210, after.Trie.NodeCount(after.Levels));

        Mmesid.Run(append).Succeeded();
        Assert.Equal(File.ReadAllBytes(_scratch["C/sids.npy"]), File.ReadAllBytes(_scratch["B/sids.npy"]));
        Mmesid.Run(append).FailedWith("new-0", "already");

        Mmesid.Run("remove", "--bundle", _scratch["B"], "--items", names, "--item", "3").Succeeded();
        SidBundle removed = SidBundle.Open(_scratch["B"]);
        Assert.Equal(149, removed.Count);
        Assert.Equal(before.Sids[149], removed.Sids[148]);
        Assert.Equal(before.Sids[1], removed.Sids[1]);
        Mmesid.Run("remove", "--bundle", _scratch["B"], "--item", "3").FailedWith("no item '3'");
        Mmesid.Run("remove", "--bundle", _scratch["B"]).FailedWith("--item");
    }

    [Fact]
    public void OfTwoProgramsThatChangeABundleAtOnceNoneLosesTheOthersItems()
    {
        PipelineTests.Train(_scratch);
        string[] tables = [_scratch.Table("a.npy", 900, 5, seed: 5), _scratch.Table("b.npy", 900, 5, seed: 6)];
        string[] names = [.. "ab".Select(letter => _scratch.Text($"{letter}.txt", string.Concat(Enumerable.Range(0, 900).Select(i => $"{letter}{i}\n"))))];
        Outcome[] outcomes = new Outcome[2];
        Parallel.For(0, 2, i => outcomes[i] = Mmesid.Run("append", "--bundle", _scratch["B"], "--embeddings", tables[i], "--items", names[i]));
        int appended = 0;
        foreach (Outcome outcome in outcomes)
        {
            if (outcome.ExitCode == 0)
                appended++;
            else
                outcome.FailedWith("another program is changing this bundle");
        }
        Assert.InRange(appended, 1, 2);
        Assert.Equal(200 + 900 * appended, SidBundle.Open(_scratch["B"]).Count);
        Assert.DoesNotContain(_scratch.Names, name => name.StartsWith('.') || name.EndsWith(".lock", StringComparison.Ordinal));
    }

    [Fact]
    public void SidsFromElsewhereBecomeABundle()
    {
        string table = _scratch.Table("x.npy", 150, 4);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "9", "--levels", "3", "--collisions", "none", "--out", _scratch["B"]).Succeeded();
        string[] import = ["import", "sids", "--sids", _scratch["B/codes.npy"], "--embeddings", table];
        JsonNode json = JsonNode.Parse(Mmesid.Run([.. import, "--out", _scratch["C"], "--json"]).Succeeded().Output)!;
        SidBundle ours = SidBundle.Open(_scratch["B"]), theirs = SidBundle.Open(_scratch["C"]);
        Assert.Equal(ours.Sids.Codes, theirs.Sids.Codes);
        // Means of the same clusters: no worse than what k-means stopped at.
        Assert.InRange((double)json["mean_squared_error"]!, 0, ours.Manifest.Metrics["mean_squared_error"] * 1.0001);

        Mmesid.Run([.. import, "--collisions", "resettle", "--out", _scratch["D"]]).Succeeded();
        SidBundle settled = SidBundle.Open(_scratch["D"]);
        Assert.Equal(150, settled.Trie.NodeCount(3));

        string fewer = _scratch.Table("y.npy", 149, 4);
        Mmesid.Run("import", "sids", "--sids", _scratch["B/codes.npy"], "--embeddings", fewer, "--out", _scratch["E"]).FailedWith("150 SIDs", "149 rows");
        Mmesid.Run("import", "sids", "--sids", table, "--embeddings", table, "--out", _scratch["E"]).FailedWith("Float32", "expected");
        Assert.DoesNotContain("E", _scratch.Names);
    }

    [Fact]
    public void JoinedRowsAreNamedBesideTheirCodes()
    {
        string left = _scratch.Table("l.npy", 30, 2, seed: 1), right = _scratch.Table("r.npy", 20, 3, seed: 2);
        string ids = _scratch.Text("r.txt", string.Concat(Enumerable.Range(0, 20).Select(i => $"{30 - i}\n")));
        string all = _scratch.Text("l.txt", string.Concat(Enumerable.Range(1, 30).Select(i => $"{i}\n")));
        string[] tables = ["--embeddings", left, "--items", all, "--embeddings", right, "--items", ids];
        Mmesid.Run(["train", "vq", .. tables, "--missing", "drop", "--codes", "4", "--out", _scratch["B"]]).Succeeded();
        Mmesid.Run(["assign", "--bundle", _scratch["B"], .. tables, "--missing", "drop", "--out", _scratch["c.npy"]]).Succeeded();
        Assert.Equal(20, NpyFile.Read<ushort>(_scratch["c.npy"]).Values.Length);
        Assert.Equal(Enumerable.Range(11, 20).Select(i => $"{i}"), File.ReadAllLines(_scratch["c.items.txt"]));
        Mmesid.Run(["assign", "--bundle", _scratch["B"], .. tables, "--missing", "mean", "--out", _scratch["d.npy"]]).FailedWith("--missing mean", "trained");
        Assert.DoesNotContain("d.npy", _scratch.Names);

        Mmesid.Run("train", "vq", "--embeddings", left, "--codes", "4", "--out", _scratch["single"]).Succeeded();
        Mmesid.Run("assign", "--bundle", _scratch["single"], "--embeddings", left, "--out", _scratch["c.npy"], "--force").Succeeded();
        Assert.DoesNotContain("c.items.txt", _scratch.Names);
    }

    [Fact]
    public void UpdateMovesOnlyWhatItNames()
    {
        PipelineTests.Train(_scratch);
        SidBundle before = SidBundle.Open(_scratch["B"]);
        string rows = _scratch.Table("new.npy", 2, 5, seed: 77);
        string names = _scratch.Text("ids.txt", "20\n40\n");
        Mmesid.Run("update", "--bundle", _scratch["B"], "--embeddings", rows, "--items", names).Succeeded();
        SidBundle after = SidBundle.Open(_scratch["B"]);
        for (long row = 0; row < 200; row++)
        {
            if (row is not (19 or 39))
                Assert.Equal(before.Sids[row], after.Sids[row]);
        }
        Assert.False(before.Codes[19].SequenceEqual(after.Codes[19]) && before.Codes[39].SequenceEqual(after.Codes[39]));
        Mmesid.Run("update", "--bundle", _scratch["B"], "--embeddings", rows, "--items", _scratch.Text("no.txt", "20\n400\n")).FailedWith("'400'", "not in");
    }

    [Fact]
    public void ExportsAreReadable()
    {
        PipelineTests.Train(_scratch);
        SidBundle bundle = SidBundle.Open(_scratch["B"]);
        Mmesid.Run("export", "--bundle", _scratch["B"], "--format", "csv", "--out", _scratch["sids.csv"]).Succeeded();
        string[] lines = File.ReadAllLines(_scratch["sids.csv"]);
        Assert.Equal("item,code_1,code_2,code_3,code_4", lines[0]);
        Assert.Equal($"42,{SidText.Numbers(bundle.Sids[41]).Replace('-', ',')}", lines[42]);
        Mmesid.Run("export", "--bundle", _scratch["B"], "--format", "json", "--out", _scratch["sids.json"]).Succeeded();
        Assert.Equal(SidText.Tokens(bundle.Sids[41]), string.Concat(JsonNode.Parse(File.ReadAllText(_scratch["sids.json"]))!["42"]!.AsArray().Select(token => (string?)token)));
        Mmesid.Run("export", "--bundle", _scratch["B"], "--format", "trie", "--out", _scratch["sids.trie"]).Succeeded();
        using (SidTrie trie = SidTrie.Open(_scratch["sids.trie"]))
            Assert.True(trie.Contains(bundle.Sids[41]));
        Mmesid.Run("export", "--bundle", _scratch["B"], "--format", "csv", "--out", _scratch["sids.csv"]).FailedWith("sids.csv", "exists", "--force");
    }

    [Fact]
    public void ParquetIsWrittenOrSaysWhatToInstall()
    {
        PipelineTests.Train(_scratch);
        Outcome outcome = Mmesid.Run("export", "--bundle", _scratch["B"], "--format", "parquet", "--out", _scratch["sids.parquet"]);
        if (outcome.ExitCode == 0)
            Assert.Equal("PAR1"u8.ToArray(), File.ReadAllBytes(_scratch["sids.parquet"])[..4]);
        else
            outcome.FailedWith("duckdb");
    }

    [Fact]
    public void InspectMeasuresBundlesAndPublishedSids()
    {
        PipelineTests.Train(_scratch);
        string published = _scratch.Npy("published.npy", "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2), }", [1, 0, 2, 0, 1, 0, 2, 0, 5, 0, 0, 0]);
        JsonNode json = JsonNode.Parse(Mmesid.Run("inspect", _scratch["B"], published, "--json").Succeeded().Output)!;
        JsonArray sids = json["sids"]!.AsArray();
        Assert.Equal(0, (double)sids[0]!["settled_collision_rate"]!);
        Assert.Equal(1.0 / 3, (double)sids[1]!["collision_rate"]!, 12);
        Assert.Equal(2, (int)sids[1]!["largest_group"]!);
        Assert.Equal(6, json["levels"]!.AsArray().Count);

        string sequences = _scratch.Text("sequences.txt", "1 4 5 6\n2 7 8 9 10\n");
        JsonNode rows = JsonNode.Parse(Mmesid.Run("inspect", "--bundle", _scratch["B"], "--embeddings", _scratch["x.npy"], "--sequences", sequences, "--json").Succeeded().Output)!;
        Assert.InRange((double)rows["mean_squared_error"]!, 0, 5);
        Assert.InRange((double)rows["effective_rank"]!, 1, 5);
        Assert.InRange((double)rows["kendall_tau"]!, -1, 1);
        Assert.Equal(1, (double)rows["levels"]![0]!["mutual_information"]!, 0.5);
        Mmesid.Run("inspect").FailedWith("nothing to inspect");
        Mmesid.Run("inspect", _scratch["nothing.npy"]).FailedWith("nothing.npy");
        Mmesid.Run("inspect", _scratch["B"], "--sequences", sequences).FailedWith("--embeddings");
    }

    [Fact]
    public void EmbeddersMakeTables()
    {
        Mmesid.Run("synth", "--modalities", "--items", "200", "--out", _scratch["shop"]).Succeeded();
        Mmesid.Run("embed", "text", "--input", _scratch["shop/items.tsv"], "--columns", "title,attributes", "--dimension", "16", "--out", _scratch["text.npy"]).Succeeded();
        Assert.Equal([200, 16], NpyFile.ReadHeader(_scratch["text.npy"]).Shape);
        JsonNode json = JsonNode.Parse(Mmesid.Run("embed", "interactions", "--input", _scratch["shop/sequences.txt"], "--dimension", "16", "--empty", "drop", "--out", _scratch["who.npy"], "--json").Succeeded().Output)!;
        string[] ids = File.ReadAllLines(_scratch["who.items.txt"]);
        Assert.Equal((int)json["items"]!, ids.Length);
        Mmesid.Run("train", "psrq", "--embeddings", _scratch["text.npy"], "--embeddings", _scratch["who.npy"], "--items", _scratch["text.items.txt"], "--items", _scratch["who.items.txt"],
            "--normalize", "--missing", "mean", "--codes", "16", "--out", _scratch["B"]).Succeeded();
        Assert.Equal(200, SidBundle.Open(_scratch["B"]).Count);
    }

    [Fact]
    public void DemoShowsTheWholeWay()
    {
        Outcome outcome = Mmesid.Run("demo", "--items", "600", "--out", _scratch["demo"]).Succeeded();
        Assert.Contains("rq-kmeans", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("<a_", outcome.Output, StringComparison.Ordinal);
        Assert.Contains(_scratch["demo"], outcome.Output, StringComparison.Ordinal);
        Assert.Equal(600, SidBundle.Open(_scratch["demo/psrq"]).Count);
        Mmesid.Run("demo", "--items", "600", "--out", _scratch["demo"]).FailedWith("demo", "exists", "--force");
        Assert.Equal(MmeSid.Training.TorchRuntime.UnavailableReason is null && MmeSid.Llama.LlamaLibrary.UnavailableReason is null, outcome.Output.Contains("hit rate at 10", StringComparison.Ordinal));

        Outcome without = Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", "demo", "--items", "300", "--out", _scratch["short"]).Succeeded();
        Assert.Contains("No recommendations: training needs libtorch", without.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void BenchChecksBeforeItMeasures()
    {
        JsonNode json = JsonNode.Parse(Mmesid.Run("bench", "--items", "700", "--dimension", "24", "--codes", "16", "--repeats", "1", "--json").Succeeded().Output)!;
        Assert.Equal(["rq-kmeans", "psrq"], json["encode"]!.AsArray().Select(row => (string?)row!["quantizer"]));
        Assert.All(json["encode"]!.AsArray(), row => Assert.True((double)row!["rows_per_second"]! > 0));
    }
}
