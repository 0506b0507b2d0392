using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// A level whose codewords are rounded to integers, <c>w[k] = step_k · q_k + δw</c>, packed for <see cref="IntegerProduct"/>; and as float32 beside
/// them, for what the integers leave open. With a rotation, both are rotated codewords.
/// </summary>
internal sealed unsafe class IntegerLevel : ScreenLevel, IDisposable
{
    // Above it a float32 intermediate of the screen could overflow.
    private const double kOverflow = 1e37;

    private readonly float[] _steps;
    private readonly void* _panels;
    // [K, Width] rounded to float32. Pinned.
    private readonly float[] _codewords;
    // max ‖w − ŵ‖ and max ‖ŵ‖.
    private readonly double _largestError, _largestNorm;
    private bool _disposed;

    /// <summary>Prepares a level; parameters as in <see cref="ScreenLevel"/>.</summary>
    public IntegerLevel(EncodePlan plan, int level, float[] centre, IntegerFormat format, HadamardRotation? rotation, int threads)
        : base(plan, level, centre, EncodeForm.Residual, threads, PackedCodewords.kCodesMultiple)
    {
        int d = plan.Dimension;
        Width = rotation?.Width ?? IntegerRows.Padded(format, d);
        Words = Width / IntegerProduct.ValuesPerWord(format);
        _steps = GC.AllocateArray<float>(PaddedCodes, pinned: true);
        _codewords = GC.AllocateUninitializedArray<float>(checked(CodeCount * Width), pinned: true);
        nuint bytes = checked((nuint)PaddedCodes * (nuint)Words * sizeof(int));
        _panels = NativeMemory.AlignedAlloc(bytes, 64);
        // Padding codewords multiply to anything; their bias is +∞.
        NativeMemory.Clear(_panels, bytes);

        double rounding = Bounds.Float32 * (1 + (rotation is null ? 0 : HadamardRotation.kDepth));
        CodewordRounding = rounding * MaximumNorm;
        double[] errors = new double[CodeCount], norms = new double[CodeCount];
        Parallel.For(0, CodeCount, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new int[Words], (k, _, words) =>
        {
            Span<float> codeword = new(Codeword(k), Width);
            Subtrahend(k).CopyTo(codeword);
            codeword[d..].Clear();
            rotation?.Apply(Codeword(k));
            fixed (int* integers = words)
            {
                double norm = EncodeLevel.OperandNorm(codeword);
                double lost = IntegerRows.Round(format, Codeword(k), Width, MathF.Abs(TensorPrimitives.MaxMagnitude<float>(codeword)), norm, integers, out _steps[k], out int _);
                (errors[k], norms[k]) = (lost + rounding * norm, norm + lost);
                // int8 is stored as u8, 128 more.
                int* packed = Panels + (nint)(k / IntegerProduct.kCodesPerPanel) * Words * IntegerProduct.kCodesPerPanel + k % IntegerProduct.kCodesPerPanel;
                for (int i = 0; i < Words; i++)
                    packed[i * IntegerProduct.kCodesPerPanel] = format == IntegerFormat.Int8 ? integers[i] ^ unchecked((int)0x80808080) : integers[i];
            }
            return words;
        }, _ => { });
        _largestError = TensorPrimitives.Max<double>(errors);
        _largestNorm = TensorPrimitives.Max<double>(norms);
        ForgetOperands();
    }

    /// <summary>Values of an operand row: d, padded with zeros.</summary>
    public int Width { get; }

    /// <summary>32-bit words of an integer row.</summary>
    public int Words { get; }

    /// <summary>First panel of packed codewords.</summary>
    public int* Panels => (int*)_panels;

    /// <summary>step_k, [PaddedCodes].</summary>
    public float* Steps => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_steps));

    /// <summary>β [PaddedCodes]; +∞ for padding and for codewords that repeat an earlier one.</summary>
    public float* Biases => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(BiasValues));

    /// <summary>T_j[code, ·], [PaddedCodes].</summary>
    public float* TableRow(int j, int code) => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Table(j))) + (nint)code * PaddedCodes;

    /// <summary>A codeword as the float32 operand rows meet it.</summary>
    public float* Codeword(int code) => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_codewords)) + (nint)code * Width;

    /// <summary>Bound of ‖w − Codeword‖: centring and each addition of the rotation round once.</summary>
    public double CodewordRounding { get; }

    /// <summary>E of the integer scores (docs/exactness.md §8).</summary>
    /// <param name="norm">‖r̂‖ of the float32 operand row.</param>
    /// <param name="rowError">Bound of ‖r̂ − r‖.</param>
    /// <param name="integerError">‖r̂ − x̂‖, x̂ the row as integers times its step.</param>
    public double IntegerError(double norm, double rowError, double integerError)
    {
        double product = (norm + integerError) * _largestNorm;
        // Of the products: their conversion to float32 and the codeword's step.
        return Error((rowError + integerError) * MaximumNorm + (norm + integerError) * _largestError + 2 * Bounds.Float32 * product, product);
    }

    /// <summary>E of float32 scores of single codewords.</summary>
    /// <param name="norm">‖r̂‖ of the float32 operand row.</param>
    /// <param name="rowError">Bound of ‖r̂ − r‖.</param>
    public double Float32Error(double norm, double rowError)
    {
        double product = norm * MaximumNorm;
        // TensorPrimitives.Dot adds in an order of its own.
        return Error(Bounds.Chain(Width) * product + norm * CodewordRounding + rowError * MaximumNorm, product);
    }

    public void Dispose()
    {
        if (!_disposed)
            NativeMemory.AlignedFree(_panels);
        _disposed = true;
    }

    // What scores of any kind lose besides their products; +∞ where an intermediate could come near float32's overflow.
    private double Error(double dot, double product)
    {
        double magnitude = MaximumBias + 2 * product + TableMaximum;
        double assembly = Bounds.Float32 * (MaximumBias + TableMaximum) + (2 + Tables) * Bounds.Float32 * magnitude + TableEvaluationError;
        double error = Bounds.NormSlack(Width) * (2 * dot + assembly) + Bounds.Underflow(Width);
        return magnitude < kOverflow && error < kOverflow ? error : double.PositiveInfinity;
    }
}
