using System.Runtime.InteropServices;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Linear layers with ReLU between them, evaluated in float32 on the CPU by libtorch. Rows go through in blocks of <see cref="RowsPerBlock"/>, the last one
/// filled up with zeros, so that every matrix product has the same shape and a row's result does not depend on the rows around it. Thread-safe.
/// </summary>
internal sealed class NetworkEvaluation : IDisposable
{
    /// <summary>Rows of a matrix product: enough to keep the processor busy, few enough that the activations of wide layers stay in cache.</summary>
    public const int RowsPerBlock = 256;

    private readonly (Tensor Weight, Tensor Bias)[] _projections;
    private readonly double[] _shares;
    private readonly (Tensor Weight, Tensor Bias)[] _layers;
    private readonly int _inputs;
    private readonly int _outputs;

    /// <summary>Copies the layers into tensors.</summary>
    /// <param name="layers">The network; empty for the projections alone.</param>
    /// <param name="projections">Linear maps of the parts of a row, whose weighted mean is what the network takes; empty where it takes the row.</param>
    /// <param name="weights">Weight of each projection; empty: all 1.</param>
    public NetworkEvaluation(IReadOnlyList<LinearLayer> layers, IReadOnlyList<LinearLayer> projections, IReadOnlyList<double> weights)
    {
        _layers = [.. layers.Select(ToTensors)];
        _projections = [.. projections.Select(ToTensors)];
        _shares = [.. projections.Select((_, part) => weights.Count == 0 ? 1.0 / projections.Count : weights[part] / weights.Sum())];
        _inputs = projections.Count > 0 ? projections.Sum(projection => projection.Inputs) : layers[0].Inputs;
        _outputs = layers.Count > 0 ? layers[^1].Outputs : projections[0].Outputs;
    }

    /// <summary>Evaluates rows.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="results">[n, outputs].</param>
    /// <exception cref="UnfitRowException">A value of a result is NaN or infinite.</exception>
    public void Apply(RowView rows, Span<float> results)
    {
        if (rows.Count == 0)
            return;
        using IDisposable inference = no_grad();
        using DisposeScope outer = NewDisposeScope();
        Tensor input = zeros(RowsPerBlock, _inputs);
        for (int first = 0; first < rows.Count; first += RowsPerBlock)
        {
            int count = Math.Min(RowsPerBlock, rows.Count - first);
            Span<float> values = MemoryMarshal.Cast<byte, float>(input.bytes);
            for (int row = 0; row < count; row++)
                rows[first + row].CopyTo(values[(row * _inputs)..]);
            values[(count * _inputs)..].Clear();
            using DisposeScope scope = NewDisposeScope();
            Span<float> block = results.Slice(first * _outputs, count * _outputs);
            MemoryMarshal.Cast<byte, float>(Evaluate(input).contiguous().bytes)[..block.Length].CopyTo(block);
            for (int i = 0; i < block.Length; i++)
            {
                if (!float.IsFinite(block[i]))
                    throw new UnfitRowException(first + i / _outputs, "overflows float32 in the encoder");
            }
        }
    }

    public void Dispose()
    {
        foreach ((Tensor weight, Tensor bias) in _layers.Concat(_projections))
        {
            weight.Dispose();
            bias.Dispose();
        }
    }

    private Tensor Evaluate(Tensor input)
    {
        Tensor x = Fuse(input);
        for (int i = 0; i < _layers.Length; i++)
        {
            x = nn.functional.linear(x, _layers[i].Weight, _layers[i].Bias);
            if (i < _layers.Length - 1)
                x = nn.functional.relu(x);
        }
        return x;
    }

    private Tensor Fuse(Tensor input)
    {
        if (_projections.Length == 0)
            return input;
        Tensor? sum = null;
        long start = 0;
        for (int part = 0; part < _projections.Length; part++)
        {
            (Tensor weight, Tensor bias) = _projections[part];
            Tensor projected = nn.functional.linear(input.narrow(1, start, weight.shape[1]).contiguous(), weight, bias);
            start += weight.shape[1];
            Tensor scaled = _projections.Length == 1 ? projected : projected * _shares[part];
            sum = sum is null ? scaled : sum + scaled;
        }
        return sum!;
    }

    // Outside every scope of the caller: they live as long as this object.
    private static (Tensor Weight, Tensor Bias) ToTensors(LinearLayer layer)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor weight = empty(layer.Outputs, layer.Inputs), bias = empty(layer.Outputs);
        layer.Weight.CopyTo(MemoryMarshal.Cast<byte, float>(weight.bytes));
        layer.Bias.CopyTo(MemoryMarshal.Cast<byte, float>(bias.bytes));
        return (scope.Detach(weight), scope.Detach(bias));
    }
}
