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

    public LlamaBlock(LlamaShape shape)
        : base(nameof(LlamaBlock))
    {
        attentionNorm = new RmsNorm(shape.Dimension, shape.Epsilon, trained: true);
        forwardNorm = new RmsNorm(shape.Dimension, shape.Epsilon, trained: true);
        queryKeyValue = new Projection((shape.Heads + (2L * shape.KeyHeads)) * shape.HeadSize, shape.Dimension);
        output = new Projection(shape.Dimension, (long)shape.Heads * shape.HeadSize);
        gateUp = new Projection(2L * shape.FeedForward, shape.Dimension);
        down = new Projection(shape.Dimension, shape.FeedForward);
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

    /// <summary>The residual stream behind the layer.</summary>
    /// <param name="x">[N, H].</param>
    /// <param name="attention">Of the step.</param>
    /// <param name="dropout">Of the step, or null.</param>
    /// <param name="saved">What <see cref="Backward"/> needs; null to keep nothing.</param>
    public Tensor Forward(Tensor x, CausalAttention attention, DropoutMasks? dropout, out Saved saved)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor normed, Tensor unit, Tensor scale) = attentionNorm.Forward(x);
        (Tensor attended, CausalAttention.Saved attendedBy) = attention.Forward(queryKeyValue.Forward(normed));
        Tensor? attentionMask = dropout?.Next(x.shape[0], x.shape[1], x.dtype, x.device);
        Tensor between = Add(x, output.Forward(attended), attentionMask);

        (Tensor forwardNormed, Tensor forwardUnit, Tensor forwardScale) = forwardNorm.Forward(between);
        Tensor gates = gateUp.Forward(forwardNormed);
        long width = gates.shape[1] / 2;
        Tensor gate = gates.narrow(1, 0, width).detach(), up = gates.narrow(1, width, width);
        Tensor opened;
        // The gradient of silu is one operator, which is reached through the graph alone.
        using (enable_grad())
            opened = gate.requires_grad_().silu();
        Tensor hidden = opened.detach() * up;
        Tensor? forwardMask = dropout?.Next(x.shape[0], x.shape[1], x.dtype, x.device);
        Tensor result = Add(between, down.Forward(hidden), forwardMask);

        saved = new Saved(normed, unit, scale, attended, attendedBy, attentionMask, forwardNormed, forwardUnit, forwardScale, gate, opened, up, hidden, forwardMask);
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
        Tensor hidden = down.Backward(Masked(stream, saved.ForwardMask), saved.Hidden, gradients);
        long width = hidden.shape[1];
        Tensor gates = empty(hidden.shape[0], 2 * width, dtype: hidden.dtype, device: hidden.device);
        gates.narrow(1, width, width).copy_(saved.Opened.detach()).mul_(hidden);
        gates.narrow(1, 0, width).copy_(autograd.grad([saved.Opened], [saved.Gate], [hidden.mul_(saved.Up)])[0]);
        forwardNorm.Backward(gateUp.Backward(gates, saved.ForwardNormed, gradients), saved.ForwardUnit, saved.ForwardScale, stream, gradients);

        Tensor attended = output.Backward(Masked(stream, saved.AttentionMask), saved.Attended, gradients);
        Tensor projected = attention.Backward(attended, saved.AttendedBy);
        attentionNorm.Backward(queryKeyValue.Backward(projected, saved.Normed, gradients), saved.Unit, saved.Scale, stream, gradients);
        foreach (Tensor tensor in saved.Tensors)
            tensor.Dispose();
    }

    private static Tensor Add(Tensor x, Tensor branch, Tensor? mask) => mask is null ? branch.add_(x) : x.addcmul(branch, mask, 1);

    private static Tensor Masked(Tensor gradient, Tensor? mask) => mask is null ? gradient : gradient * mask;

    /// <summary>What the gradient needs.</summary>
    internal sealed record Saved(
        Tensor Normed, Tensor Unit, Tensor Scale, Tensor Attended, CausalAttention.Saved AttendedBy, Tensor? AttentionMask,
        Tensor ForwardNormed, Tensor ForwardUnit, Tensor ForwardScale, Tensor Gate, Tensor Opened, Tensor Up, Tensor Hidden, Tensor? ForwardMask)
    {
        /// <summary>All of them.</summary>
        public IEnumerable<Tensor> Tensors => ((Tensor?[])
        [
            Normed, Unit, Scale, Attended, AttendedBy.Queries, AttendedBy.Keys, AttendedBy.Values, AttendedBy.Chances, AttentionMask,
            ForwardNormed, ForwardUnit, ForwardScale, Gate, Opened, Up, Hidden, ForwardMask,
        ]).OfType<Tensor>();
    }
}
