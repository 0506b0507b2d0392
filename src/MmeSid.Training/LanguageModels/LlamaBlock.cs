using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// A transformer layer of Llama and its gradient. δ is dropout while training.
/// <code>
/// x ← x + δ(W_o · Attention(W_qkv · norm(x)))        x ← x + δ(W_down · (silu(W_gate · n) ∘ (W_up · n))),  n = norm(x)
/// </code>
/// Queries, keys and values are one product, gate and up another.
/// </summary>
internal sealed class LlamaBlock : nn.Module
{
    private readonly RmsNorm attentionNorm, forwardNorm;
    private readonly Projection queryKeyValue, output, gateUp, down;

    /// <summary>A layer that is trained whole.</summary>
    public LlamaBlock(LlamaShape shape)
        : this(shape, trained: true, (inputs, tensors) => new Projection(tensors.Sum(tensor => tensor.Rows), inputs))
    {
    }

    /// <param name="shape">Sizes.</param>
    /// <param name="trained">Whether the norms are trained.</param>
    /// <param name="projection">Makes a projection: its inputs, and the tensors of a GGUF file, without <c>blk.n.</c>, whose rows it holds one below the other.</param>
    public LlamaBlock(LlamaShape shape, bool trained, Func<long, (string Name, long Rows)[], Projection> projection)
        : base(nameof(LlamaBlock))
    {
        long queries = (long)shape.Heads * shape.HeadSize, keys = (long)shape.KeyHeads * shape.HeadSize;
        attentionNorm = new RmsNorm(shape.Dimension, shape.Epsilon, trained);
        forwardNorm = new RmsNorm(shape.Dimension, shape.Epsilon, trained);
        queryKeyValue = projection(shape.Dimension, [("attn_q.weight", queries), ("attn_k.weight", keys), ("attn_v.weight", keys)]);
        output = projection(queries, [("attn_output.weight", shape.Dimension)]);
        gateUp = projection(shape.Dimension, [("ffn_gate.weight", shape.FeedForward), ("ffn_up.weight", shape.FeedForward)]);
        down = projection(shape.FeedForward, [("ffn_down.weight", shape.Dimension)]);
        RegisterComponents();
    }

    public RmsNorm AttentionNorm => attentionNorm;

    public RmsNorm ForwardNorm => forwardNorm;

    /// <summary>[(h + 2·h_k)·s, H]: rows of queries, of keys, of values.</summary>
    public Projection QueryKeyValue => queryKeyValue;

    public Projection Output => output;

    /// <summary>[2F, H]: rows of the gate, then of up.</summary>
    public Projection GateUp => gateUp;

    public Projection Down => down;

    /// <summary>All projections.</summary>
    public IReadOnlyList<Projection> Projections => [queryKeyValue, output, gateUp, down];

