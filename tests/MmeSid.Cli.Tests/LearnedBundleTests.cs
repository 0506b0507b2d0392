using System.Text.Json.Nodes;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;
using MmeSid.Training;

namespace MmeSid.Cli.Tests;

/// <summary>Cold start: raw rows get SIDs from bundles whose quantizer stands behind a learned encoder, and bundles are chosen by the names of tables.</summary>
public sealed class LearnedBundleTests : IDisposable
{
    private const int kInputs = 5, kWidth = 3, kLevels = 2, kCount = 40;

    private readonly ScratchFolder _scratch = new();
    private readonly Quantizer _quantizer;
    private readonly float[] _rows;

    public LearnedBundleTests()
    {
        var random = new MmeSid.Engine.RandomSource(3);
        float[] Floats(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)random.NextGaussian())];
        _quantizer = new Quantizer(QuantizerKind.RqVae, kWidth, [Floats(8 * kWidth), Floats(16 * kWidth)]);
        _rows = Floats(kCount * kInputs);
        Directory.CreateDirectory(_scratch["B"]);
        Write("text", _quantizer, EncoderNetwork.Mlp([FirstColumns(kWidth)]));
        // A network between the levels that leaves rows alone: the codes are those of the residual search.
        LinearLayer same = new(kWidth, kWidth, [1, 0, 0, 0, 1, 0, 0, 0, 1], new float[kWidth]);
        var hvq = new Quantizer(QuantizerKind.Hvq, kWidth, [_quantizer.Codebook(0), _quantizer.Codebook(1)]);
        Write("joint", hvq, new EncoderNetwork(EncoderKind.Hierarchical, [[same], [same]], null, InputFusion.Concat, [FirstColumns(kWidth)]));
        _scratch.Table("new.npy", 25, kInputs, seed: 8);
        _scratch.Text("new.txt", string.Concat(Enumerable.Range(0, 25).Select(i => $"new-{i}\n")));
    }

    public void Dispose() => _scratch.Dispose();

    private static void RequireTorch() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    /// <summary>z = the first columns of x, exactly.</summary>
    private static LinearLayer FirstColumns(int width)
    {
        var weight = new float[width * kInputs];
        for (int i = 0; i < width; i++)
            weight[i * kInputs + i] = 1;
        return new LinearLayer(kInputs, width, weight, new float[width]);
    }

    private ushort[] Codes(float[] rows)
    {
        int count = rows.Length / kInputs;
        var plain = new Quantizer(QuantizerKind.RqKMeans, kWidth, [_quantizer.Codebook(0), _quantizer.Codebook(1)]);
        using IQuantizerEncoder encoder = plain.CreateEncoder(new SimdBackend(1));
        var codes = new ushort[count * kLevels];
        encoder.Encode(new RowView(rows, count, kWidth, kInputs), codes);
        return codes;
    }

    private void Write(string name, Quantizer quantizer, EncoderNetwork encoder)
    {
        using var matrix = new RowMatrix(kCount, kInputs);
        _rows.CopyTo(matrix.Rows(0, kCount));
        using var encoded = new RowMatrix(kCount, kWidth);
        for (int row = 0; row < kCount; row++)
            matrix.Rows(row, 1)[..kWidth].CopyTo(encoded.Rows(row, 1));
        using EmbeddingTable table = EmbeddingTable.FromRows(matrix, ItemIds.Sequential(kCount), "x.npy"), z = EmbeddingTable.FromRows(encoded, ItemIds.Sequential(kCount), "z");
        var codes = new SidTable(kLevels, Codes(_rows));
        SidBundle.Write(_scratch[$"B/{name}"], new BundleContent
        {
            Quantizer = quantizer,
            Encoder = encoder,
            Preprocessing = new Preprocessing([new TablePart(kInputs, false, 1)]),
            Items = ItemIds.Sequential(kCount),
            Codes = codes,
            Sids = CollisionSettling.Settle(codes, quantizer, z, new SettlingOptions { Policy = CollisionPolicy.Resettle }, cancellation: TestContext.Current.CancellationToken).Sids,
            Collisions = CollisionPolicy.Resettle,
            Inputs = [BundleInput.Of(table)],
        }, force: false);
        _scratch.Table("x.npy", kCount, kInputs, (row, column) => _rows[row * kInputs + column]);
    }

    [Theory]
    [InlineData("text")]
    [InlineData("joint")]
    public void NewRowsGetCodesFromTheBundleAlone(string name)
    {
        RequireTorch();
        ushort[] expected = Codes(NpyFile.Read<float>(_scratch["new.npy"]).Values);
        Mmesid.Run("assign", "--bundle", _scratch[$"B/{name}"], "--embeddings", _scratch["new.npy"], "--out", _scratch["a.npy"]).Succeeded();
        Mmesid.Run("assign", "--bundle", _scratch["B"], "--table", $"{name}={_scratch["new.npy"]}", "--out", _scratch["b.npy"], "--backend", "scalar", "--threads", "1").Succeeded();
        Mmesid.Run("assign", "--bundle", _scratch[$"B/{name}"], "--table", $"{name}={_scratch["new.npy"]}", "--out", _scratch["c.npy"]).Succeeded();
        foreach (string file in (string[])["a.npy", "b.npy", "c.npy"])
            Assert.Equal(expected, NpyFile.Read<ushort>(_scratch[file]).Values);

        SidBundle before = SidBundle.Open(_scratch[$"B/{name}"]);
        string[] tables = ["--bundle", _scratch["B"], "--table", $"{name}={_scratch["new.npy"]}", "--items", _scratch["new.txt"]];
        Mmesid.Run(["append", .. tables]).Succeeded();
        SidBundle after = SidBundle.Open(_scratch[$"B/{name}"]);
        Assert.Equal(kCount + 25, after.Count);
        Assert.Equal(before.Sids.Codes, after.Sids.Codes[..before.Sids.Codes.Length]);
        Assert.Equal(expected, after.Codes.Codes[before.Codes.Codes.Length..]);
        Assert.Equal(after.Count, after.Trie.NodeCount(kLevels));
        Mmesid.Run(["update", .. tables]).Succeeded();
        Assert.Equal(after.Sids.Codes, SidBundle.Open(_scratch[$"B/{name}"]).Sids.Codes);
        JsonNode found = JsonNode.Parse(Mmesid.Run("lookup", "--bundle", _scratch[$"B/{name}"], "--item", "new-3", "--vector", "--json").Succeeded().Output)!;
        Assert.Equal(kWidth, found.AsObject().First(entry => entry.Key.StartsWith("vector", StringComparison.Ordinal)).Value!.AsArray().Count);
        Mmesid.Run("export", "--bundle", _scratch[$"B/{name}"], "--format", "csv", "--out", _scratch["sids.csv"]).Succeeded();
        Assert.Equal(kCount + 26, File.ReadAllLines(_scratch["sids.csv"]).Length);
        Mmesid.Run("remove", "--bundle", _scratch[$"B/{name}"], "--item", "new-3").Succeeded();
        Assert.NotNull(SidBundle.Open(_scratch[$"B/{name}"]).Encoder);
    }

    [Fact]
    public void InspectMeasuresErrorAmongEncodedRows()
    {
        RequireTorch();
        string sequences = _scratch.Text("sequences.txt", "1 4 5 6\n2 7 8 9 10\n");
        JsonNode both = JsonNode.Parse(Mmesid.Run("inspect", _scratch["B"], "--table", $"text={_scratch["x.npy"]}", "--sequences", sequences, "--json").Succeeded().Output)!;
        JsonArray sids = both["sids"]!.AsArray();
        Assert.Equal(["joint", "text"], sids.Select(row => (string?)row!["name"]));
        Assert.Null(sids[0]!["relative_error"]);
        Assert.NotNull(sids[1]!["relative_error"]);

        JsonNode one = JsonNode.Parse(Mmesid.Run("inspect", _scratch["B/text"], "--embeddings", _scratch["x.npy"], "--sequences", sequences, "--json").Succeeded().Output)!;
        ushort[] codes = Codes(_rows);
        double error = 0;
        for (int row = 0; row < kCount; row++)
        {
            for (int j = 0; j < kWidth; j++)
            {
                double lost = (double)_rows[row * kInputs + j] - (float)((double)_quantizer.Codeword(0, codes[2 * row])[j] + _quantizer.Codeword(1, codes[2 * row + 1])[j]);
                error += lost * lost / kCount;
            }
        }
        Assert.Equal(error, (double)one["mean_squared_error"]!, 1e-12);
        Assert.InRange((double)one["kendall_tau"]!, -1, 1);
        Assert.Equal(kInputs, (int)one["input_dimension"]!);
        Assert.Equal("mlp: 5 → 3", (string?)one["encoder"]);
        Assert.Equal("rq-vae", (string?)one["quantizer"]);
    }

    [Fact]
    public void WithoutLibtorchLearnedBundlesWork()
    {
        string[] tables = ["--bundle", _scratch["B"], "--table", $"text={_scratch["new.npy"]}"];
        Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", ["assign", .. tables, "--out", _scratch["a.npy"]]).Succeeded();
        Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", "inspect", _scratch["B/text"], "--embeddings", _scratch["x.npy"]).Succeeded();
        Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", "inspect", _scratch["B"]).Succeeded();
        Mmesid.RunWith("MMESID_NO_LIBTORCH", "1", "lookup", "--bundle", _scratch["B/text"], "--item", "3").Succeeded();
        Assert.Contains("a.npy", _scratch.Names);
        Assert.Equal(kCount, SidBundle.Open(_scratch["B/text"]).Count);
    }

    [Fact]
    public void TablesThatDoNotNameABundleAreRefused()
    {
        string table = _scratch["new.npy"];
        string[] Assign(params string[] rest) => ["assign", "--out", _scratch["a.npy"], .. rest];
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", $"audio={table}")).FailedWith("no bundle 'audio'", "joint, text");
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", $"text={table}", "--embeddings", table)).FailedWith("--embeddings and --table are both given");
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", $"text={table}", "--table", $"joint={table}")).FailedWith("--table names 2 bundles (joint, text), expected one");
        foreach (string malformed in (string[])["text", "=x.npy", "text="])
            Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", malformed)).FailedWith($"--table is '{malformed}', expected name=file");
        Mmesid.Run(Assign("--bundle", _scratch["B/text"], "--table", $"joint={table}")).FailedWith("is a bundle itself", "'text'", "'joint'");
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--embeddings", table)).FailedWith("folder of bundles (joint, text)");
        Mmesid.Run("append", "--bundle", _scratch["B"], "--table", $"audio={table}").FailedWith("no bundle 'audio'");
        Mmesid.Run("inspect", _scratch["B"], "--table", $"audio={table}").FailedWith("no bundle 'audio'");
        Mmesid.Run("inspect", _scratch["B"], _scratch["B"], "--table", $"text={table}").FailedWith("2 paths are given");
        Mmesid.Run("inspect", table, "--table", $"text={table}").FailedWith("names the bundles of a folder");
        string narrow = _scratch.Table("narrow.npy", 4, 3);
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", $"text={narrow}")).FailedWith("3", "5");
        Mmesid.Run(Assign("--bundle", _scratch["B"], "--table", $"text={table}", "--shadow", table)).FailedWith("--shadow", "rq-vae", "learned encoder");
        Outcome none = Mmesid.Run(Assign("--bundle", _scratch["B"]));
        Assert.Equal(2, none.ExitCode);
        Assert.Contains("--table", none.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("a.npy", _scratch.Names);
    }

    [Fact]
    public void BeamsAreOfResidualSearches()
    {
        RequireTorch();
        string[] assign = ["assign", "--bundle", _scratch["B"], "--beam", "4", "--out", _scratch["a.npy"], "--table"];
        Mmesid.Run([.. assign, $"text={_scratch["new.npy"]}"]).Succeeded();
        Mmesid.Run([.. assign, $"joint={_scratch["new.npy"]}", "--force"]).FailedWith("beam is 4", "hvq");
        Mmesid.Run("train", "rq-kmeans", "--embeddings", _scratch["x.npy"], "--codes", "8", "--levels", "2", "--warm-start", _scratch["B/text"], "--out", _scratch["C"]).FailedWith("the warm start is rq-vae, expected rq-kmeans");
    }
}
