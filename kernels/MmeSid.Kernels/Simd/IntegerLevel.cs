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

    // Of the float64 evaluation of a rotated codeword, relative to its norm: far more than HadamardRotation.kDepth roundings.
    private const double kRotationError = 64 * Bounds.Float64;

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
        int d = plan.Dimension, perWord = IntegerProduct.ValuesPerWord(format);
        Width = rotation?.Width ?? IntegerRows.Padded(format, d);
        Words = Width / perWord;
        _steps = GC.AllocateArray<float>(PaddedCodes, pinned: true);
        _codewords = GC.AllocateUninitializedArray<float>(checked(CodeCount * Width), pinned: true);
        nuint bytes = checked((nuint)PaddedCodes * (nuint)Words * sizeof(int));
        _panels = NativeMemory.AlignedAlloc(bytes, 64);
        // Padding codewords multiply to anything; their bias is +∞.
        NativeMemory.Clear(_panels, bytes);

        double[] errors = new double[CodeCount], norms = new double[CodeCount];
        Parallel.For(0, CodeCount, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new double[Width], (k, _, values) =>
        {
            ReadOnlySpan<float> codeword = plan.Codeword(level, k);
            TensorPrimitives.ConvertTruncating(codeword, values.AsSpan(0, d));
            for (int i = 0; i < d && level == 0; i++)
                values[i] -= centre[i];
            Array.Clear(values, d, Width - d);
            rotation?.Apply(values.AsSpan());
            TensorPrimitives.ConvertTruncating<double, float>(values, _codewords.AsSpan(k * Width, Width));
            (_steps[k], errors[k], norms[k]) = Pack(values, format, k);
            return values;
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

    /// <summary>What rounding codewords to float32 can do to an operand that one is taken from.</summary>
    public double CodewordRounding => Bounds.Float32 * MaximumNorm;

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
        return Error((Bounds.Chain(Width) + Bounds.Float32) * product + rowError * MaximumNorm, product);
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

    // One codeword: its step, ‖w − ŵ‖ and ‖ŵ‖.
    private (float Step, double Error, double Norm) Pack(ReadOnlySpan<double> values, IntegerFormat format, int code)
    {
        double norm = Math.Sqrt(TensorPrimitives.SumOfSquares(values));
        float step = IntegerRows.Step(format, Width, Math.Abs(TensorPrimitives.MaxMagnitude(values)), norm);
        double error = 0, rounded = 0;
        int* words = Panels + (nint)(code / IntegerProduct.kCodesPerPanel) * Words * IntegerProduct.kCodesPerPanel + code % IntegerProduct.kCodesPerPanel;
        int perWord = IntegerProduct.ValuesPerWord(format), limit = IntegerRows.Largest(format);
        for (int i = 0; i < Width; i++)
        {
            int q = step == 0 ? 0 : (int)Math.Clamp(Math.Round(values[i] / step), -limit, limit);
            double value = (double)step * q, lost = values[i] - value;
            error += lost * lost;
            rounded += value * value;
            if (format == IntegerFormat.Int8)
                ((byte*)(words + i / perWord * IntegerProduct.kCodesPerPanel))[i % perWord] = (byte)(q + 128);
            else
                ((short*)(words + i / perWord * IntegerProduct.kCodesPerPanel))[i % perWord] = (short)q;
        }
        return (step, Math.Sqrt(error) + kRotationError * norm, Math.Sqrt(rounded));
    }
}
