using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Training.Optimization;
using MmeSid.Training.Recommendation;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.Recommendation;

public sealed class SasRecTests : IDisposable
{
    private static readonly SasRecOptions s_small = new() { Dimension = 12, FeedForward = 20, Blocks = 2, Heads = 3, Length = 6, BatchUsers = 5 };

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;

    public SasRecTests()
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

    [Fact]
    public void HiddenStatesAreThoseOfTheFormulaInFloat64()
    {
        using SasRec model = Model(9, s_small);
        int[] history = [4, 0, 8, 8, 2];
        double[] expected = Reference(model, history, s_small);
        Tensor hidden = model.call(tensor([.. history.Select(item => (long)item)], [1, history.Length]));
        Libtorch.Near(expected, Libtorch.Values(hidden), Bounds.Float32, "hidden states");
    }

    [Fact]
    public void WhatComesLaterChangesNothingBefore()
    {
        using SasRec model = Model(9, s_small);
        double[] one = Libtorch.Values(model.call(tensor([1L, 2, 3, 4, 5, 6], [1, 6])).narrow(1, 0, 3));
        double[] other = Libtorch.Values(model.call(tensor([1L, 2, 3, 0, 0, 0], [1, 6])).narrow(1, 0, 3));
        Assert.Equal(one, other);
    }

    [Fact]
    public void AScoreDoesNotDependOnTheOtherUsersOfTheCall()
    {
        using SasRec model = Model(9, s_small);
        var scorer = new SasRecScorer(model, ItemIds.Sequential(9), s_small.Length);
        int[][] histories = [[1], [2, 3, 4, 5, 6, 7, 8, 0], [5, 5]];
        var all = new float[3 * 9];
        scorer.Score(histories, all);
        for (int user = 0; user < 3; user++)
        {
            var alone = new float[9];
            scorer.Score([histories[user]], alone);
            Libtorch.Near([.. alone.Select(score => (double)score)], [.. all.AsSpan(user * 9, 9).ToArray().Select(score => (double)score)], Bounds.Float32, $"user {user}");
        }
        // Only the last six events are looked at.
        var last = new float[9];
        scorer.Score([[4, 5, 6, 7, 8, 0]], last);
        Libtorch.Near([.. last.Select(score => (double)score)], [.. all.AsSpan(9, 9).ToArray().Select(score => (double)score)], Bounds.Float32, "the last events");
        Assert.Throws<ArgumentException>(() => scorer.Score([[]], last));
        Assert.Throws<ArgumentException>(() => scorer.Score(histories, last));
    }

