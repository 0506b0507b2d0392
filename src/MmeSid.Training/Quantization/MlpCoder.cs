using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// A multi-layer perceptron with ReLU between layers and none after the last; weights start Xavier-normal, biases zero. MME-SID's encoder is
/// d → w → w → w → w (three hidden layers), its decoder w → w → w → w → d.
/// </summary>
public sealed class MlpCoder : nn.Module<Tensor, Tensor>
{
    private readonly ModuleList<Linear> _layers;

    /// <summary>Draws the weights from libtorch's generator.</summary>
    /// <param name="inputs">Columns of a row that comes in.</param>
    /// <param name="width">Columns of hidden layers.</param>
    /// <param name="outputs">Columns of a row that comes out.</param>
    /// <param name="hiddenLayers">At least 0: then it is linear.</param>
    public MlpCoder(int inputs, int width, int outputs, int hiddenLayers)
        : base(nameof(MlpCoder))
    {
        int[] sizes = [inputs, .. Enumerable.Repeat(width, hiddenLayers), outputs];
        _layers = nn.ModuleList(sizes.Zip(sizes.Skip(1), Layer).ToArray());
        RegisterComponents();
    }

    /// <summary>The layers in order, each y = x Wᵀ + b with W [out, in].</summary>
    public IReadOnlyList<Linear> Layers => _layers;

    /// <inheritdoc/>
    /// <param name="input">[n, inputs].</param>
    /// <returns>[n, outputs].</returns>
    public override Tensor forward(Tensor input)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = _layers[0].call(input);
        foreach (Linear layer in _layers.Skip(1))
            rows = layer.call(rows.relu_());
        return rows.MoveToOuterDisposeScope();
    }

    /// <summary>A linear layer as the coder's own.</summary>
    internal static Linear Layer(int inputs, int outputs)
    {
        Linear layer = nn.Linear(inputs, outputs);
        nn.init.xavier_normal_(layer.weight!);
        nn.init.zeros_(layer.bias!);
        return layer;
    }
}
