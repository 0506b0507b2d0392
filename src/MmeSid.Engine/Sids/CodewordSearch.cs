using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Engine.Sids;

/// <summary>A quantizer's codewords laid out for float64 distances of one vector to all codes of a level. Immutable; thread-safe.</summary>
internal sealed class CodewordSearch
{
    private const int kLanes = 8;
    private const int kCodesPerPanel = 4 * kLanes;
    private const int kQueriesPerTile = 4;

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
    /// <c>distances[q, k] = Σ_j (query_q[j] − c_k[j])²</c>, j ascending: the difference rounded to float64, its square added with one
    /// rounding. The vectors run along k, so the result is the same on every machine and for any number of queries at once.
    /// </summary>
    /// <param name="level">Whose codewords.</param>
    /// <param name="queries">[n, width of the level's codewords].</param>
    /// <param name="distances">[n, K].</param>
    public unsafe void Distances(int level, ReadOnlySpan<double> queries, Span<double> distances)
    {
        int width = Quantizer.CodewordWidth(level), codes = Quantizer.CodeCount(level), count = queries.Length / width;
        double* tile = stackalloc double[kQueriesPerTile * kCodesPerPanel];
        fixed (float* panels = _panels[level].Value)
        fixed (double* values = queries)
        {
            for (int query = 0; query < count; query += kQueriesPerTile)
            {
                int size = Math.Min(kQueriesPerTile, count - query);
                double* first = values + (long)query * width;
                for (int code = 0; code < codes; code += kCodesPerPanel)
                {
                    float* panel = panels + (long)code * width;
                    // A short tile of two or three computes its last query again; a single one has its own loop.
                    if (size == 1)
                        OneQuery(first, panel, width, tile);
                    else
                        FourQueries(first, first + width, first + (long)Math.Min(2, size - 1) * width, first + (long)Math.Min(3, size - 1) * width, panel, width, tile);
                    for (int q = 0; q < size; q++)
                        new ReadOnlySpan<double>(tile + q * kCodesPerPanel, Math.Min(kCodesPerPanel, codes - code)).CopyTo(distances[((query + q) * codes + code)..]);
                }
            }
        }
    }

    private static unsafe void OneQuery(double* query, float* panel, int width, double* tile)
    {
        Vector512<double> a0 = default, a1 = default, a2 = default, a3 = default;
        for (int j = 0; j < width; j++, panel += kCodesPerPanel)
        {
            (Vector512<double> c0, Vector512<double> c1) = Vector512.Widen(Vector512.Load(panel));
            (Vector512<double> c2, Vector512<double> c3) = Vector512.Widen(Vector512.Load(panel + 2 * kLanes));
            var value = Vector512.Create(query[j]);
            a0 = AddSquare(value - c0, a0);
            a1 = AddSquare(value - c1, a1);
            a2 = AddSquare(value - c2, a2);
            a3 = AddSquare(value - c3, a3);
        }
        Store(tile, a0, a1, a2, a3);
    }