    [Theory]
    [InlineData(SequenceLoss.CrossEntropy)]
    [InlineData(SequenceLoss.BinaryCrossEntropy)]
    public void ItLearnsWhatFollowsWhat(SequenceLoss loss)
    {
        // Item i is always followed by i + 1, modulo 20.
        InteractionSequences sequences = InteractionSequences.FromItems([.. Enumerable.Range(0, 60).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(user, 4 + user % 5).Select(i => i % 20 + 1L)])]);
        SasRecOptions options = s_small with { Loss = loss, Dropout = 0.1 };
        using SasRec model = new(20, options);
        LoopResult trained = TrainingLoop.Run(new SasRecLearner(model, sequences, options, seed: 1), new LoopOptions { Epochs = 40, LearningRate = 0.01 }, cancellation: TestContext.Current.CancellationToken);
        Assert.True(trained.Epochs[^1].Loss < trained.Epochs[0].Loss / 2, $"{trained.Epochs[0].Loss} fell only to {trained.Epochs[^1].Loss}");
        RankingMetrics test = NextItemEvaluation.Run(new SasRecScorer(model, sequences.Items, options.Length), sequences, HeldOut.Test, [1]);
        Assert.Equal(60, test.Users);
        Assert.True(test.HitRate(1) > 0.8, $"only {test.HitRate(1):P0} of the next items are first");
    }

    [Fact]
    public void HeldOutEventsChangeNoByte()
    {
        byte[] one = Trained([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]]), other = Trained([[1, 2, 3, 5, 4], [2, 3, 1, 4], [5, 4, 3, 1, 2]]);
        Assert.Equal(one, other);
        Assert.NotEqual(one, Trained([[2, 1, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]]));

        static byte[] Trained(long[][] items)
        {
            manual_seed(5);
            InteractionSequences sequences = InteractionSequences.FromItems(items);
            using SasRec model = new(sequences.Items.Count, s_small);
            // The last epoch alone: validation chooses nothing.
            _ = TrainingLoop.Run(new SasRecLearner(model, sequences, s_small, seed: 1), new LoopOptions { Epochs = 3, ValidateEvery = 3 }, cancellation: TestContext.Current.CancellationToken);
            return [.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())];
        }
    }

    [Fact]
    public void SequencesTooShortToTrainOnAreRefused()
    {
        InteractionSequences sequences = InteractionSequences.FromItems([[1, 2, 3], [2, 3, 1]]);
        using SasRec model = new(3, s_small);
        Assert.Contains("no user has two events left", Assert.Throws<ArgumentException>(() => new SasRecLearner(model, sequences, s_small, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderGivesTheModelBackAndDamageIsSeen()
    {
        string path = Path.Combine(_folder, "model");
        using SasRec model = Model(9, s_small);
        ItemIds items = ItemIds.FromStrings(Enumerable.Range(0, 9).Select(item => $"item {item}"));
        using (OutputFolder output = OutputFolder.Create(path, force: false, ModelFolder.DescriptionName))
        {
            model.WriteModel(output, new ModelDescription
            {
                Kind = SasRecModel.Kind,
                Options = new Dictionary<string, string> { ["dimension"] = "12", ["feed-forward"] = "20", ["blocks"] = "2", ["heads"] = "3", ["length"] = "6" },
            }, items);
            output.Commit();
        }
        using (SasRecModel opened = SasRecModel.Open(ModelFolder.Open(path)))
        {
            var expected = new float[9];
            var actual = new float[9];
            new SasRecScorer(model, items, 6).Score([[1, 2, 3]], expected);
            opened.Scorer.Score([[1, 2, 3]], actual);
            Assert.Equal(expected, actual);
            Assert.Equal("item 8", opened.Scorer.Items[8]);
        }
        string weights = Path.Combine(path, "weights.safetensors");
        byte[] bytes = File.ReadAllBytes(weights);
        bytes[^1] ^= 1;
        File.WriteAllBytes(weights, bytes);
        Assert.Contains("weights.safetensors", Assert.Throws<InvalidDataException>(() => ModelFolder.Open(path)).Message, StringComparison.Ordinal);
        File.Delete(weights);
        Assert.Throws<FileNotFoundException>(() => ModelFolder.Open(path));
        Assert.Throws<DirectoryNotFoundException>(() => ModelFolder.Open(path + "2"));
        Assert.Contains("no model", Assert.Throws<InvalidDataException>(() => ModelFolder.Open(_folder)).Message, StringComparison.Ordinal);
    }

    private static SasRec Model(int items, SasRecOptions options)
    {
        var model = new SasRec(items, options);
        // Large enough that softmax and norms do something.
        using (no_grad())
        {
            foreach ((string name, Parameter parameter) in model.named_parameters())
                parameter.copy_(tensor(Libtorch.Numbers(name.Length + (int)parameter.numel(), parameter.numel(), -0.7, 0.7), parameter.shape, dtype: float32));
        }
        model.eval();
        return model;
    }

    // The formulas of the class, one scalar after the other.
    private static double[] Reference(SasRec model, int[] history, SasRecOptions options)
    {
        Dictionary<string, double[]> w = model.state_dict().ToDictionary(entry => entry.Key, entry => Libtorch.Values(entry.Value));
        int d = options.Dimension, t = history.Length, width = d / options.Heads;
        double[][] x = [.. history.Select((item, place) => Norm([.. Enumerable.Range(0, d).Select(j => w["items.weight"][item * d + j] + w["positions.weight"][place * d + j])], "norm"))];
        for (int block = 0; block < options.Blocks; block++)
        {
            string name = $"blocks.{block}.";
            double[][] qkv = [.. x.Select(row => Linear(row, name + "queryKeyValue"))];
            x = [.. x.Select((row, i) =>
            {
                var mixed = new double[d];
                for (int head = 0; head < options.Heads; head++)
                {
                    double[] weights = [.. Enumerable.Range(0, i + 1).Select(j => Math.Exp(Enumerable.Range(head * width, width).Sum(c => qkv[i][c] * qkv[j][d + c]) / Math.Sqrt(width)))];
                    for (int c = head * width; c < (head + 1) * width; c++)
                        mixed[c] = Enumerable.Range(0, i + 1).Sum(j => weights[j] * qkv[j][2 * d + c]) / weights.Sum();
                }
                return Norm(Plus(row, Linear(mixed, name + "output")), name + "attentionNorm");
            })];
            x = [.. x.Select(row => Norm(Plus(row, Linear([.. Linear(row, name + "expand").Select(Gelu)], name + "contract")), name + "forwardNorm"))];
        }
        return [.. x.SelectMany(row => row)];

        double[] Linear(double[] row, string layer) => [.. Enumerable.Range(0, w[layer + ".bias"].Length).Select(o =>
            w[layer + ".bias"][o] + row.Select((value, j) => value * w[layer + ".weight"][o * row.Length + j]).Sum())];
        double[] Norm(double[] row, string layer)
        {
            double mean = row.Average(), variance = row.Average(value => (value - mean) * (value - mean));
            return [.. row.Select((value, j) => (value - mean) / Math.Sqrt(variance + 1e-5) * w[layer + ".weight"][j] + w[layer + ".bias"][j])];
        }
        static double[] Plus(double[] left, double[] right) => [.. left.Zip(right, (a, b) => a + b)];
        // x Φ(x); the series of erf converges everywhere.
        static double Gelu(double value)
        {
            double z = value / Math.Sqrt(2), term = z, sum = z;
            for (int n = 1; n < 200; n++)
            {
                term *= -z * z / n;
                sum += term / (2 * n + 1);
            }
            return value * 0.5 * (1 + 2 / Math.Sqrt(Math.PI) * sum);
        }
    }
}
