using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using MmeSid.Kernels.Simd;

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

    // Pinned for life, so that a screen can hold pointers into it.
    private readonly float[] _biases;
    // One of the two, as the screen wants them.
    private readonly float[][] _tables;
    private readonly NarrowTable[] _narrowTables;
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
    /// <param name="narrow">Whether tables are made of int16 instead of float32.</param>
    /// <param name="beam">
    /// Whether several prefixes are kept. With one prefix a codeword stored twice never wins against its first copy: it is taken out of the
    /// race instead of tying with it on every row. In a beam both copies are paths of their own.
    /// </param>
    public ScreenLevel(EncodePlan plan, int level, float[] centre, EncodeForm form, int threads, int codesMultiple, bool narrow = false, bool beam = false)
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

        Tables = form == EncodeForm.Tables || (form == EncodeForm.Residual && width > d) ? level : 0;
        _tables = new float[narrow ? 0 : Tables][];
        _narrowTables = new NarrowTable[narrow ? Tables : 0];
        if (Tables == 0)
            return;
        float[] right = TableOperands(plan, level, centre, form);
        double rightNorm = LargestNorm(right, d);
        fixed (float* first = right)
        {
            using var packed = new PackedCodewords(first, d, CodeCount, d);
            for (int j = 0; j < Tables; j++)
            {
                if (narrow)
                    _narrowTables[j] = Narrow(plan, j, centre, rightNorm, packed, threads);
                else
                    _tables[j] = Table(plan, j, centre, rightNorm, packed, threads);
            }
        }
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

    /// <summary>T_j in float32, [K_j, PaddedCodes].</summary>
    public ReadOnlySpan<float> Table(int j) => _tables[j];

    /// <summary>First of <see cref="BiasValues"/>.</summary>
    public float* Biases => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_biases));

    /// <summary>T_j[code, ·] in int16, [PaddedCodes]. Pinned.</summary>
    public TableRow TableRow(int j, int code) => _narrowTables[j].Row(code);

    /// <summary>Number of tables: l or 0.</summary>
    public int Tables { get; }

    /// <summary>max ‖w[k]‖.</summary>
    public double MaximumNorm { get; }

    /// <summary>max β[k].</summary>
    public double MaximumBias { get; }

    /// <summary>Relative rounding of w: u where it was centred, else 0.</summary>
    public double OperandRounding { get; }

    /// <summary>At least Σ_j max |T_j|.</summary>
    public double TableMaximum { get; private set; }

    /// <summary>Σ_j of the error of a table entry.</summary>
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
    /// <param name="plan">The plan.</param>
    /// <param name="narrow">Of int16 instead of float32.</param>
    public static long TableBytes(EncodePlan plan, bool narrow = false)
    {
        long values = 0;
        for (int level = 1; level < plan.Levels; level++)
        {
            for (int j = 0; j < level; j++)
                values += (long)plan.CodeCount(j) * (plan.CodeCount(level) + kMostPadding);
        }
        return values * (narrow ? sizeof(short) : sizeof(float));
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

    // 2 v, [K, d], evaluated in float64 and rounded once.
    private float[] TableOperands(EncodePlan plan, int level, ReadOnlySpan<float> centre, EncodeForm form)
    {
        int d = plan.Dimension, width = plan.CodewordWidth(level);
        float[] operands = GC.AllocateUninitializedArray<float>(checked(CodeCount * d));
        double[] operand = new double[d];
        for (int k = 0; k < CodeCount; k++)
        {
            ReadOnlySpan<float> codeword = plan.Codebook(level).Slice(k * width, width);
            if (form == EncodeForm.Tables)
                TensorPrimitives.ConvertTruncating(codeword[..d], operand.AsSpan());
            else
                operand.AsSpan().Clear();
            for (int i = d; i < width; i++)
                operand[i - d] -= (double)codeword[i] - centre[i - d];
            for (int i = 0; i < d; i++)
                operands[k * d + i] = (float)(2 * operand[i]);
        }
        return operands;
    }

    private float[] Table(EncodePlan plan, int earlier, float[] centre, double rightNorm, PackedCodewords packed, int threads)
    {
        float[] table = new float[checked(plan.CodeCount(earlier) * PaddedCodes)];
        Multiply(plan, earlier, centre, rightNorm, packed, (_, _) => 0, (row, first, products) => products.CopyTo(table.AsSpan(row * PaddedCodes + first)), threads);
        return table;
    }

    private NarrowTable Narrow(EncodePlan plan, int earlier, float[] centre, double rightNorm, PackedCodewords packed, int threads)
    {
        var table = new NarrowTable(plan.CodeCount(earlier), PaddedCodes);
        Multiply(plan, earlier, centre, rightNorm, packed, table.SetStep, table.Set, threads);
        return table;
    }

    // T_j = c̃_j · 2 v, products of float32 (docs/exactness.md §3), and what they are off. `begin` is told how large those of a row are at most and says what it
    // loses of them.
    private void Multiply(EncodePlan plan, int earlier, float[] centre, double rightNorm, PackedCodewords packed, Func<int, double, double> begin, TakeProducts take, int threads)
    {
        int d = plan.Dimension;
        double[] products = new double[plan.CodeCount(earlier)], lost = new double[products.Length];
        RowProducts.Multiply(products.Length, (row, operand) =>
        {
            plan.Codeword(earlier, row).CopyTo(operand);
            if (earlier == 0)
                TensorPrimitives.Subtract(operand, centre, operand);
            products[row] = Bounds.NormSlack(d) * EncodeLevel.OperandNorm(operand) * rightNorm;
            lost[row] = begin(row, products[row]);
        }, packed, take, threads);
        double product = TensorPrimitives.Max<double>(products);
        TableMaximum += product;
        // The product's own roundings, that of each of its operands, and what the table holds less.
        TableEvaluationError += (Bounds.Product(d) + 2 * Bounds.Float32) * product + Bounds.Underflow(d) + TensorPrimitives.Max<double>(lost);
    }

    private static double LargestNorm(float[] rows, int width)
    {
        double largest = 0;
        for (int start = 0; start < rows.Length; start += width)
            largest = Math.Max(largest, EncodeLevel.OperandNorm(rows.AsSpan(start, width)));
        return largest;
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
