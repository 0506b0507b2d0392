using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Tests.Quantization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.LanguageModels;

public sealed class LoraTests : IDisposable
{
    private static readonly LlamaShape s_tiny = new() { Dimension = 8, Layers = 2, Heads = 4, KeyHeads = 2, HeadSize = 4, FeedForward = 5 };

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;

    public LoraTests()
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

    [Theory]
    [InlineData("gate,up,down")]
    [InlineData("q,k,v,output,down")]
    public void GradientsOfUpdatesAndInputAreCentralDifferencesAndTheBaseHasNone(string targets)
    {
        using Llama model = Frozen(new LoraOptions { Rank = 2, Alpha = 3, Dropout = 0.3, Targets = targets.Split(',') }).to(float64);
        string[] trained = [.. model.named_parameters().Where(entry => entry.parameter.requires_grad).Select(entry => entry.name)];
        Assert.Equal(2 * 2 * targets.Split(',').Length, trained.Length);
        PackedSequences places = PackedSequences.Pack([4, 2, 1]);
        Tensor input = tensor(Libtorch.Numbers(5, places.Places * 8L, -1, 1), [places.Places, 8L]), weights = tensor(Libtorch.Numbers(6, places.Places * 8L, -1, 1), [places.Places, 8L]);
        LlamaPass Pass() => model.Run(input, places, dropout: null, new DropoutMasks(0.3, new RandomSource(4)));
        var gradients = new Gradients(_scope);
        Tensor stream = Pass().Backward(weights.clone(), gradients);
        Libtorch.Near(Different(input), Libtorch.Values(stream), Bounds.Difference, "gradient of the input");
        var found = new Dictionary<Tensor, Tensor>(gradients.All.Select(entry => KeyValuePair.Create(entry.Variable, entry.Gradient)), ReferenceEqualityComparer.Instance);
        Assert.Equal(trained.Length, found.Count);
        foreach (string name in trained)
        {
            Parameter parameter = model.get_parameter(name)!;
            Libtorch.Near(Different(parameter), Libtorch.Values(found[parameter]), Bounds.Difference, $"gradient of {name}");
        }

        double[] Different(Tensor variable)
        {
            using IDisposable frozen = no_grad();
            double[] values = Libtorch.Values(variable);
            double[] differences = Differences.Of(values, () =>
            {
                using DisposeScope scope = NewDisposeScope();
                variable.copy_(tensor(values, variable.shape));
                return (Pass().Hidden * weights).sum().ToDouble();
            });
            variable.copy_(tensor(values, variable.shape));
            return differences;
        }
    }

    [Fact]
    public void AFreshUpdateLeavesTheModelAsItIs()
    {
        string path = Write();
        using GgufFile file = GgufFile.Open(path);
        using Llama whole = Llama.Load(file), frozen = Llama.Freeze(file, new LoraOptions { Targets = LoraOptions.Known });
        Tensor input = tensor(Libtorch.Numbers(5, 6 * 8, -1, 1), [1L, 6, 8], dtype: float32);
        Assert.Equal(Libtorch.Values(whole.HiddenStates(input, [6])), Libtorch.Values(frozen.HiddenStates(input, [6])));
        Assert.DoesNotContain(Llama.Freeze(file, null).parameters(), parameter => parameter.requires_grad);
    }

    [Fact]
    public void AnInterruptedRunEndsWithTheSameBytesAndLeavesTheBase()
    {
        var lora = new LoraOptions { Rank = 2, Alpha = 4, Dropout = 0.2 };
        SidBundle bundle = CodeBundle.Write(Path.Combine(_folder, "B"), ItemIds.Sequential(12));
        var sequences = new SidSequences(InteractionSequences.FromItems([[1, 2, 3, 4, 5], [2, 3, 4, 1], [5, 4, 3, 2, 1]]), bundle, skipUnknown: false);
        var options = new SidLlamaOptions { Length = 6, BatchItems = 4, Dropout = 0, Lora = lora };
        string file = Write();
        byte[] original = File.ReadAllBytes(file), whole = Trained(null);
        Assert.Equal(whole, Trained(2));
        Assert.Equal(original, File.ReadAllBytes(file));

        byte[] Trained(int? interruptedAfter)
        {
            LoopOptions loop = new() { Epochs = 3, ValidateEvery = 3, LearningRate = 0.01, Accumulate = 2, CheckpointPath = interruptedAfter is null ? null : Path.Combine(_folder, "c.safetensors") };
            if (interruptedAfter is { } steps)
            {
                using SidLlama cut = Model();
                InterruptedRun.Run(new SidLlamaLearner(cut, sequences, options, seed: 1), loop, steps);
            }
            using SidLlama model = Model();
            _ = TrainingLoop.Run(new SidLlamaLearner(model, sequences, options, seed: 1), loop, cancellation: TestContext.Current.CancellationToken);
            Assert.NotEmpty(model.Transformer.Updates);
            Assert.All(model.Transformer.Updates, update => Assert.Contains(Libtorch.Values(update.B), value => value != 0));
            return [.. model.parameters().SelectMany(parameter => parameter.bytes.ToArray())];
        }

        SidLlama Model()
        {
            manual_seed(5);
            using GgufFile opened = GgufFile.Open(file);
            return new SidLlama(sequences.Vocabulary, Llama.Freeze(opened, lora), SidVectors.Draw(bundle, sequences.Vocabulary, 8, default, 1), tied: true);
        }
    }

    [Theory]
    [InlineData(0, 16, 0.0, "gate", "rank")]
    [InlineData(8, 0, 0.0, "gate", "α")]
    [InlineData(8, 16, 1.0, "gate", "dropout")]
    [InlineData(8, 16, 0.0, "gate,gate", "once")]
    [InlineData(8, 16, 0.0, "head", "'head' gets no LoRA")]
    public void OptionsOutOfRangeAreRefused(int rank, double alpha, double dropout, string targets, string message) => Assert.Contains(message,
        Assert.Throws<ArgumentException>(() => new LoraOptions { Rank = rank, Alpha = alpha, Dropout = dropout, Targets = targets.Split(',') }.Validate()).Message, StringComparison.Ordinal);

    private Llama Frozen(LoraOptions options)
    {
        using GgufFile file = GgufFile.Open(Write());
        Llama model = Llama.Freeze(file, options);
        using (no_grad())
        {
            // B of zeros would hide the gradient of A.
            foreach ((string name, Parameter parameter) in model.named_parameters().Where(entry => entry.parameter.requires_grad))
                parameter.copy_(tensor(Libtorch.Numbers(name.Length + (int)parameter.numel(), parameter.numel(), -0.9, 0.9), parameter.shape, dtype: float32));
        }
        return model;
    }

    private string Write()
    {
        string path = Path.Combine(_folder, "base.gguf");
        using var model = new Llama(s_tiny);
        using FileStream stream = File.Create(path);
        GgufWriter.Write(stream, s_tiny.Metadata(), [.. model.Tensors().Select(entry =>
            GgufWriter.Singles(entry.Name, [.. Libtorch.Numbers(entry.Name.Length, entry.Rows.numel(), -0.9, 0.9).Select(value => (float)value)], entry.Rows.shape))]);
        return path;
    }
}
