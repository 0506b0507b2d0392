using MmeSid.Training.LanguageModels;
using MmeSid.Training.Tests.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.LanguageModels;

public sealed class LlamaTests : IDisposable
{
    private static readonly LlamaShape s_tiny = new() { Dimension = 6, Layers = 2, Heads = 4, KeyHeads = 2, HeadSize = 4, FeedForward = 5, RopeFactors = [1, 2.5f] };

    private readonly DisposeScope _scope;

    public LlamaTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
        manual_seed(3);
    }

    public void Dispose() => _scope?.Dispose();

    [Fact]
    public void EveryGradientIsTheCentralDifference()
    {
        using Llama model = Model(s_tiny).to(float64);
        PackedSequences places = PackedSequences.Pack([4, 2, 1]);
        Tensor input = tensor(Libtorch.Numbers(5, places.Places * 6L, -1, 1), [places.Places, 6L]), weights = tensor(Libtorch.Numbers(6, places.Places * 6L, -1, 1), [places.Places, 6L]);
        double Loss() => (model.HiddenStates(input, places) * weights).sum().ToDouble();
        var gradients = new Gradients(_scope);
        LlamaPass pass = model.Run(input, places, dropout: null);
        Libtorch.Near(Libtorch.Values(model.HiddenStates(input, places)), Libtorch.Values(pass.Hidden), Bounds.Float64, "hidden states");
        Tensor stream = pass.Backward(weights.clone(), gradients);

        Libtorch.Near(Different(input, Loss), Libtorch.Values(stream), Bounds.Difference, "gradient of the input");
        var found = new Dictionary<Tensor, Tensor>(gradients.All.Select(entry => KeyValuePair.Create(entry.Variable, entry.Gradient)), ReferenceEqualityComparer.Instance);
        foreach ((string name, Parameter parameter) in model.named_parameters())
            Libtorch.Near(Different(parameter, Loss), Libtorch.Values(found[parameter]), Bounds.Difference, $"gradient of {name}");
    }

    /// <summary>Factors of eight bits: hidden states and gradients move by about 2⁻⁸ of their size, and stay float32.</summary>
    [Fact]
    public void ProductsInBFloat16AreNearThoseInFloat32()
    {
        using Llama model = Model(s_tiny);
        PackedSequences places = PackedSequences.Pack([4, 2, 1]);
        Tensor input = tensor([.. Libtorch.Numbers(5, places.Places * 6L, -1, 1).Select(value => (float)value)], [places.Places, 6L]), weights = randn(places.Places, 6);
        (Tensor Hidden, Tensor Input, Tensor[] Weights) exact = Pass(), rounded;
        model.Precision = ProductPrecision.BFloat16.Type();
        rounded = Pass();
        Near(exact.Hidden, rounded.Hidden);
        Near(exact.Input, rounded.Input);
        foreach ((Tensor expected, Tensor actual) in exact.Weights.Zip(rounded.Weights))
            Near(expected, actual);

        (Tensor, Tensor, Tensor[]) Pass()
        {
            var gradients = new Gradients(_scope);
            LlamaPass pass = model.Run(input, places, dropout: null);
            Tensor stream = pass.Backward(weights.clone(), gradients);
            return (pass.Hidden, stream, [.. model.parameters().Select(parameter => gradients.All.Single(entry => ReferenceEquals(entry.Variable, parameter)).Gradient)]);
        }

        static void Near(Tensor expected, Tensor actual)
        {
            Assert.Equal(ScalarType.Float32, actual.dtype);
            double apart = Math.Sqrt(((actual - expected).square().sum() / expected.square().sum()).ToDouble());
            Assert.InRange(apart, 1e-5, 0.05);
        }
    }

    [Fact]
    public void DropoutHasTheGradientOfItsMasks()
    {
        using Llama model = Model(s_tiny).to(float64);
        PackedSequences places = PackedSequences.Pack([4, 3]);
        Tensor input = tensor(Libtorch.Numbers(5, places.Places * 6L, -1, 1), [places.Places, 6L]), weights = tensor(Libtorch.Numbers(6, places.Places * 6L, -1, 1), [places.Places, 6L]);
        LlamaPass Pass() => model.Run(input, places, new DropoutMasks(0.4, new MmeSid.Engine.RandomSource(8)));
        Tensor stream = Pass().Backward(weights.clone(), new Gradients(_scope));
        Libtorch.Near(Different(input, () => (Pass().Hidden * weights).sum().ToDouble()), Libtorch.Values(stream), Bounds.Difference, "gradient of the input");
        Assert.NotEqual(Libtorch.Values(model.HiddenStates(input, places)), Libtorch.Values(Pass().Hidden));
    }

    [Fact]
    public void MasksKeepTheMeanAndDependOnTheirSeed()
    {
        Tensor One(ulong seed, double share) => new DropoutMasks(share, new MmeSid.Engine.RandomSource(seed)).Next(101, 103, float32, CPU)!;
        double[] mask = Libtorch.Values(One(1, 0.25));
        Assert.Equal([0, (double)(float)(4 / 3.0)], mask.Distinct().Order());
        Assert.Equal(1, mask.Average(), 0.02);
        Assert.Equal(mask, Libtorch.Values(One(1, 0.25)));
        Assert.NotEqual(mask, Libtorch.Values(One(2, 0.25)));
        Assert.Null(new DropoutMasks(0, new MmeSid.Engine.RandomSource(1)).Next(2, 2, float32, CPU));
    }

    [Fact]
    public void PackedSequencesAreWhatEachIsAlone()
    {
        using Llama model = Model(s_tiny);
        int[] lengths = [3, 7, 1, 7, 2, 30];
        PackedSequences packed = PackedSequences.Pack(lengths);
        Assert.True(packed.Rows < lengths.Length);
        double[][] sequences = [.. lengths.Select((length, i) => Libtorch.Numbers(i + 1, length * 6L, -1, 1))];
        var input = new double[packed.Places * 6];
        for (int i = 0; i < lengths.Length; i++)
            sequences[i].CopyTo(input, packed.Starts[i] * 6);
        double[] all = Libtorch.Values(model.HiddenStates(tensor(input, [packed.Places, 6L], dtype: float32), packed));
        for (int i = 0; i < lengths.Length; i++)
        {
            double[] alone = Libtorch.Values(model.HiddenStates(tensor(sequences[i], [1L, lengths[i], 6L], dtype: float32), [lengths[i]]));
            Libtorch.Near(alone, all.AsSpan(packed.Starts[i] * 6, alone.Length).ToArray(), Bounds.Float32, $"sequence {i}");
        }
    }

    [Fact]
    public void WhatComesLaterAndPaddingChangeNothing()
    {
        using Llama model = Model(s_tiny);
        double[] numbers = Libtorch.Numbers(4, 2 * 5 * 6L, -1, 1), changed = [.. numbers];
        // The padding of the first sequence, the last entry of the second.
        for (int i = 0; i < 6; i++)
            (changed[(4 * 6) + i], changed[(9 * 6) + i]) = (7, -7);
        Tensor Run(double[] values) => model.HiddenStates(tensor(values, [2L, 5, 6], dtype: float32), [4, 5]).narrow(1, 0, 4);
        Assert.Equal(Libtorch.Values(Run(numbers)), Libtorch.Values(Run(changed)));
        Assert.Throws<ArgumentException>(() => model.HiddenStates(tensor(numbers, [2L, 5, 6], dtype: float32), [4, 6]));
        Assert.Throws<ArgumentException>(() => model.HiddenStates(tensor(numbers, [2L, 5, 6], dtype: float32), [4, 0]));
        Assert.Throws<ArgumentException>(() => model.HiddenStates(tensor(numbers, [2L, 5, 6], dtype: float32), [4]));
    }

    [Fact]
    public void RowsAreFilledWithoutGapsWhereLengthsAreAlike()
    {
        PackedSequences packed = PackedSequences.Pack([.. Enumerable.Repeat(13, 10)]);
        Assert.Equal((65, 2), (packed.RowLength, packed.Rows));
        Assert.Equal(Enumerable.Range(0, 10).Select(i => i * 13), packed.Starts);
        Assert.Throws<ArgumentException>(() => PackedSequences.Pack([]));
        Assert.Throws<ArgumentException>(() => PackedSequences.Pack([3, 0]));
    }

    private static double[] Different(Tensor variable, Func<double> loss)
    {
        using IDisposable frozen = no_grad();
        double[] values = Libtorch.Values(variable);
        double[] differences = Differences.Of(values, () =>
        {
            using DisposeScope scope = NewDisposeScope();
            variable.copy_(tensor(values, variable.shape));
            return loss();
        });
        variable.copy_(tensor(values, variable.shape));
        return differences;
    }

    private static Llama Model(LlamaShape shape)
    {
        var model = new Llama(shape);
        // Large enough that softmax and norms do something.
        using (no_grad())
        {
            foreach ((string name, Parameter parameter) in model.named_parameters())
                parameter.copy_(tensor(Libtorch.Numbers(name.Length + (int)parameter.numel(), parameter.numel(), -0.9, 0.9), parameter.shape, dtype: float32));
        }
        return model;
    }
}
