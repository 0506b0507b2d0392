using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Optimization;

/// <summary>
/// A loss whose value and gradient were computed by hand, as something that automatic differentiation can use:
/// <code>
///   L(x) = sg(v) + ⟨sg(g), x − sg(x)⟩        L = v and ∂L/∂x = g at x; second derivatives are lost
/// </code>
/// It pays where the graph would hold and walk through matrices that a closed form does not need.
/// </summary>
internal static class KnownGradient
{
    /// <summary>The value, differentiable with respect to the variable.</summary>
    /// <param name="value">v, a finite scalar.</param>
    /// <param name="variable">x, of any shape.</param>
    /// <param name="gradient">g = ∂v/∂x, of the same shape.</param>
    public static Tensor At(Tensor value, Tensor variable, Tensor gradient) =>
        At(value, [(variable, gradient)]);

    /// <summary>The same for several variables.</summary>
    /// <param name="value">v, a finite scalar.</param>
    /// <param name="known">Each variable with its gradient, of the same shape.</param>
    public static Tensor At(Tensor value, IEnumerable<(Tensor Variable, Tensor Gradient)> known)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor result = value.detach();
        foreach ((Tensor variable, Tensor gradient) in known)
        {
            // ⟨g, x⟩ less itself: one pass over the values, and exactly zero.
            Tensor product = gradient.detach().flatten().dot(variable.flatten());
            result = result + (product - product.detach());
        }
        return result.MoveToOuterDisposeScope();
    }
}
