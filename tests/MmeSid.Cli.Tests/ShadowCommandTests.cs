using System.Text.Json.Nodes;

namespace MmeSid.Cli.Tests;

/// <summary>Shadows of both formats, and what <c>assign</c> with the backend <c>simd</c> makes of them.</summary>
public sealed class ShadowCommandTests : IDisposable
{
    private const int kRows = 600, kDimension = 24;

    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("float16", 2 * kDimension)]
    [InlineData("int8", kDimension + 8)]
    public void AssignFromAShadowGivesTheSameCodes(string format, int rowBytes)
    {
        string table = _scratch.Table("x.npy", kRows, kDimension), shadow = _scratch["shadow.npy"];
        JsonNode made = Json("shadow", "--embeddings", table, "--format", format, "--out", shadow);
        Assert.Equal(kRows, (int)made["rows"]!);
        Assert.Equal(0, (new FileInfo(shadow).Length - (long)kRows * rowBytes) % 64);
        foreach (string quantizer in (string[])["vq", "rq-kmeans", "psrq"])
        {
            Mmesid.Run("train", quantizer, "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force").Succeeded();
            JsonNode plain = Json(Assign("plain.npy")), shadowed = Json([.. Assign("shadowed.npy"), "--shadow", shadow]);

            Assert.Equal(File.ReadAllBytes(_scratch["plain.npy"]), File.ReadAllBytes(_scratch["shadowed.npy"]));
            Assert.Null(plain["open_rows_share"]);
            Assert.NotNull(plain["mean_squared_error"]);
            Assert.Null(shadowed["mean_squared_error"]);
            Assert.InRange((double)shadowed["open_rows_share"]!, 0, format == "float16" ? 0.2 : 1);
            Assert.Equal((double)shadowed["open_rows_share"]!, (double)shadowed["rechecked_share"]! * (quantizer == "vq" ? 1 : 4), 1e-12);
        }
        Outcome verbose = Mmesid.RunVerbatim([.. Assign("shadowed.npy"), "--shadow", shadow, "--verbose"]).Succeeded();
        Assert.Contains("of the rows were left open by the shadow and read from the table", verbose.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Float16IsTheDefault()
    {
        string table = _scratch.Table("x.npy", 5, 3);
        Mmesid.Run("shadow", "--embeddings", table, "--out", _scratch["a.npy"]).Succeeded();
        Mmesid.Run("shadow", "--embeddings", table, "--format", "float16", "--out", _scratch["b.npy"]).Succeeded();
        Assert.Equal(File.ReadAllBytes(_scratch["a.npy"]), File.ReadAllBytes(_scratch["b.npy"]));
    }

    /// <summary>Sub-spaces, beams and the oracle read the table, and say that they do.</summary>
    [Theory]
    [InlineData("pq", "--backend", "simd")]
    [InlineData("rq-kmeans", "--beam", "2")]
    [InlineData("rq-kmeans", "--backend", "scalar")]
    public void ASearchThatTakesNoShadowReadsTheTable(string quantizer, string option, string value)
    {
        string table = _scratch.Table("x.npy", kRows, kDimension), shadow = _scratch["shadow.npy"];
        Mmesid.Run("shadow", "--embeddings", table, "--format", "int8", "--out", shadow).Succeeded();
        Mmesid.Run("train", quantizer, "--embeddings", table, "--codes", "16", "--out", _scratch["B"]).Succeeded();
        string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, option, value, "--out"];
        Mmesid.Run([.. assign, _scratch["plain.npy"]]).Succeeded();
        Outcome shadowed = Mmesid.RunVerbatim([.. assign, _scratch["shadowed.npy"], "--shadow", shadow, "--json"]).Succeeded();

        Assert.Equal(File.ReadAllBytes(_scratch["plain.npy"]), File.ReadAllBytes(_scratch["shadowed.npy"]));
        Assert.Single(shadowed.ErrorLines, $"{shadow} is not read: this search takes no int8 shadow, the table itself is read instead");
        Assert.Null(JsonNode.Parse(shadowed.Output)!["open_rows_share"]);
    }

    [Fact]
    public void WrongInputIsSaidInOneLine()
    {
        string table = _scratch.Table("x.npy", kRows, kDimension), other = _scratch.Table("y.npy", kRows, kDimension, seed: 2), shadow = _scratch["shadow.npy"];
        Outcome format = Mmesid.Run("shadow", "--embeddings", table, "--format", "int4", "--out", shadow);
        Assert.Equal(2, format.ExitCode);
        Assert.Contains("int4", format.ErrorLines[0], StringComparison.Ordinal);
        Assert.Contains("float16", format.ErrorLines[0], StringComparison.Ordinal);
        Assert.Contains("int8", format.ErrorLines[0], StringComparison.Ordinal);
        Assert.False(File.Exists(shadow));

        Mmesid.Run("train", "vq", "--embeddings", table, "--codes", "16", "--out", _scratch["B"]).Succeeded();
        // Two files of one size may be of one time, too.
        File.SetLastWriteTimeUtc(other, File.GetLastWriteTimeUtc(table).AddSeconds(-1));
        Mmesid.Run("shadow", "--embeddings", other, "--format", "int8", "--out", shadow).Succeeded();
        string[] assign = [.. Assign("c.npy"), "--shadow", shadow];
        Mmesid.Run(assign).FailedWith("shadow.npy: is no shadow of these rows", "x.npy has changed since it was made of y.npy", "make it again with 'mmesid shadow'");

        Mmesid.Run("shadow", "--embeddings", table, "--format", "int8", "--out", shadow, "--force").Succeeded();
        Mmesid.Run(assign).Succeeded();
        // Another table's bytes where this one's were, and nothing else has changed.
        byte[] own = File.ReadAllBytes(shadow);
        DateTime time = File.GetLastWriteTimeUtc(shadow);
        Mmesid.Run("shadow", "--embeddings", other, "--format", "int8", "--out", _scratch["other.npy"]).Succeeded();
        File.Copy(_scratch["other.npy"], shadow, overwrite: true);
        File.SetLastWriteTimeUtc(shadow, time);
        Mmesid.Run(assign).FailedWith("shadow.npy: is no shadow of these rows", "row 0, column 0 is", "make it again with 'mmesid shadow'");
        File.WriteAllBytes(shadow, own[..^100]);
        Mmesid.Run(assign).FailedWith("shadow.npy: is no shadow of these rows", "shadow.npy has changed since it was made");
        File.Delete(shadow + ".json");
        Mmesid.Run(assign).FailedWith("shadow.npy.json: no such file");
        Mmesid.Run([.. Assign("c.npy"), "--shadow", _scratch["none.npy"]]).FailedWith("none.npy: no such file");
        // A shadow is no table.
        File.WriteAllBytes(shadow, own);
        Mmesid.Run("assign", "--bundle", _scratch["B"], "--embeddings", shadow, "--out", _scratch["d.npy"]).FailedWith("shadow.npy: holds a structured array");
    }

    private static JsonNode Json(params string[] arguments) => JsonNode.Parse(Mmesid.Run([.. arguments, "--json"]).Succeeded().Output)!;

    private string[] Assign(string codes) => ["assign", "--bundle", _scratch["B"], "--embeddings", _scratch["x.npy"], "--backend", "simd", "--force", "--out", _scratch[codes]];
}
