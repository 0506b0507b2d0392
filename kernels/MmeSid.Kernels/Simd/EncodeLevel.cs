using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// One level of a plan, prepared for the screen: packed codewords, biases, PSRQ's prefix tables, and the norms its error bound needs.
/// <code>
///   screen  s[k] = β[k] − 2 r·w[k] + Σ_{j&lt;l} T_j[k_j, k]           equal to the distance of EncodePlan up to a term that no k changes
///   RQ      w = c,        β = ‖c‖²                                (level 1: c − m for c, m the plan's centre)
///   PSRQ    w = a,        β = ‖a‖² + ‖b − m‖²,  T_j[q, k] = −2 ã_j[q] · (b[k] − m),   ã_1 = a_1 − m, ã_j = a_j
///   wide    w = [a | b − m] against [r | x − m − r], no tables: PSRQ when its tables would exceed the budget
/// </code>
/// </summary>
internal sealed unsafe class EncodeLevel : IDisposable
{
    // Pinned for life, so that the screen can hold pointers into them.
    private readonly float[] _biases;
    private readonly float[][] _tables;

    public EncodeLevel(EncodePlan plan, int level, ReadOnlySpan<float> centre, bool wide, int threads)
    {
        int d = plan.Dimension;
        CodeCount = plan.CodeCount(level);
        Depth = wide && level > 0 ? 2 * d : d;
        bool hasPrefixHalf = plan.CodewordWidth(level) > d;
        int width = plan.CodewordWidth(level);

        // w, rounded to float32 once: exact except where the centre was subtracted.
        var operands = new float[(long)CodeCount * Depth];
        _biases = GC.AllocateUninitializedArray<float>(PaddedCodes, pinned: true);
        Array.Fill(_biases, float.PositiveInfinity);
        ReadOnlySpan<float> codebook = plan.Codebook(level);
        HashSet<int> repeated = Repetitions(codebook, width, CodeCount);
        for (int k = 0; k < CodeCount; k++)
        {
            ReadOnlySpan<float> codeword = codebook.Slice(k * width, width);
            double bias = 0, operandNorm = 0;
            for (int i = 0; i < width; i++)
            {
                bool centred = level == 0 || i >= d;
                double value = centred ? (double)codeword[i] - centre[i % d] : codeword[i];
                bias += value * value;
                if (i < Depth)
                {
                    operandNorm += value * value;
                    operands[(long)k * Depth + i] = (float)value;
                }
            }
            MaximumNorm = Math.Max(MaximumNorm, Math.Sqrt(operandNorm));
            MaximumBias = Math.Max(MaximumBias, bias);
            // A codeword stored twice never wins against its first copy: it is taken out of the race instead of tying with it on every row.
            if (!repeated.Contains(k))
                _biases[k] = (float)bias;
        }
        OperandRounding = level == 0 || Depth > d ? Bounds.Float32 : 0;
        fixed (float* first = operands)
            Codewords = new PackedCodewords(first, Depth, CodeCount, Depth);
        // Residuals are updated by the residual half; only level 1 needs its own centred copy.
        Subtrahends = level == 0 ? operands : null;

        _tables = hasPrefixHalf && !wide ? new float[level][] : [];
        for (int j = 0; j < _tables.Length; j++)
            _tables[j] = PrefixTable(plan, j, level, centre, threads);
    }

    /// <summary>K.</summary>
    public int CodeCount { get; }

    /// <summary>Values of a row that the product reads: d, or 2d in the wide form.</summary>
    public int Depth { get; }

    /// <summary>Right-hand side of the product.</summary>
    public PackedCodewords Codewords { get; }

    /// <summary>β [PaddedCodes]; +∞ for padding and for codewords that repeat an earlier one.</summary>
    public float* Biases => (float*)Marshal.UnsafeAddrOfPinnedArrayElement(_biases, 0);

    /// <summary>[K, d] centred codewords of level 1; null on later levels, where the plan's own serve.</summary>
    public float[]? Subtrahends { get; }

    /// <summary>max ‖w[k]‖.</summary>
    public double MaximumNorm { get; private set; }

    /// <summary>max β[k].</summary>
    public double MaximumBias { get; private set; }

    /// <summary>Relative rounding of w: u where it was centred, else 0.</summary>
    public double OperandRounding { get; }

    /// <summary>Σ_j max |T_j|.</summary>
    public double TableMaximum { get; private set; }

    /// <summary>Σ_j of the float64 error of a table entry before it is stored.</summary>
    public double TableEvaluationError { get; private set; }

    /// <summary>Number of prefix tables: l for PSRQ, else 0.</summary>
    public int Tables => _tables.Length;

    /// <summary>K rounded up to whole vectors.</summary>
    public int PaddedCodes => (CodeCount + PackedCodewords.kCodesMultiple - 1) / PackedCodewords.kCodesMultiple * PackedCodewords.kCodesMultiple;

