using System.Text.Json.Nodes;
using MmeSid.Engine.Sids;
using MmeSid.Training;

namespace MmeSid.Cli.Tests;

/// <summary><c>train mm-rq-vae</c>, <c>rq-vae</c> and <c>hvq</c> through the real executable, on tables small enough for seconds.</summary>
public sealed class LearnedQuantizerTests : IDisposable
{
    private static readonly string[] s_small = ["--levels", "2", "--codes", "5", "--width", "6", "--epochs", "3", "--batch", "20", "--threads", "1"];

    private readonly ScratchFolder _scratch = new();

    public LearnedQuantizerTests() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void ModalitiesBecomeBundles()
    {
        string collaborative = _scratch.Table("c.npy", 61, 3), text = _scratch.Table("t.npy", 61, 5, seed: 2);
        JsonNode json = JsonNode.Parse(Train("mm-rq-vae", ["--table", $"collaborative={collaborative}", "--table", $"text={text}", "--json"]).Succeeded().Output)!;
        Assert.Equal(3, (int)json["epochs"]!);
        Assert.Equal(3, json["loss_curve"]!.AsArray().Count);
        Assert.True((double)json["loss_curve"]![0]!["alignment text"]! > 0);
        Assert.Equal(["B", "c.npy", "t.npy"], _scratch.Names);
        foreach ((string name, int dimension) in (ReadOnlySpan<(string, int)>)[("collaborative", 3), ("text", 5)])
        {
            SidBundle bundle = SidBundle.Open(Path.Combine(_scratch["B"], name));
            Assert.Equal((61, 2, dimension, 6), (bundle.Count, bundle.Quantizer.Levels, bundle.InputDimension, bundle.Quantizer.Dimension));
            Assert.Equal("mmd", bundle.Manifest.Options["reconstruction"]);
            Assert.Equal("0.0002", bundle.Manifest.Options["learning-rate"]);
            Assert.Equal(Path.GetFileName(name == "text" ? text : collaborative), Assert.Single(bundle.Manifest.Inputs).Name);
        }
        // The same command line gives the same bytes, and replaces only when told to.
        byte[] before = Bytes();
        Train("mm-rq-vae", ["--table", $"collaborative={collaborative}", "--table", $"text={text}"]).FailedWith("exists", "--force");
        Train("mm-rq-vae", ["--table", $"collaborative={collaborative}", "--table", $"text={text}", "--force"]).Succeeded();
        Assert.Equal(before, Bytes());

        byte[] Bytes() => [.. Directory.EnumerateFiles(_scratch["B"], "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).SelectMany(File.ReadAllBytes)];
    }

    [Theory]
    [InlineData("rq-vae")]
    [InlineData("hvq")]
    [InlineData("rq-vae", "--fusion", "mean", "--fusion-weights", "1,2")]
    [InlineData("hvq", "--fusion", "concat")]
    [InlineData("rq-vae", "--reconstruction", "both", "--straight-through", "first-level", "--sinkhorn", "0", "--moving-average", "0.9", "--restart-after", "2", "--init", "random")]
    [InlineData("rq-vae", "--init", "k-means", "--init-restarts", "2", "--mmd-bandwidths", "0.5,1", "--normalize", "--collisions", "extra-digit")]
    public void TablesBecomeABundle(string kind, params string[] options)
    {
        string first = _scratch.Table("a.npy", 61, 3), second = _scratch.Table("b.npy", 61, 4, seed: 2);
        Train(kind, ["--embeddings", first, "--embeddings", second, .. options]).Succeeded();
        SidBundle bundle = SidBundle.Open(_scratch["B"]);
        Assert.Equal((61, 7, 2), (bundle.Count, bundle.InputDimension, bundle.Quantizer.Levels));
        Assert.NotNull(bundle.Encoder);
        Assert.Equal(["B", "a.npy", "b.npy"], _scratch.Names);
    }

    [Fact]
    public void ItemsThatOneTableLacks()
    {
        string left = _scratch.Table("a.npy", 30, 3), right = _scratch.Table("b.npy", 30, 4, seed: 2);
        string leftIds = _scratch.Text("a.txt", string.Join('\n', Enumerable.Range(0, 30).Select(i => $"i{i}"))), rightIds = _scratch.Text("b.txt", string.Join('\n', Enumerable.Range(5, 30).Select(i => $"i{i}")));
        string[] tables = ["--table", $"x={left}", "--table", $"y={right}", "--items", leftIds, "--items", rightIds];
        Train("mm-rq-vae", tables).FailedWith("i0");
        string other = _scratch.Text("c.txt", string.Join('\n', Enumerable.Range(100, 30).Select(i => $"i{i}")));
        Fails("mm-rq-vae", ["--table", $"x={left}", "--table", $"y={right}", "--items", leftIds, "--items", other, "--missing", "drop"], "no item in common");
        Train("mm-rq-vae", [.. tables, "--missing", "drop"]).Succeeded();
        SidBundle bundle = SidBundle.Open(Path.Combine(_scratch["B"], "y"));
        Assert.Equal(25, bundle.Count);
        Assert.Equal("i5", bundle.Items[0]);
    }

    [Theory]
    [InlineData("--width", "0", "the width is 0")]
    [InlineData("--levels", "0", "--levels is 0")]
    [InlineData("--codes", "1", "1 codes")]
    [InlineData("--codes", "5,5,5", "3 numbers of codes for 2 levels")]
    [InlineData("--codes", "100", "level 0 has 100 codes", "61")]
    [InlineData("--codes", "5,62", "level 1 has 62 codes", "61")]
    [InlineData("--batch", "62", "62", "61")]
    [InlineData("--batch", "1", "at least 2")]
    [InlineData("--epochs", "0", "epochs is 0")]
    [InlineData("--learning-rate", "0", "learning rate is 0")]
    [InlineData("--temperature", "0", "temperature is 0")]
    [InlineData("--reconstruction-weight", "-1", "reconstruction is -1")]
    [InlineData("--mmd-bandwidths", "0", "bandwidth is 0")]
    [InlineData("--mmd-bandwidths", "x", "'x' is no number")]
    [InlineData("--sinkhorn", "0.0001", "0.0001")]
    [InlineData("--moving-average", "1", "moving averages is 1")]
    [InlineData("--init-restarts", "0", "are 0")]
    [InlineData("--hidden-layers", "-1", "hidden layers is -1")]
    [InlineData("--checkpoint", "/nowhere/at/all", "/nowhere/at/all", "does not exist")]
    [InlineData("--table", "text", "'text'", "name=file")]
    [InlineData("--table", "=t.npy", "name=file")]
    [InlineData("--table", "a/b=t.npy", "'a/b'", "no name of a modality")]
    [InlineData("--table", "Rows=t.npy", "two modalities", "rows")]
    [InlineData("--table", "other=missing.npy", "missing.npy")]
    public void WrongInputIsOneLineAndLeavesNothing(string option, string value, params string[] fragments) =>
        Fails("mm-rq-vae", ["--table", $"rows={_scratch.Table("t.npy", 61, 3)}", option, value], fragments);

    [Fact]
    public void ValuesThatAreNotFinite() =>
        Fails("rq-vae", ["--embeddings", _scratch.Table("t.npy", 61, 3, (row, column) => (row, column) == (13, 2) ? float.NaN : row + column)], "t.npy", "row 13", "column 2", "NaN");

    [Fact]
    public void FusionWeightsWithoutAMean() => Fails("rq-vae", ["--embeddings", _scratch.Table("t.npy", 61, 3), "--fusion-weights", "1"], "--fusion mean");

    [Fact]
    public void ALossThatGrowsBeyondAllNumbers()
    {
        string table = _scratch.Table("t.npy", 61, 3, (row, column) => (row % 7) + column + (row / 61f));
        Fails("rq-vae", ["--embeddings", table, "--learning-rate", "1e30", "--init", "random", "--checkpoint", "none"], "the loss is", "smaller learning rate");
    }

    [Fact]
    public void WithoutLibtorchItSaysSo() =>
        Mmesid.RunWith(TorchRuntime.HideVariable, "1", "train", "rq-vae", "--embeddings", _scratch.Table("t.npy", 61, 3), "--out", _scratch["B"]).FailedWith("training needs libtorch");

    private Outcome Train(string kind, string[] options) => Mmesid.Run(["train", kind, "--out", _scratch["B"], .. Defaults(options), .. options]);

    private void Fails(string kind, string[] options, params string[] fragments)
    {
        string[] before = _scratch.Names;
        Train(kind, options).FailedWith(fragments);
        Assert.Equal(before, _scratch.Names);
    }

    /// <summary>Small sizes, but for what the test gives itself.</summary>
    private static IEnumerable<string> Defaults(string[] given) => s_small.Chunk(2).Where(pair => !given.Contains(pair[0])).SelectMany(pair => pair);
}
