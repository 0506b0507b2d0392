using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels;

/// <summary>Which of three equal formulas the screen evaluates; see <see cref="ScreenLevel"/>.</summary>
internal enum EncodeForm
{
    /// <summary>The operand is the residual; PSRQ's prefix term comes from tables.</summary>
    Residual,

    /// <summary>The operand is [residual | prefix], no tables: PSRQ when its tables would exceed the budget.</summary>
    Wide,

    /// <summary>The operand is the row at every level, all that was chosen before comes from tables: one product serves every beam.</summary>
    Tables,
}

/// <summary>
/// The mathematics of one level of a plan as a screen evaluates it, whatever the machine: operands, biases, tables between levels, and the
/// norms that an error bound is made of.
/// <code>
///   screen    s[k] = β[k] − 2 z·w[k] + Σ_{j&lt;l} T_j[k_j, k],  T_j[q, k] = 2 c̃_j[q] · v[k]
///             equal to the distance of EncodePlan up to a term that no k changes; m the plan's centre, c̃_1 = c_1 − m, c̃_j = c_j
///   RQ        w = c, β = ‖c‖² (level 1: c − m for c)    Residual: z = r, no tables        Tables: z = x − m, v = c
///   PSRQ      w = a, β = ‖a‖² + ‖b − m‖²                Residual: z = r, v = −(b − m)     Tables: z = x − m, v = a − (b − m)
///             Wide: z = [r | x − m − r], w = [a | b − m], no tables
/// </code>
/// </summary>
internal unsafe class ScreenLevel
{
    // Of biases and table rows, on any machine.
    private const int kMostPadding = 256;

    // Side of the square of table entries that are computed together, and rows whose operands stay in cache while the others pass by.
    private const int kTableTile = 4, kTableBlock = 96;

    // Values of a vector; rows of a table's operands are padded with zeros to a multiple of it.
    private const int kDoubles = 8;

    // Pinned for life, so that a screen can hold pointers into them.
    private readonly float[] _biases;
    private readonly float[][] _tables;
    private readonly EncodePlan _plan;
    private readonly int _level;
    // [K, Depth] centred and rounded to float32; null where the plan's own codewords serve.
    private float[]? _operands;

    /// <summary>Prepares a level.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="level">0 the first.</param>
    /// <param name="centre">m, [d].</param>
    /// <param name="form">Of the screen.</param>
    /// <param name="threads">That build its tables.</param>
    /// <param name="codesMultiple">What biases and table rows are padded to a multiple of.</param>
    /// <param name="beam">
    /// Whether several prefixes are kept. With one prefix a codeword stored twice never wins against its first copy: it is taken out of the
    /// race instead of tying with it on every row. In a beam both copies are paths of their own.
    /// </param>
    public ScreenLevel(EncodePlan plan, int level, float[] centre, EncodeForm form, int threads, int codesMultiple, bool beam = false)
    {
        int d = plan.Dimension, width = plan.CodewordWidth(level);
        _plan = plan;
        _level = level;
        CodeCount = plan.CodeCount(level);
        PaddedCodes = (CodeCount + codesMultiple - 1) / codesMultiple * codesMultiple;
        Depth = form == EncodeForm.Wide ? width : d;

        // w where it is not what the plan holds: centred and rounded to float32 once.
        bool centred = level == 0 || Depth > d;
        float[] operands = centred ? GC.AllocateUninitializedArray<float>(checked(CodeCount * Depth)) : [], zeros = new float[d];
        _biases = GC.AllocateUninitializedArray<float>(PaddedCodes, pinned: true);
        Array.Fill(_biases, float.PositiveInfinity);
        double[] biases = new double[CodeCount], norms = new double[CodeCount];
        float[] probe = beam ? [] : Probe(width), products = new float[beam ? 0 : CodeCount];
        Parallel.For(0, CodeCount, new ParallelOptions { MaxDegreeOfParallelism = threads }, k =>
        {
            ReadOnlySpan<float> codeword = plan.Codebook(level).Slice(k * width, width);
            Span<float> operand = centred ? operands.AsSpan(k * Depth, Depth) : [];
            double residualHalf = Centred(codeword[..d], level == 0 ? centre : zeros, centred ? operand[..d] : []);
            double prefixHalf = width > d ? Centred(codeword[d..], centre, Depth > d ? operand[d..] : []) : 0;
            biases[k] = residualHalf + prefixHalf;
            norms[k] = Depth > d ? biases[k] : residualHalf;
            if (!beam)
                products[k] = TensorPrimitives.Dot(codeword, probe);
        });
        MaximumNorm = Math.Sqrt(TensorPrimitives.Max<double>(norms));
        MaximumBias = TensorPrimitives.Max<double>(biases);
        HashSet<int> repeated = beam ? [] : Repetitions(plan.Codebook(level), width, products);
        for (int k = 0; k < CodeCount; k++)
        {
            if (!repeated.Contains(k))
                _biases[k] = (float)biases[k];
        }
        OperandRounding = centred ? Bounds.Float32 : 0;
        _operands = centred ? operands : null;

        _tables = form == EncodeForm.Tables || (form == EncodeForm.Residual && width > d) ? new float[level][] : [];
        if (_tables.Length == 0)
            return;
        double[] right = TableOperands(plan, level, centre, form);
        for (int j = 0; j < _tables.Length; j++)
            _tables[j] = Table(plan, j, centre, right, threads);
    }

