using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Engine.Tests.Sids;

/// <summary>Bundles whose quantizer stands behind a learned encoder.</summary>
public sealed class EncoderBundleTests : IDisposable
{
    private const int kInputs = 7, kWidth = 4, kCount = 31;

    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-encoder").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string PathOf(string name) => Path.Combine(_folder, name);

    private static LinearLayer Layer(int inputs, int outputs, ulong seed) => new(inputs, outputs, SidCases.Gaussians(inputs * outputs, seed), SidCases.Gaussians(outputs, seed + 100));

    private static EncoderNetwork Network(QuantizerKind kind) => kind switch
    {
        QuantizerKind.RqVae => EncoderNetwork.Mlp([Layer(kInputs, 9, 1), Layer(9, kWidth, 2)], [Layer(kWidth, 9, 3), Layer(9, kInputs, 4)]),
        QuantizerKind.MmRqVae => new(EncoderKind.Mlp, [[Layer(6, kWidth, 1)]], [Layer(kWidth, 6, 5)], InputFusion.Mean, [Layer(5, 6, 2), Layer(2, 6, 3)], [0.1, 3]),
        _ => new(EncoderKind.Hierarchical, [[Layer(kWidth, 5, 1), Layer(5, kWidth, 2)], [Layer(kWidth, kWidth, 3)], [Layer(kWidth, kWidth, 4)]], null, InputFusion.Concat, [Layer(kInputs, kWidth, 5)]),
    };

    private static BundleContent Content(QuantizerKind kind = QuantizerKind.RqVae)
    {
        Quantizer quantizer = SidCases.Quantizer(kind, kWidth, [4, 5, 7], 21);
        float[] encoded = SidCases.Gaussians(kCount * kWidth, 5);
        SidTable codes = SidCases.Encode(quantizer, encoded);
        using EmbeddingTable table = SidCases.Table(encoded, kWidth);
        return new BundleContent
        {
            Quantizer = quantizer,
            Encoder = Network(kind),
            Preprocessing = new Preprocessing([new TablePart(5, true, 1), new TablePart(2, false, 2)]),
            Items = ItemIds.Sequential(kCount),
            Codes = codes,
            Sids = SidCases.Settle(codes, quantizer, table, new SettlingOptions { Policy = CollisionPolicy.Resettle }).Sids,
            Collisions = CollisionPolicy.Resettle,
        };
    }

