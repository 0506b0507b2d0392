using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    /// <inheritdoc/>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials)
    {
        OpArguments.CheckSinkhornAssign(rows, codewords, options, codes, potentials);
        bool done = rows.Count > 0 && LargestValue(rows) <= Centring.kLargestValue && LargestValue(codewords) <= Centring.kLargestValue
            && (Lanes512.IsSupported ? Transport.Run<Lanes512>(rows, codewords, options, Threads, codes, potentials)
                : Lanes256.IsSupported ? Transport.Run<Lanes256>(rows, codewords, options, Threads, codes, potentials)
                : Transport.Run<Lanes128>(rows, codewords, options, Threads, codes, potentials));
        if (!done)
            new Scalar.ScalarBackend().SinkhornAssign(rows, codewords, options, codes, potentials);
    }
}

/// <summary>
/// sinkhorn-assign: codes[i] = argmax_k g[k] − C[i, k] after T scalings of rows, then columns              oracle: Scalar/SinkhornAssign.cs
/// <code>
///   in    rows (n, d) f32 · codewords (K, d) f32
///   out   codes (n) u16 · potentials (K) f64 = g
///   uses  z[i, k] = b[k] + s·x̂_i·ĉ_k = (g[k] − C[i, k])/ε up to a term of row i alone, s = 2/(half·ε), b[k] = g[k]/ε − ‖ĉ_k‖²/(half·ε)
///         p[i, k] = exp(z[i, k] − LSE_k z[i, ·]) is the row-scaled plan times n, so g[k] += ε·log(n / (K·Σ_i p[i, k])): no f is stored
///         a column whose Σ p is so small that float32's floor e^−87.3 shows is faint; then the pass is repeated in the log domain
///         for columns too: running maximum and sum of exponentials
///   ties  smallest k
///   work  a unit is BlocksPerUnit blocks of rows; products of a block stay in the cache and are computed again in each pass, unless all
///         of them fit kStoredBytes; column sums of a unit are float64, added in the order of units, whichever worker made them
///   cost  per iteration 2·n·K·d flop (none when stored), n·K exponentials; 8·n + 8·K·n/4096 bytes
/// </code>
/// Every backend agrees with the oracle where its two best masses differ by more than <see cref="Bounds.SinkhornAssign"/>. Inputs whose
/// distances are too alike for float32 to tell, or out of its range, are left to the oracle.
/// </summary>
internal sealed unsafe class Transport : IDisposable
{
    // Products of a block of rows take about this many values of the second-level cache.
    private const int kProductsPerBlock = 1 << 16;

    private const int kTilesPerBlock = 9;
    private const int kRowsPerUnit = 4096;

    private const long kStoredBytes = 256L << 20;

    // A column sum below this share of n has lost more than 1e-7 of itself to the floor of the exponential.
    private const double kFaint = 1e-30;

    // Beyond it float32 cannot hold z.
    private const double kLargestRate = 1e30;

    // Distances must spread over this many times their error.
    private const double kLeastSpread = 64;

    private readonly float* _rows;
    private readonly nint _stride;
    private readonly int _count;
    private readonly int _dimension;
    private readonly int _codeCount;
    private readonly int _threads;
    private readonly float[] _centre;
    private readonly int _exponent;
    private readonly PackedCodewords _packed;
    private readonly double[] _codeNorms;
    private readonly Scratch?[] _scratch;
    private readonly RowMatrix? _stored;
    private bool _isStored;

    // z = _biases + _slope · product.
    private readonly RowMatrix _biases;
    private float _slope;

    private Transport(float* rows, nint stride, int count, float[] centre, int exponent, RowView codewords, int threads)
    {
        _rows = rows;
        _stride = stride;
        _count = count;
        _dimension = codewords.Dimension;
        _codeCount = codewords.Count;
        _centre = centre;
        _exponent = exponent;
        _threads = threads;
        _scratch = new Scratch?[threads];
        _codeNorms = new double[_codeCount];
        using var centred = new RowMatrix(_codeCount, _dimension);
        for (int k = 0; k < _codeCount; k++)
        {
            Centring.Write(codewords[k], centre, exponent, centred.Rows(k, 1));
            _codeNorms[k] = SquaredNorm(centred.Rows(k, 1));
        }
        _packed = new PackedCodewords((float*)centred.DangerousGetHandle(), _dimension, _codeCount, _dimension);
        _biases = new RowMatrix(3, _packed.PaddedCount);
        if ((long)Blocks * BlockRows * _packed.PaddedCount * sizeof(float) <= kStoredBytes)
            _stored = new RowMatrix((long)Blocks * BlockRows, _packed.PaddedCount);
    }

