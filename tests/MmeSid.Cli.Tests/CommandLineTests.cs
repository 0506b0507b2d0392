using System.Text.Json.Nodes;

namespace MmeSid.Cli.Tests;

/// <summary>The frame of every command: help, usage errors, exit status, stdout against stderr.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("--help")]
    [InlineData("synth", "--help")]
    [InlineData("assign", "--help")]
    public void HelpGoesToStdout(params string[] arguments)
    {
        Outcome outcome = Mmesid.RunVerbatim(arguments).Succeeded();
        Assert.Contains("Usage:", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("[default: 1]", outcome.Output, StringComparison.Ordinal);
        Assert.Equal("", outcome.Error);
    }

    [Theory]
    [InlineData("see 'mmesid --help'")]
    [InlineData("frobnicate", "frobnicate")]
    [InlineData("--items", "synth", "--items", "many", "--out", "x.npy")]
    [InlineData("a whole number", "synth", "--items", "many", "--out", "x.npy")]
    [InlineData("--out", "synth", "--items", "3")]
    [InlineData("--backend: 'abacus' is no backend", "devices", "--backend", "abacus")]
    [InlineData("--backend: 'cuda:-1' is no backend", "devices", "--backend", "cuda:-1")]
    [InlineData("--frobnicate", "devices", "--frobnicate")]
    [InlineData("see 'mmesid synth --help'", "synth", "--items", "3")]
    public void UsageErrorsExitWithTwo(string fragment, params string[] arguments)
    {
        Outcome outcome = Mmesid.RunVerbatim(arguments);
        Assert.Equal(2, outcome.ExitCode);
        Assert.All(outcome.ErrorLines, line => Assert.StartsWith("mmesid: ", line, StringComparison.Ordinal));
        Assert.Contains(fragment, outcome.Error, StringComparison.Ordinal);
        Assert.Equal("", outcome.Output);
    }

    [Fact]
    public void DevicesListsBackends()
    {
        Outcome outcome = Mmesid.RunVerbatim("devices", "--json").Succeeded();
        JsonNode json = JsonNode.Parse(outcome.Output)!;
        Assert.Equal(["simd", "scalar"], json["backends"]!.AsArray().Select(backend => (string?)backend!["backend"]));
        Assert.Equal("", outcome.Error);
        Assert.Contains("simd", Mmesid.RunVerbatim("devices").Succeeded().Output, StringComparison.Ordinal);
    }

    [Fact]
    public void DevicesSaysWhetherNetworksCanBeTrained()
    {
        JsonNode json = JsonNode.Parse(Mmesid.RunVerbatim("devices", "--json").Succeeded().Output)!;
        Assert.Matches("^(libtorch [0-9.]+.* on the CPU|training needs libtorch[:,] [^\n]+)", (string?)json["training"]);
        json = JsonNode.Parse(Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", "devices", "--json").Succeeded().Output)!;
        Assert.Equal("training needs libtorch, which MMESID_NO_LIBTORCH hides", (string?)json["training"]);
    }

    [Fact]
    public void NegativeThreadsAreRefused() => Mmesid.Run("devices", "--threads", "-1").FailedWith("--threads is -1", "expected 0");

    [Fact]
    public void ProgressGoesToStderrUnlessQuiet()
    {
        using var scratch = new ScratchFolder();
        Outcome outcome = Mmesid.RunVerbatim("synth", "--items", "100", "--dimension", "3", "--out", scratch["x.npy"]).Succeeded();
        Assert.Contains("100 rows in", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("rows/s", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("rows/s", outcome.Output, StringComparison.Ordinal);
        Assert.Equal("", Mmesid.Run("synth", "--items", "100", "--dimension", "3", "--out", scratch["y.npy"]).Succeeded().Error);
    }
}
