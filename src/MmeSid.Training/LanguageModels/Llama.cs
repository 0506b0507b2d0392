using MmeSid.Engine.Files;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// A model of the Llama architecture from input vectors to hidden states after the final norm, equal to llama.cpp's forward pass: RMS norms, grouped-query attention with rotary
/// positions of the pairs (2i, 2i + 1), SwiGLU. Gradients are computed by hand, layer by layer: what a layer needs for its own is all that is kept, and elementwise
/// operators work in place. Weights lie in the order of GGUF files.
/// </summary>
public sealed class Llama : nn.Module
{
    private readonly ModuleList<LlamaBlock> blocks;
    private readonly RmsNorm norm;

    /// <summary>Random weights: N(0, 0.02²), those that lead back into the residual stream smaller by √(2·layers); norms of one. From libtorch's generator.</summary>
    public Llama(LlamaShape shape)
        : base(nameof(Llama))
    {
        ArgumentNullException.ThrowIfNull(shape);
        shape.Validate();
        Shape = shape;
        blocks = nn.ModuleList([.. Enumerable.Range(0, shape.Layers).Select(_ => new LlamaBlock(shape))]);
        norm = new RmsNorm(shape.Dimension, shape.Epsilon, trained: true);
        RegisterComponents();
        using IDisposable frozen = no_grad();
        foreach (LlamaBlock block in blocks)
        {
            foreach (Projection projection in (Projection[])[block.QueryKeyValue, block.GateUp])
                _ = nn.init.normal_(projection.Weight, 0, 0.02);
            foreach (Projection projection in (Projection[])[block.Output, block.Down])
                _ = nn.init.normal_(projection.Weight, 0, 0.02 / Math.Sqrt(2 * shape.Layers));
        }
    }

    /// <summary>A model whose own weights are frozen in the blocks they are stored in, with what is trained instead.</summary>
    private Llama(GgufFile file, LoraOptions? lora)
        : base(nameof(Llama))
    {
        Shape = LlamaShape.Of(file);
        blocks = nn.ModuleList([.. Enumerable.Range(0, Shape.Layers).Select(layer => new LlamaBlock(Shape, trained: false, (inputs, tensors) =>
        {
            (string Name, long Rows)[] named = [.. tensors.Select(tensor => ($"blk.{layer}.{tensor.Name}", tensor.Rows))];
            var updates = new List<LowRankUpdate>();
            long first = 0;
            foreach ((string name, long rows) in named)
            {
                if (lora is not null && lora.Targets.Any(target => name.EndsWith($"_{target}.weight", StringComparison.Ordinal)))
                    updates.Add(new LowRankUpdate(name, first, rows, inputs, lora));
                first += rows;
            }
            return new Projection(new QuantizedMatrix(file, inputs, named), updates);
        }))]);
        norm = new RmsNorm(Shape.Dimension, Shape.Epsilon, trained: false);
        RegisterComponents();
    }

    /// <summary>Sizes.</summary>
    public LlamaShape Shape { get; }

    /// <summary>The type that factors are rounded to for products with weight matrices; null leaves them as they are. All else keeps its own: weights, sums, norms, attention, low-rank updates.</summary>
    public ScalarType? Precision
    {
        get => blocks[0].Projections[0].Precision;
        set
        {
            foreach (Projection projection in blocks.SelectMany(block => block.Projections))
                projection.Precision = value;
        }
    }

