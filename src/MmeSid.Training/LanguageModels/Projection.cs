using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>A matrix product without bias and its gradient: y = x Wᵀ,  ∂L/∂x = g W,  ∂L/∂W = gᵀ x.</summary>
internal sealed class Projection : nn.Module
{
    private readonly Parameter weight;

    /// <param name="outputs">Rows of W.</param>
    /// <param name="inputs">Columns of W.</param>
    public Projection(long outputs, long inputs)
        : base(nameof(Projection))
    {
        weight = new Parameter(zeros(outputs, inputs).DetachFromDisposeScope());
        RegisterComponents();
    }

    /// <summary>W, [outputs, inputs].</summary>
    public Parameter Weight => weight;

    /// <summary>y, [N, outputs], of x, [N, inputs].</summary>
    public Tensor Forward(Tensor x) => x.mm(weight.t());

    /// <summary>The gradient of x, [N, inputs].</summary>
    /// <param name="gradient">[N, outputs] of y.</param>
    /// <param name="x">[N, inputs] of <see cref="Forward"/>.</param>
    /// <param name="gradients">Takes that of W.</param>
    public Tensor Backward(Tensor gradient, Tensor x, Gradients gradients)
    {
        gradients.Add(weight, gradient.t().mm(x));
        return gradient.mm(weight);
    }
}
