using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>Gradients of parameters that were computed by hand, added up by parameter.</summary>
/// <param name="scope">What the sums belong to.</param>
public sealed class Gradients(DisposeScope scope)
{
    private readonly Dictionary<Parameter, Tensor> _sums = new(ReferenceEqualityComparer.Instance);

    /// <summary>The parameters with what was added for each.</summary>
    public IEnumerable<(Tensor Variable, Tensor Gradient)> All => _sums.Select(entry => ((Tensor)entry.Key, entry.Value));

    /// <summary>Adds to the gradient of a parameter.</summary>
    /// <param name="parameter">Trained.</param>
    /// <param name="gradient">Of its shape; taken over.</param>
    public void Add(Parameter parameter, Tensor gradient)
    {
        ArgumentNullException.ThrowIfNull(parameter);
        ArgumentNullException.ThrowIfNull(gradient);
        if (_sums.TryGetValue(parameter, out Tensor? sum))
            _ = sum.add_(gradient);
        else
            _sums.Add(parameter, gradient.MoveToOtherDisposeScope(scope));
    }
}
