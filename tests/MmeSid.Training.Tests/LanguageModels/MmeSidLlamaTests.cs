using MathNet.Numerics;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Tests.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.LanguageModels;

public sealed class MmeSidLlamaTests : IDisposable
{
    private const int kItems = 12, kDimension = 8;
    private static readonly MmeSidOptions s_small = new() { Layers = 1, Dimension = kDimension, Heads = 2, FeedForward = 12, Length = 6, BatchItems = 20, Dropout = 0 };

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;
    private readonly List<EmbeddingTable> _tables = [];
    private readonly ItemModalitySource[] _sources;

    public MmeSidLlamaTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
        manual_seed(3);
        // Widths that differ from each other and from H; codewords of H values in the first modality alone; the second bundle has the items backwards.
        ItemIds items = ItemIds.Sequential(kItems);
        _sources =
        [
            new("collaborative", Table(items, 3, 11), CodeBundle.Write(Path.Combine(_folder, "c"), items, kDimension, seed: 20)),
            new("text", Table(items, 5, 12), CodeBundle.Write(Path.Combine(_folder, "t"), ItemIds.FromStrings(items.Reverse()), 6, seed: 30)),
        ];
    }

    public void Dispose()
    {
        _scope?.Dispose();
        _tables.ForEach(table => table.Dispose());
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(ScoreFusion.Frequency, 1)]
    [InlineData(ScoreFusion.Frequency, 0.05)]
    [InlineData(ScoreFusion.Equal, 1)]
    [InlineData(ScoreFusion.None, 1)]
    public void SoftTokensAndScoresAreThoseOfTheLoops(ScoreFusion fusion, double temperature)
    {
        long[] frequencies = [.. Enumerable.Range(0, kItems).Select(item => (long)(item * item % 7))];
        using MmeSidItems items = Enlarged(new MmeSidItems(_sources, frequencies, kDimension, s_small with { Fusion = fusion, Temperature = temperature }, 1).to(float64));
        Dictionary<string, double[]> weights = items.FoldedFrom().ToDictionary(entry => entry.Name, entry => Libtorch.Values(entry.Tensor));
        double[][] inputs = [.. Enumerable.Range(0, kItems).Select(Input)], outputs = [.. Enumerable.Range(0, kItems).Select(Output)];
        Libtorch.Near([.. inputs.SelectMany(row => row)], Libtorch.Values(items.AllInputs()), Bounds.Float64, "soft tokens");
        Libtorch.Near([.. outputs.SelectMany(row => row)], Libtorch.Values(items.Outputs()), Bounds.Float64, "what scores");
        Libtorch.Near([.. inputs[5], .. inputs[2]], Libtorch.Values(items.Inputs(tensor([5L, 2]))), Bounds.Float64, "some soft tokens");

        double[] Projected(int j, int item) => Layer($"projection.{_sources[j].Name}", Row(_sources[j].Table, item));

        double[] Codes(int j, int item)
        {
            SidBundle bundle = _sources[j].Bundle!;
            Assert.True(bundle.Items.TryFind($"{item + 1}", out long row));
            SidVocabulary vocabulary = SidVocabulary.Of(bundle.Quantizer);
            return [.. Enumerable.Range(0, kDimension).Select(i => Enumerable.Range(0, 3).Sum(level =>
                weights[$"codes.{_sources[j].Name}.weight"][(vocabulary.Row(level, bundle.Codes[row][level]) * kDimension) + i]))];
        }

        double[] Input(int item)
        {
            double[] parts = [.. Projected(0, item), .. Codes(0, item), .. Projected(1, item), .. Codes(1, item)];
            return [.. Layer("fusion.1", [.. Layer("fusion.0", parts).Select(value => Math.Max(0, value))]).Select(Gelu)];
        }

        double[] Output(int item)
        {
            double[] shares = fusion switch { ScoreFusion.None => [1, 0, 0], ScoreFusion.Equal => [1.0 / 3, 1.0 / 3, 1.0 / 3], _ => Gate(item) };
            double[] first = Projected(0, item), second = Projected(1, item);
            return [.. Enumerable.Range(0, kDimension).Select(i => (shares[0] * weights["items.embeddings"][(item * kDimension) + i]) + (shares[1] * first[i]) + (shares[2] * second[i]))];
        }

        double[] Gate(int item)
        {
            double[] logs = [.. frequencies.Select(count => Math.Log(count + 1.0))];
            // The scaled frequency is kept in float32.
            double[] values = [(float)((logs[item] - logs.Min()) / (logs.Max() - logs.Min()))];
            for (int layer = 0; layer < 4; layer++)
                values = Layer($"gate.{layer}", layer == 0 ? values : [.. values.Select(Gelu)]);
            double[] powers = [.. values.Select(value => Math.Exp((value - values.Max()) / temperature))];
            return [.. powers.Select(power => power / powers.Sum())];
        }

        double[] Layer(string name, double[] row) => [.. weights[$"{name}.bias"].Select((bias, output) => bias + row.Select((value, i) => value * weights[$"{name}.weight"][(output * row.Length) + i]).Sum())];
    }

    [Theory]
    [InlineData(ScoreFusion.Frequency, 0)]
    [InlineData(ScoreFusion.Equal, 0)]
    [InlineData(ScoreFusion.None, 0)]
    [InlineData(ScoreFusion.Equal, 2)]
    public void TheGradientOfTheLossIsTheCentralDifference(ScoreFusion fusion, int suffix)
    {
        MmeSidOptions options = s_small with { Fusion = fusion, Dropout = 0.3 };
        ItemSequences sequences = Sequences([[1, 5, 9, 2, 3], [7, 8], [4, 4, 4, 4]]);
        using MmeSidLlama model = Enlarged(Model(sequences, options, new LlamaPrompt(1, suffix, Words(1 + suffix))).to(float64));
        var learner = new MmeSidLearner(model, sequences, options, seed: 1);
        learner.Loss(0, 0).Total.backward();
        Assert.All(Differences.AgreeWithGradients(model, () => learner.Loss(0, 0).Total.ToDouble()).Values, differences => Assert.Contains(differences, value => value != 0));
    }

    [Fact]
    public void AllPositionsAtOnceAreWhatEachHistoryIsAlone()
    {
        ItemSequences sequences = Sequences([[1, 5, 9, 2, 7, 3, 6], [7, 8]]);
        using MmeSidLlama model = Enlarged(Model(sequences, s_small).to(float64));
        double together = new MmeSidLearner(model, sequences, s_small, seed: 1).Loss(0, 0).Total.ToDouble();
        int[][] histories = [[0, 4, 8, 1, 6], [6, 7]];
        var losses = new List<double>();
        foreach (int[] history in histories)
        {
            for (int count = 2; count <= history.Length; count++)
            {
                MmeSidBatch alone = MmeSidBatch.Of([history[..count]], LlamaPrompt.None, lastOnly: true);
                using IDisposable frozen = no_grad();
                Tensor hidden = model.Transformer.HiddenStates(model.Embed(alone), alone.Places).index_select(0, tensor(alone.Predicting));
                losses.Add(-hidden.mm(model.Items.Outputs().t()).log_softmax(1)[0][history[count - 1]].ToDouble());
            }
        }
        Assert.Equal(losses.Average(), together, 1e-10);
    }

    [Fact]
    public void WordsStandAroundEveryHistory()
    {
        int[][] histories = [[3, 1, 3, 7], [9, 4]];
        MmeSidBatch plain = MmeSidBatch.Of(histories, LlamaPrompt.None, lastOnly: false);
        Assert.Equal([1, 3, 9], plain.Items);
        Assert.Equal([1L, 0, 1], plain.Inputs.AsSpan(plain.Places.Starts[0], 3).ToArray());
        Assert.Equal([1L, 3, 7, 4], plain.Targets);
        Assert.Equal(new long[] { 0, 1, 2 }.Select(i => i + plain.Places.Starts[0]).Append(plain.Places.Starts[1]), plain.Predicting);
        MmeSidBatch around = MmeSidBatch.Of(histories, new LlamaPrompt(2, 1, Words(3)), lastOnly: false);
        // Items are places 0 to 2, the words those behind them.
        Assert.Equal([3L, 4, 1, 0, 1, 5], around.Inputs.AsSpan(around.Places.Starts[0], 6).ToArray());
        Assert.Equal([3L, 4, 2, 5], around.Inputs.AsSpan(around.Places.Starts[1], 4).ToArray());
        Assert.Equal([7L, 4], around.Targets);
        Assert.Equal([around.Places.Starts[0] + 5L, around.Places.Starts[1] + 3L], around.Predicting);

        ItemSequences sequences = Sequences([[1, 2, 3, 4, 5, 6], [7, 8]]);
        Assert.Equal(["0 1 2 3", "6 7"], MmeSidBatch.Training(sequences, 6, new LlamaPrompt(2, 0, Words(2))).Select(history => string.Join(' ', history)));
        Assert.Equal(["1 2", "1 2 3", "6 7"], MmeSidBatch.Training(sequences, 2, new LlamaPrompt(0, 1, Words(1))).Select(history => string.Join(' ', history)));
    }

    [Fact]
    public void CodeEmbeddingsStartAsTheSumsOfCodewords()
    {
        SidBundle bundle = _sources[0].Bundle!;
        using MmeSidItems items = Items(s_small), random = Items(s_small with { Start = SidEmbeddingStart.Random });
        double[] sums = Libtorch.Values(items.AllCodeEmbeddings("collaborative"));
        for (int item = 0; item < kItems; item++)
        {
            float[] expected = bundle.Vector(bundle.Codes[item]);
            Libtorch.Near([.. expected.Select(value => (double)value)], sums[(item * kDimension)..((item + 1) * kDimension)], Bounds.Float32, $"code embedding of item {item}");
        }
        Assert.NotEqual(sums, Libtorch.Values(random.AllCodeEmbeddings("collaborative")));
        // Projected codewords keep their lengths about to 1/√H, and the order of most distances with them.
        float[] wide = SidVectors.DrawSummed(_sources[1].Bundle!.Quantizer, 512, SidEmbeddingStart.Codebooks, 1);
        float[] codebook = _sources[1].Bundle!.Quantizer.Codebook(0);
        Assert.InRange(Math.Sqrt(wide.AsSpan(0, 4 * 512).ToArray().Sum(value => (double)value * value) / codebook.Sum(value => (double)value * value)), 0.9, 1.1);
        float[] drawn = SidVectors.DrawSummed(_sources[1].Bundle!.Quantizer, 512, SidEmbeddingStart.Random, 1);
        Assert.InRange(Math.Sqrt(drawn.AsSpan(0, 4 * 512).ToArray().Sum(value => (double)value * value) / codebook.Sum(value => (double)value * value)), 0.9, 1.1);

        UserHistory[] users = [.. Enumerable.Range(0, kItems).Select(target => new UserHistory([.. Enumerable.Range(0, kItems).Where(item => item != target).Select(item => (long)item)], target))];
        MmeSidMeasures before = MmeSidMeasures.Measure(items, _sources, users, threads: 1);
        Assert.Equal(["collaborative", "text"], before.Distances.Select(entry => entry.Modality));
        Assert.Equal(KendallTau.Measure(_sources[0].Table, bundle.Quantizer, bundle.Codes, users).Mean, before.Distances[0].Tau.Mean, 1e-3);
        Assert.Equal(kDimension, before.Embeddings.SingularValues.Count);
        Assert.InRange(before.Inputs.EffectiveRank, 1, kDimension);
    }

    [Fact]
    public void ModalitiesAreTakenAwayOneByOne()
    {
        ItemSequences sequences = Sequences([[1, 5, 9, 2, 3], [7, 8], [4, 4, 4, 4]]);
        foreach (ItemModalitySource[] sources in (ItemModalitySource[][])[[_sources[0]], [_sources[1] with { Bundle = null }], [_sources[0] with { Bundle = null }, _sources[1]]])
        {
            using MmeSidLlama model = new(new Llama(s_small.Shape()), new MmeSidItems(sources, sequences.Frequencies(), kDimension, s_small, 1));
            Assert.Equal(sources.Count(source => source.Bundle is not null), model.Items.Coded.Count);
            LoopResult trained = TrainingLoop.Run(new MmeSidLearner(model, sequences, s_small, seed: 1), new LoopOptions { Epochs = 2 }, cancellation: TestContext.Current.CancellationToken);
            Assert.True(trained.Epochs[1].Loss < trained.Epochs[0].Loss);
        }
    }

    [Fact]
    public void ItLearnsWhatFollowsWhat()
    {
        ItemSequences sequences = Sequences([.. Enumerable.Range(0, 60).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(user, 4 + (user % 5)).Select(i => (i % kItems) + 1L)])]);
        MmeSidOptions options = s_small with { Dimension = 16, FeedForward = 32, BatchItems = 64 };
        using MmeSidLlama model = Model(sequences, options);
        var learner = new MmeSidLearner(model, sequences, options, seed: 1);
        Assert.Equal(60, learner.ValidationUsers);
        LoopResult trained = TrainingLoop.Run(learner, new LoopOptions { Epochs = 40, LearningRate = 0.01, GradientNorm = 1 }, cancellation: TestContext.Current.CancellationToken);
        // Chance is about 0.4: the held-out item among the twelve.
        Assert.True(trained.Epochs[trained.KeptEpoch - 1].Score > 0.95, $"nDCG@10 of the validation items {trained.Epochs[trained.KeptEpoch - 1].Score}");
    }

    [Fact]
    public void HeldOutEventsChangeNoByteAndAnInterruptedRunEndsWithTheSame()
    {
        MmeSidOptions options = s_small with { Dropout = 0.2, BatchItems = 4 };
        byte[] one = Trained([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], null);
        Assert.Equal(one, Trained([[1, 2, 3, 5, 4], [2, 3, 1, 4], [5, 4, 3, 1, 2]], null));
        Assert.NotEqual(one, Trained([[2, 1, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], null));
        Assert.Equal(one, Trained([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], 2));

        byte[] Trained(long[][] items, int? interruptedAfter)
        {
            ItemSequences sequences = Sequences(items);
            LoopOptions loop = new() { Epochs = 3, Keep = KeptEpoch.Last, CheckpointPath = interruptedAfter is null ? null : Path.Combine(_folder, "c.safetensors") };
            if (interruptedAfter is { } steps)
            {
                manual_seed(5);
                using MmeSidLlama cut = Model(sequences, options);
                InterruptedRun.Run(new MmeSidLearner(cut, sequences, options, seed: 1), loop, steps);
            }
            manual_seed(5);
            using MmeSidLlama model = Model(sequences, options);
            _ = TrainingLoop.Run(new MmeSidLearner(model, sequences, options, seed: 1), loop, cancellation: TestContext.Current.CancellationToken);
            return [.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())];
        }
    }

    [Fact]
    public void FrequenciesAreThoseOfTheTrainingParts()
    {
        ItemSequences sequences = Sequences([[1, 2, 2, 4, 5], [2, 3], [5, 6, 7]]);
        Assert.Equal([1L, 3, 1, 0, 1, 0, 0], sequences.Frequencies()[..7]);
        using var gate = new FrequencyGate([0, 3, 1], 2, 1);
        Libtorch.Near([0, 1, 0.5], Libtorch.Values(gate.Frequency), Bounds.Float32, "scaled frequencies");
        using var even = new FrequencyGate([2, 2], 2, 1);
        Assert.Equal([0.0, 0], Libtorch.Values(even.Frequency));
    }

    [Fact]
    public void ItemsThatDoNotFitAreRefused()
    {
        var others = CodeBundle.Write(Path.Combine(_folder, "others"), ItemIds.Sequential(kItems, first: 2));
        var more = CodeBundle.Write(Path.Combine(_folder, "more"), ItemIds.Sequential(kItems + 1));
        Assert.Contains("has no item '1'", Refused(others), StringComparison.Ordinal);
        Assert.Contains("has 13 items, the tables have 12", Refused(more), StringComparison.Ordinal);
        Assert.Contains("the temperature is 0", Assert.Throws<ArgumentException>(() => (s_small with { Temperature = 0 }).Validate()).Message, StringComparison.Ordinal);
        Assert.Contains("a history of 6 items and 3 tokens around it have 9", Assert.Throws<ArgumentException>(() => s_small.RequireRoom(s_small.Shape(), 3)).Message, StringComparison.Ordinal);

        string Refused(SidBundle bundle) => Assert.Throws<InvalidDataException>(() => new MmeSidItems([_sources[0] with { Bundle = bundle }], new long[kItems], kDimension, s_small, 1)).Message;
    }

    private static float[] Words(int count) => [.. Libtorch.Numbers(count, count * kDimension, -1, 1).Select(value => (float)value)];

    private static double Gelu(double value) => value * 0.5 * (1 + SpecialFunctions.Erf(value / Math.Sqrt(2)));

    private static double[] Row(EmbeddingTable table, int item)
    {
        var row = new float[table.Dimension];
        table.Read(item, 1, row);
        return [.. row.Select(value => (double)value)];
    }

    /// <summary>Larger values than a module starts with, so that no gradient drowns.</summary>
    private static T Enlarged<T>(T module)
        where T : nn.Module
    {
        using IDisposable frozen = no_grad();
        foreach ((string name, Parameter parameter) in module.named_parameters())
            parameter.copy_(tensor(Libtorch.Numbers(name.Length + (int)parameter.numel(), parameter.numel(), -0.8, 0.8), parameter.shape));
        return module;
    }

    private EmbeddingTable Table(ItemIds items, int dimension, int seed)
    {
        var rows = new RowMatrix(items.Count, dimension);
        Libtorch.Numbers(seed, items.Count * dimension, -1, 1).Select(value => (float)value).ToArray().CopyTo(rows.Rows(0, (int)items.Count));
        _tables.Add(EmbeddingTable.FromRows(rows, items, $"table {seed}"));
        return _tables[^1];
    }

    private MmeSidItems Items(MmeSidOptions options) => new(_sources, new long[kItems], kDimension, options, 1);

    private static ItemSequences Sequences(IReadOnlyList<IReadOnlyList<long>> items) => new(InteractionSequences.FromItems(items), ItemIds.Sequential(kItems), "the tables", skipUnknown: false);

    private MmeSidLlama Model(ItemSequences sequences, MmeSidOptions options, LlamaPrompt? prompt = null) =>
        new(new Llama(options.Shape()), new MmeSidItems(_sources, sequences.Frequencies(), options.Dimension, options, 1), prompt);
}
