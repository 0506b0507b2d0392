using System.Diagnostics;
using MmeSid.Engine.Files;

namespace MmeSid.Cli.Tests;

public sealed class SynthTests
{
    [Theory]
    [InlineData(0, 5)]
    [InlineData(1, 1)]
    [InlineData(301, 17)]
    public void SameSeedSameBytesForAnyThreadCount(int items, int dimension)
    {
        using var scratch = new ScratchFolder();
        string[] size = ["synth", "--items", $"{items}", "--dimension", $"{dimension}"];
        Mmesid.Run([.. size, "--out", scratch["a.npy"], "--threads", "1"]).Succeeded();
        Mmesid.Run([.. size, "--out", scratch["b.npy"], "--threads", "3"]).Succeeded();
        Mmesid.Run([.. size, "--out", scratch["c.npy"], "--seed", "2"]).Succeeded();
        Assert.Equal(File.ReadAllBytes(scratch["a.npy"]), File.ReadAllBytes(scratch["b.npy"]));
        NpyArray<float> table = NpyFile.Read<float>(scratch["a.npy"]);
        Assert.Equal([items, dimension], table.Shape);
        if (items > 0)
            Assert.NotEqual(table.Values, NpyFile.Read<float>(scratch["c.npy"]).Values);
    }

    [Fact]
    public void MoreItemsLeaveTheFirstOnesAsTheyAre()
    {
        using var scratch = new ScratchFolder();
        Mmesid.Run("synth", "--items", "40", "--dimension", "9", "--out", scratch["few.npy"]).Succeeded();
        Mmesid.Run("synth", "--items", "90", "--dimension", "9", "--out", scratch["many.npy"]).Succeeded();
        Assert.Equal(NpyFile.Read<float>(scratch["few.npy"]).Values, NpyFile.Read<float>(scratch["many.npy"]).Values[..(40 * 9)]);
    }

    [Fact]
    public void ModalitiesFormOneShop()
    {
        using var scratch = new ScratchFolder();
        Mmesid.Run("synth", "--modalities", "--items", "120", "--users", "70", "--out", scratch["shop"]).Succeeded();
        Assert.Equal([120, 64], NpyFile.ReadHeader(scratch["shop/collaborative.npy"]).Shape);
        Assert.Equal([120, 384], NpyFile.ReadHeader(scratch["shop/text.npy"]).Shape);
        Assert.Equal([120, 512], NpyFile.ReadHeader(scratch["shop/image.npy"]).Shape);
        Assert.Equal([120, 1], NpyFile.ReadHeader(scratch["shop/leaves.npy"]).Shape);
        string[] items = File.ReadAllLines(scratch["shop/items.tsv"]);
        Assert.Equal("item_id\ttitle\tattributes", items[0]);
        Assert.Equal(Enumerable.Range(1, 120).Select(id => $"{id}"), items.Skip(1).Select(line => line.Split('\t')[0]));
        Assert.All(items.Skip(1), line => Assert.Equal(6, line.Split('\t')[1].Split(' ').Length));
        string[] sequences = File.ReadAllLines(scratch["shop/sequences.txt"]);
        Assert.Equal(70, sequences.Length);
        Assert.All(sequences, line =>
        {
            int[] history = [.. line.Split(' ').Skip(1).Select(int.Parse)];
            Assert.InRange(history.Length, 5, 50);
            Assert.All(history, id => Assert.InRange(id, 1, 120));
            Assert.Equal(history.Length, history.Distinct().Count());
        });
    }

    /// <summary>Items that follow each other share a leaf far more often than chance, and their rows lie closer: the hierarchy is in the data.</summary>
    [Fact]
    public void SequencesAndTablesFollowTheHierarchy()
    {
        using var scratch = new ScratchFolder();
        Mmesid.Run("synth", "--modalities", "--items", "400", "--users", "200", "--dimension", "32", "--out", scratch["shop"]).Succeeded();
        int[] leaves = NpyFile.Read<int>(scratch["shop/leaves.npy"]).Values;
        float[] text = NpyFile.Read<float>(scratch["shop/text.npy"]).Values;
        var follow = File.ReadAllLines(scratch["shop/sequences.txt"])
            .Select(line => line.Split(' ').Skip(1).Select(id => int.Parse(id) - 1).ToArray())
            .SelectMany(history => history.Zip(history.Skip(1))).ToArray();
        var random = follow.Zip(follow.Reverse(), (a, b) => (a.First, b.Second)).ToArray();
        Assert.True(Share(follow) > 4 * Share(random), $"{Share(follow):P1} of neighbours share a leaf, {Share(random):P1} by chance");
        Assert.True(Distance(follow) < 0.9 * Distance(random), $"neighbours lie {Distance(follow):F3} apart, {Distance(random):F3} by chance");

        double Share((int, int)[] pairs) => pairs.Average(pair => leaves[pair.Item1] == leaves[pair.Item2] ? 1.0 : 0.0);
        double Distance((int, int)[] pairs) => pairs.Average(pair => Enumerable.Range(0, 32).Sum(j => Math.Pow(text[pair.Item1 * 32 + j] - text[pair.Item2 * 32 + j], 2)));
    }

    [Theory]
    [InlineData("the dimension is 0, expected at least 1", "--items", "3", "--dimension", "0")]
    [InlineData("the number of items is -1, expected at least 0", "--items", "-1")]
    [InlineData("--users is -2, expected at least 0", "--items", "3", "--modalities", "--users", "-2")]
    [InlineData("texts and sequences need 1", "--items", "0", "--modalities")]
    public void BadSizesAreRefused(string message, params string[] arguments)
    {
        using var scratch = new ScratchFolder();
        Mmesid.Run(["synth", .. arguments, "--out", scratch["x"]]).FailedWith(message);
        Assert.Empty(scratch.Names);
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public void InterruptionLeavesNothing(string signal)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        using var scratch = new ScratchFolder();
        using Process process = Mmesid.Start("synth", "--items", "3000000", "--dimension", "256", "--out", scratch["x.npy"]);
        Assert.True(SpinWait.SpinUntil(() => scratch.Names.Length > 0, TimeSpan.FromSeconds(30)), "the output was never begun");
        using (Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]))
            kill.WaitForExit();
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(30)), "the program went on");
        Assert.Equal(130, process.ExitCode);
        Assert.Contains("mmesid: interrupted", process.StandardError.ReadToEnd(), StringComparison.Ordinal);
        Assert.Empty(scratch.Names);
    }

    [Fact]
    public void KillLeavesNothingUnderTheFinalName()
    {
        using var scratch = new ScratchFolder();
        using Process process = Mmesid.Start("synth", "--items", "3000000", "--dimension", "256", "--out", scratch["x.npy"]);
        Assert.True(SpinWait.SpinUntil(() => scratch.Names.Length > 0, TimeSpan.FromSeconds(30)), "the output was never begun");
        process.Kill();
        process.WaitForExit();
        Assert.False(File.Exists(scratch["x.npy"]));
    }
}
