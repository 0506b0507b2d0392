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
        value.detach() + (gradient.detach() * (variable - variable.detach())).sum();
}
