using System.Runtime.Intrinsics;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Engine.Sids;

/// <summary>A quantizer's codewords laid out for float64 distances of one vector to all codes of a level. Immutable; thread-safe.</summary>
internal sealed class CodewordSearch
{
    private readonly Lazy<float[]>[] _panels;
    private readonly RowRotation? _rotation;

    public CodewordSearch(Quantizer quantizer)
    {
        Quantizer = quantizer;
        _panels = new Lazy<float[]>[quantizer.Levels];
        for (int level = 0; level < _panels.Length; level++)
        {
            int index = level;
            _panels[level] = new Lazy<float[]>(() => Pack(quantizer, index));
        }
        _rotation = quantizer.Rotation is { } matrix ? new RowRotation(matrix, quantizer.Dimension, threads: 1) : null;
    }

    public Quantizer Quantizer { get; }

    /// <summary>
    /// <c>distances[k] = Σ_j (query[j] − c_k[j])²</c>, j ascending, each operation rounded to float64. The vectors run along k, so the
    /// result is the same on every machine.
    /// </summary>
    /// <param name="level">Whose codewords.</param>
    /// <param name="query">[width of the level's codewords].</param>
    /// <param name="distances">[K].</param>
    public unsafe void Distances(int level, ReadOnlySpan<double> query, Span<double> distances)
    {
        int width = Quantizer.CodewordWidth(level), codes = Quantizer.CodeCount(level);
        double* tile = stackalloc double[kCodesPerPanel];
        fixed (float* panels = _panels[level].Value)
        fixed (double* values = query)
        {
            float* panel = panels;
            for (int first = 0; first < codes; first += kCodesPerPanel)
            {
                Vector512<double> a0 = default, a1 = default, a2 = default, a3 = default;
                for (int j = 0; j < width; j++, panel += kCodesPerPanel)
                {
                    var value = Vector512.Create(values[j]);
                    (Vector512<double> c0, Vector512<double> c1) = Vector512.Widen(Vector512.Load(panel));
                    (Vector512<double> c2, Vector512<double> c3) = Vector512.Widen(Vector512.Load(panel + (kCodesPerPanel / 2)));
                    c0 = value - c0;
                    c1 = value - c1;
                    c2 = value - c2;
                    c3 = value - c3;
                    a0 += c0 * c0;
                    a1 += c1 * c1;
                    a2 += c2 * c2;
                    a3 += c3 * c3;
                }
                a0.Store(tile);
                a1.Store(tile + 8);
                a2.Store(tile + 16);
                a3.Store(tile + 24);
                new ReadOnlySpan<double>(tile, Math.Min(kCodesPerPanel, codes - first)).CopyTo(distances[first..]);
            }
        }
    }

    /// <summary>The row that is searched: x itself, or R·x in float64 rounded once to float32 under OPQ.</summary>
    public void Prepare(ReadOnlySpan<float> row, Span<float> prepared)
    {
        if (_rotation is null)
            row.CopyTo(prepared);
        else
            _rotation.Apply(new RowView(row, Quantizer.Dimension), prepared);
    }

    private const int kCodesPerPanel = 32;

    // Panel p, column j holds c_{32p + o}[j] for o = 0 … 31, zero beyond K.
    private static float[] Pack(Quantizer quantizer, int level)
    {
        int width = quantizer.CodewordWidth(level), codes = quantizer.CodeCount(level);
        ReadOnlySpan<float> codewords = quantizer.Codewords(level);
        var panels = new float[(long)(codes + kCodesPerPanel - 1) / kCodesPerPanel * kCodesPerPanel * width];
        for (int code = 0; code < codes; code++)
        {
            int panel = code / kCodesPerPanel * kCodesPerPanel * width + code % kCodesPerPanel;
            for (int j = 0; j < width; j++)
                panels[panel + j * kCodesPerPanel] = codewords[code * width + j];
        }
        return panels;
    }
}

/// <summary>Reads row <paramref name="row"/> into <paramref name="values"/>; called from several threads.</summary>
internal delegate void RowReader(long row, Span<float> values);

/// <summary>One row on its way through the levels. Scratch of one thread.</summary>
internal sealed class RowSearch(CodewordSearch search, RowReader read)
{
    private readonly float[] _read = new float[search.Quantizer.Dimension];
    private readonly float[] _row = new float[search.Quantizer.Dimension];
    private readonly double[] _query = new double[2 * search.Quantizer.Dimension];

    public Quantizer Quantizer => search.Quantizer;

    /// <summary>Makes a row the current one.</summary>
    public void Load(long row)
    {
        read(row, _read);
        search.Prepare(_read, _row);
    }

    /// <summary>
    /// Squared distances of the current row to every codeword of a level, as the quantizer's own search defines them, after the codes
    /// <paramref name="prefix"/>[0 … level − 1] were chosen: of <c>r = x − Σ a_j</c> for residual kinds, of <c>[r ; x − r]</c> for PSRQ's
    /// later levels, of the level's columns for product kinds.
    /// </summary>
    public void Distances(int level, ReadOnlySpan<ushort> prefix, Span<double> distances)
    {
        int width = Quantizer.CodewordWidth(level), dimension = Quantizer.Dimension;
        Span<double> query = _query.AsSpan(0, width);
        if (Quantizer.IsProduct)
        {
            for (int j = 0; j < width; j++)
                query[j] = _row[level * width + j];
        }
        else
        {
            Span<double> sum = width == dimension ? _query.AsSpan(dimension) : query[dimension..];
            SumCodewords(prefix[..level], sum);
            for (int j = 0; j < dimension; j++)
                query[j] = _row[j] - sum[j];
        }
        search.Distances(level, query, distances);
    }

    /// <summary>Squared distance of the current row to what the codes stand for, float64.</summary>
    public double SquaredError(ReadOnlySpan<ushort> codes)
    {
        Span<double> sum = _query.AsSpan(0, Quantizer.Dimension);
        SumCodewords(codes, sum);
        double error = 0;
        for (int j = 0; j < sum.Length; j++)
        {
            double difference = _row[j] - sum[j];
            error += difference * difference;
        }
        return error;
    }

    private void SumCodewords(ReadOnlySpan<ushort> codes, Span<double> sum)
    {
        sum.Clear();
        for (int level = 0; level < codes.Length; level++)
        {
            ReadOnlySpan<float> codeword = Quantizer.Codeword(level, codes[level]);
            Span<double> target = Quantizer.IsProduct ? sum[(level * codeword.Length)..] : sum;
            for (int j = 0; j < codeword.Length; j++)
                target[j] += codeword[j];
        }
    }
}
