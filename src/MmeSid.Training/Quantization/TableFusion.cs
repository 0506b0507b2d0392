using MmeSid.Engine.Quantization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Several tables side by side, [n, Σ d_t], become one row of the width: <c>Σ_t w_t (P_t x_t + b_t) / Σ_t w_t</c> under <see cref="InputFusion.Mean"/>,
/// <c>P_0 [x_1 ; x_2 ; …] + b_0</c> under <see cref="InputFusion.Concat"/>.
/// </summary>
public sealed class TableFusion : nn.Module<Tensor, Tensor>
{
    private readonly double[] _shares;
    private readonly ModuleList<Linear> _projections;

    /// <summary>Draws the projections from libtorch's generator.</summary>
    /// <param name="parts">d_t of each table.</param>
    /// <param name="width">Columns of what comes out.</param>
    /// <param name="fusion">Mean or concatenation.</param>
    /// <param name="weights">w_t of a mean, positive; null: all 1.</param>
    /// <exception cref="ArgumentException">Weights and tables differ in number, or a weight is not positive.</exception>
    public TableFusion(IReadOnlyList<int> parts, int width, InputFusion fusion, IReadOnlyList<double>? weights = null)
        : base(nameof(TableFusion))
    {
        ArgumentNullException.ThrowIfNull(parts);
        bool mean = fusion == InputFusion.Mean;
        Weights = mean ? weights ?? [.. parts.Select(_ => 1.0)] : [];
        if (mean && Weights.Count != parts.Count)
            throw new ArgumentException($"{Weights.Count} weights for {parts.Count} tables");
        RequireWeights(Weights);
        _shares = mean ? [.. Weights.Select(weight => weight / Weights.Sum())] : [1];
        _projections = nn.ModuleList(mean ? parts.Select(part => MlpCoder.Layer(part, width)).ToArray() : [MlpCoder.Layer(parts.Sum(), width)]);
        RegisterComponents();
    }

    /// <summary>w_t of a mean; empty of a concatenation.</summary>
    public IReadOnlyList<double> Weights { get; }

    /// <summary>P_t and b_t.</summary>
    public IReadOnlyList<Linear> Projections => _projections;

    /// <summary>Refuses weights of a mean that are not positive and finite.</summary>
    /// <exception cref="ArgumentException">The weights.</exception>
    public static void RequireWeights(IReadOnlyList<double> weights)
    {
        ArgumentNullException.ThrowIfNull(weights);
        if (weights.Any(weight => !(weight > 0) || double.IsInfinity(weight)))
            throw new ArgumentException(FormattableString.Invariant($"weights of the fusion are {string.Join(", ", weights)}, expected positive numbers"));
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor? sum = null;
        long first = 0;
        for (int part = 0; part < _projections.Count; part++)
        {
            long columns = _projections[part].weight!.shape[1];
            Tensor projected = _projections[part].call(input.narrow(1, first, columns));
            if (_projections.Count > 1)
                projected *= _shares[part];
            sum = sum is null ? projected : sum + projected;
            first += columns;
        }
        return sum!.MoveToOuterDisposeScope();
    }
}