    [Theory]
    [InlineData(QuantizerKind.RqVae)]
    [InlineData(QuantizerKind.MmRqVae)]
    [InlineData(QuantizerKind.Hvq)]
    public void ComesBackAsItWasWritten(QuantizerKind kind)
    {
        BundleContent content = Content(kind);
        SidBundle.Write(PathOf("b"), content, force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        EncoderNetwork expected = content.Encoder!, found = bundle.Encoder!;
        Assert.Equal((kInputs, kWidth, kind), (bundle.InputDimension, bundle.Quantizer.Dimension, bundle.Quantizer.Kind));
        Assert.Equal((expected.Kind, expected.InputDimension, expected.Description.Fusion), (found.Kind, found.InputDimension, found.Description.Fusion));
        Assert.Equal(expected.Description.FusionWeights, found.Description.FusionWeights);
        Assert.Equal(expected.Networks.Select(layers => layers.Count), found.Networks.Select(layers => layers.Count));
        LinearLayer[] before = [.. expected.Networks.SelectMany(layers => layers), .. expected.Projections, .. expected.Decoder];
        LinearLayer[] after = [.. found.Networks.SelectMany(layers => layers), .. found.Projections, .. found.Decoder];
        Assert.Equal(before.Length, after.Length);
        for (int i = 0; i < before.Length; i++)
        {
            Assert.Equal((before[i].Inputs, before[i].Outputs), (after[i].Inputs, after[i].Outputs));
            Assert.Equal(before[i].Weight, after[i].Weight);
            Assert.Equal(before[i].Bias, after[i].Bias);
        }
        Assert.Equal(new FileInfo(PathOf("b/encoder.safetensors")).Length, bundle.Manifest.Files["encoder.safetensors"].Bytes);

        SidBundle.Write(PathOf("again"), bundle.ToContent(), force: false);
        foreach (string file in Directory.GetFiles(PathOf("b")))
            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(PathOf("again"), Path.GetFileName(file))));
        Assert.Equal(6, Directory.GetFiles(PathOf("again")).Length);
        Assert.Equal(kWidth, bundle.Vector(bundle.Sids[3]).Length);
    }

    [Fact]
    public void DamageToTheEncoderIsNoticed()
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        string path = PathOf("b/encoder.safetensors");
        byte[] good = File.ReadAllBytes(path);
        foreach (byte[] bad in (byte[][])[[.. good, 0], good[..^1], [.. good[..40], (byte)(good[40] ^ 1), .. good[41..]], [.. good[..^1], (byte)(good[^1] ^ 1)]])
        {
            File.WriteAllBytes(path, bad);
            Assert.Contains("encoder.safetensors: was altered", Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
        }
        File.Delete(path);
        Assert.Contains("encoder.safetensors: is missing", Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
    }

    [Theory]
    [InlineData("\"kind\": \"mlp\"", "\"kind\": \"cnn\"", "encoder.kind: unknown kind of encoder 'cnn', expected one of mlp, hierarchical")]
    [InlineData("\"kind\": \"mlp\"", "\"kind\": \"hierarchical\"", "encoder.0.0.weight")]
    [InlineData("\"input_dimension\": 7", "\"input_dimension\": 8", "the encoder takes 7 values, the manifest says 8")]
    [InlineData("\"kind\": \"rq-vae\"", "\"kind\": \"rq-kmeans\"", "rq-kmeans takes no encoder")]
    [InlineData("\"kind\": \"rq-vae\"", "\"kind\": \"hvq\"", "the encoder of hvq is mlp, expected hierarchical")]
    [InlineData("\"encoder\": {", "\"coder\": {", "names a file 'encoder.safetensors'")]
    [InlineData("\"dimension\": 5,", "\"dimension\": 6,", "makes rows of dimension 8, the encoder takes 7")]
    public void ManifestErrorsSayWhat(string found, string replacement, string message)
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        string path = PathOf("b/manifest.json"), text = File.ReadAllText(path);
        Assert.Contains(found, text, StringComparison.Ordinal);
        File.WriteAllText(path, SidBundleTests.Sealed(text.Replace(found, replacement, StringComparison.Ordinal)));
        Assert.Contains(message, Assert.Throws<InvalidDataException>(() => SidBundle.Open(PathOf("b"))).Message);
    }

    [Fact]
    public void TensorsThatDoNotFitAreRefused()
    {
        var mlp = new EncoderDescription(EncoderKind.Mlp, 3, InputFusion.None, []);
        Refused("(4, 3, 1), expected (outputs, inputs)", mlp, ("encoder.0.weight", [4, 3, 1]), ("encoder.0.bias", [4]));
        Refused("encoder.0.bias has shape (3), expected (4)", mlp, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [3]));
        Refused("encoder.1 takes 5 values, the layer before it makes 4", mlp, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("encoder.1.weight", [2, 5]), ("encoder.1.bias", [2]));
        Refused("tensor encoder.2.weight is no part", mlp, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("encoder.2.weight", [2, 5]));
        Refused("encoder.0.weight", mlp, ("encoder.1.weight", [4, 3]), ("encoder.1.bias", [4]));
        Refused("the decoder leads from 5 to 3 values, expected 4 and 3", mlp, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("decoder.0.weight", [3, 5]), ("decoder.0.bias", [3]));
        Refused("projections, expected none", mlp, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("projection.0.weight", [3, 3]), ("projection.0.bias", [3]));
        Refused("2 weights for 1 projections", mlp with { Fusion = InputFusion.Mean, FusionWeights = [1, 2] }, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("projection.0.weight", [3, 3]), ("projection.0.bias", [3]));
        Refused("weight 1 of the fusion is 0", mlp with { Fusion = InputFusion.Mean, FusionWeights = [0] }, ("encoder.0.weight", [4, 3]), ("encoder.0.bias", [4]), ("projection.0.weight", [3, 3]), ("projection.0.bias", [3]));
        Refused("encoder.1 leads from 3 to 4 values, expected 3 and 3", mlp with { Kind = EncoderKind.Hierarchical },
            ("encoder.0.0.weight", [3, 3]), ("encoder.0.0.bias", [3]), ("encoder.1.0.weight", [4, 3]), ("encoder.1.0.bias", [4]));
        Assert.Contains("row 1, column 2 is NaN", Assert.Throws<ArgumentException>(() => new LinearLayer(3, 2, [0, 0, 0, 0, 0, float.NaN], [0, 0])).Message);
        Assert.Contains("row 1 is", Assert.Throws<ArgumentException>(() => new LinearLayer(1, 2, [0, 0], [0, float.PositiveInfinity])).Message);

        void Refused(string message, EncoderDescription description, params (string Name, long[] Shape)[] tensors)
        {
            string path = PathOf($"{Guid.NewGuid()}.safetensors");
            using (FileStream stream = File.Create(path))
                SafetensorsFile.Write(stream, [.. tensors.Select(tensor => SafetensorsTensor.From<float>(tensor.Name, new float[tensor.Shape.Aggregate(1L, (product, size) => product * size)], tensor.Shape))]);
            string found = Assert.Throws<InvalidDataException>(() => EncoderNetwork.Read(path, description, levels: 2)).Message;
            Assert.Contains(message, found, StringComparison.Ordinal);
            Assert.StartsWith(path, found, StringComparison.Ordinal);
            Assert.DoesNotContain("Parameter", found, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ContentThatDoesNotFitIsNotWritten()
    {
        BundleContent content = Content();
        Refused("rq-vae needs an encoder", content with { Encoder = null });
        Refused("makes 9 values, the quantizer has dimension 4", content with { Encoder = EncoderNetwork.Mlp([Layer(kInputs, 9, 1)]) });
        Refused("of dimension 7, the encoder takes 8", content with { Encoder = EncoderNetwork.Mlp([Layer(8, kWidth, 1)]) });
        Refused("hierarchical, expected mlp", content with { Encoder = Network(QuantizerKind.Hvq) });
        Refused("has 1 networks, the quantizer 3 levels", Content(QuantizerKind.Hvq) with { Encoder = new EncoderNetwork(EncoderKind.Hierarchical, [[Layer(kWidth, kWidth, 1)]]) });
        Refused("fuses 2 parts, the preprocessing has 1", Content(QuantizerKind.MmRqVae) with { Preprocessing = new Preprocessing([new TablePart(7, false, 1)]) });
        Refused("projection.0 takes 5 values, the part has 2", Content(QuantizerKind.MmRqVae) with { Preprocessing = new Preprocessing([new TablePart(2, false, 1), new TablePart(5, false, 1)]) });
        Assert.Throws<InvalidOperationException>(() => Content(QuantizerKind.Hvq).Quantizer.CreateEncoder(new ScalarBackend()));

        void Refused(string message, BundleContent bad)
        {
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => SidBundle.Write(PathOf("b"), bad, force: false)).Message);
            Assert.False(Directory.Exists(PathOf("b")));
        }
    }

    [Fact]
    public void EditsSettleAmongEncodedRowsAndRememberTheRawOnes()
    {
        SidBundle.Write(PathOf("b"), Content(), force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        ItemIds items = ItemIds.FromStrings(Enumerable.Range(0, 20).Select(i => $"new-{i}"));
        float[] encoded = SidCases.Gaussians(20 * kWidth, 5);
        using EmbeddingTable rows = SidCases.Table(SidCases.Gaussians(20 * kInputs, 6), kInputs, items), table = SidCases.Table(encoded, kWidth, items);
        SidTable codes = SidCases.Encode(bundle.Quantizer, encoded);
        BundleChange change = BundleEdit.Append(bundle, rows, codes, table, cancellation: Token);
        Assert.Same(bundle.Encoder, change.Content.Encoder);
        Assert.Equal(BundleInput.Of(rows), change.Content.Inputs[^1]);
        Assert.Equal(SidCases.Settle(codes, bundle.Quantizer, table, new SettlingOptions { Policy = CollisionPolicy.Resettle }, bundle.Sids).Sids.Codes.ToArray(), change.Content.Sids.Codes[(kCount * 3)..].ToArray());
        Assert.True(SidCases.AllDifferent(change.Content.Sids));
        Assert.Contains("expected encoded rows too", Assert.Throws<ArgumentException>(() => BundleEdit.Append(bundle, rows, codes, cancellation: Token)).Message);
        Assert.Contains("dimension 4, expected 7", Assert.Throws<ArgumentException>(() => BundleEdit.Append(bundle, table, codes, table, cancellation: Token)).Message);
        Assert.Contains("dimension 7, expected 20 of 4", Assert.Throws<ArgumentException>(() => BundleEdit.Append(bundle, rows, codes, rows, cancellation: Token)).Message);

        SidBundle.Write(PathOf("b"), change.Content, force: true);
        var appended = SidBundle.Open(PathOf("b"));
        BundleChange same = BundleEdit.Update(appended, rows, codes, table, cancellation: Token);
        Assert.Equal(appended.Sids.Codes.ToArray(), same.Content.Sids.Codes.ToArray());
        Assert.Contains("expected encoded rows too", Assert.Throws<ArgumentException>(() => BundleEdit.Update(appended, rows, codes, cancellation: Token)).Message);
    }

    [Fact]
    public void HealthMeasuresErrorAmongEncodedRowsAndTheSpaceAmongRawOnes()
    {
        BundleContent content = Content();
        SidBundle.Write(PathOf("b"), content, force: false);
        var bundle = SidBundle.Open(PathOf("b"));
        using EmbeddingTable rows = SidCases.Table(SidCases.Gaussians(kCount * kInputs, 6), kInputs), encoded = SidCases.Table(SidCases.Gaussians(kCount * kWidth, 5), kWidth);
        UserHistory[] users = [new([1, 2, 3, 9], 4), new([7, 8, 20], 2)];
        var options = new AgreementOptions();
        var report = HealthReport.Measure(bundle, rows, encoded, users, options, new ScalarBackend(), Token);
        Assert.Equal(ReconstructionError.Measure(encoded, bundle.Quantizer, bundle.Codes), report.RawError);
        Assert.Equal(ReconstructionError.Measure(encoded, bundle.Quantizer, bundle.Sids), report.Error);
        Assert.Equal(KendallTau.Measure(rows, bundle.Quantizer, bundle.Sids, users), report.Distances);
        Assert.Equal(NeighbourPurity.Measure(rows, bundle.Codes, options, new ScalarBackend()).Levels, report.Agreement!.Neighbours.Levels);
        Assert.Equal(kInputs, report.Spectrum!.SingularValues.Count);
        Assert.Contains("expected encoded rows too", Assert.Throws<ArgumentException>(() => HealthReport.Measure(bundle, rows, null, users, options, new ScalarBackend(), Token)).Message);
    }

    [Fact]
    public void SpooledTableReadsTheSame()
    {
        float[] values = SidCases.Gaussians(kCount * kInputs, 6);
        using EmbeddingTable table = SidCases.Table(values, kInputs), copy = table.Spool(cancellation: Token);
        Assert.Equal(values, copy.ReadAll().Rows(0, kCount).ToArray());
        var row = new float[2 * kInputs];
        copy.Read(17, 2, row);
        Assert.Equal(values[(17 * kInputs)..(19 * kInputs)], row);
        Assert.True(copy.Items.SameAs(table.Items));
    }

    [Fact]
    public void FolderOfBundlesNamesThem()
    {
        SidBundle.Write(PathOf("text"), Content(), force: false);
        SidBundle.Write(PathOf("joint"), Content(QuantizerKind.Hvq), force: false);
        string message = Assert.Throws<InvalidDataException>(() => SidBundle.Open(_folder)).Message;
        Assert.Contains("folder of bundles (joint, text)", message, StringComparison.Ordinal);
        Assert.Contains(PathOf("joint"), message, StringComparison.Ordinal);
    }
}