    /// <summary>The residual stream behind the layer.</summary>
    /// <param name="x">[N, H].</param>
    /// <param name="attention">Of the step.</param>
    /// <param name="dropout">Of the step: of what is added to the stream, and of the input of low-rank updates; null where nothing is dropped.</param>
    /// <param name="saved">What <see cref="Backward"/> needs.</param>
    public Tensor Forward(Tensor x, CausalAttention attention, (DropoutMasks? Stream, DropoutMasks? Updates) dropout, out Saved saved)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor normed, Tensor unit, Tensor scale) = attentionNorm.Forward(x);
        (Tensor attended, CausalAttention.Saved attendedBy) = attention.Forward(queryKeyValue.Forward(normed, dropout.Updates, out IReadOnlyList<LowRankUpdate.Saved> projectedBy));
        Tensor? attentionMask = dropout.Stream?.Next(x.shape[0], x.shape[1], x.dtype, x.device);
        Tensor between = Add(x, output.Forward(attended, dropout.Updates, out IReadOnlyList<LowRankUpdate.Saved> outputBy), attentionMask);

        (Tensor forwardNormed, Tensor forwardUnit, Tensor forwardScale) = forwardNorm.Forward(between);
        Tensor gates = gateUp.Forward(forwardNormed, dropout.Updates, out IReadOnlyList<LowRankUpdate.Saved> gatesBy);
        long width = gates.shape[1] / 2;
        Tensor gate = gates.narrow(1, 0, width).detach(), up = gates.narrow(1, width, width);
        Tensor opened;
        // The gradient of silu is one operator, which is reached through the graph alone.
        using (enable_grad())
            opened = gate.requires_grad_().silu();
        Tensor hidden = opened.detach() * up;
        Tensor? forwardMask = dropout.Stream?.Next(x.shape[0], x.shape[1], x.dtype, x.device);
        Tensor result = Add(between, down.Forward(hidden, dropout.Updates, out IReadOnlyList<LowRankUpdate.Saved> downBy), forwardMask);

        saved = new Saved(normed, unit, scale, attended, attendedBy, attentionMask, forwardNormed, forwardUnit, forwardScale, gate, opened, up, hidden, forwardMask,
            projectedBy, outputBy, gatesBy, downBy);
        scope.MoveToOuter(saved.Tensors.Append(result));
        return result;
    }

    /// <summary>Turns the gradient of the stream behind the layer into that before it, in place, and gives back what was saved.</summary>
    /// <param name="stream">[N, H].</param>
    /// <param name="attention">Of the step.</param>
    /// <param name="saved">Of <see cref="Forward"/>; disposed.</param>
    /// <param name="gradients">Takes those of the weights.</param>
    public void Backward(Tensor stream, CausalAttention attention, Saved saved, Gradients gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = down.Backward(Masked(stream, saved.ForwardMask), saved.Hidden, saved.DownBy, gradients);
        long width = hidden.shape[1];
        Tensor gates = empty(hidden.shape[0], 2 * width, dtype: hidden.dtype, device: hidden.device);
        gates.narrow(1, width, width).copy_(saved.Opened.detach()).mul_(hidden);
        gates.narrow(1, 0, width).copy_(autograd.grad([saved.Opened], [saved.Gate], [hidden.mul_(saved.Up)])[0]);
        forwardNorm.Backward(gateUp.Backward(gates, saved.ForwardNormed, saved.GatesBy, gradients), saved.ForwardUnit, saved.ForwardScale, stream, gradients);

        Tensor attended = output.Backward(Masked(stream, saved.AttentionMask), saved.Attended, saved.OutputBy, gradients);
        Tensor projected = attention.Backward(attended, saved.AttendedBy);
        attentionNorm.Backward(queryKeyValue.Backward(projected, saved.Normed, saved.ProjectedBy, gradients), saved.Unit, saved.Scale, stream, gradients);
        foreach (Tensor tensor in saved.Tensors)
            tensor.Dispose();
    }

    private static Tensor Add(Tensor x, Tensor branch, Tensor? mask) => mask is null ? branch.add_(x) : x.addcmul(branch, mask, 1);

    private static Tensor Masked(Tensor gradient, Tensor? mask) => mask is null ? gradient : gradient * mask;

    /// <summary>What the gradient needs.</summary>
    internal sealed record Saved(
        Tensor Normed, Tensor Unit, Tensor Scale, Tensor Attended, CausalAttention.Saved AttendedBy, Tensor? AttentionMask,
        Tensor ForwardNormed, Tensor ForwardUnit, Tensor ForwardScale, Tensor Gate, Tensor Opened, Tensor Up, Tensor Hidden, Tensor? ForwardMask,
        IReadOnlyList<LowRankUpdate.Saved> ProjectedBy, IReadOnlyList<LowRankUpdate.Saved> OutputBy, IReadOnlyList<LowRankUpdate.Saved> GatesBy, IReadOnlyList<LowRankUpdate.Saved> DownBy)
    {
        /// <summary>All of them.</summary>
        public IEnumerable<Tensor> Tensors => ((Tensor?[])
        [
            Normed, Unit, Scale, Attended, AttendedBy.Queries, AttendedBy.Keys, AttendedBy.Values, AttendedBy.Probabilities, AttentionMask,
            ForwardNormed, ForwardUnit, ForwardScale, Gate, Opened, Up, Hidden, ForwardMask,
        ]).OfType<Tensor>().Concat(new[] { ProjectedBy, OutputBy, GatesBy, DownBy }.SelectMany(kept => kept).SelectMany(kept => kept.Tensors));
    }
}
