using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>A level with its codewords packed for <see cref="Product"/>, and what the screen's own roundings add to its bound.</summary>
internal sealed unsafe class EncodeLevel : ScreenLevel, IDisposable
{
    // Above it a float32 intermediate of the screen could overflow.
    private const double kOverflow = 1e37;

    /// <summary>Prepares a level; parameters as in <see cref="ScreenLevel"/>.</summary>
    public EncodeLevel(EncodePlan plan, int level, float[] centre, EncodeForm form, int threads, bool beam = false)
        : base(plan, level, centre, form, threads, PackedCodewords.kCodesMultiple, narrow: true, beam)
    {
        int stride = Depth == plan.Dimension && level > 0 ? plan.CodewordWidth(level) : Depth;
        fixed (float* first = Operand(0))
            Codewords = new PackedCodewords(first, stride, CodeCount, Depth);
        ForgetOperands();
    }

    /// <summary>Right-hand side of the product.</summary>
    public PackedCodewords Codewords { get; }

    /// <summary>
    /// E with |ŝ[k] − s[k]| ≤ E for every k of this level (docs/exactness.md §4, §7), or +∞ where an intermediate could come near float32's
    /// overflow: then the screen proves nothing.
    /// </summary>
    /// <param name="rowNorm">‖r̂‖ of the float32 operand row.</param>
    /// <param name="rowError">Bound of ‖r̂ − r‖.</param>
    /// <param name="spread">Largest offset that is added to the scores of a beam's prefix.</param>
    /// <param name="offsetError">Bound of the error of those offsets.</param>
    public double ScreenError(double rowNorm, double rowError, double spread = 0, double offsetError = 0)
    {
        double product = rowNorm * MaximumNorm;
        double magnitude = MaximumBias + 2 * product + TableMaximum + spread;
        double dot = (Bounds.Product(Depth) + OperandRounding) * product + rowError * MaximumNorm;
        double assembly = Bounds.Float32 * (MaximumBias + TableMaximum) + (1 + 2 * Tables) * Bounds.Float32 * magnitude + TableEvaluationError;
        // An offset is rounded to float32 and then added to the bias.
        double offset = spread > 0 ? Bounds.Float32 * (MaximumBias + 2 * spread) : 0;
        double error = Bounds.NormSlack(Depth) * (2 * dot + assembly + offset + offsetError) + Bounds.Underflow(Depth);
        return magnitude < kOverflow && error < kOverflow ? error : double.PositiveInfinity;
    }

    /// <summary>
    /// The operand of the next level: r̂ −= w[code], and in the wide form the sum beside it += w[code].
    /// </summary>
    /// <param name="operand">[r̂], d values, or [r̂ | x − m − r̂], 2d.</param>
    /// <param name="code">The code chosen on this level.</param>
    /// <param name="norm">‖operand‖ afterwards, see <see cref="OperandNorm"/>.</param>
    /// <returns>What the roundings of this step can add to the distance between the operand and its real value.</returns>
    public double Advance(Span<float> operand, int code, out double norm)
    {
        ReadOnlySpan<float> codeword = Subtrahend(code);
        int d = codeword.Length;
        TensorPrimitives.Subtract(operand[..d], codeword, operand[..d]);
        bool wide = operand.Length > d;
        if (wide)
            TensorPrimitives.Add(operand[d..], codeword, operand[d..]);
        norm = OperandNorm(operand);
        // Only the first level's subtrahends are rounded.
        double rounding = IsFirst ? Bounds.Float32 * MaximumNorm : 0;
        return (wide ? 2 : 1) * rounding + Bounds.Float32 * norm;
    }

    /// <summary>‖operand‖ from a float32 sum of squares; squares that underflow are made up for, so that it is never too small.</summary>
    public static double OperandNorm(ReadOnlySpan<float> operand) => Math.Sqrt(TensorPrimitives.SumOfSquares(operand) + operand.Length * (double)float.Epsilon);

    public void Dispose() => Codewords.Dispose();
}