    /// <summary>Hidden states after the final norm, without gradient.</summary>
    /// <param name="input">[B, T, H] vectors, padded behind the end of a sequence with anything finite.</param>
    /// <param name="lengths">[B], each 1 to T.</param>
    /// <returns>[B, T, H]; what lies behind a sequence's end is without meaning.</returns>
    public Tensor HiddenStates(Tensor input, IReadOnlyList<int> lengths)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(lengths);
        if (input.shape is not [var batch, var length, var dimension] || dimension != Shape.Dimension || batch != lengths.Count)
            throw new ArgumentException($"vectors of shape [{string.Join(", ", input.shape)}], expected [{lengths.Count}, T, {Shape.Dimension}]", nameof(input));
        return HiddenStates(input.reshape(-1, dimension), PackedSequences.Padded(lengths, (int)length)).view(input.shape);
    }

    /// <summary>Hidden states after the final norm, without gradient.</summary>
    /// <param name="input">[N, H] vectors at the places of the sequences; elsewhere anything finite.</param>
    /// <param name="places">Where sequences lie.</param>
    /// <returns>[N, H].</returns>
    public Tensor HiddenStates(Tensor input, PackedSequences places)
    {
        Require(input, places);
        using IDisposable frozen = no_grad();
        using DisposeScope scope = NewDisposeScope();
        var attention = new CausalAttention(Shape, places, input.dtype, input.device);
        Tensor x = input.detach();
        foreach (LlamaBlock block in blocks)
        {
            using DisposeScope layer = NewDisposeScope();
            x = block.Forward(x, attention, default, out _).MoveToOuterDisposeScope();
        }
        return norm.Forward(x).Output.MoveToOuterDisposeScope();
    }

    /// <summary>Hidden states after the final norm, and the way back. Everything belongs to the current dispose scope.</summary>
    /// <param name="input">[N, H] vectors at the places of the sequences; elsewhere anything finite.</param>
    /// <param name="places">Where sequences lie.</param>
    /// <param name="dropout">Of what layers add to the stream, or null.</param>
    /// <param name="updates">Dropout of the input of low-rank updates, or null.</param>
    internal LlamaPass Run(Tensor input, PackedSequences places, DropoutMasks? dropout, DropoutMasks? updates = null)
    {
        Require(input, places);
        using IDisposable frozen = no_grad();
        var attention = new CausalAttention(Shape, places, input.dtype, input.device);
        var saved = new LlamaBlock.Saved[blocks.Count];
        Tensor x = input.detach();
        for (int layer = 0; layer < saved.Length; layer++)
            x = blocks[layer].Forward(x, attention, (dropout, updates), out saved[layer]);
        (Tensor hidden, Tensor unit, Tensor scale) = norm.Forward(x);
        return new LlamaPass(hidden, (gradient, gradients) =>
        {
            Tensor stream = zeros_like(hidden);
            norm.Backward(gradient, unit, scale, stream, gradients);
            for (int layer = saved.Length - 1; layer >= 0; layer--)
                blocks[layer].Backward(stream, attention, saved[layer], gradients);
            return stream;
        });
    }

    /// <summary>The same with dropout of the input vectors too, to which the way back leads.</summary>
    /// <param name="vectors">[N, H]; unchanged.</param>
    /// <param name="places">Where sequences lie.</param>
    /// <param name="dropout">Of the vectors and of what layers add to the stream.</param>
    /// <param name="updates">Dropout of the input of low-rank updates, or null.</param>
    internal LlamaPass Train(Tensor vectors, PackedSequences places, DropoutMasks dropout, DropoutMasks? updates)
    {
        Tensor? mask = dropout.Next(vectors.shape[0], vectors.shape[1], vectors.dtype, vectors.device);
        if (mask is null)
            return Run(vectors, places, dropout, updates);
        LlamaPass pass = Run(vectors.detach() * mask, places, dropout, updates);
        return pass with { Backward = (gradient, gradients) => pass.Backward(gradient, gradients).mul_(mask) };
    }

    /// <summary>Reads a model of any tensor type that <see cref="GgufBlocks"/> widens, as float32 parameters.</summary>
    /// <exception cref="InvalidDataException">It is no Llama, or a tensor is missing or of another shape.</exception>
    public static Llama Load(GgufFile file)
    {
        var model = new Llama(LlamaShape.Of(file));
        try
        {
            using DisposeScope scope = NewDisposeScope();
            using IDisposable frozen = no_grad();
            foreach ((string name, Tensor rows) in model.Tensors())
                Read(file, name, rows);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Reads a model whose weights stay in the blocks they are stored in and are widened to float32 for one product at a time, in the forward and again in the backward pass: what is kept of them
    /// is the file's bytes. Nothing of it is trained but low-rank updates, drawn from libtorch's generator.
    /// </summary>
    /// <param name="file">The model; may be closed afterwards.</param>
    /// <param name="lora">Which weights get updates; null for none.</param>
    /// <exception cref="InvalidDataException">It is no Llama, or a tensor is missing or of another shape.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public static Llama Freeze(GgufFile file, LoraOptions? lora)
    {
        ArgumentNullException.ThrowIfNull(file);
        lora?.Validate();
        var model = new Llama(file, lora);
        try
        {
            using DisposeScope scope = NewDisposeScope();
            using IDisposable frozen = no_grad();
            for (int layer = 0; layer < model.blocks.Count; layer++)
            {
                Read(file, $"blk.{layer}.attn_norm.weight", model.blocks[layer].AttentionNorm.Weight);
                Read(file, $"blk.{layer}.ffn_norm.weight", model.blocks[layer].ForwardNorm.Weight);
            }
            Read(file, "output_norm.weight", model.norm.Weight);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>The low-rank updates in the order of the layers.</summary>
    internal IEnumerable<LowRankUpdate> Updates => blocks.SelectMany(block => block.Projections).SelectMany(projection => projection.Updates);

    private static void Read(GgufFile file, string name, Tensor rows)
    {
        GgufEntry entry = file.Entry(name);
        if (!entry.Shape.SequenceEqual(rows.shape))
            throw new InvalidDataException($"{file.Path}: tensor {name} has shape [{string.Join(", ", entry.Shape)}], expected [{string.Join(", ", rows.shape)}]");
        rows.copy_(tensor(file.ReadSingles(name), rows.shape));
    }

    /// <summary>The weights under their names in GGUF files, as views of the parameters.</summary>
    internal IEnumerable<(string Name, Tensor Rows)> Tensors()
    {
        long queries = (long)Shape.Heads * Shape.HeadSize, keys = (long)Shape.KeyHeads * Shape.HeadSize;
        for (int layer = 0; layer < blocks.Count; layer++)
        {
            LlamaBlock block = blocks[layer];
            string at = $"blk.{layer}.";
            yield return (at + "attn_norm.weight", block.AttentionNorm.Weight);
            yield return (at + "attn_q.weight", block.QueryKeyValue.Weight.narrow(0, 0, queries));
            yield return (at + "attn_k.weight", block.QueryKeyValue.Weight.narrow(0, queries, keys));
            yield return (at + "attn_v.weight", block.QueryKeyValue.Weight.narrow(0, queries + keys, keys));
            yield return (at + "attn_output.weight", block.Output.Weight);
            yield return (at + "ffn_norm.weight", block.ForwardNorm.Weight);
            yield return (at + "ffn_gate.weight", block.GateUp.Weight.narrow(0, 0, Shape.FeedForward));
            yield return (at + "ffn_up.weight", block.GateUp.Weight.narrow(0, Shape.FeedForward, Shape.FeedForward));
            yield return (at + "ffn_down.weight", block.Down.Weight);
        }
        yield return ("output_norm.weight", norm.Weight);
    }

    private void Require(Tensor input, PackedSequences places)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(places);
        if (input.shape is not [var count, var dimension] || count != places.Places || dimension != Shape.Dimension)
            throw new ArgumentException($"vectors of shape [{string.Join(", ", input.shape)}], expected [{places.Places}, {Shape.Dimension}]", nameof(input));
    }
}

/// <summary>A forward pass whose gradient can be taken once.</summary>
/// <param name="Hidden">[N, H] after the final norm.</param>
/// <param name="Backward">From the gradient of the hidden states, which is changed, to that of the input, [N, H]; those of the weights are added to the list.</param>
internal sealed record LlamaPass(Tensor Hidden, Func<Tensor, Gradients, Tensor> Backward);