    /// <summary>K.</summary>
    public int CodeCount { get; }

    /// <summary>Whether it is the first level, whose codewords are centred.</summary>
    public bool IsFirst => _level == 0;

    /// <summary>K rounded up.</summary>
    public int PaddedCodes { get; }

    /// <summary>Values of a row that the product reads: d, or 2d in the wide form.</summary>
    public int Depth { get; }

    /// <summary>β, [PaddedCodes]; +∞ for padding and for codewords that repeat an earlier one. Pinned.</summary>
    public ReadOnlySpan<float> BiasValues => _biases;

    /// <summary>T_j, [K_j, PaddedCodes]. Pinned.</summary>
    public ReadOnlySpan<float> Table(int j) => _tables[j];

    /// <summary>First of <see cref="BiasValues"/>.</summary>
    public float* Biases => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_biases));

    /// <summary>First of T_j[code, ·], [PaddedCodes].</summary>
    public float* TableRow(int j, int code) => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_tables[j])) + (nint)code * PaddedCodes;

    /// <summary>Number of tables: l or 0.</summary>
    public int Tables => _tables.Length;

    /// <summary>max ‖w[k]‖.</summary>
    public double MaximumNorm { get; }

    /// <summary>max β[k].</summary>
    public double MaximumBias { get; }

    /// <summary>Relative rounding of w: u where it was centred, else 0.</summary>
    public double OperandRounding { get; }

    /// <summary>Σ_j max |T_j|.</summary>
    public double TableMaximum { get; private set; }

    /// <summary>Σ_j of the float64 error of a table entry before it is stored.</summary>
    public double TableEvaluationError { get; private set; }

    /// <summary>w[k] as float32, [Depth].</summary>
    public ReadOnlySpan<float> Operand(int code) => _operands is null ? _plan.Codebook(_level).Slice(code * _plan.CodewordWidth(_level), Depth) : _operands.AsSpan(code * Depth, Depth);

    /// <summary>What the residual loses when the code is chosen, [d]: the codeword, on the first level without the centre.</summary>
    public ReadOnlySpan<float> Subtrahend(int code) => _level == 0 ? Operand(code) : _plan.Codeword(_level, code);

    /// <summary>Lets go of operands that <see cref="Subtrahend"/> does not need, once they have been packed.</summary>
    public void ForgetOperands()
    {
        if (_level > 0)
            _operands = null;
    }

    /// <summary>At least the bytes that the tables of a plan take where every level needs them.</summary>
    public static long TableBytes(EncodePlan plan)
    {
        long values = 0;
        for (int level = 1; level < plan.Levels; level++)
        {
            for (int j = 0; j < level; j++)
                values += (long)plan.CodeCount(j) * (plan.CodeCount(level) + kMostPadding);
        }
        return values * sizeof(float);
    }

    /// <summary>operand = part − centre, rounded once, unless it is empty; returns ‖part − centre‖² in float64.</summary>
    public static double Centred(ReadOnlySpan<float> part, ReadOnlySpan<float> centre, Span<float> operand)
    {
        ref float from = ref MemoryMarshal.GetReference(part), mean = ref MemoryMarshal.GetReference(centre), to = ref MemoryMarshal.GetReference(operand);
        Vector256<double> sumLow = Vector256<double>.Zero, sumHigh = Vector256<double>.Zero;
        int i = 0;
        for (; i + 8 <= part.Length; i += 8)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)i));
            (Vector256<double> meanLow, Vector256<double> meanHigh) = Vector256.Widen(Vector256.LoadUnsafe(ref mean, (nuint)i));
            low -= meanLow;
            high -= meanHigh;
            sumLow += low * low;
            sumHigh += high * high;
            if (!operand.IsEmpty)
                Vector256.Narrow(low, high).StoreUnsafe(ref to, (nuint)i);
        }
        double sum = Vector256.Sum(sumLow + sumHigh);
        for (; i < part.Length; i++)
        {
            double value = (double)part[i] - centre[i];
            sum += value * value;
            if (!operand.IsEmpty)
                operand[i] = (float)value;
        }
        return sum;
    }

    private int TableStride => (_plan.Dimension + kDoubles - 1) / kDoubles * kDoubles;

    // v, [K, d] in float64.
    private double[] TableOperands(EncodePlan plan, int level, ReadOnlySpan<float> centre, EncodeForm form)
    {
        int d = plan.Dimension, width = plan.CodewordWidth(level);
        var operands = new double[checked(CodeCount * TableStride)];
        for (int k = 0; k < CodeCount; k++)
        {
            ReadOnlySpan<float> codeword = plan.Codebook(level).Slice(k * width, width);
            Span<double> operand = operands.AsSpan(k * TableStride, d);
            if (form == EncodeForm.Tables)
                TensorPrimitives.ConvertTruncating(codeword[..d], operand);
            for (int i = d; i < width; i++)
                operand[i - d] -= (double)codeword[i] - centre[i - d];
        }
        return operands;
    }

    private float[] Table(EncodePlan plan, int earlier, float[] centre, double[] right, int threads)
    {
        int d = plan.Dimension, width = TableStride, rows = plan.CodeCount(earlier), stride = PaddedCodes;
        double[] left = new double[checked(rows * width)];
        for (int q = 0; q < rows; q++)
        {
            Span<double> row = left.AsSpan(q * width, d);
            TensorPrimitives.ConvertTruncating(plan.Codeword(earlier, q), row);
            for (int i = 0; i < d && earlier == 0; i++)
                row[i] -= centre[i];
        }
        float[] table = GC.AllocateArray<float>(checked(rows * stride), pinned: true);
        int blocks = (rows + kTableBlock - 1) / kTableBlock;
        double[] largest = new double[blocks];
        Parallel.For(0, blocks, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
        {
            int end = Math.Min(rows, (block + 1) * kTableBlock);
            double* values = stackalloc double[kTableTile * kTableTile];
            fixed (double* l = left, r = right)
            {
                for (int k = 0; k < CodeCount; k += kTableTile)
                {
                    for (int q = block * kTableBlock; q < end; q += kTableTile)
                    {
                        Dots(l + (nint)q * width, end - q, r + (nint)k * width, CodeCount - k, width, values);
                        for (int i = 0; i < Math.Min(kTableTile, end - q); i++)
                        {
                            for (int j = 0; j < Math.Min(kTableTile, CodeCount - k); j++)
                            {
                                double value = 2 * values[i * kTableTile + j];
                                table[(q + i) * stride + k + j] = (float)value;
                                largest[block] = Math.Max(largest[block], Math.Abs(value));
                            }
                        }
                    }
                }
            }
        });
        TableMaximum += largest.Max();
        // The sum of products, and the rounding of v = a − (b − m), whose parts may be larger than v itself.
        double rightError = (d + 4) * LargestNorm(right, width) + MaximumNorm + 2 * Math.Sqrt(MaximumBias);
        TableEvaluationError += 2 * Bounds.Float64 * LargestNorm(left, width) * rightError;
        return table;
    }

    // values[i, j] = row i of left · row j of right, a square of products at a time so that one loaded value serves four of them. Rows beyond
    // the last are the last again.
    private static void Dots(double* left, int leftRows, double* right, int rightRows, int stride, double* values)
    {
        double* l0 = left, l1 = left + (nint)Math.Min(1, leftRows - 1) * stride, l2 = left + (nint)Math.Min(2, leftRows - 1) * stride, l3 = left + (nint)Math.Min(3, leftRows - 1) * stride;
        double* r0 = right, r1 = right + (nint)Math.Min(1, rightRows - 1) * stride, r2 = right + (nint)Math.Min(2, rightRows - 1) * stride, r3 = right + (nint)Math.Min(3, rightRows - 1) * stride;
        Vector512<double> s00 = default, s01 = default, s02 = default, s03 = default, s10 = default, s11 = default, s12 = default, s13 = default;
        Vector512<double> s20 = default, s21 = default, s22 = default, s23 = default, s30 = default, s31 = default, s32 = default, s33 = default;
        for (int i = 0; i < stride; i += kDoubles)
        {
            Vector512<double> a = Vector512.Load(r0 + i), b = Vector512.Load(r1 + i), c = Vector512.Load(r2 + i), e = Vector512.Load(r3 + i), v = Vector512.Load(l0 + i);
            s00 = Vector512.FusedMultiplyAdd(v, a, s00);
            s01 = Vector512.FusedMultiplyAdd(v, b, s01);
            s02 = Vector512.FusedMultiplyAdd(v, c, s02);
            s03 = Vector512.FusedMultiplyAdd(v, e, s03);
            v = Vector512.Load(l1 + i);
            s10 = Vector512.FusedMultiplyAdd(v, a, s10);
            s11 = Vector512.FusedMultiplyAdd(v, b, s11);
            s12 = Vector512.FusedMultiplyAdd(v, c, s12);
            s13 = Vector512.FusedMultiplyAdd(v, e, s13);
            v = Vector512.Load(l2 + i);
            s20 = Vector512.FusedMultiplyAdd(v, a, s20);
            s21 = Vector512.FusedMultiplyAdd(v, b, s21);
            s22 = Vector512.FusedMultiplyAdd(v, c, s22);
            s23 = Vector512.FusedMultiplyAdd(v, e, s23);
            v = Vector512.Load(l3 + i);
            s30 = Vector512.FusedMultiplyAdd(v, a, s30);
            s31 = Vector512.FusedMultiplyAdd(v, b, s31);
            s32 = Vector512.FusedMultiplyAdd(v, c, s32);
            s33 = Vector512.FusedMultiplyAdd(v, e, s33);
        }
        Store(values, s00, s01, s02, s03);
        Store(values + 4, s10, s11, s12, s13);
        Store(values + 8, s20, s21, s22, s23);
        Store(values + 12, s30, s31, s32, s33);

        static void Store(double* to, Vector512<double> a, Vector512<double> b, Vector512<double> c, Vector512<double> e)
            => (to[0], to[1], to[2], to[3]) = (Vector512.Sum(a), Vector512.Sum(b), Vector512.Sum(c), Vector512.Sum(e));
    }

    private static double LargestNorm(double[] rows, int width)
    {
        double largest = 0;
        for (int start = 0; start < rows.Length; start += width)
            largest = Math.Max(largest, TensorPrimitives.SumOfSquares<double>(rows.AsSpan(start, width)));
        return Math.Sqrt(largest);
    }

    // Of random values: equal codewords have equal products with it, and different ones, permuted and one-hot ones too, have different products.
    private static float[] Probe(int width)
    {
        var random = new Random(1);
        float[] probe = new float[width];
        for (int i = 0; i < width; i++)
            probe[i] = random.NextSingle() - 0.5f;
        return probe;
    }

    // Codes whose codeword equals that of a smaller code (−0 equals 0); products are those with the probe.
    private static HashSet<int> Repetitions(ReadOnlySpan<float> codebook, int width, float[] products)
    {
        // The codes of a product that are no repetitions: the last of them, and from each the one before it.
        var last = new Dictionary<float, int>(products.Length);
        int[] before = new int[products.Length];
        var repeated = new HashSet<int>();
        for (int k = 0; k < products.Length; k++)
        {
            ref int latest = ref CollectionsMarshal.GetValueRefOrAddDefault(last, products[k], out bool found);
            int earlier = found ? latest : -1;
            before[k] = earlier;
            while (earlier >= 0 && !codebook.Slice(earlier * width, width).SequenceEqual(codebook.Slice(k * width, width)))
                earlier = before[earlier];
            if (earlier >= 0)
                repeated.Add(k);
            else
                latest = k;
        }
        return repeated;
    }
}
