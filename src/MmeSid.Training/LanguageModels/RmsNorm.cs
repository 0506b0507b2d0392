using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Root-mean-square norm (Zhang and Sennrich 2019) with its gradient:
/// <code>
/// u = x · ρ,  ρ = 1/√(mean x² + ε),  y = u ∘ w
/// ∂L/∂w = Σ_rows g ∘ u        ∂L/∂x = ρ · (g ∘ w − u · mean(g ∘ w ∘ u))
/// </code>
/// </summary>
internal sealed class RmsNorm : nn.Module
{
    private readonly Parameter weight;
    private readonly double _epsilon;

    /// <param name="dimension">H.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="trained">Whether w has a gradient.</param>
    public RmsNorm(long dimension, double epsilon, bool trained)
        : base(nameof(RmsNorm))
    {
        _epsilon = epsilon;
        weight = new Parameter(ones(dimension).DetachFromDisposeScope(), trained);
        RegisterComponents();
    }

    /// <summary>w, [H].</summary>
    public Parameter Weight => weight;

    /// <summary>Norms rows.</summary>
    /// <param name="x">[N, H].</param>
    /// <returns>y [N, H], and what <see cref="Backward"/> needs: u [N, H] and ρ [N, 1].</returns>
    public (Tensor Output, Tensor Unit, Tensor Scale) Forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor scale = (x.norm(1, keepdim: true).square() / x.shape[1] + _epsilon).rsqrt();
        Tensor unit = x * scale;
        return ((unit * weight).MoveToOuterDisposeScope(), unit.MoveToOuterDisposeScope(), scale.MoveToOuterDisposeScope());
    }

    /// <summary>Adds the gradient of x to that of the residual stream beside the norm.</summary>
    /// <param name="gradient">[N, H] of y; changed.</param>
    /// <param name="unit">u.</param>
    /// <param name="scale">ρ.</param>
    /// <param name="stream">[N, H]; what comes of x is added.</param>
    /// <param name="gradients">Takes that of w.</param>
    public void Backward(Tensor gradient, Tensor unit, Tensor scale, Tensor stream, Gradients gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor product = gradient * unit;
        if (weight.requires_grad)
            gradients.Add(weight, product.sum(dim: 0));
        Tensor mean = product.mv(weight) / unit.shape[1];
        _ = stream.addcmul_(gradient.mul_(weight).addcmul_(unit, mean.unsqueeze(1), -1), scale, 1);
    }
}
