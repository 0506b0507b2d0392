using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Training.Optimization;
using MmeSid.Training.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.Quantization;

/// <summary>The models as wholes: what their losses are made of, how they start, train, stop, resume, and what comes out.</summary>
public sealed class ModelTests : IDisposable
{
    private const int Items = 61;

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-quantization-").FullName;

    public ModelTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
    }

    public void Dispose()
    {
        _scope?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void ACoderIsLinearLayersWithReluBetween()
    {
        manual_seed(1);
        using var coder = new MlpCoder(5, 200, 3, hiddenLayers: 2);
        Assert.Equal([[200, 5], [200, 200], [3, 200]], coder.Layers.Select(layer => layer.weight!.shape));
        Assert.All(coder.Layers, layer => Assert.All(Libtorch.Values(layer.bias!), value => Assert.Equal(0, value)));
        // √(2 / (200 + 200)) within 2 %: 40,000 values.
        Assert.Equal(Math.Sqrt(2.0 / 400), coder.Layers[1].weight!.std().ToDouble(), 0.02 * Math.Sqrt(2.0 / 400));
        Tensor rows = randn(4, 5);
        Libtorch.Near(Evaluate([.. coder.Layers.Select(Data)], Libtorch.Values(rows), 4), Libtorch.Values(coder.call(rows)), 1e-5, "coder");
        using var linear = new MlpCoder(5, 200, 3, hiddenLayers: 0);
        Assert.Single(linear.Layers);
    }

    [Fact]
    public void FusionIsAWeightedMeanOrOneProjection()
    {
        manual_seed(2);
        Tensor rows = randn(3, 5);
        double[] values = Libtorch.Values(rows);
        using var mean = new TableFusion([2, 3], 4, InputFusion.Mean, [1, 3]);
        double[] first = Evaluate([Data(mean.Projections[0])], Columns(values, 5, 0, 2), 3), second = Evaluate([Data(mean.Projections[1])], Columns(values, 5, 2, 3), 3);
        Libtorch.Near([.. first.Zip(second, (a, b) => (a + (3 * b)) / 4)], Libtorch.Values(mean.call(rows)), 1e-6, "weighted mean");
        using var concatenation = new TableFusion([2, 3], 4, InputFusion.Concat);
        Libtorch.Near(Evaluate([Data(concatenation.Projections[0])], values, 3), Libtorch.Values(concatenation.call(rows)), 1e-6, "concatenation");
        Assert.Throws<ArgumentException>(() => new TableFusion([2, 3], 4, InputFusion.Mean, [1]));
        Assert.Throws<ArgumentException>(() => new TableFusion([2, 3], 4, InputFusion.Mean, [1, 0]));
    }

    [Fact]
    public void BatchesHoldEveryRowOncePerEpochAndDependOnSeedEpochAndStepAlone()
    {
        using EmbeddingTable left = Table("left", 11, 1, (row, _) => row), right = Table("right", 11, 2, (row, _) => row);
        using var batches = new ItemBatches([left, right], 4, 9);
        using var again = new ItemBatches([left, right], 4, 9);
        Assert.Equal(3, batches.PerEpoch);
        double[] Epoch(ItemBatches of, int epoch) => [.. Enumerable.Range(0, 3).SelectMany(step => Libtorch.Values(of.Rows(epoch, step)[0]))];
        double[] zero = Epoch(batches, 0), one = Epoch(batches, 1);
        Assert.Equal(Enumerable.Range(0, 11).Select(i => (double)i), zero.Order());
        Assert.NotEqual(zero, one);
        // In any order of asking.
        Assert.Equal(Libtorch.Values(again.Rows(1, 2)[0]), one[8..]);
        Assert.Equal(zero, Epoch(again, 0));
        Tensor[] pair = batches.Rows(3, 1);
        Assert.Equal(Libtorch.Values(pair[0]), Libtorch.Values(pair[1].narrow(1, 1, 1)));
        // One row is no batch, two are.
        using var five = new ItemBatches([left], 5, 9);
        using var three = new ItemBatches([left], 3, 9);
        Assert.Equal((2, 4), (five.PerEpoch, three.PerEpoch));
        Assert.Equal(2, three.Rows(0, 3)[0].shape[0]);
        Assert.Contains("12", Assert.Throws<ArgumentException>(() => new ItemBatches([left], 12, 9)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new ItemBatches([left], 1, 9));
    }

    [Fact]
    public void TheTotalIsTheWeightedSumOfItsParts()
    {
        var options = Options() with { ReconstructionWeight = 3, ResidualWeight = 0.7, AlignmentWeight = 0.2 };
        using var model = new MmRqVae([new("text", [6]), new("collaborative", [4]), new("image", [5])], options);
        Assert.Equal(1, model.Anchor);
        Tensor[] rows = [randn(16, 6), randn(16, 4), randn(16, 5)];
        StepLoss loss = model.Loss(rows);
        Assert.Equal(["reconstruction text", "rq text", "reconstruction collaborative", "rq collaborative", "reconstruction image", "rq image", "alignment text", "alignment image"],
            loss.Parts.Select(part => part.Name));
        double expected = loss.Parts.Sum(part => part.Value.ToDouble() * (part.Name[0] switch { 'r' when part.Name[1] == 'e' => 3, 'r' => 0.7, _ => 0.2 }));
        Assert.Equal(expected, loss.Total.ToDouble(), 1e-5);
        QuantizedRows[] quantized = [.. model.Vaes.Select((vae, j) => vae.Codebooks.Quantize(vae.Encode(rows[j])))];
        Assert.Equal(MmdLoss.Of(model.Vaes[2].Decode(quantized[2].Value), rows[2]).ToDouble(), loss.Parts[4].Value.ToDouble(), 1e-6);
        Assert.Equal(InfoNceLoss.Of(quantized[1].Value, quantized[2].Value).ToDouble(), loss.Parts[7].Value.ToDouble(), 1e-5);
    }

    [Fact]
    public void TheFirstModalityIsTheAnchorWhereNoneIsCollaborative()
    {
        using var model = new MmRqVae([new("text", [6]), new("image", [5])], Options());
        Assert.Equal(0, model.Anchor);
        using var one = new MmRqVae([new("rows", [6])], Options());
        Assert.Equal(["reconstruction", "rq"], one.Loss([randn(8, 6)]).Parts.Select(part => part.Name));
        Assert.Throws<ArgumentException>(() => new MmRqVae([new("a", [6]), new("a", [5])], Options()));
        Assert.Throws<ArgumentException>(() => new MmRqVae([], Options()));
    }

    [Theory]
    [InlineData(ReconstructionLoss.Mse)]
    [InlineData(ReconstructionLoss.Both)]
    [InlineData(ReconstructionLoss.None)]
    public void KindsOfReconstruction(ReconstructionLoss kind)
    {
        using var model = new MmRqVae([new("rows", [6])], Options() with { Reconstruction = kind });
        Tensor rows = randn(8, 6);
        StepLoss loss = model.Loss([rows]);
        if (kind == ReconstructionLoss.None)
        {
            Assert.Equal(["rq"], loss.Parts.Select(part => part.Name));
            Assert.Null(model.Vaes[0].Decoder);
            Assert.Empty(model.Result()[0].Encoder.Decoder);
            return;
        }
        RqVae vae = model.Vaes[0];
        Tensor reconstruction = vae.Decode(vae.Codebooks.Quantize(vae.Encode(rows)).Value);
        double expected = nn.functional.mse_loss(reconstruction, rows).ToDouble() + (kind == ReconstructionLoss.Both ? MmdLoss.Of(reconstruction, rows).ToDouble() : 0);
        Assert.Equal(expected, loss.Parts[0].Value.ToDouble(), 1e-6);
    }

    /// <summary>The loss is differentiable in the decoder and, through straight-through, reaches every weight of the encoder.</summary>
    [Fact]
    public void EveryParameterLearns()
    {
        using var model = new MmRqVae([new("collaborative", [4]), new("text", [3, 3])], Options() with { Fusion = InputFusion.Mean });
        model.Loss([randn(32, 4), randn(32, 6)]).Total.backward();
        foreach ((string name, Parameter parameter) in model.named_parameters())
            Assert.True(parameter.grad is { } grad && grad.abs().sum().ToDouble() > 0, $"{name} has no gradient");
    }

    [Fact]
    public void GradientsOfTheDecoderAreCentralDifferences()
    {
        using MmRqVae model = new MmRqVae([new("rows", [3])], Options(hidden: 1) with { Width = 3, Reconstruction = ReconstructionLoss.Mse }).to(float64);
        Tensor rows = tensor(Libtorch.Numbers(4, 24, -1, 1), [8, 3], float64);
        model.Loss([rows]).Total.backward();
        Parameter weight = model.Vaes[0].Decoder!.Layers[1].weight!;
        double[] expected = new double[9];
        using (no_grad())
        {
            for (int i = 0; i < 9; i++)
            {
                Tensor element = weight.view(9).narrow(0, i, 1);
                element.add_(Bounds.Step);
                double above = model.Loss([rows]).Total.ToDouble();
                element.add_(-2 * Bounds.Step);
                double below = model.Loss([rows]).Total.ToDouble();
                element.add_(Bounds.Step);
                expected[i] = (above - below) / (2 * Bounds.Step);
            }
        }
        Libtorch.Near(expected, Libtorch.Values(weight.grad!), Bounds.Difference, "gradient of a decoder's weight");
        Assert.Contains(expected, value => Math.Abs(value) > 1e-3);
    }

    [Theory]
    [InlineData(CodebookInitialization.ConstrainedKMeans)]
    [InlineData(CodebookInitialization.KMeans)]
    public void FirstCodewordsFitTheEncodedRows(CodebookInitialization initialization)
    {
        using EmbeddingTable table = Table("rows", Items, 6);
        double Error(CodebookInitialization how, int restarts)
        {
            using var batches = new ItemBatches([table], Items, 1);
            using var model = new MmRqVae([new("rows", [6])], Options());
            model.Start(batches.Tables, Start(how, restarts));
            model.eval();
            return ResidualLoss.Of(model.Vaes[0].Codebooks.Quantize(model.Vaes[0].Encode(batches.Tables[0])).Levels, 0).ToDouble();
        }
        double random = Error(CodebookInitialization.Random, 1), one = Error(initialization, 1), best = Error(initialization, 8);
        Assert.True(one < 0.5 * random, $"{one} after k-means, {random} without");
        // The best by error of the first level, which comes first in the mean.
        Assert.True(best < 1.1 * one, $"{best} as the best of 8, {one} of one");
    }

    /// <summary>Each level's codewords are those of k-means on the rows that reach it: residuals, or what HVQ's network makes of what is left.</summary>
    [Theory]
    [InlineData("rq-vae")]
    [InlineData("hvq")]
    [InlineData("hvq fused")]
    public void EveryLevelStartsFromItsOwnRows(string kind)
    {
        using var run = new Trained(kind);
        run.Model.Start(run.Batches.Tables, Start());
        run.Model.eval();
        QuantizedRows quantized = run.Model is Hvq hvq ? hvq.Quantize(run.Batches.Tables[0])
            : ((MmRqVae)run.Model).Vaes[0].Codebooks.Quantize(((MmRqVae)run.Model).Vaes[0].Encode(run.Batches.Tables[0]));
        for (int level = 0; level < 2; level++)
        {
            Tensor reached = quantized.Levels[level].Residual.detach();
            using var rows = new RowMatrix(Items, (int)reached.shape[1]);
            reached.data<float>().ToArray().CopyTo(rows.Rows(0, Items));
            KMeansResult expected = KMeans.Train(rows, new KMeansOptions
            {
                Codes = 5, Iterations = 10, Sizes = ClusterSizes.ForRows(Items, 5), Seed = new RandomSource(2).Split((ulong)level).Split(0).NextUInt64(),
            }, new ScalarBackend(), cancellation: TestContext.Current.CancellationToken);
            Assert.Equal(expected.Centroids, run.Model.Result()[0].Quantizer.Codebook(level));
        }
    }

    [Fact]
    public void FewerDifferentRowsThanCodesLeaveNothingToLaterLevels()
    {
        using EmbeddingTable table = Table("rows", 20, 3, (row, _) => row % 3);
        using var batches = new ItemBatches([table], 20, 1);
        using var model = new MmRqVae([new("rows", [3])], Options());
        model.Start(batches.Tables, Start());
        Quantizer quantizer = model.Result()[0].Quantizer;
        Assert.InRange(quantizer.Codebook(0).Chunk(quantizer.Dimension).Select(codeword => string.Join(' ', codeword)).Distinct().Count(), 1, 3);
        Assert.All(quantizer.Codebook(1), value => Assert.Equal(0, value));
    }

    public static TheoryData<string> Kinds() => ["mm-rq-vae", "rq-vae", "hvq", "hvq fused", "moving averages and restarts"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void TrainingLowersTheLoss(string kind)
    {
        using var run = new Trained(kind);
        LoopResult result = TrainingLoop.Run(run.Learner, new LoopOptions { Epochs = 40, LearningRate = 3e-3 }, cancellation: TestContext.Current.CancellationToken);
        Assert.True(result.Epochs[^1].Parts.First().Value < 0.8 * result.Epochs[0].Parts.First().Value, $"{result.Epochs[0].Loss} to {result.Epochs[^1].Loss}");
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void ARunCutShortAndResumedEndsWithTheSameBytes(string kind)
    {
        var options = new LoopOptions { Epochs = 3, LearningRate = 1e-2, CheckpointPath = Path.Combine(_folder, "checkpoint"), CheckpointKey = kind, CheckpointInterval = TimeSpan.MaxValue };
        using var whole = new Trained(kind);
        _ = TrainingLoop.Run(whole.Learner, options with { CheckpointPath = null }, cancellation: TestContext.Current.CancellationToken);
        using (var cut = new Trained(kind))
        {
            Assert.ThrowsAny<OperationCanceledException>(() => TrainingLoop.Run(cut.Learner, options, new Seen(at =>
            {
                if (at.StepsDone == 5)
                    throw new OperationCanceledException();
            }), TestContext.Current.CancellationToken));
        }
        using var resumed = new Trained(kind);
        manual_seed(99);
        _ = TrainingLoop.Run(resumed.Learner, options, cancellation: TestContext.Current.CancellationToken);
        Dictionary<string, Tensor> expected = whole.Model.state_dict();
        foreach ((string name, Tensor actual) in resumed.Model.state_dict())
            Assert.True(expected[name].bytes.SequenceEqual(actual.bytes), $"{name} differs");
        foreach ((LearnedQuantizer one, LearnedQuantizer other) in whole.Model.Result().Zip(resumed.Model.Result()))
            Assert.Equal(one.Quantizer.Codebook(0), other.Quantizer.Codebook(0));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void TensorsStayTheSameOverAThousandSteps(string kind)
    {
        Libtorch.FreeTheForgotten();
        using var run = new Trained(kind);
        var counts = new List<long>();
        _ = TrainingLoop.Run(run.Learner, new LoopOptions { Epochs = 255, LearningRate = 1e-4 }, new Seen(at =>
        {
            // From the third epoch: the order of an epoch and the best parameters are there then.
            if (at.Finished is null && at.StepsDone > 12)
                counts.Add(Tensor.TotalCount);
        }), TestContext.Current.CancellationToken);
        Assert.True(counts.Count > 1000);
        Assert.True(counts.Distinct().Count() == 1, $"tensors: {string.Join(", ", counts.CountBy(count => count).Select(entry => $"{entry.Key} at {entry.Value} steps"))}");
    }

    /// <summary>Encoder and codebooks as data give the codes that the model gives in evaluation mode.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void TheResultGivesTheModelsCodes(string kind)
    {
        using var run = new Trained(kind);
        _ = TrainingLoop.Run(run.Learner, new LoopOptions { Epochs = 2, LearningRate = 1e-3 }, cancellation: TestContext.Current.CancellationToken);
        Assert.False(run.Model.training);
        IReadOnlyList<LearnedQuantizer> results = run.Model.Result();
        Assert.Equal(run.Model.Modalities.Select(modality => modality.Name), results.Select(result => result.Name));
        for (int j = 0; j < results.Count; j++)
        {
            QuantizedRows quantized = run.Model switch
            {
                MmRqVae vaes => vaes.Vaes[j].Codebooks.Quantize(vaes.Vaes[j].Encode(run.Batches.Tables[j])),
                Hvq hvq => hvq.Quantize(run.Batches.Tables[j]),
                _ => throw new InvalidOperationException(),
            };
            long[][] expected = [.. quantized.Codes.Select(codes => codes.data<long>().ToArray())];
            using var encoder = new LearnedEncoder(results[j].Quantizer, results[j].Encoder, new ScalarBackend(), threads: 1);
            var codes = new ushort[Items * 2];
            float[] rows = [.. Libtorch.Values(run.Batches.Tables[j]).Select(value => (float)value)];
            encoder.Encode(new RowView(rows, rows.Length / Items), codes);
            for (int i = 0; i < codes.Length; i++)
                Assert.True(expected[i % 2][i / 2] == codes[i], $"{results[j].Name}: item {i / 2}, level {i % 2}");
        }
    }

    [Fact]
    public void HvqIsItsDefinition()
    {
        using var model = new Hvq(new("rows", [4]), Options() with { Reconstruction = ReconstructionLoss.Mse, Commitment = 0.3, ReconstructionWeight = 2, ResidualWeight = 0.5 });
        model.eval();
        Tensor rows = randn(9, 4);
        LearnedQuantizer result = model.Result()[0];
        double[] left = Libtorch.Values(rows), sum = new double[left.Length];
        double residual = 0;
        for (int level = 0; level < 2; level++)
        {
            double[] seen = Evaluate(result.Encoder.Networks[level], left, 9);
            for (int row = 0; row < 9; row++)
            {
                double Distance(int k) => Enumerable.Range(0, 4).Sum(c => Math.Pow(seen[(row * 4) + c] - result.Quantizer.Codeword(level, k)[c], 2));
                int code = Enumerable.Range(0, 5).MinBy(Distance);
                residual += 1.3 * Distance(code) / 36 / 2;
                for (int c = 0; c < 4; c++)
                {
                    sum[(row * 4) + c] += result.Quantizer.Codeword(level, code)[c];
                    left[(row * 4) + c] -= result.Quantizer.Codeword(level, code)[c];
                }
            }
        }
        StepLoss loss = model.Loss([rows]);
        Libtorch.Near(sum, Libtorch.Values(model.Quantize(rows).Value), 1e-5, "sum of codewords");
        Assert.Equal(residual, loss.Parts[1].Value.ToDouble(), 1e-5);
        double mse = left.Average(value => value * value);
        Assert.Equal(mse, loss.Parts[0].Value.ToDouble(), 1e-5);
        Assert.Equal((2 * mse) + (0.5 * residual), loss.Total.ToDouble(), 1e-5);
    }

    [Fact]
    public void OptionsOutOfRangeAreRefused()
    {
        foreach (LearnedQuantizerOptions options in (LearnedQuantizerOptions[])[new() { Width = 0 }, new() { HiddenLayers = -1 }, new() { Temperature = 0 }, new() { Commitment = -1 },
            new() { ReconstructionWeight = double.NaN }, new() { ResidualWeight = double.PositiveInfinity }, new() { AlignmentWeight = -0.1 }, new() { Bandwidths = [] },
            new() { Codebooks = new() { Codes = [] } }, new() { Codebooks = new() { Codes = [4, 1] } }, new() { Codebooks = new() { MovingAverage = 1 } },
            new() { Codebooks = new() { RestartAfter = -1 } }, new() { Codebooks = new() { LastLevel = new() { Epsilon = 0.001 } } }, new() { Codebooks = new() { LastLevel = new() { Iterations = 0 } } }])
            Assert.Throws<ArgumentException>(() => new MmRqVae([new("rows", [3])], options));
        Assert.Throws<ArgumentException>(() => new Hvq(new("rows", [3]), Options() with { Reconstruction = ReconstructionLoss.None }));
    }

    [Fact]
    public void JoinedTablesAreTakenApart()
    {
        using EmbeddingTable joined = Table("joined", 7, 5, (row, column) => (10 * row) + column);
        IReadOnlyList<EmbeddingTable> parts = ModalityTables.Split(joined, [new("a", [2]), new("b", [1, 2])]);
        Assert.Equal([("a", 2), ("b", 3)], parts.Select(part => (part.Name, part.Dimension)));
        using RowMatrix b = parts[1].ReadAll();
        Assert.Equal([62f, 63, 64], b.Rows(6, 1).ToArray());
        foreach (EmbeddingTable part in parts)
            part.Dispose();
        Assert.Throws<ArgumentException>(() => ModalityTables.Split(joined, [new("a", [2])]));
    }

    private static LearnedQuantizerOptions Options(int hidden = 1) => new() { Width = 4, HiddenLayers = hidden, Codebooks = new CodebookOptions { Codes = [5, 5] }, Seed = 3 };

    private static CodebookStart Start(CodebookInitialization how = CodebookInitialization.ConstrainedKMeans, int restarts = 1) =>
        new() { Initialization = how, Restarts = restarts, Seed = 2, Threads = 1, Backend = new ScalarBackend() };

    private static EmbeddingTable Table(string name, int rows, int dimension, Func<int, int, float>? value = null)
    {
        var random = new RandomSource((ulong)dimension);
        var matrix = new RowMatrix(rows, dimension);
        for (int i = 0; i < rows; i++)
        {
            Span<float> row = matrix.Rows(i, 1);
            for (int c = 0; c < dimension; c++)
                row[c] = value is null ? (float)random.NextGaussian() : value(i, c);
        }
        return EmbeddingTable.FromRows(matrix, ItemIds.Sequential(rows), name);
    }

    private static LinearLayer Data(Linear layer) => new((int)layer.in_features, (int)layer.out_features, layer.weight!.data<float>().ToArray(), layer.bias!.data<float>().ToArray());

    private static double[] Columns(double[] values, int width, int first, int count) =>
        [.. Enumerable.Range(0, values.Length / width).SelectMany(row => values.Skip((row * width) + first).Take(count))];

    /// <summary>Layers with ReLU between them, in float64 loops.</summary>
    private static double[] Evaluate(IReadOnlyList<LinearLayer> layers, double[] rows, int count)
    {
        for (int l = 0; l < layers.Count; l++)
        {
            LinearLayer layer = layers[l];
            var outputs = new double[count * layer.Outputs];
            for (int i = 0; i < outputs.Length; i++)
            {
                int row = i / layer.Outputs, o = i % layer.Outputs;
                double sum = layer.Bias[o];
                for (int c = 0; c < layer.Inputs; c++)
                    sum += layer.Weight[(o * layer.Inputs) + c] * rows[(row * layer.Inputs) + c];
                outputs[i] = l < layers.Count - 1 ? Math.Max(0, sum) : sum;
            }
            rows = outputs;
        }
        return rows;
    }

    private sealed class Seen(Action<LoopProgress> report) : IProgress<LoopProgress>
    {
        public void Report(LoopProgress value) => report(value);
    }

    /// <summary>A small model of a kind with its data: 61 items, batches of 16, 4 steps an epoch.</summary>
    private sealed class Trained : IDisposable
    {
        public Trained(string kind)
        {
            EmbeddingTable[] tables = kind == "mm-rq-vae" ? [Table("collaborative", Items, 4), Table("text", Items, 6)] : [Table("rows", Items, 6)];
            Batches = new ItemBatches(tables, 16, 5);
            foreach (EmbeddingTable table in tables)
                table.Dispose();
            LearnedQuantizerOptions mse = Options() with { Reconstruction = ReconstructionLoss.Mse };
            Model = kind switch
            {
                "mm-rq-vae" => new MmRqVae([new("collaborative", [4]), new("text", [6])], Options()),
                "rq-vae" => new MmRqVae([new("rows", [6])], mse, QuantizerKind.RqVae),
                "hvq" => new Hvq(new("rows", [6]), mse),
                "hvq fused" => new Hvq(new("rows", [2, 4]), mse with { Fusion = InputFusion.Mean, FusionWeights = [1, 2] }),
                _ => new MmRqVae([new("rows", [6])], mse with { Codebooks = mse.Codebooks with { MovingAverage = 0.9, RestartAfter = 1, Path = ResidualPath.FirstLevel } }, QuantizerKind.RqVae),
            };
            Learner = new QuantizerLearner(Model, Batches, Start());
        }

        public ItemBatches Batches { get; }

        public QuantizerModel Model { get; }

        public QuantizerLearner Learner { get; }

        public void Dispose()
        {
            Model.Dispose();
            Batches.Dispose();
        }
    }
}
