using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// LoRA (Hu et al. 2021, arXiv 2106.09685) of some rows of a projection, with its gradient. A starts uniform as a linear layer does, B at zero, so that the first step sees the model as it is. δ is
/// dropout while training.
/// <code>
/// y += s · (δ(x) Aᵀ) Bᵀ,  s = α/r        u = δ(x) Aᵀ:  ∂B = s gᵀ u,  ∂u = s g B,  ∂A = ∂uᵀ δ(x),  ∂x += δ(∂u A)
/// </code>
/// </summary>
internal sealed class LowRankUpdate : nn.Module
{
    private readonly Parameter a, b;
    private readonly double _scale;

    /// <summary>Draws A from libtorch's generator.</summary>
    /// <param name="name">Name of the tensor that is updated, such as <c>blk.0.ffn_gate.weight</c>.</param>
    /// <param name="first">First value of y that it is.</param>
    /// <param name="outputs">Its rows.</param>
    /// <param name="inputs">Its columns.</param>
    /// <param name="options">r and α.</param>
    public LowRankUpdate(string name, long first, long outputs, long inputs, LoraOptions options)
        : base(nameof(LowRankUpdate))
    {
        (Name, First, Outputs, _scale) = (name, first, outputs, options.Alpha / options.Rank);
        a = new Parameter(empty(options.Rank, inputs).DetachFromDisposeScope());
        _ = nn.init.kaiming_uniform_(a, a: Math.Sqrt(5));
        b = new Parameter(zeros(outputs, options.Rank).DetachFromDisposeScope());
        RegisterComponents();
    }

    /// <summary>Name of the tensor that is updated.</summary>
    public string Name { get; }

    /// <summary>First value of y that it is.</summary>
    public long First { get; }

    /// <summary>Values of y from there on.</summary>
    public long Outputs { get; }

    /// <summary>[r, inputs].</summary>
    public Parameter A => a;

    /// <summary>[outputs, r].</summary>
    public Parameter B => b;

    /// <summary>Adds the update to y, in place.</summary>
    /// <param name="x">[N, inputs].</param>
    /// <param name="y">[N, outputs of the projection].</param>
    /// <param name="training">Whose masks are taken, or null.</param>
    public Saved Forward(Tensor x, Tensor y, DropoutMasks? training)
    {
        Tensor? mask = training?.Next(x.shape[0], x.shape[1], x.dtype, x.device);
        using DisposeScope scope = NewDisposeScope();
        Tensor reduced = (mask is null ? x : x * mask).mm(a.t());
        _ = y.narrow(1, First, Outputs).add_(reduced.mm(b.t()), _scale);
        return new Saved(reduced.MoveToOuterDisposeScope(), mask);
    }

    /// <summary>Adds to the gradient of x, in place.</summary>
    /// <param name="gradient">[N, outputs of the projection] of y.</param>
    /// <param name="x">Of <see cref="Forward"/>.</param>
    /// <param name="saved">Of <see cref="Forward"/>.</param>
    /// <param name="result">[N, inputs].</param>
    /// <param name="gradients">Takes those of A and B.</param>
    public void Backward(Tensor gradient, Tensor x, Saved saved, Tensor result, Gradients gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor own = gradient.narrow(1, First, Outputs) * _scale;
        gradients.Add(b, own.t().mm(saved.Reduced));
        Tensor reduced = own.mm(b);
        gradients.Add(a, reduced.t().mm(saved.Mask is null ? x : x * saved.Mask));
        Tensor back = reduced.mm(a);
        _ = result.add_(saved.Mask is null ? back : back.mul_(saved.Mask));
    }

    /// <summary>What the gradient needs: u [N, r], and the mask of the input.</summary>
    public sealed record Saved(Tensor Reduced, Tensor? Mask)
    {
        /// <summary>All of them.</summary>
        public IEnumerable<Tensor> Tensors => Mask is null ? [Reduced] : [Reduced, Mask];
    }
}
