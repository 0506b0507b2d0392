using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Weights of the parts of a score by how often an item occurs in training (MME-SID, arXiv 2509.02017). With f_i that number and g an MLP 1 → 64 → 10 → 64 → parts with GELU between:
/// <code>
/// f' = log(f + 1),  f'' = (f' − min f')/(max f' − min f'),  w_i = softmax(g(f''_i)/τ)
/// </code>
/// Where all items are equally frequent, f'' is 0.
/// </summary>
internal sealed class FrequencyGate : nn.Module
{
    private static readonly int[] s_hidden = [64, 10, 64];

    private readonly ModuleList<Linear> layers;
    private readonly Tensor frequency;
    private readonly double _temperature;

    /// <summary>Draws the layers from libtorch's generator.</summary>
    /// <param name="frequencies">f, [n], each at least 0.</param>
    /// <param name="parts">Weights of an item.</param>
    /// <param name="temperature">τ, positive.</param>
    public FrequencyGate(IReadOnlyList<long> frequencies, int parts, double temperature)
        : base(nameof(FrequencyGate))
    {
        _temperature = temperature;
        int[] sizes = [1, .. s_hidden, parts];
        layers = nn.ModuleList(sizes.Zip(sizes.Skip(1), (inputs, outputs) => nn.Linear(inputs, outputs)).ToArray());
        frequency = tensor(Scaled(frequencies), [frequencies.Count, 1]).DetachFromDisposeScope();
        register_buffer(nameof(frequency), frequency, persistent: false);
        RegisterComponents();
    }

    /// <summary>f'', [n, 1].</summary>
    public Tensor Frequency => frequency;

    /// <summary>The layers of g, each y = x Wᵀ + b.</summary>
    public IReadOnlyList<Linear> Layers => layers;

    /// <summary>w, [n, parts].</summary>
    public Tensor Weights()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor values = layers[0].call(frequency);
        foreach (Linear layer in layers.Skip(1))
            values = layer.call(values.gelu());
        return (values / _temperature).softmax(1).MoveToOuterDisposeScope();
    }

    private static float[] Scaled(IReadOnlyList<long> frequencies)
    {
        double[] logs = [.. frequencies.Select(count => Math.Log(count + 1.0))];
        double least = logs.Min(), range = logs.Max() - least;
        return [.. logs.Select(value => range == 0 ? 0 : (float)((value - least) / range))];
    }
}
