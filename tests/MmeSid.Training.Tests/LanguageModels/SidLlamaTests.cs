using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Tests.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.LanguageModels;

public sealed class SidLlamaTests : IDisposable
{
    private const int kItems = 12;
    private static readonly SidLlamaOptions s_small = new() { Layers = 1, Dimension = 8, Heads = 2, FeedForward = 12, Length = 6, BatchItems = 20, Dropout = 0 };

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;
    private readonly SidBundle _bundle;

    public SidLlamaTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
        manual_seed(3);
        _bundle = CodeBundle.Write(Path.Combine(_folder, "B"), ItemIds.Sequential(kItems));
    }

    public void Dispose()
    {
        _scope?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void EveryCodeIsPredictedFromThosesBeforeIt()
    {
        SidSequences sequences = Sequences([[1, 5, 9, 2, 3], [7, 8], [4, 4, 4, 4]]);
        SidVocabulary vocabulary = sequences.Vocabulary;
        Assert.Equal((3, 4 + 3 + 2, 4, 7), (vocabulary.Levels, vocabulary.Tokens, vocabulary.Offset(1), vocabulary.Offset(2)));
        // Items 1, 5, 9 and items 7, 8: users of five and of two events.
        SidBatch batch = SidBatch.Of(sequences, [sequences.Training(0), sequences.Training(1)]);
        Assert.Equal(5, batch.Items);
        for (int user = 0; user < 2; user++)
        {
            int[] history = sequences.Training(user);
            Assert.Equal(user == 0 ? [0, 4, 8] : [6, 7], history);
            long[] expected = [vocabulary.Tokens, .. history.SelectMany(item => Enumerable.Range(0, 3).Select(level => (long)vocabulary.Row(level, _bundle.Sids[item][level])))];
            int start = batch.Places.Starts[user];
            Assert.Equal(expected[..^1], batch.Inputs.AsSpan(start, 3 * history.Length).ToArray());
            for (int level = 0; level < 3; level++)
            {
                int first = user == 0 ? 0 : 3;
                Assert.Equal(history.Select((_, i) => (long)(start + (3 * i) + level)), batch.Predicting[level].AsSpan(first, history.Length).ToArray());
                Assert.Equal(history.Select(item => (long)_bundle.Sids[item][level]), batch.Targets[level].AsSpan(first, history.Length).ToArray());
            }
        }
        SidBatch last = SidBatch.Of(sequences, [sequences.WithValidation(0)], lastOnly: true);
        Assert.Equal([_bundle.Sids[1][0]], last.Targets[0].Select(code => (ushort)code));
        Assert.Equal([9L], last.Predicting[0]);
        Assert.Equal([0, 2], sequences.Validated);
    }

    [Fact]
    public void StepsHoldEveryUserOnce()
    {
        SidSequences sequences = Sequences([.. Enumerable.Range(0, 30).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(0, 4 + (user % 9)).Select(i => ((user + i) % kItems) + 1L)])]);
        var batches = new SidBatches(sequences, 6, 20, seed: 4);
        for (int epoch = 0; epoch < 3; epoch++)
        {
            SidBatch[] steps = [.. Enumerable.Range(0, batches.Count).Select(step => batches[epoch, step])];
            Assert.Equal(Enumerable.Range(0, 30).Sum(user => Math.Min(7, 2 + (user % 9))), steps.Sum(step => step.Items));
            Assert.All(steps, step => Assert.InRange(step.Items, 1, 20));
            Assert.Equal(steps[0].Inputs, batches[epoch, 0].Inputs);
        }
        Assert.NotEqual(Enumerable.Range(0, batches.Count).SelectMany(step => batches[0, step].Inputs), Enumerable.Range(0, batches.Count).SelectMany(step => batches[1, step].Inputs));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheGradientOfTheLossIsTheCentralDifference(bool tied)
    {
        SidLlamaOptions options = s_small with { Tied = tied, Dropout = 0.3 };
        SidSequences sequences = Sequences([[1, 5, 9, 2, 3], [7, 8], [4, 4, 4, 4]]);
        using SidLlama model = Model(sequences, options).to(float64);
        using (no_grad())
        {
            // Larger than a model starts with, so that no gradient drowns.
            foreach ((string name, Parameter parameter) in model.named_parameters())
                parameter.copy_(tensor(Libtorch.Numbers(name.Length, parameter.numel(), -0.8, 0.8), parameter.shape));
        }
        var learner = new SidLlamaLearner(model, sequences, options, seed: 1);
        StepLoss loss = learner.Loss(0, 0);
        Assert.Equal(loss.Total.ToDouble(), loss.Parts.Average(part => part.Value.ToDouble()), 1e-12);
        loss.Total.backward();
        Differences.AgreeWithGradients(model, () => learner.Loss(0, 0).Total.ToDouble());
    }

    [Fact]
    public void CodewordsKeepTheirDistancesAndGetTheUsualSize()
    {
        SidVocabulary vocabulary = SidVocabulary.Of(_bundle);
        Assert.Equal(8, _bundle.Quantizer.Dimension);
        float[] same = SidVectors.Draw(_bundle, vocabulary, 8, SidEmbeddingStart.Codebooks, 1), wide = SidVectors.Draw(_bundle, vocabulary, 256, SidEmbeddingStart.Codebooks, 1);
        float[] codebook = _bundle.Quantizer.Codebook(1);
        double scale = SidVectors.StandardDeviation / Math.Sqrt(codebook.Average(value => (double)value * value));
        for (int i = 0; i < codebook.Length; i++)
            Assert.Equal(codebook[i] * scale, same[(vocabulary.Offset(1) * 8) + i], 1e-7);
        double Distance(float[] rows, int width, int a, int b) => Math.Sqrt(Enumerable.Range(0, width).Sum(i => Math.Pow(rows[(a * width) + i] - rows[(b * width) + i], 2)));
        double ratio = Distance(wide, 256, 0, 1) / Distance(wide, 256, 2, 3), expected = Distance(same, 8, 0, 1) / Distance(same, 8, 2, 3);
        Assert.InRange(ratio / expected, 0.75, 1.33);
        float[] random = SidVectors.Draw(_bundle, vocabulary, 8, SidEmbeddingStart.Random, 1);
        Assert.Equal(random.AsSpan(vocabulary.Tokens * 8).ToArray(), same.AsSpan(vocabulary.Tokens * 8).ToArray());
        Assert.NotEqual(random, same);
    }

    [Fact]
    public void ItLearnsWhatFollowsWhat()
    {
        SidSequences sequences = Sequences([.. Enumerable.Range(0, 60).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(user, 4 + (user % 5)).Select(i => (i % kItems) + 1L)])]);
        SidLlamaOptions options = s_small with { Dimension = 16, FeedForward = 32, BatchItems = 64 };
        using SidLlama model = Model(sequences, options);
        var learner = new SidLlamaLearner(model, sequences, options, seed: 1);
        Assert.Equal(60, learner.ValidationUsers);
        LoopResult trained = TrainingLoop.Run(learner, new LoopOptions { Epochs = 60, LearningRate = 0.02, GradientNorm = 1 }, cancellation: TestContext.Current.CancellationToken);
        Assert.True(trained.Epochs[trained.KeptEpoch - 1].Score > -0.3, $"log-probability of the validation items {trained.Epochs[trained.KeptEpoch - 1].Score}");
    }

    [Fact]
    public void HeldOutEventsChangeNoByteAndAnInterruptedRunEndsWithTheSame()
    {
        SidLlamaOptions options = s_small with { Dropout = 0.2, BatchItems = 4 };
        byte[] one = Trained([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], null), other = Trained([[1, 2, 3, 5, 4], [2, 3, 1, 4], [5, 4, 3, 1, 2]], null);
        Assert.Equal(one, other);
        Assert.NotEqual(one, Trained([[2, 1, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], null));
        Assert.Equal(one, Trained([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]], 2));

        byte[] Trained(long[][] items, int? interruptedAfter)
        {
            manual_seed(5);
            SidSequences sequences = Sequences(items);
            using SidLlama model = Model(sequences, options);
            LoopOptions loop = new() { Epochs = 3, ValidateEvery = 3, CheckpointPath = interruptedAfter is null ? null : Path.Combine(_folder, "c.safetensors") };
            if (interruptedAfter is { } steps)
            {
                manual_seed(5);
                using SidLlama cut = Model(sequences, options);
                InterruptedRun.Run(new SidLlamaLearner(cut, sequences, options, seed: 1), loop, steps);
            }
            _ = TrainingLoop.Run(new SidLlamaLearner(model, sequences, options, seed: 1), loop, cancellation: TestContext.Current.CancellationToken);
            return [.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())];
        }
    }

    [Fact]
    public void AccumulatedBatchesAreOneLargerBatch()
    {
        // Users of one length, so that all batches have as many items.
        SidSequences sequences = Sequences([.. Enumerable.Range(0, 8).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(user, 6).Select(i => (i % kItems) + 1L)])]);
        double[] Trained(int items, int accumulate)
        {
            manual_seed(5);
            SidLlamaOptions options = s_small with { BatchItems = items };
            using SidLlama model = Model(sequences, options).to(float64);
            var learner = new SidLlamaLearner(model, sequences, options, seed: 1);
            Assert.Equal(accumulate, learner.StepsPerEpoch);
            _ = TrainingLoop.Run(learner, new LoopOptions { Epochs = 3, Accumulate = accumulate, Keep = KeptEpoch.Last }, cancellation: TestContext.Current.CancellationToken);
            return [.. model.parameters().SelectMany(Libtorch.Values)];
        }
        // Adam divides by the root of the squares: a rounding of a gradient near zero grows by as much.
        Libtorch.Near(Trained(32, 1), Trained(8, 4), 1e-8, "parameters");
    }

    [Fact]
    public void WordsBeforeAHistoryMoveItAndGiveNoGradientToThemselves()
    {
        SidSequences sequences = Sequences([[1, 5, 9, 2, 3], [7, 8]]);
        var prompt = new LlamaPrompt(2, 0, [.. Libtorch.Numbers(9, 16, -1, 1).Select(value => (float)value)]);
        using SidLlama plain = Model(sequences, s_small), prompted = new(sequences.Vocabulary, plain.Transformer, SidVectors.Draw(_bundle, sequences.Vocabulary, 8, default, 1), tied: true, prompt);
        SidBatch batch = SidBatch.Of(sequences, [sequences.Training(0)], prefix: 2), without = SidBatch.Of(sequences, [sequences.Training(0)]);
        int tokens = sequences.Vocabulary.Tokens;
        Assert.Equal([tokens + 1L, tokens + 2L, .. without.Inputs.AsSpan(0, 9)], batch.Inputs.AsSpan(0, 11).ToArray());
        Assert.Equal(without.Predicting[1].Select(place => place + 2), batch.Predicting[1]);
        double[] vectors = Libtorch.Values(prompted.Embed(tensor(batch.Inputs)));
        Assert.Equal(prompt.Vectors.Select(value => (double)value), vectors[..16]);
        Assert.Equal(Libtorch.Values(plain.Embed(tensor(without.Inputs)))[..72], vectors[16..88]);
        var learner = new SidLlamaLearner(prompted, sequences, s_small, seed: 1);
        learner.Loss(0, 0).Total.backward();
        Assert.NotEqual(new SidLlamaLearner(plain, sequences, s_small, seed: 1).Loss(0, 0).Total.ToDouble(), learner.Loss(0, 0).Total.ToDouble());
        Assert.All(prompted.parameters(), parameter => Assert.NotNull(parameter.grad));
        Assert.Throws<ArgumentException>(() => new SidLlama(sequences.Vocabulary, plain.Transformer, new float[80], tied: true, new LlamaPrompt(0, 1, new float[8])));
    }

    [Fact]
    public void ItemsThatTheBundleHasNotAreRefusedOrLeftOut()
    {
        InteractionSequences events = InteractionSequences.FromItems([[1, 99, 2, 98, 3, 4], [97, 5, 6]]);
        Assert.Contains("3 of the 9 items of the sequences are not in the bundle", Assert.Throws<InvalidDataException>(() => new SidSequences(events, _bundle, skipUnknown: false)).Message, StringComparison.Ordinal);
        var left = new SidSequences(events, _bundle, skipUnknown: true);
        Assert.Equal(3, left.UnknownItems);
        // The last two events are held out whatever else is left out.
        Assert.Equal([0, 1], left.Training(0));
        Assert.Empty(left.Training(1));
        Assert.Equal([0], left.Validated);
        Assert.Throws<InvalidDataException>(() => new SidSequences(InteractionSequences.FromItems([[97, 98, 99]]), _bundle, skipUnknown: true));
        Assert.Contains("no user has two events left", Assert.Throws<ArgumentException>(() => new SidBatches(Sequences([[1, 2, 3]]), 6, 20, 1)).Message, StringComparison.Ordinal);
    }

    private SidSequences Sequences(IReadOnlyList<IReadOnlyList<long>> items) => new(InteractionSequences.FromItems(items), _bundle, skipUnknown: false);

    private SidLlama Model(SidSequences sequences, SidLlamaOptions options) =>
        new(sequences.Vocabulary, new Llama(options.Shape(sequences.Vocabulary.Levels)), SidVectors.Draw(_bundle, sequences.Vocabulary, options.Dimension, options.Start, 1), options.Tied);
}
