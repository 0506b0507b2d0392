using System.Diagnostics;
using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Tests;

/// <summary>train → assign → lookup, as another tool drives them.</summary>
public sealed class PipelineTests
{
    [Theory]
    [InlineData("vq", 9)]
    [InlineData("pq", 12)]
    [InlineData("opq", 12)]
    [InlineData("rq-kmeans", 9)]
    [InlineData("psrq", 9)]
    public void AssignGivesTheBundlesOwnCodes(string quantizer, int dimension)
    {
        using var scratch = new ScratchFolder();
        string table = scratch.Table("x.npy", 157, dimension);
        string[] train = ["train", quantizer, "--embeddings", table, "--codes", "7", "--out"];
        Mmesid.Run([.. train, scratch["B"], "--threads", "1"]).Succeeded();
        Mmesid.Run([.. train, scratch["C"], "--threads", "3"]).Succeeded();
        Mmesid.Run([.. train, scratch["D"], "--backend", "scalar"]).Succeeded();
        foreach (string file in Directory.EnumerateFiles(scratch["B"]))
        {
            string name = Path.GetFileName(file);
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(scratch["C"], name)));
            if (name == "codes.npy")
                Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(scratch["D"], name)));
        }

        Outcome assigned = Mmesid.Run("assign", "--bundle", scratch["B"], "--embeddings", table, "--out", scratch["codes.npy"], "--json").Succeeded();
        Assert.Equal(File.ReadAllBytes(scratch["B/codes.npy"]), File.ReadAllBytes(scratch["codes.npy"]));
        JsonNode json = JsonNode.Parse(assigned.Output)!;
        Assert.Equal(157, (int)json["rows"]!);
        Assert.InRange((double)json["rechecked_share"]!, 0, 1);
        int levels = quantizer == "vq" ? 1 : 4;
        Assert.Equal([157, levels], NpyFile.ReadHeader(scratch["codes.npy"]).Shape);
        Assert.Equal(ElementType.UInt16, NpyFile.ReadHeader(scratch["codes.npy"]).Type);

        SidBundle bundle = SidBundle.Open(scratch["B"]);
        Assert.Equal(levels, bundle.Quantizer.Levels);
        if (quantizer != "vq")
            Assert.Equal(157, bundle.Trie.NodeCount(levels));
    }

    [Fact]
    public void AssignTakesAnyNumberOfRowsInTheirOrder()
    {
        using var scratch = new ScratchFolder();
        Train(scratch);
        string rows = scratch.Table("y.npy", 300, 5, seed: 9);
        ushort[] all = Assign(scratch, rows, "all.npy");
        float[] values = NpyFile.Read<float>(rows).Values;
        foreach ((int first, int count) in ((int, int)[])[(0, 0), (0, 1), (13, 1), (120, 71)])
        {
            string part = scratch.Table($"part-{first}-{count}.npy", count, 5, (row, column) => values[(first + row) * 5 + column]);
            Assert.Equal(all[(first * 4)..((first + count) * 4)], Assign(scratch, part, $"codes-{first}-{count}.npy"));
        }
        scratch.Table("glob-1.npy", 100, 5, (row, column) => values[row * 5 + column]);
        scratch.Table("glob-2.npy", 200, 5, (row, column) => values[(100 + row) * 5 + column]);
        Assert.Equal(all, Assign(scratch, scratch["glob-?.npy"], "glob.npy"));
    }

    [Fact]
    public void SeveralTablesAreJoinedSideBySide()
    {
        using var scratch = new ScratchFolder();
        string left = scratch.Table("left.npy", 90, 3), right = scratch.Table("right.npy", 91, 4, seed: 2);
        string[] tables = ["--embeddings", left, "--embeddings", right, "--skip-rows", "0", "--skip-rows", "1"];
        Mmesid.Run(["train", "psrq", .. tables, "--normalize", "--weights", "1,0.5", "--codes", "8,8,6", "--levels", "3", "--out", scratch["B"]]).Succeeded();
        SidBundle bundle = SidBundle.Open(scratch["B"]);
        Assert.Equal([3, 4], bundle.Preprocessing.Parts.Select(part => part.Dimension));
        Assert.Equal([1, 0.5], bundle.Preprocessing.Parts.Select(part => part.Weight));
        Assert.All(bundle.Preprocessing.Parts, part => Assert.True(part.Normalize));
        Assert.Equal([8, 8, 6], bundle.Manifest.CodeCounts);
        Mmesid.Run(["assign", "--bundle", scratch["B"], .. tables, "--out", scratch["codes.npy"]]).Succeeded();
        Assert.Equal(File.ReadAllBytes(scratch["B/codes.npy"]), File.ReadAllBytes(scratch["codes.npy"]));
        Mmesid.Run("assign", "--bundle", scratch["B"], "--embeddings", left, "--out", scratch["no.npy"]).FailedWith("1", "2");
    }

    [Fact]
    public void WarmStartReportsMovedSids()
    {
        using var scratch = new ScratchFolder();
        Train(scratch);
        Outcome same = Mmesid.Run("train", "rq-kmeans", "--embeddings", scratch["x.npy"], "--codes", "7", "--warm-start", scratch["B"], "--iterations", "1", "--tolerance", "1", "--out", scratch["C"], "--json").Succeeded();
        JsonNode json = JsonNode.Parse(same.Output)!;
        Assert.Equal(200, (int)json["items_in_earlier_bundle"]!);
        Assert.InRange((int)json["codes_moved"]!, 0, 199);
        Assert.InRange((int)json["sids_moved"]!, 0, 199);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", scratch["x.npy"], "--codes", "8", "--warm-start", scratch["B"], "--out", scratch["D"]).FailedWith("warm start", "7", "8");
    }

    [Fact]
    public void KilledTrainingGoesOnFromItsCheckpoint()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        using var scratch = new ScratchFolder();
        string table = scratch.Table("x.npy", 4000, 24);
        string[] train = ["train", "rq-kmeans", "--embeddings", table, "--codes", "64", "--iterations", "200", "--tolerance", "0", "--out"];
        Mmesid.Run([.. train, scratch["whole"]]).Succeeded();
        // Interrupted, it writes its state; killed, it cannot, and the state of before is whole.
        foreach ((string signal, int exitCode) in (ReadOnlySpan<(string, int)>)[("INT", 130), ("KILL", 137)])
        {
            using Process process = Mmesid.Start([.. train, scratch["resumed"]]);
            process.StandardError.ReadLine();
            using (Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]))
                kill.WaitForExit();
            process.WaitForExit();
            Assert.Equal(exitCode, process.ExitCode);
            Assert.False(Directory.Exists(scratch["resumed"]));
            Assert.True(File.Exists(scratch["resumed.checkpoint"]));
        }
        Mmesid.Run([.. train, scratch["resumed"]]).Succeeded();
        Assert.Equal(File.ReadAllBytes(scratch["whole/codebooks.safetensors"]), File.ReadAllBytes(scratch["resumed/codebooks.safetensors"]));
        Assert.False(File.Exists(scratch["resumed.checkpoint"]));
    }

    [Fact]
    public void AnotherCommandLineBeginsAnewUnlessTheUserNamedTheCheckpoint()
    {
        using var scratch = new ScratchFolder();
        string table = scratch.Table("x.npy", 60, 4);
        string[] train = ["train", "vq", "--embeddings", table, "--codes", "5", "--out", scratch["B"]];
        // As .NET writes a text: its length, then the text.
        string damaged = (char)28 + "mmesid training checkpoint 1 and no more";
        File.WriteAllText(scratch["B.checkpoint"], damaged);
        File.WriteAllText(scratch["state"], damaged);
        Mmesid.Run([.. train, "--checkpoint", scratch["state"]]).FailedWith("state", "checkpoint");
        Mmesid.Run(train).Succeeded();
        Assert.Equal(["B", "state", "x.npy"], scratch.Names);
        File.WriteAllText(scratch["B.checkpoint"], "somebody's notes");
        Mmesid.Run([.. train, "--force"]).FailedWith("B.checkpoint", "checkpoint");
        Assert.Equal("somebody's notes", File.ReadAllText(scratch["B.checkpoint"]));
    }

    /// <summary>The scalar backend sits in one long block that watches no cancellation: the program still ends soon, and cleans up.</summary>
    [Theory]
    [InlineData("INT", 130, 0)]
    [InlineData("TERM", 130, 0)]
    [InlineData("KILL", 137, 1)]
    public void AStoppedAssignmentLeavesNoOutput(string signal, int exitCode, int leftOver)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        using var scratch = new ScratchFolder();
        Mmesid.Run("synth", "--items", "30000", "--dimension", "256", "--out", scratch["x.npy"]).Succeeded();
        Mmesid.Run("train", "rq-kmeans", "--embeddings", scratch["x.npy"], "--codes", "128", "--levels", "2", "--train-rows", "2000", "--iterations", "1", "--init", "random", "--out", scratch["B"]).Succeeded();
        using Process process = Mmesid.Start("assign", "--bundle", scratch["B"], "--embeddings", scratch["x.npy"], "--backend", "scalar", "--out", scratch["codes.npy"]);
        Assert.True(SpinWait.SpinUntil(() => scratch.Names.Length > 2, TimeSpan.FromSeconds(60)), "the output was never begun");
        using (Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]))
            kill.WaitForExit();
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(60)), "the program went on");
        Assert.Equal(exitCode, process.ExitCode);
        Assert.Equal(2 + leftOver, scratch.Names.Length);
        Assert.DoesNotContain("codes.npy", scratch.Names);
    }

    [Fact]
    public void LookupGoesBothWays()
    {
        using var scratch = new ScratchFolder();
        Train(scratch);
        SidBundle bundle = SidBundle.Open(scratch["B"]);
        string sid = SidText.Numbers(bundle.Sids[41]);
        JsonNode json = JsonNode.Parse(Mmesid.Run("lookup", "--bundle", scratch["B"], "--item", "42", "--sid", sid, "--sid", SidText.Tokens(bundle.Sids[41][..1]), "--vector", "--json").Succeeded().Output)!;
        JsonArray found = json["found"]!.AsArray();
        Assert.Equal(sid, (string?)found[0]!["sid"]);
        Assert.Equal("42", (string?)found[1]!["items"]!.AsArray().Single());
        Assert.Contains("42", bundle.ItemsOf(bundle.Sids[41][..1]));
        Assert.Equal(bundle.ItemsOf(bundle.Sids[41][..1]).Count, (int)found[2]!["count"]!);
        Assert.Equal(bundle.Vector(bundle.Sids[41]), json[$"vector {sid}"]!.AsArray().Select(value => (float)value!));
        Mmesid.Run("lookup", "--bundle", scratch["B"], "--item", "201").FailedWith("has no item '201'", "200 items");
        Mmesid.Run("lookup", "--bundle", scratch["B"], "--sid", "1-2-x").FailedWith("'x'", "level 2");
        Mmesid.Run("lookup", "--bundle", scratch["B"]).FailedWith("--item or --sid");
    }

    /// <summary>A bundle B of x.npy: 200 rows of 5, four levels of seven codes.</summary>
    internal static void Train(ScratchFolder scratch)
    {
        string table = scratch.Table("x.npy", 200, 5);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "7", "--out", scratch["B"]).Succeeded();
    }

    private static ushort[] Assign(ScratchFolder scratch, string table, string codes)
    {
        Mmesid.Run("assign", "--bundle", scratch["B"], "--embeddings", table, "--out", scratch[codes]).Succeeded();
        return NpyFile.Read<ushort>(scratch[codes]).Values;
    }
}
