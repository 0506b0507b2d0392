using System.Numerics.Tensors;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Linear layers with ReLU between them, evaluated in float32 on the CPU by the products of <c>simd</c>. A row's result depends on nothing but the row: libtorch's
/// products round differently where a row stands elsewhere in a batch or another number of threads shares it, on processors without AVX-512 at least.
/// Thread-safe.
/// </summary>
internal sealed unsafe class NetworkEvaluation : IDisposable
{
    /// <summary>Rows that a thread takes at a time: whole tiles of the product, few enough that the activations of wide layers stay in cache.</summary>
    public const int RowsPerBlock = 10 * Product.kRowsPerTile;

    private readonly Layer[] _projections;
    private readonly float[] _shares;
    private readonly Layer[] _layers;
    private readonly int _inputs;
    private readonly int _outputs;
    private readonly int _threads;

    /// <summary>Packs the layers.</summary>
    /// <param name="layers">The network; empty for the projections alone.</param>
    /// <param name="projections">Linear maps of the parts of a row, whose weighted mean is what the network takes; empty where it takes the row.</param>
    /// <param name="weights">Weight of each projection; empty: all 1.</param>
    /// <param name="threads">0 for all cores.</param>
    public NetworkEvaluation(IReadOnlyList<LinearLayer> layers, IReadOnlyList<LinearLayer> projections, IReadOnlyList<double> weights, int threads)
    {
        _layers = [.. layers.Select(layer => new Layer(layer))];
        _projections = [.. projections.Select(projection => new Layer(projection))];
        _shares = [.. projections.Select((_, part) => (float)(weights.Count == 0 ? 1.0 / projections.Count : weights[part] / weights.Sum()))];
        _inputs = projections.Count > 0 ? projections.Sum(projection => projection.Inputs) : layers[0].Inputs;
        _outputs = layers.Count > 0 ? layers[^1].Outputs : projections[0].Outputs;
        _threads = threads == 0 ? Environment.ProcessorCount : threads;
    }

    /// <summary>Evaluates rows.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="results">[n, outputs].</param>
    /// <exception cref="UnfitRowException">A value of a result is NaN or infinite.</exception>
    public void Apply(RowView rows, Span<float> results)
    {
        int n = rows.Count, stride = rows.Stride, unfit = n;
        fixed (float* firstRow = rows.Values, firstResult = results)
        {
            float* from = firstRow, to = firstResult;
            Lock found = new();
            Parallel.For(0, (n + RowsPerBlock - 1) / RowsPerBlock, new ParallelOptions { MaxDegreeOfParallelism = _threads }, block =>
            {
                int first = block * RowsPerBlock, count = Math.Min(RowsPerBlock, n - first);
                float* result = to + (nint)first * _outputs;
                Evaluate(from + (nint)first * stride, stride, count, result);
                for (int row = 0; row < count; row++)
                {
                    if (TensorPrimitives.IsFiniteAll(new ReadOnlySpan<float>(result + (nint)row * _outputs, _outputs)))
                        continue;
                    lock (found)
                        unfit = Math.Min(unfit, first + row);
                    break;
                }
            });
        }
        if (unfit < n)
            throw new UnfitRowException(unfit, "overflows float32 in the encoder");
    }

    public void Dispose()
    {
        foreach (Layer layer in _layers.Concat(_projections))
            layer.Dispose();
    }

    private void Evaluate(float* rows, nint stride, int count, float* results)
    {
        var x = new RowMatrix(Product.PaddedRows(count), EncodeBlocks.Stride(_inputs));
        for (int row = 0; row < count; row++)
            new ReadOnlySpan<float>(rows + row * stride, _inputs).CopyTo(x.Rows(row, 1));
        if (_projections.Length > 0)
            x = Fuse(x, count);
        for (int i = 0; i < _layers.Length; i++)
        {
            RowMatrix y = _layers[i].Apply(x, 0, count);
            x.Dispose();
            x = y;
            for (int row = 0; row < count && i < _layers.Length - 1; row++)
                TensorPrimitives.Max(x.Rows(row, 1), 0, x.Rows(row, 1));
        }
        for (int row = 0; row < count; row++)
            x.Rows(row, 1)[.._outputs].CopyTo(new Span<float>(results + (nint)row * _outputs, _outputs));
        x.Dispose();
    }

    // The weighted mean of the projected parts; takes the rows.
    private RowMatrix Fuse(RowMatrix rows, int count)
    {
        RowMatrix? sum = null;
        int start = 0;
        for (int part = 0; part < _projections.Length; part++)
        {
            RowMatrix projected = _projections[part].Apply(rows, start, count);
            start += _projections[part].Inputs;
            for (int row = 0; row < count && _projections.Length > 1; row++)
            {
                Span<float> values = projected.Rows(row, 1);
                TensorPrimitives.Multiply(values, _shares[part], values);
                if (sum is not null)
                    TensorPrimitives.Add(sum.Rows(row, 1), values, values);
            }
            sum?.Dispose();
            sum = projected;
        }
        rows.Dispose();
        return sum!;
    }

    /// <summary>y = W x + b with W packed for the product.</summary>
    private sealed class Layer : IDisposable
    {
        private readonly PackedCodewords _weight;
        private readonly float[] _bias;

        public Layer(LinearLayer layer)
        {
            fixed (float* weight = layer.Weight)
                _weight = new PackedCodewords(weight, layer.Inputs, layer.Outputs, layer.Inputs);
            _bias = layer.Bias.ToArray();
        }

        public int Inputs => _weight.Depth;

        /// <summary>[rows, outputs and zeros behind them], of the values from <paramref name="start"/> on of each row.</summary>
        public RowMatrix Apply(RowMatrix rows, int start, int count)
        {
            var results = new RowMatrix(rows.Count, EncodeBlocks.Stride(_weight.PaddedCount));
            Product.Multiply((float*)rows.DangerousGetHandle() + start, rows.Dimension, count, _weight, 0, _weight.PaddedCount, (float*)results.DangerousGetHandle(), results.Dimension);
            for (int row = 0; row < count; row++)
            {
                Span<float> values = results.Rows(row, 1)[.._bias.Length];
                TensorPrimitives.Add(values, _bias, values);
            }
            return results;
        }

        public void Dispose() => _weight.Dispose();
    }
}