    private static unsafe void FourQueries(double* query0, double* query1, double* query2, double* query3, float* panel, int width, double* tile)
    {
        Vector512<double> a00 = default, a01 = default, a02 = default, a03 = default, a10 = default, a11 = default, a12 = default, a13 = default;
        Vector512<double> a20 = default, a21 = default, a22 = default, a23 = default, a30 = default, a31 = default, a32 = default, a33 = default;
        for (int j = 0; j < width; j++, panel += kCodesPerPanel)
        {
            (Vector512<double> c0, Vector512<double> c1) = Vector512.Widen(Vector512.Load(panel));
            (Vector512<double> c2, Vector512<double> c3) = Vector512.Widen(Vector512.Load(panel + 2 * kLanes));
            var value = Vector512.Create(query0[j]);
            a00 = AddSquare(value - c0, a00);
            a01 = AddSquare(value - c1, a01);
            a02 = AddSquare(value - c2, a02);
            a03 = AddSquare(value - c3, a03);
            value = Vector512.Create(query1[j]);
            a10 = AddSquare(value - c0, a10);
            a11 = AddSquare(value - c1, a11);
            a12 = AddSquare(value - c2, a12);
            a13 = AddSquare(value - c3, a13);
            value = Vector512.Create(query2[j]);
            a20 = AddSquare(value - c0, a20);
            a21 = AddSquare(value - c1, a21);
            a22 = AddSquare(value - c2, a22);
            a23 = AddSquare(value - c3, a23);
            value = Vector512.Create(query3[j]);
            a30 = AddSquare(value - c0, a30);
            a31 = AddSquare(value - c1, a31);
            a32 = AddSquare(value - c2, a32);
            a33 = AddSquare(value - c3, a33);
        }
        Store(tile, a00, a01, a02, a03);
        Store(tile + kCodesPerPanel, a10, a11, a12, a13);
        Store(tile + 2 * kCodesPerPanel, a20, a21, a22, a23);
        Store(tile + 3 * kCodesPerPanel, a30, a31, a32, a33);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> AddSquare(Vector512<double> difference, Vector512<double> sum) => Vector512.FusedMultiplyAdd(difference, difference, sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Store(double* tile, Vector512<double> a0, Vector512<double> a1, Vector512<double> a2, Vector512<double> a3)
    {
        a0.Store(tile);
        a1.Store(tile + kLanes);
        a2.Store(tile + 2 * kLanes);
        a3.Store(tile + 3 * kLanes);
    }

    /// <summary>The row that is searched: x itself, or R·x in float64 rounded once to float32 under OPQ.</summary>
    public void Prepare(ReadOnlySpan<float> row, Span<float> prepared)
    {
        if (_rotation is null)
            row.CopyTo(prepared);
        else
            _rotation.Apply(new RowView(row, Quantizer.Dimension), prepared);
    }

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

/// <summary>Distances of rows to the codewords of a level. Scratch of one thread.</summary>
internal sealed class RowSearch(CodewordSearch search, RowReader read)
{
    private readonly float[] _read = new float[search.Quantizer.Dimension];
    private readonly float[] _row = new float[search.Quantizer.Dimension];
    private readonly double[] _sum = new double[search.Quantizer.Dimension];
    private double[] _queries = [];

    public Quantizer Quantizer => search.Quantizer;

    /// <summary>
    /// Squared distances of a row to every codeword of a level, as the quantizer's own search defines them, after the codes
    /// <paramref name="prefix"/>[0 … level − 1] were chosen: of <c>r = x − Σ a_j</c> for residual kinds, of <c>[r ; x − r]</c> for PSRQ's
    /// later levels, of the level's columns for product kinds.
    /// </summary>
    public void Distances(int level, long row, ReadOnlySpan<ushort> prefix, Span<double> distances)
    {
        Reserve(1, level);
        Query(level, row, prefix, _queries);
        search.Distances(level, _queries.AsSpan(0, Quantizer.CodewordWidth(level)), distances);
    }

    /// <summary>The same for several rows after their own codes, [n, K].</summary>
    public void Distances(int level, ReadOnlySpan<int> rows, SidTable codes, Span<double> distances)
    {
        int width = Quantizer.CodewordWidth(level);
        Reserve(rows.Length, level);
        for (int i = 0; i < rows.Length; i++)
            Query(level, rows[i], codes[rows[i]], _queries.AsSpan(i * width));
        search.Distances(level, _queries.AsSpan(0, rows.Length * width), distances);
    }

    /// <summary>How much farther a row is from what <paramref name="after"/> stands for than from <paramref name="before"/>: difference of ‖x − x̂‖², float64.</summary>
    public double AddedError(long row, ReadOnlySpan<ushort> before, ReadOnlySpan<ushort> after)
    {
        Load(row);
        return SquaredError(after) - SquaredError(before);
    }

    private void Reserve(int count, int level)
    {
        int length = count * Quantizer.CodewordWidth(level);
        if (_queries.Length < length)
            _queries = new double[length];
    }

    private void Load(long row)
    {
        read(row, _read);
        search.Prepare(_read, _row);
    }

    private void Query(int level, long row, ReadOnlySpan<ushort> prefix, Span<double> query)
    {
        int width = Quantizer.CodewordWidth(level), dimension = Quantizer.Dimension;
        Load(row);
        if (Quantizer.IsProduct)
        {
            for (int j = 0; j < width; j++)
                query[j] = _row[level * width + j];
            return;
        }
        SumCodewords(prefix[..level]);
        for (int j = 0; j < dimension; j++)
            query[j] = _row[j] - _sum[j];
        if (width > dimension)
            _sum.CopyTo(query[dimension..]);
    }

    private double SquaredError(ReadOnlySpan<ushort> codes)
    {
        SumCodewords(codes);
        double error = 0;
        for (int j = 0; j < _sum.Length; j++)
        {
            double difference = _row[j] - _sum[j];
            error += difference * difference;
        }
        return error;
    }

    private void SumCodewords(ReadOnlySpan<ushort> codes)
    {
        Array.Clear(_sum);
        for (int level = 0; level < codes.Length; level++)
        {
            ReadOnlySpan<float> codeword = Quantizer.Codeword(level, codes[level]);
            Span<double> target = Quantizer.IsProduct ? _sum.AsSpan(level * codeword.Length) : _sum;
            for (int j = 0; j < codeword.Length; j++)
                target[j] += codeword[j];
        }
    }
}