    /// <summary>T_j[code, ·], [PaddedCodes].</summary>
    public float* TableRow(int j, int code) => (float*)Marshal.UnsafeAddrOfPinnedArrayElement(_tables[j], 0) + (nint)code * PaddedCodes;

    /// <summary>Bytes that PSRQ's prefix tables of a plan take; 0 for plans that need none.</summary>
    public static long PrefixTableBytes(EncodePlan plan)
    {
        long values = 0;
        for (int level = 1; plan.Kind == PlanKind.PrefixSemantic && level < plan.Levels; level++)
        {
            for (int j = 0; j < level; j++)
                values += (long)plan.CodeCount(j) * (plan.CodeCount(level) + PackedCodewords.kCodesMultiple);
        }
        return values * sizeof(float);
    }

    /// <summary>
    /// E with |ŝ[k] − s[k]| ≤ E for every k of this level (docs/exactness.md §4).
    /// </summary>
    /// <param name="rowNorm">‖r̂‖ of the float32 operand row.</param>
    /// <param name="rowError">Bound of ‖r̂ − r‖.</param>
    /// <param name="magnitude">Bound of every intermediate of the screen; when it is not far below float32's overflow the screen proves nothing.</param>
    public double ScreenError(double rowNorm, double rowError, out double magnitude)
    {
        double product = rowNorm * MaximumNorm;
        magnitude = MaximumBias + 2 * product + TableMaximum;
        double dot = (Bounds.Product(Depth) + OperandRounding) * product + rowError * MaximumNorm;
        double assembly = Bounds.Float32 * (MaximumBias + TableMaximum) + (1 + Tables) * Bounds.Float32 * magnitude + TableEvaluationError;
        return Bounds.NormSlack(Depth) * (2 * dot + assembly) + Bounds.Underflow(Depth);
    }

    public void Dispose() => Codewords.Dispose();

    private float[] PrefixTable(EncodePlan plan, int earlier, int level, ReadOnlySpan<float> centre, int threads)
    {
        int d = plan.Dimension, rows = plan.CodeCount(earlier), stride = PaddedCodes;
        double[] chosen = new double[rows * d], prefix = new double[(long)CodeCount * d];
        double chosenNorm = 0, prefixNorm = 0;
        for (int q = 0; q < rows; q++)
        {
            double norm = 0;
            for (int i = 0; i < d; i++)
            {
                double value = plan.Codeword(earlier, q)[i] - (earlier == 0 ? (double)centre[i] : 0);
                chosen[q * d + i] = value;
                norm += value * value;
            }
            chosenNorm = Math.Max(chosenNorm, Math.Sqrt(norm));
        }
        ReadOnlySpan<float> codebook = plan.Codebook(level);
        for (int k = 0; k < CodeCount; k++)
        {
            double norm = 0;
            for (int i = 0; i < d; i++)
            {
                double value = (double)codebook[k * 2 * d + d + i] - centre[i];
                prefix[(long)k * d + i] = value;
                norm += value * value;
            }
            prefixNorm = Math.Max(prefixNorm, Math.Sqrt(norm));
        }
        var table = GC.AllocateArray<float>(checked(rows * stride), pinned: true);
        var largest = new double[rows];
        Parallel.For(0, rows, new ParallelOptions { MaxDegreeOfParallelism = threads }, q =>
        {
            ReadOnlySpan<double> left = chosen.AsSpan(q * d, d);
            for (int k = 0; k < CodeCount; k++)
            {
                double value = -2 * System.Numerics.Tensors.TensorPrimitives.Dot(left, prefix.AsSpan(k * d, d));
                table[q * stride + k] = (float)value;
                largest[q] = Math.Max(largest[q], Math.Abs(value));
            }
        });
        TableMaximum += largest.Max();
        TableEvaluationError += 2 * (d + 2) * Bounds.Float64 * chosenNorm * prefixNorm;
        return table;
    }

    // Codes whose codeword equals that of a smaller code (−0 equals 0).
    private static HashSet<int> Repetitions(ReadOnlySpan<float> codebook, int width, int count)
    {
        var byHash = new Dictionary<int, List<int>>();
        var repeated = new HashSet<int>();
        for (int k = 0; k < count; k++)
        {
            ReadOnlySpan<float> codeword = codebook.Slice(k * width, width);
            var hash = new HashCode();
            foreach (float value in codeword)
                hash.Add(value + 0f);
            ref List<int>? bucket = ref CollectionsMarshal.GetValueRefOrAddDefault(byHash, hash.ToHashCode(), out _);
            bucket ??= [];
            foreach (int earlier in bucket)
            {
                if (codebook.Slice(earlier * width, width).SequenceEqual(codeword))
                {
                    repeated.Add(k);
                    break;
                }
            }
            if (!repeated.Contains(k))
                bucket.Add(k);
        }
        return repeated;
    }
}
