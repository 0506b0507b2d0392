using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Training.Quantization;

/// <summary>
/// HVQ's search among fused rows x_1, level by level: <c>z_l = MLP_l(x_l)</c>, <c>k_l = argmin_k ‖z_l − c_l[k]‖²</c> (exact, ties to the smallest k),
/// <c>x_{l+1} = x_l − c_l[k_l]</c> rounded to float32. The squared error is ‖x_{L+1}‖². Thread-safe.
/// </summary>
internal sealed class HierarchicalSearch : IQuantizerEncoder
{
    private readonly NetworkEvaluation[] _networks;
    private readonly IQuantizerEncoder[] _levels;
    private readonly int _rowsPerChunk;

    /// <summary>Prepares the networks and one plan of one level for each level.</summary>
    public HierarchicalSearch(Quantizer quantizer, EncoderNetwork network, IBackend backend, int threads, int rowsPerChunk)
    {
        Quantizer = quantizer;
        _rowsPerChunk = rowsPerChunk;
        _networks = [.. network.Networks.Select(layers => new NetworkEvaluation(layers, [], [], threads))];
        _levels = [.. Enumerable.Range(0, quantizer.Levels).Select(level =>
            new Quantizer(QuantizerKind.Vq, quantizer.Dimension, [quantizer.Codebook(level)]).CreateEncoder(backend, threads: threads))];
    }

    public Quantizer Quantizer { get; }

    public string Screen => _levels[0].Screen;

    public int CallsAtOnce => 1;

    public IDisposable? Pin(RowMatrix rows) => null;

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        int width = Quantizer.Dimension, levels = Quantizer.Levels;
        LearnedEncoder.Check(rows, width, levels, codes, squaredErrors);
        EncodeReport report = default;
        int chunk = Math.Min(_rowsPerChunk, rows.Count);
        using var residuals = new RowMatrix(chunk, width);
        using var searched = new RowMatrix(chunk, width);
        var levelCodes = new ushort[chunk];
        for (int first = 0; first < rows.Count; first += chunk)
        {
            int count = Math.Min(chunk, rows.Count - first);
            Span<float> x = residuals.Rows(0, count), z = searched.Rows(0, count);
            for (int row = 0; row < count; row++)
                rows[first + row].CopyTo(x[(row * width)..]);
            for (int level = 0; level < levels; level++)
            {
                Apply(_networks[level], x, width, z, first);
                report += _levels[level].Encode(new RowView(z, width), levelCodes.AsSpan(0, count));
                for (int row = 0; row < count; row++)
                {
                    codes[(first + row) * levels + level] = levelCodes[row];
                    ReadOnlySpan<float> codeword = Quantizer.Codeword(level, levelCodes[row]);
                    Span<float> residual = x.Slice(row * width, width);
                    for (int j = 0; j < width; j++)
                        residual[j] -= codeword[j];
                }
            }
            for (int row = 0; !squaredErrors.IsEmpty && row < count; row++)
                squaredErrors[first + row] = SquaredNorm(x.Slice(row * width, width));
        }
        return report;
    }

    public void Dispose()
    {
        foreach (NetworkEvaluation network in _networks)
            network.Dispose();
        foreach (IQuantizerEncoder level in _levels)
            level.Dispose();
    }

    private static void Apply(NetworkEvaluation network, ReadOnlySpan<float> x, int width, Span<float> z, int firstRow)
    {
        try
        {
            network.Apply(new RowView(x, width), z);
        }
        catch (UnfitRowException unfit) when (firstRow > 0)
        {
            throw new UnfitRowException(firstRow + unfit.Row, unfit.Problem);
        }
    }

    private static float SquaredNorm(ReadOnlySpan<float> row)
    {
        double sum = 0;
        foreach (float value in row)
            sum += (double)value * value;
        return (float)sum;
    }
}