    private int BlockRows => Product.kRowsPerTile * Math.Clamp(kProductsPerBlock / _packed.PaddedCount / Product.kRowsPerTile, 1, kTilesPerBlock);

    private int Blocks => (_count + BlockRows - 1) / BlockRows;

    private int BlocksPerUnit => Math.Max(1, kRowsPerUnit / BlockRows);

    private int Units => (Blocks + BlocksPerUnit - 1) / BlocksPerUnit;

    private float* Biases => (float*)_biases.DangerousGetHandle();

    /// <summary>Assigns checked rows; false, with nothing written, when float32 cannot serve.</summary>
    public static bool Run<TLanes>(RowView rows, RowView codewords, SinkhornOptions options, int threads, Span<ushort> codes, Span<double> potentials)
        where TLanes : struct, ILanes<TLanes>
    {
        // The centre of the codewords serves as well as any: distances do not depend on it.
        double[] mean = Centring.Mean(codewords, rows.Slice(0, 0), threads);
        float[] centre = [.. mean.Select(value => (float)value)];
        double largest = Math.Max(Centring.SquaredNorms(rows, mean, threads).Max(), Centring.SquaredNorms(codewords, mean, threads).Max());
        int exponent = Centring.Exponent(largest);
        fixed (float* x = rows.Values)
        fixed (ushort* assigned = codes)
        {
            using var transport = new Transport(x, rows.Stride, rows.Count, centre, exponent, codewords, threads);
            // In units of the scaled operands, whose squared distances are 2^(2·exponent) times the real ones.
            double unit = Math.ScaleB(1, 2 * exponent), half = unit;
            if (options.ScaleDistances)
            {
                (double least, double most) = transport.DistanceRange<TLanes>();
                half = (most - least) / 2;
                if (half < kLeastSpread * Bounds.GramDistance(rows.Dimension, largest * unit))
                    return false;
            }
            double rate = 1 / (half * options.Epsilon);
            if (!(rate < kLargestRate))
                return false;
            double[] g = new double[codewords.Count];
            for (int iteration = 0; iteration < options.Iterations; iteration++)
            {
                transport.SetPotentials(g, rate, options.Epsilon);
                double[] logMasses = transport.LogColumnSums<TLanes>();
                for (int k = 0; k < g.Length; k++)
                    g[k] += options.Epsilon * (Math.Log(rows.Count) - Math.Log(g.Length) - logMasses[k]);
            }
            transport.SetPotentials(g, rate, options.Epsilon);
            transport.Assign<TLanes>(assigned);
            if (!potentials.IsEmpty)
                g.CopyTo(potentials);
            return true;
        }
    }

    public void Dispose()
    {
        _packed.Dispose();
        _biases.Dispose();
        _stored?.Dispose();
        foreach (Scratch? scratch in _scratch)
            scratch?.Dispose();
    }

