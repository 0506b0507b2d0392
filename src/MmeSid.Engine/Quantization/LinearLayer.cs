namespace MmeSid.Engine.Quantization;

/// <summary>A linear map with bias, <c>y = W·x + b</c>, as data. Immutable.</summary>
public sealed class LinearLayer
{
    private readonly float[] _weight;
    private readonly float[] _bias;

    /// <summary>Copies and validates the values.</summary>
    /// <param name="inputs">Length of x, at least 1.</param>
    /// <param name="outputs">Length of y, at least 1.</param>
    /// <param name="weight">W, [outputs, inputs] row-major, finite.</param>
    /// <param name="bias">b, [outputs], finite.</param>
    /// <exception cref="ArgumentException">A length does not fit, or a value is not finite (row and column named).</exception>
    public LinearLayer(int inputs, int outputs, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(inputs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(outputs, 1);
        if (weight.Length != (long)outputs * inputs)
            throw new ArgumentException($"the weight has {weight.Length} values, expected {outputs} × {inputs}", nameof(weight));
        if (bias.Length != outputs)
            throw new ArgumentException($"the bias has {bias.Length} values, expected {outputs}", nameof(bias));
        if (Embeddings.Finiteness.IndexOfNonFinite(weight) is >= 0 and var at)
            throw new ArgumentException($"the weight's row {at / inputs}, column {at % inputs} is {weight[at]}, expected a finite value", nameof(weight));
        if (Embeddings.Finiteness.IndexOfNonFinite(bias) is >= 0 and var row)
            throw new ArgumentException($"the bias's row {row} is {bias[row]}, expected a finite value", nameof(bias));
        (Inputs, Outputs, _weight, _bias) = (inputs, outputs, weight.ToArray(), bias.ToArray());
    }

    /// <summary>Length of x.</summary>
    public int Inputs { get; }

    /// <summary>Length of y.</summary>
    public int Outputs { get; }

    /// <summary>W, [outputs, inputs] row-major.</summary>
    public ReadOnlySpan<float> Weight => _weight;

    /// <summary>b, [outputs].</summary>
    public ReadOnlySpan<float> Bias => _bias;
}
