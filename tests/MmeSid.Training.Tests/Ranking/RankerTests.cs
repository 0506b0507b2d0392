using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Ranking;
using MmeSid.Training.Tests.LanguageModels;
using MmeSid.Training.Tests.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.Ranking;

public sealed class RankerTests : IDisposable
{
    private const int kItems = 12;
    private const string kText = "text", kAudio = "audio";

    // Odd widths: vectors have a rest.
    private static readonly RankerOptions s_small = new() { Dimension = 5, History = 4, ActivationWidth = 6, Hidden = [6, 4] };
    private static readonly RankerSampling s_sampling = new() { Batch = 16 };

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;

    public RankerTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
        manual_seed(3);
    }

    public void Dispose()
    {
        _scope?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Every shape of model: sets of codes, kind, what MCCA goes without.</summary>
    public static TheoryData<string, RankerKind, RankerAblation> Shapes => new()
    {
        { "", RankerKind.Din, RankerAblation.None },
        { "text", RankerKind.Din, RankerAblation.None },
        { "text,audio,joint", RankerKind.Din, RankerAblation.None },
        { "text,audio,joint", RankerKind.Mcca, RankerAblation.None },
        { "joint,text", RankerKind.Mcca, RankerAblation.None },
        { "text,audio,joint", RankerKind.Mcca, RankerAblation.ModalityCodes },
        { "text,audio,joint", RankerKind.Mcca, RankerAblation.JointCodes },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void LogitsAreThoseOfTheFormulasInFloat64(string sets, RankerKind kind, RankerAblation without)
    {
        using Ranker model = Model(sets, s_small with { Kind = kind, Without = without });
        (ReadOnlyMemory<int> History, int Target)[] samples = Samples();
        double[] expected = [.. samples.Select(sample => Reference(model, sample.History.ToArray(), sample.Target, model.SetNames, kind == RankerKind.Mcca && without != RankerAblation.JointCodes))];
        RankerBatch batch = RankerBatch.Of(samples, s_small.History);
        Assert.True(expected.Distinct().Count() > 3 && expected.Max() - expected.Min() > 0.1, "the logits hardly differ: the test would not see much");
        Libtorch.Near(expected, Libtorch.Values(model.call(batch)), 1e-5, "logits by libtorch");
        Libtorch.Near(expected, Libtorch.Values(model.Above(new RankerPass<float>(model, batch).Features())), 1e-5, "logits by loops");
        Libtorch.Near(expected, new RankerScorer(model).Score(samples), 1e-5, "scores");
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void GradientsByHandAreThoseOfDifferences(string sets, RankerKind kind, RankerAblation without)
    {
        using Ranker model = Model(sets, s_small with { Kind = kind, Without = without });
        _ = model.to(float64);
        RankerBatch batch = RankerBatch.Of(Samples(), s_small.History);
        Tensor labels = tensor(batch.Targets.Select((_, i) => i % 3 == 0 ? 1.0 : 0).ToArray());
        RankerLearner.LossByHand<double>(model, batch, labels).backward();
        _ = Differences.AgreeWithGradients(model, () => nn.functional.binary_cross_entropy_with_logits(model.call(batch), labels).ToDouble());
        double[][] byHand = [.. model.parameters().Select(parameter => Libtorch.Values(parameter.grad!))];
        model.zero_grad();
        nn.functional.binary_cross_entropy_with_logits(model.call(batch), labels).backward();
        foreach ((double[] hand, Parameter parameter) in byHand.Zip(model.parameters()))
            Libtorch.Near(Libtorch.Values(parameter.grad!), hand, Bounds.Float64, "gradient by libtorch");
        Assert.All(model.named_parameters(), entry => Assert.True(entry.parameter.grad is not null, entry.name));
    }

    [Fact]
    public void WideVectorsHaveTheSameGradients()
    {
        // Whole vectors, and whole vectors with a rest.
        foreach ((int dimension, int width) in new[] { (64, 32), (37, 50) })
        {
            using Ranker model = Model("text,joint", s_small with { Kind = RankerKind.Mcca, Dimension = dimension, ActivationWidth = width });
            RankerBatch batch = RankerBatch.Of(Samples(), s_small.History);
            Tensor labels = tensor(batch.Targets.Select((_, i) => i % 2 == 0 ? 1f : 0).ToArray());
            GradientsAgree(model, batch, labels, Bounds.Float32, $"gradient at {dimension} and {width}");
        }
    }

    [Fact]
    public void HistoriesThatAreAllEmptySumToZero()
    {
        using Ranker model = Model("text,audio,joint", s_small with { Kind = RankerKind.Mcca });
        (ReadOnlyMemory<int> History, int Target)[] samples = [(Array.Empty<int>(), 4), (Array.Empty<int>(), 0), (Array.Empty<int>(), 4)];
        RankerBatch batch = RankerBatch.Of(samples, s_small.History);
        double[] expected = [.. samples.Select(sample => Reference(model, [], sample.Target, model.SetNames, joint: true))];
        Libtorch.Near(expected, Libtorch.Values(model.call(batch)), 1e-5, "logits by libtorch");
        Libtorch.Near(expected, new RankerScorer(model).Score(samples), 1e-5, "scores");
        Assert.Equal(new double[3 * 5 * 4], Libtorch.Values(new RankerPass<float>(model, batch).Features().narrow(1, 0, 5 * 4)));
        GradientsAgree(model, batch, tensor([1f, 0f, 0f]), Bounds.Float32, "gradient of empty histories");
    }

    [Fact]
    public void SetsOnThreadsOfTheirOwnDoNotDisturbEachOther()
    {
        const int Items = 700;
        var random = new RandomSource(11);
        using Ranker model = Model("text,audio,joint", s_small with { Kind = RankerKind.Mcca, Dimension = 16, History = 20 }, Items);
        RankerBatch batch = RankerBatch.Of([.. Enumerable.Range(0, 512).Select(_ => ((ReadOnlyMemory<int>)Enumerable.Range(0, random.NextInt(30)).Select(_ => random.NextInt(Items)).ToArray(), random.NextInt(Items)))], 20);
        Tensor labels = tensor(batch.Targets.Select((_, i) => i % 2 == 0 ? 1f : 0).ToArray());
        double[][] one = Run(1);
        try
        {
            double[][] four = Run(4);
            for (int again = 0; again < 3; again++)
                Assert.Equal(four, Run(4));
            // libtorch's products of 512 rows may add up in another order.
            foreach ((double[] expected, double[] actual) in one.Zip(four))
                Libtorch.Near(expected, actual, Bounds.Float32, "gradient on four threads");
        }
        finally
        {
            set_num_threads(1);
        }

        double[][] Run(int threads)
        {
            set_num_threads(threads);
            model.zero_grad();
            RankerLearner.LossByHand<float>(model, batch, labels).backward();
            return [.. model.parameters().Select(parameter => Libtorch.Values(parameter.grad!))];
        }
    }

    [Fact]
    public void MccaWithoutModalitiesIsDinOverJointCodes()
    {
        using Ranker mcca = Model("text,audio,joint", s_small with { Kind = RankerKind.Mcca, Without = RankerAblation.ModalityCodes }), din = Model("joint", s_small);
        RankerBatch batch = RankerBatch.Of(Samples(), s_small.History);
        Assert.Equal(Libtorch.Values(din.call(batch)), Libtorch.Values(mcca.call(batch)));
    }

    [Fact]
    public void SetsThatMccaNeedsAreAskedFor()
    {
        RankerOptions mcca = s_small with { Kind = RankerKind.Mcca };
        Assert.Contains("'joint' codes, the codes given are 'text'", Assert.Throws<ArgumentException>(() => mcca.Weighed([kText])).Message, StringComparison.Ordinal);
        Assert.Contains("the codes given are 'joint'", Assert.Throws<ArgumentException>(() => mcca.Weighed([RankerOptions.Joint])).Message, StringComparison.Ordinal);
        Assert.Contains("none", Assert.Throws<ArgumentException>(() => mcca.Weighed([])).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>((s_small with { Without = RankerAblation.JointCodes }).Validate);
        Assert.Throws<ArgumentException>((s_small with { Hidden = [0] }).Validate);
        Assert.Throws<ArgumentException>((s_sampling with { NegativesPerClick = 0 }).Validate);
        Assert.Contains("a name of its own", Assert.Throws<ArgumentException>(() => mcca.Weighed([kText, kText])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void CodebooksGiveCodeTablesOfTheSizeOfItemEmbeddings()
    {
        using Ranker model = new(ItemIds.Sequential(kItems), [Source(kText)], s_small with { Codes = SidEmbeddingStart.Codebooks, Dimension = 32 }, allowUncoded: false, seed: 1);
        Tensor all = model.Sets[0].Embed(tensor([.. Enumerable.Range(0, kItems).Select(item => (long)item)]));
        Assert.Equal(0.1, Math.Sqrt(all.square().mean().ToDouble()), 1e-6);
        // Items whose codewords add up to near vectors start near each other.
        SidBundle bundle = Source(kText).Bundle;
        double[] expected = Distances([.. Enumerable.Range(0, kItems).Select(item => bundle.Vector(bundle.Codes[item]).Select(value => (double)value).ToArray())]);
        double[] actual = Distances([.. Enumerable.Range(0, kItems).Select(item => Libtorch.Values(all[item]))]);
        Assert.True(Correlation(expected, actual) > 0.8, $"distances correlate by {Correlation(expected, actual)}");
    }

    [Fact]
    public void AnItemWithoutCodesIsZeroInThatSet()
    {
        ItemIds catalogue = ItemIds.Sequential(kItems + 2);
        Assert.Contains("has no item '13'", Assert.Throws<InvalidDataException>(() => new Ranker(catalogue, [Source(kText)], s_small, allowUncoded: false, seed: 1)).Message, StringComparison.Ordinal);
        using Ranker model = new(catalogue, [Source(kText)], s_small, allowUncoded: true, seed: 1);
        Assert.Equal(new double[5], Libtorch.Values(model.Sets[0].Embed(tensor([12L]))));
        RankerBatch batch = RankerBatch.Of([(new[] { 12, 3 }, 13), (new[] { 1 }, 12)], 4);
        Tensor labels = tensor([1f, 0f]);
        RankerLearner.LossByHand<float>(model, batch, labels).backward();
        double[] hand = Libtorch.Values(model.Sets[0].Table.grad!);
        model.zero_grad();
        nn.functional.binary_cross_entropy_with_logits(model.call(batch), labels).backward();
        Libtorch.Near(Libtorch.Values(model.Sets[0].Table.grad!), hand, Bounds.Float32, "gradient of the codes");
    }

    [Fact]
    public void CataloguesAreOfTheSameItemsOrSayWhichAreNot()
    {
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 15]]));
        CodeSource text = Source(kText), fewer = Source(kAudio, kItems - 3);
        Assert.Contains("1 of the 3 items of the clicks are not in", Assert.Throws<InvalidDataException>(() => RankerCatalogue.Of(log, [text], false)).Message, StringComparison.Ordinal);
        Assert.Contains("the first is '15'", Assert.Throws<InvalidDataException>(() => RankerCatalogue.Of(log, [text], false)).Message, StringComparison.Ordinal);
        Assert.Contains("has item '10'", Assert.Throws<InvalidDataException>(() => RankerCatalogue.Of(log, [fewer, text], false)).Message, StringComparison.Ordinal);
        RankerCatalogue union = RankerCatalogue.Of(log, [fewer, text], allowUncoded: true);
        Assert.Equal(kItems + 1, union.Items.Count);
        Assert.Equal([0, 1, 12], union.Rows);
        Assert.Equal([0, 1, 2], RankerCatalogue.Of(log, [], false).Rows);
    }

    [Theory]
    [InlineData(NegativeItems.Uniform)]
    [InlineData(NegativeItems.Popularity)]
    public void ItLearnsWhatUsersLike(NegativeItems negatives)
    {
        // Users of the first half of the items never take one of the second, and the other way round.
        var random = new RandomSource(2);
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([.. Enumerable.Range(0, 150).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(0, 8).Select(_ => 1L + (user % 2 * 10) + random.NextInt(10))])]));
        RankerOptions options = s_small with { Dimension = 8, Hidden = [16] };
        using Ranker model = Trained(log, [], options, new RankerSampling { Negatives = negatives, Batch = 32 }, new LoopOptions { Epochs = 4, LearningRate = 0.02 }, out LoopResult result);
        Assert.True(result.Epochs[^1].Loss < result.Epochs[0].Loss, $"{result.Epochs[0].Loss} did not fall");
        ClickMeasures test = Test(model, log, negatives, _ => false);
        // Half of what is drawn is of the user's own half and cannot be told apart.
        Assert.True(test.Auc > 0.7, $"AUC {test.Auc}");
    }

    [Fact]
    public void CodesTellColdItemsApart()
    {
        // 40 items, of two kinds by their code; half of them are hardly ever taken in training but are what is tested.
        const int Items = 40;
        var random = new RandomSource(5);
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([.. Enumerable.Range(0, 150).Select(user =>
            (IReadOnlyList<long>)[.. Enumerable.Range(0, 6).Select(_ => Item(user, 0)), Item(user, 10), Item(user, 10)])]));
        CodeSource codes = new(kText, Bundle(kText, Items, item => [(ushort)(item / 20), 0, (ushort)(item % 2)]));
        var loop = new LoopOptions { Epochs = 4, LearningRate = 0.01 };
        RankerOptions options = s_small with { Dimension = 8, Hidden = [16] };
        var sampling = new RankerSampling { Batch = 32 };
        using Ranker with = Trained(log, [codes], options, sampling, loop, out _), without = Trained(log, [], options, sampling, loop, out _);
        long[] clicks = log.TrainingClicks();
        double coded = Test(with, log, NegativeItems.Uniform, item => clicks[item] < 10).ColdAuc, plain = Test(without, log, NegativeItems.Uniform, item => clicks[item] < 10).ColdAuc;
        Assert.True(coded > 0.65 && coded > plain + 0.1, $"cold AUC {coded} with codes, {plain} without");

        // 10 of the 20 items of the user's kind, from one on.
        long Item(int user, int from) => 1L + (user % 2 * 20) + from + random.NextInt(10);
    }

    [Theory]
    [InlineData(NegativeItems.Uniform)]
    [InlineData(NegativeItems.Popularity)]
    public void HeldOutClicksChangeNoByte(NegativeItems negatives)
    {
        // Items up to 40 are in training parts, so that held-out clicks change nothing of the catalogue.
        long[][] clicks = [.. Enumerable.Range(0, 20).Select(user => (long[])[.. Enumerable.Range(0, 3).Select(i => 1L + (((7 * user) + (3 * i)) % 40)), 1 + (user % 9), 10 + user])];
        long[][] others = [.. Enumerable.Range(1, 20).Select(item => (long[])[item, item + 20])];
        (byte[] Weights, double?[] Scores) one = Trained(clicks, KeptEpoch.Best);
        // The last click: not even which epoch is kept.
        (byte[] Weights, double?[] Scores) replaced = Trained([.. clicks.Select(own => (long[])[.. own[..^1], 41 - own[^1]])], KeptEpoch.Best);
        Assert.Equal(one.Scores, replaced.Scores);
        Assert.Equal(one.Weights, replaced.Weights);
        // The click before it judges the epochs, and that alone.
        (byte[] Weights, double?[] Scores) judged = Trained([.. clicks.Select(own => (long[])[.. own[..^2], 30 + (own[0] % 9), own[^1]])], KeptEpoch.Last);
        Assert.NotEqual(one.Scores, judged.Scores);
        Assert.Equal(Trained(clicks, KeptEpoch.Last).Weights, judged.Weights);
        // What is trained on counts.
        Assert.NotEqual(one.Weights, Trained([.. clicks.Select(own => (long[])[own[1], own[0], .. own[2..]])], KeptEpoch.Best).Weights);

        (byte[] Weights, double?[] Scores) Trained(long[][] items, KeptEpoch keep)
        {
            manual_seed(5);
            ClickLog log = ClickLog.Of(InteractionSequences.FromItems([.. items, .. others]));
            using var model = new Ranker(log.Clicks.Items, [], s_small, false, 1);
            LoopResult result = TrainingLoop.Run(new RankerLearner(model, log, RankerCatalogue.Of(log, [], false), s_sampling with { Negatives = negatives }, seed: 1), new LoopOptions { Epochs = 3, Keep = keep }, cancellation: TestContext.Current.CancellationToken);
            return ([.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())], [.. result.Epochs.Select(epoch => epoch.Score)]);
        }
    }

    [Fact]
    public void SamplesAreEveryTrainingClickAndWhatTheUserDidNotTake()
    {
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 3, 4, 5], [6, 7], [8, 1, 2, 9]]));
        var samples = new RankerSamples(log, new RankerSampling { NegativesPerClick = 2, Batch = 4 }, seed: 1);
        // 3 + 2 + 2 clicks in training parts.
        Assert.Equal(21, samples.Count);
        Assert.Equal(6, samples.Steps);
        ClickSample[][] epochs = [.. Enumerable.Range(0, 2).Select(epoch => (ClickSample[])[.. Enumerable.Range(0, samples.Steps).SelectMany(step => samples[epoch, step])])];
        foreach (ClickSample[] epoch in epochs)
        {
            Assert.Equal(Enumerable.Range(0, 3).SelectMany(log.TrainingClicksOf).ToHashSet(), epoch.Where(sample => sample.IsClicked).ToHashSet());
            Assert.Equal(7, epoch.Count(sample => sample.IsClicked));
            Assert.All(epoch.Where(sample => !sample.IsClicked), sample => Assert.DoesNotContain(sample.Item, log.Split.Training(sample.User).ToArray()));
        }
        // Held-out clicks may be drawn: nobody knows of them.
        Assert.Contains(Enumerable.Range(0, 40).SelectMany(epoch => Enumerable.Range(0, samples.Steps).SelectMany(step => samples[epoch, step])), sample => sample is { User: 0, IsClicked: false } && log.Clicks.Items[sample.Item] == "5");
        Assert.NotEqual(epochs[0], epochs[1]);
        Assert.Equal(epochs[0], (ClickSample[])[.. Enumerable.Range(0, samples.Steps).SelectMany(step => samples[0, step])]);
        Assert.Contains("took all 2 items", Assert.Throws<InvalidDataException>(() => new RankerSamples(ClickLog.Of(InteractionSequences.FromItems([[1, 2]])), s_sampling, 1)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new RankerSamples(ClickLog.Of(InteractionSequences.FromItems([[]])), s_sampling, 1));
    }

    [Fact]
    public void UsersWhoTookEverythingAreNotTrainedOn()
    {
        // The first user took all in training, the second all but one; the first has a validation click that nothing can be drawn beside.
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 3, 4, 1, 2], [1, 2, 3, 4, 1]]));
        var samples = new RankerSamples(log, s_sampling with { Batch = 100 }, seed: 1);
        Assert.Equal((1, 6), (samples.UsersLeftOut, samples.Count));
        Assert.All(samples[0, 0], sample => Assert.Equal(1, sample.User));
        Assert.All(samples[0, 0].Where(sample => !sample.IsClicked), sample => Assert.Equal("4", log.Clicks.Items[sample.Item]));
        using var model = new Ranker(log.Clicks.Items, [], s_small, false, 1);
        // No user can be validated: nothing is, instead of stopping.
        Assert.Null(new RankerLearner(model, log, RankerCatalogue.Of(log, [], false), s_sampling, seed: 1).Validate(TestContext.Current.CancellationToken));
        Assert.Contains("each of the 2 users took all 2 items", Assert.Throws<InvalidDataException>(() => new RankerSamples(ClickLog.Of(InteractionSequences.FromItems([[1, 2], [2, 1]])), s_sampling, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void CataloguesThatNoSpanHoldsAreRefusedBeforeMemoryIsTaken()
    {
        RankerOptions wide = s_small with { Dimension = 1 << 28 };
        Assert.Contains("12 items of 268435456 values each take 12884901888 bytes", Assert.Throws<ArgumentException>(() => new Ranker(ItemIds.Sequential(kItems), [], wide, false, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("100000000 items of 4 codes each take 3200000000 bytes", Assert.Throws<ArgumentException>(() => Ranker.Empty(100_000_000, s_small with { Dimension = 1 }, [(kText, 9, 4)])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AHistoryIsWhatCameBeforeAndTheModelKnows()
    {
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[3, 1, 4, 1, 5], [9, 2]]));
        var whole = new ClickHistories(log, RankerCatalogue.Of(log.Clicks.Items, log));
        foreach (ClickSample sample in (ClickSample[])[.. log.TrainingClicksOf(0), log.HeldOutClickOf(0, HeldOut.Validation), log.HeldOutClickOf(0, HeldOut.Test), .. log.TrainingClicksOf(1)])
        {
            Assert.Equal(log.Clicks[sample.User][..sample.Seen].ToArray(), whole.Of(sample).ToArray());
            Assert.Equal(sample.Item, log.Clicks[sample.User][sample.Seen]);
        }
        // Items 1 to 3 alone are known: 4, 5 and 9 are left out.
        var part = new ClickHistories(log, RankerCatalogue.Of(ItemIds.Sequential(3), log));
        Assert.Equal([2, 0, 0], part.Of(log.HeldOutClickOf(0, HeldOut.Test)).ToArray());
        Assert.Equal([2, 0], part.Of(log.HeldOutClickOf(0, HeldOut.Validation)).ToArray());
        Assert.Empty(part.Of(log.TrainingClicksOf(1).Last()).ToArray());
    }

    [Fact]
    public void AnInterruptedRunEndsWithTheSameBytes()
    {
        var random = new RandomSource(8);
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([.. Enumerable.Range(0, 30).Select(_ => (IReadOnlyList<long>)[.. Enumerable.Range(0, 6).Select(_ => 1L + random.NextInt(kItems))])]));
        string checkpoint = Path.Combine(_folder, "checkpoint.safetensors");
        var options = new LoopOptions { Epochs = 3, LearningRate = 0.01, CheckpointPath = checkpoint };
        byte[] whole = Bytes(learner => TrainingLoop.Run(learner, options with { CheckpointPath = null }, cancellation: TestContext.Current.CancellationToken));
        byte[] resumed = Bytes(learner => InterruptedRun.Run(learner, options, steps: learner.StepsPerEpoch + 5));
        Assert.NotEqual(whole, resumed);
        Assert.Equal(whole, Bytes(learner => TrainingLoop.Run(learner, options, cancellation: TestContext.Current.CancellationToken)));

        byte[] Bytes(Action<RankerLearner> train)
        {
            manual_seed(4);
            CodeSource[] sources = [Source(kText), Source(RankerOptions.Joint)];
            RankerCatalogue catalogue = RankerCatalogue.Of(log, sources, false);
            using var model = new Ranker(catalogue.Items, sources, s_small with { Kind = RankerKind.Mcca }, false, 1);
            train(new RankerLearner(model, log, catalogue, s_sampling, seed: 1));
            return [.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())];
        }
    }

    [Fact]
    public void AFolderGivesTheModelBackWithoutItsBundles()
    {
        string path = Path.Combine(_folder, "model");
        using Ranker model = Model("text,audio,joint", s_small with { Kind = RankerKind.Mcca });
        var description = new ModelDescription
        {
            Kind = RankerModel.Kind,
            Options = new Dictionary<string, string>
            {
                ["kind"] = "mcca", ["without"] = "none", ["sets"] = "text,audio,joint", ["dimension"] = "5", ["history"] = "4", ["activation-width"] = "6", ["hidden"] = "6,4", ["negatives"] = "uniform",
            },
        };
        Write(path, description);
        Directory.Delete(Path.Combine(_folder, kText), recursive: true);
        using (RankerModel opened = RankerModel.Open(ModelFolder.Open(path)))
        {
            Assert.Equal(new RankerScorer(model).Score(Samples()), opened.Scorer.Score(Samples()));
            Assert.Equal((RankerKind.Mcca, NegativeItems.Uniform), (opened.Options.Kind, opened.Negatives));
        }
        Write(path, description with { Options = new Dictionary<string, string>(description.Options) { ["negatives"] = RankerModel.GivenNegatives } });
        using (RankerModel opened = RankerModel.Open(ModelFolder.Open(path)))
            Assert.Null(opened.Negatives);
        foreach ((string option, string value, string message) in ((string, string, string)[])[("sets", "text,joint", "weights.safetensors"), ("sets", "text,text,joint", "a name of its own"), ("sets", "text", "'joint' codes"),
            ("kind", "dien", "'kind' is 'dien'"), ("hidden", "6,x", "'hidden' is '6,x'"), ("hidden", "6,-4", "'hidden' is '6,-4'"), ("dimension", "0", "the dimension is 0"), ("negatives", "none", "'negatives' is 'none'")])
        {
            Write(path, description with { Options = new Dictionary<string, string>(description.Options) { [option] = value } });
            Assert.Contains(message, Assert.Throws<InvalidDataException>(() => RankerModel.Open(ModelFolder.Open(path))).Message, StringComparison.Ordinal);
        }
        Write(path, description with { Kind = "sasrec" });
        Assert.Contains("of kind 'sasrec', expected 'ranker'", Assert.Throws<InvalidDataException>(() => RankerModel.Open(ModelFolder.Open(path))).Message, StringComparison.Ordinal);
        using (no_grad())
            model.Sets[1].Rows.fill_(10);
        Write(path, description);
        Assert.Contains("an item has a 'audio' code outside of the table of 9", Assert.Throws<InvalidDataException>(() => RankerModel.Open(ModelFolder.Open(path))).Message, StringComparison.Ordinal);
        // 9 is no code: an item has none of any level, or one of every.
        using (no_grad())
        {
            _ = model.Sets[1].Rows.fill_(9);
            _ = model.Sets[1].Rows.narrow(1, 0, 1).fill_(0);
        }
        Write(path, description);
        Assert.Contains("'audio' codes of some levels alone", Assert.Throws<InvalidDataException>(() => RankerModel.Open(ModelFolder.Open(path))).Message, StringComparison.Ordinal);
        using (no_grad())
            model.Sets[1].Rows.fill_(9);
        Write(path, description);
        using (RankerModel opened = RankerModel.Open(ModelFolder.Open(path)))
            Assert.Equal(new RankerScorer(model).Score(Samples()), opened.Scorer.Score(Samples()));

        // Codes of one level as a list of numbers.
        using (var flat = new Flat())
        using (OutputFolder output = OutputFolder.Create(path, force: true, ModelFolder.DescriptionName))
        {
            flat.WriteModel(output, description with { Options = new Dictionary<string, string>(description.Options) { ["kind"] = "din", ["sets"] = kText } }, ItemIds.Sequential(kItems));
            output.Commit();
        }
        Assert.Contains("'codes.text.rows' has 1 dimensions, expected 2", Assert.Throws<InvalidDataException>(() => RankerModel.Open(ModelFolder.Open(path))).Message, StringComparison.Ordinal);

        void Write(string folder, ModelDescription what)
        {
            using OutputFolder output = OutputFolder.Create(folder, force: true, ModelFolder.DescriptionName);
            model.WriteModel(output, what, ItemIds.Sequential(kItems));
            output.Commit();
        }
    }

    private sealed class Flat : nn.Module
    {
        public Flat()
            : base(nameof(Flat))
        {
            register_buffer("codes.text.table", zeros(9, 5));
            register_buffer("codes.text.rows", zeros(kItems, int64));
        }
    }

    // By hand and by libtorch.
    private static void GradientsAgree(Ranker model, RankerBatch batch, Tensor labels, double bound, string what)
    {
        RankerLearner.LossByHand<float>(model, batch, labels).backward();
        double[][] byHand = [.. model.parameters().Select(parameter => Libtorch.Values(parameter.grad!))];
        model.zero_grad();
        nn.functional.binary_cross_entropy_with_logits(model.call(batch), labels).backward();
        foreach ((double[] hand, (string name, Parameter parameter)) in byHand.Zip(model.named_parameters()))
            Libtorch.Near(Libtorch.Values(parameter.grad!), hand, bound, $"{what}, {name}");
    }

    private Ranker Model(string sets, RankerOptions options, int items = kItems)
    {
        var model = new Ranker(ItemIds.Sequential(items), [.. sets.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(name => Source(name, items))], options, allowUncoded: false, seed: 1);
        // Large enough that every part counts and that ReLU cuts some of it off.
        using (no_grad())
        {
            foreach ((string name, Parameter parameter) in model.named_parameters())
                parameter.copy_(tensor(Libtorch.Numbers(SeedOf(name), parameter.numel(), -0.9, 0.9), parameter.shape, dtype: float32));
        }
        return model;
    }

    private CodeSource Source(string name, int items = kItems)
    {
        string path = Path.Combine(_folder, $"{name}");
        return new CodeSource(name, Directory.Exists(path) ? SidBundle.Open(path) : CodeBundle.Write(path, ItemIds.Sequential(items), seed: SeedOf(name)));
    }

    // Of all letters: no two units and no two sets are the same.
    private static int SeedOf(string name) => name.Aggregate(3, (seed, letter) => ((31 * seed) + letter) % 100_003);

    private SidBundle Bundle(string name, int items, Func<int, ushort[]> sidOf)
    {
        string path = Path.Combine(_folder, $"{name}.{items}");
        SidBundle content = CodeBundle.Write(path, ItemIds.Sequential(items));
        var sids = new SidTable(3, [.. Enumerable.Range(0, items).SelectMany(sidOf)]);
        SidBundle.Write(path, content.ToContent() with { Codes = sids, Sids = sids }, force: true);
        return SidBundle.Open(path);
    }

    private static Ranker Trained(ClickLog log, CodeSource[] sources, RankerOptions options, RankerSampling sampling, LoopOptions loop, out LoopResult result)
    {
        RankerCatalogue catalogue = RankerCatalogue.Of(log, sources, false);
        var model = new Ranker(catalogue.Items, sources, options, false, 1);
        result = TrainingLoop.Run(new RankerLearner(model, log, catalogue, sampling, seed: 1), loop, cancellation: TestContext.Current.CancellationToken);
        return model;
    }

    private static ClickMeasures Test(Ranker model, ClickLog log, NegativeItems negatives, Func<int, bool> isCold)
    {
        ClickSample[] samples = HeldOutSamples.Draw(log, new HeldOutSampleOptions { Negatives = negatives }).Samples;
        RankerCatalogue catalogue = RankerCatalogue.Of(ItemIds.Sequential(model.ItemEmbeddings.shape[0]), log);
        return new ClickScores(samples, new RankerScorer(model).Score(log, catalogue, samples), isCold).Measure();
    }

    // Histories that are empty, whole and too long, with repetitions and with the target among them.
    private static (ReadOnlyMemory<int> History, int Target)[] Samples() =>
        [(Array.Empty<int>(), 4), (new[] { 1 }, 2), (new[] { 3, 3, 5, 7 }, 3), (new[] { 0, 1, 2, 3, 4, 5, 6 }, 11), (new[] { 8, 9, 10 }, 0), (new[] { 11, 2 }, 2), (new[] { 6, 6, 6, 6 }, 6)];

    // The formulas of the class, one scalar after the other.
    private static double Reference(Ranker model, int[] history, int target, IReadOnlyList<string> sets, bool joint)
    {
        Dictionary<string, double[]> w = model.state_dict().ToDictionary(entry => entry.Key, entry => Libtorch.Values(entry.Value));
        int d = model.Options.Dimension;
        int[] seen = [.. history.TakeLast(model.Options.History)];
        var x = new List<double>();
        foreach ((int unit, string set) in sets.Append("").Index())
            x.AddRange(Sum(unit, set, set.Length > 0 && joint ? RankerOptions.Joint : set));
        x.AddRange(Embedding("", target));
        foreach (string set in joint ? [RankerOptions.Joint] : sets)
            x.AddRange(Embedding(set, target));
        double[] hidden = [.. x];
        for (int layer = 0; layer <= model.Options.Hidden.Count; layer++)
            hidden = Linear(hidden, $"layers.{layer}", layer < model.Options.Hidden.Count);
        return hidden.Single();

        // e^z_i, or the item's own embedding.
        double[] Embedding(string set, int item)
        {
            if (set.Length == 0)
                return w["items"][(item * d)..((item + 1) * d)];
            double[] rows = w[$"codes.{set}.rows"];
            int levels = rows.Length / kItems;
            return [.. Enumerable.Range(0, d).Select(j => Enumerable.Range(0, levels).Sum(level => w[$"codes.{set}.table"][((int)rows[(item * levels) + level] * d) + j]))];
        }

        double[] Sum(int unit, string set, string query)
        {
            var sum = new double[d];
            foreach (int item in seen)
            {
                double[] e = Embedding(set, item), activated = Linear([.. e, .. Embedding(query, target)], $"units.{unit}.hidden", relu: true);
                double weight = Linear(activated, $"units.{unit}.output", relu: false).Single();
                for (int j = 0; j < d; j++)
                    sum[j] += weight * e[j];
            }
            return sum;
        }

        double[] Linear(double[] row, string layer, bool relu) => [.. Enumerable.Range(0, w[layer + ".bias"].Length).Select(o =>
        {
            double value = w[layer + ".bias"][o] + row.Select((each, j) => each * w[layer + ".weight"][(o * row.Length) + j]).Sum();
            return relu ? Math.Max(0, value) : value;
        })];
    }

    private static double[] Distances(double[][] rows) =>
        [.. rows.SelectMany((row, i) => rows.Take(i).Select(other => Math.Sqrt(row.Zip(other, (a, b) => (a - b) * (a - b)).Sum())))];

    private static double Correlation(double[] x, double[] y)
    {
        double mx = x.Average(), my = y.Average();
        return x.Zip(y, (a, b) => (a - mx) * (b - my)).Sum() / Math.Sqrt(x.Sum(a => (a - mx) * (a - mx)) * y.Sum(b => (b - my) * (b - my)));
    }
}