    private static double SquaredNorm(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values)
            sum += (double)value * value;
        return sum;
    }

    // Least and largest squared distance over all pairs, in units of the operands.
    private (double Least, double Most) DistanceRange<TLanes>()
        where TLanes : struct, ILanes<TLanes>
    {
        int padded = _packed.PaddedCount;
        float* least = Biases + padded, most = Biases + 2 * padded;
        new Span<float>(least, padded).Fill(float.PositiveInfinity);
        new Span<float>(most, padded).Fill(float.NegativeInfinity);
        for (int k = 0; k < _codeCount; k++)
            least[k] = most[k] = (float)_codeNorms[k];
        var ranges = new (double Least, double Most)[Units];
        ForEachUnit((scratch, unit) =>
        {
            (double Least, double Most) range = (double.PositiveInfinity, double.NegativeInfinity);
            ForEachBlock(unit, scratch, (firstRow, rows, products) =>
            {
                for (int i = 0; i < rows; i++)
                {
                    double norm = SquaredNorm(CentredRow(firstRow + i, scratch));
                    (float nearest, float farthest) = RowRange<TLanes>(products + (nint)i * padded, least, most, padded);
                    range = (Math.Min(range.Least, norm + nearest), Math.Max(range.Most, norm + farthest));
                }
            });
            ranges[unit] = range;
        });
        _isStored = _stored is not null;
        return (Math.Max(0, ranges.Min(range => range.Least)), ranges.Max(range => range.Most));
    }

    private void SetPotentials(double[] g, double rate, double epsilon)
    {
        _slope = (float)(2 * rate);
        new Span<float>(Biases, _packed.PaddedCount).Fill(float.NegativeInfinity);
        for (int k = 0; k < g.Length; k++)
            Biases[k] = (float)(g[k] / epsilon - _codeNorms[k] * rate);
    }

    // log Σ_i p[i, k], p the plan times n after its rows were scaled.
    private double[] LogColumnSums<TLanes>()
        where TLanes : struct, ILanes<TLanes>
    {
        double[][] unitSums = new double[Units][];
        ForEachUnit((scratch, unit) =>
        {
            double[] sums = new double[_codeCount];
            ForEachBlock(unit, scratch, (_, rows, products) =>
            {
                AddMasses<TLanes>(products, rows, Biases, _slope, _packed.PaddedCount, scratch.Row, scratch.Columns);
                for (int k = 0; k < sums.Length; k++)
                    sums[k] += scratch.Columns[k];
            });
            unitSums[unit] = sums;
        });
        _isStored = _stored is not null;
        double[] total = new double[_codeCount];
        foreach (double[] sums in unitSums)
            TensorPrimitives.Add(total, sums, total);
        if (TensorPrimitives.Min<double>(total) < kFaint * _count)
            return FaintLogColumnSums<TLanes>();
        TensorPrimitives.Log(total, total);
        return total;
    }

    // The same by log-sum-exp over columns too: right however small a mass is.
    private double[] FaintLogColumnSums<TLanes>()
        where TLanes : struct, ILanes<TLanes>
    {
        var units = new (double[] Largest, double[] Sums)[Units];
        ForEachUnit((scratch, unit) =>
        {
            (double[] Largest, double[] Sums) columns = (new double[_codeCount], new double[_codeCount]);
            Array.Fill(columns.Largest, double.NegativeInfinity);
            ForEachBlock(unit, scratch, (_, rows, products) =>
            {
                float* sums = scratch.Columns, largest = scratch.Columns + _packed.PaddedCount;
                AddLogMasses<TLanes>(products, rows, Biases, _slope, _packed.PaddedCount, scratch.Row, largest, sums);
                for (int k = 0; k < _codeCount; k++)
                    AddLog(ref columns.Largest[k], ref columns.Sums[k], largest[k], sums[k]);
            });
            units[unit] = columns;
        });
        double[] total = new double[_codeCount], most = new double[_codeCount];
        Array.Fill(most, double.NegativeInfinity);
        foreach ((double[] largest, double[] sums) in units)
        {
            for (int k = 0; k < _codeCount; k++)
                AddLog(ref most[k], ref total[k], largest[k], sums[k]);
        }
        for (int k = 0; k < _codeCount; k++)
            total[k] = most[k] + Math.Log(total[k]);
        return total;
    }

    // e^largest·sum += e^otherLargest·otherSum
    private static void AddLog(ref double largest, ref double sum, double otherLargest, double otherSum)
    {
        double most = Math.Max(largest, otherLargest);
        sum = sum * Math.Exp(largest - most) + otherSum * Math.Exp(otherLargest - most);
        largest = most;
    }

    private void Assign<TLanes>(ushort* codes)
        where TLanes : struct, ILanes<TLanes>
    {
        ForEachUnit((scratch, unit) => ForEachBlock(unit, scratch, (firstRow, rows, products) =>
        {
            for (int i = 0; i < rows; i++)
            {
                WriteLogits<TLanes>(products + (nint)i * _packed.PaddedCount, Biases, _slope, _packed.PaddedCount, scratch.Row);
                codes[firstRow + i] = (ushort)TensorPrimitives.IndexOfMax(new ReadOnlySpan<float>(scratch.Row, _codeCount));
            }
        }));
    }

    private void ForEachUnit(Action<Scratch, int> work) =>
        Workers.RunUnits(_threads, Units, (worker, unit) => work(_scratch[worker] ??= new Scratch(BlockRows, _dimension, _packed.PaddedCount, _stored is null), unit));

    private delegate void BlockWork(int firstRow, int rows, float* products);

    private void ForEachBlock(int unit, Scratch scratch, BlockWork work)
    {
        for (int block = unit * BlocksPerUnit; block < Math.Min(Blocks, (unit + 1) * BlocksPerUnit); block++)
        {
            int firstRow = block * BlockRows, rows = Math.Min(BlockRows, _count - firstRow), padded = _packed.PaddedCount;
            float* products = _stored is null ? scratch.Products : (float*)_stored.DangerousGetHandle() + (nint)firstRow * padded;
            if (!_isStored)
            {
                for (int i = 0; i < rows; i++)
                    Centring.Write(new ReadOnlySpan<float>(_rows + (firstRow + i) * _stride, _dimension), _centre, _exponent, scratch.Centred(i));
                Product.Multiply(scratch.Operand, _dimension, rows, _packed, 0, _codeCount, products, padded);
            }
            work(firstRow, rows, products);
        }
    }

    // The block's operands are still in the scratch: a row's place in its block is enough to find it.
    private ReadOnlySpan<float> CentredRow(int row, Scratch scratch) => scratch.Centred(row % BlockRows);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (float Nearest, float Farthest) RowRange<TLanes>(float* products, float* least, float* most, int padded)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes nearest = TLanes.Create(float.PositiveInfinity), farthest = TLanes.Create(float.NegativeInfinity), factor = TLanes.Create(-2);
        for (int k = 0; k < padded; k += TLanes.Count)
        {
            TLanes product = TLanes.Load(products + k);
            nearest = TLanes.Min(nearest, TLanes.MultiplyAdd(factor, product, TLanes.Load(least + k)));
            farthest = TLanes.Max(farthest, TLanes.MultiplyAdd(factor, product, TLanes.Load(most + k)));
        }
        return (-(TLanes.Create(0) - nearest).Largest(), farthest.Largest());
    }

    // z[k] = biases[k] + slope · products[k]; returns the largest.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float WriteLogits<TLanes>(float* products, float* biases, float slope, int padded, float* z)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes factor = TLanes.Create(slope), largest = TLanes.Create(float.NegativeInfinity);
        for (int k = 0; k < padded; k += TLanes.Count)
        {
            TLanes value = TLanes.MultiplyAdd(factor, TLanes.Load(products + k), TLanes.Load(biases + k));
            value.Store(z + k);
            largest = TLanes.Max(largest, value);
        }
        return largest.Largest();
    }

    // z[k] = exp(z[k] − largest); returns the sum.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Exponentiate<TLanes>(float* z, float largest, int padded)
        where TLanes : struct, ILanes<TLanes>
    {
        TLanes shift = TLanes.Create(largest), sum = TLanes.Create(0);
        for (int k = 0; k < padded; k += TLanes.Count)
        {
            TLanes value = Lanes.Exp(TLanes.Load(z + k) - shift);
            value.Store(z + k);
            sum += value;
        }
        return sum.Sum();
    }

    // columns[k] = Σ over the block of exp(z[i, k]) / Σ_k exp(z[i, k])
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddMasses<TLanes>(float* products, int rows, float* biases, float slope, int padded, float* z, float* columns)
        where TLanes : struct, ILanes<TLanes>
    {
        new Span<float>(columns, padded).Clear();
        for (int i = 0; i < rows; i++)
        {
            float largest = WriteLogits<TLanes>(products + (nint)i * padded, biases, slope, padded, z);
            TLanes share = TLanes.Create(1 / Exponentiate<TLanes>(z, largest, padded));
            for (int k = 0; k < padded; k += TLanes.Count)
                TLanes.MultiplyAdd(TLanes.Load(z + k), share, TLanes.Load(columns + k)).Store(columns + k);
        }
    }

    // e^largest[k] · sums[k] = the same sums.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddLogMasses<TLanes>(float* products, int rows, float* biases, float slope, int padded, float* z, float* largest, float* sums)
        where TLanes : struct, ILanes<TLanes>
    {
        new Span<float>(sums, padded).Clear();
        // Any finite value below all logarithms of masses: −∞ − −∞ would be no number.
        new Span<float>(largest, padded).Fill(float.MinValue);
        for (int i = 0; i < rows; i++)
        {
            float* line = products + (nint)i * padded;
            float top = WriteLogits<TLanes>(line, biases, slope, padded, z);
            float total = top + (float)Math.Log(Exponentiate<TLanes>(z, top, padded));
            WriteLogits<TLanes>(line, biases, slope, padded, z);
            for (int k = 0; k < padded; k += TLanes.Count)
            {
                TLanes value = TLanes.Max(TLanes.Load(z + k) - TLanes.Create(total), TLanes.Create(float.MinValue));
                TLanes before = TLanes.Load(largest + k), most = TLanes.Max(before, value);
                (TLanes.Load(sums + k) * Lanes.Exp(before - most) + Lanes.Exp(value - most)).Store(sums + k);
                most.Store(largest + k);
            }
        }
    }

    /// <summary>One worker's buffers.</summary>
    private sealed class Scratch(int rows, int dimension, int padded, bool ownProducts) : IDisposable
    {
        private readonly RowMatrix _operand = new(rows, dimension);
        private readonly RowMatrix _columns = new(3, padded);
        private readonly RowMatrix? _products = ownProducts ? new RowMatrix(rows, padded) : null;

        public float* Operand => (float*)_operand.DangerousGetHandle();

        /// <summary>[2, padded] sums of columns.</summary>
        public float* Columns => (float*)_columns.DangerousGetHandle();

        /// <summary>[padded] one row of z.</summary>
        public float* Row => Columns + 2 * (nint)padded;

        public float* Products => (float*)_products!.DangerousGetHandle();

        public Span<float> Centred(int row) => _operand.Rows(row, 1);

        public void Dispose()
        {
            _operand.Dispose();
            _columns.Dispose();
            _products?.Dispose();
        }
    }
}
