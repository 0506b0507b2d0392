using System.Text.Json.Nodes;

namespace MmeSid.Cli.Tests;

/// <summary>The program with the backend <c>ilgpu</c>, which some builds lack and some machines cannot run.</summary>
public sealed class IlgpuCommandTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void DevicesListsItOrSaysWhyNot() => Assert.True(IsListed ^ Reason is { Length: > 20 }, Devices.ToJsonString());

    [Fact]
    public void AssignGivesTheCodesOfSimdOrSaysInOneLineWhyNot()
    {
        string table = _scratch.Table("x.npy", 300, 40);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "16", "--out", _scratch["B"]).Succeeded();
        string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--out"];
        Outcome outcome = Mmesid.Run([.. assign, _scratch["ilgpu.npy"], "--backend", "ilgpu"]);
        if (!IsListed)
        {
            outcome.FailedWith($"ilgpu: {Reason}");
            Assert.False(File.Exists(_scratch["ilgpu.npy"]));
            return;
        }
        outcome.Succeeded();
        Mmesid.Run([.. assign, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
        Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["ilgpu.npy"]));
    }

    private static JsonNode Devices { get; } = JsonNode.Parse(Mmesid.Run("devices", "--json").Succeeded().Output)!;

    private static bool IsListed => Devices["backends"]!.AsArray().Any(backend => (string?)backend!["backend"] == "ilgpu");

    private static string? Reason => (string?)Devices["ilgpu"];
}
