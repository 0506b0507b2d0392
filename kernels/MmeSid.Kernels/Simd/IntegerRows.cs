using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>Rounds float32 rows to integers of one step per row, <c>r̂ = step · q + δ</c>, and measures δ.</summary>
internal static unsafe class IntegerRows
{
    // Any two integer rows of at most this norm have a product below 2³¹.
    private const double kLargestNorm16 = 46_340;

    // Far above where 1 / step overflows; smaller rows become zeros, and δ the row itself.
    private const double kSmallestStep = 1e-30;

    /// <summary>Width of integer rows: whole vectors of float32 and whole words.</summary>
    public static int Padded(IntegerFormat format, int dimension)
    {
        int multiple = format == IntegerFormat.Int8 ? 64 : 32;
        return (dimension + multiple - 1) / multiple * multiple;
    }

    /// <summary>Largest integer of a format.</summary>
    public static int Largest(IntegerFormat format) => format == IntegerFormat.Int8 ? 127 : short.MaxValue;

    /// <summary>The step of a row or codeword; 0 where it is all zeros or too small.</summary>
    /// <param name="format">What it is rounded to.</param>
    /// <param name="width">Values.</param>
    /// <param name="largest">Largest magnitude of a value.</param>
    /// <param name="norm">Norm of all.</param>
    public static float Step(IntegerFormat format, int width, double largest, double norm)
    {
        // Rounding to integers can add √width / 2 to a norm.
        double step = format == IntegerFormat.Int8 ? largest / 127 : Math.Max(largest / short.MaxValue, norm / (kLargestNorm16 - Math.Sqrt(width)));
        return step >= kSmallestStep && step < float.MaxValue ? (float)step : 0;
    }

    /// <summary>row −= other, and what <see cref="Round"/> wants to know of it.</summary>
    /// <param name="row">[width], in place.</param>
    /// <param name="other">[width].</param>
    /// <param name="width">A multiple of 32.</param>
    /// <param name="largest">Largest magnitude.</param>
    /// <returns>‖row‖, see <see cref="EncodeLevel.OperandNorm"/>.</returns>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public static double Subtract(float* row, float* other, int width, out float largest)
    {
        Vector512<float> largestLow = Vector512<float>.Zero, largestHigh = largestLow, low = largestLow, high = largestLow;
        for (int i = 0; i < width; i += 32)
        {
            Vector512<float> a = Vector512.Load(row + i) - Vector512.Load(other + i), b = Vector512.Load(row + i + 16) - Vector512.Load(other + i + 16);
            a.Store(row + i);
            b.Store(row + i + 16);
            low = Vector512.MultiplyAddEstimate(a, a, low);
            high = Vector512.MultiplyAddEstimate(b, b, high);
            largestLow = Vector512.MaxNative(largestLow, Vector512.Abs(a));
            largestHigh = Vector512.MaxNative(largestHigh, Vector512.Abs(b));
        }
        largest = new Lanes512(Vector512.MaxNative(largestLow, largestHigh)).Largest();
        return Math.Sqrt(Vector512.Sum(low + high) + width * (double)float.Epsilon);
    }

    /// <summary>Rounds a row.</summary>
    /// <param name="format">To what.</param>
    /// <param name="row">[width], a multiple of 64 (int8) or 32 (int16) values.</param>
    /// <param name="width">Values.</param>
    /// <param name="largest">Largest magnitude of a value.</param>
    /// <param name="norm">‖r̂‖.</param>
    /// <param name="integers">[width] s8 or s16.</param>
    /// <param name="step">Its step.</param>
    /// <param name="sum">Σ q of int8, else 0.</param>
    /// <returns>‖δ‖, rounded up.</returns>
    public static double Round(IntegerFormat format, float* row, int width, float largest, double norm, void* integers, out float step, out int sum)
    {
        step = Step(format, width, largest, norm);
        float inverse = step == 0 ? 0 : 1 / step;
        double squares = format == IntegerFormat.Int8 ? Round8(row, width, step, inverse, (sbyte*)integers, out sum) : Round16(row, width, step, inverse, (short*)integers, out sum);
        // Squares that underflow are made up for.
        return Math.Sqrt(squares + width * (double)float.Epsilon) * (1 + 2 * width * Bounds.Float32);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Round8(float* row, int width, float step, float inverse, sbyte* integers, out int sum)
    {
        Vector512<float> scale = Vector512.Create(inverse), minusStep = Vector512.Create(-step), squaresLow = Vector512<float>.Zero, squaresHigh = squaresLow;
        Vector512<int> sums = Vector512<int>.Zero;
        for (int i = 0; i < width; i += 64)
        {
            Vector512<int> a = Sixteen(row + i, scale, minusStep, ref squaresLow), b = Sixteen(row + i + 16, scale, minusStep, ref squaresHigh);
            Vector512<int> c = Sixteen(row + i + 32, scale, minusStep, ref squaresLow), e = Sixteen(row + i + 48, scale, minusStep, ref squaresHigh);
            sums += a + b + (c + e);
            if (Avx512F.IsSupported && Vector512.IsHardwareAccelerated)
            {
                Avx512F.ConvertToVector128SByte(a).Store(integers + i);
                Avx512F.ConvertToVector128SByte(b).Store(integers + i + 16);
                Avx512F.ConvertToVector128SByte(c).Store(integers + i + 32);
                Avx512F.ConvertToVector128SByte(e).Store(integers + i + 48);
            }
            else
            {
                Vector512.Narrow(Vector512.Narrow(a, b), Vector512.Narrow(c, e)).Store(integers + i);
            }
        }
        sum = Vector512.Sum(sums);
        return Vector512.Sum(squaresLow + squaresHigh);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Round16(float* row, int width, float step, float inverse, short* integers, out int sum)
    {
        Vector512<float> scale = Vector512.Create(inverse), minusStep = Vector512.Create(-step), squaresLow = Vector512<float>.Zero, squaresHigh = squaresLow;
        sum = 0;
        for (int i = 0; i < width; i += 32)
            Vector512.Narrow(Sixteen(row + i, scale, minusStep, ref squaresLow), Sixteen(row + i + 16, scale, minusStep, ref squaresHigh)).Store(integers + i);
        return Vector512.Sum(squaresLow + squaresHigh);
    }

    // Sixteen values to the nearest integers; what they lose is added to the squares.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Sixteen(float* values, Vector512<float> scale, Vector512<float> minusStep, ref Vector512<float> squares)
    {
        Vector512<float> value = Vector512.Load(values), rounded = Vector512.Round(value * scale);
        Vector512<float> lost = Vector512.FusedMultiplyAdd(minusStep, rounded, value);
        squares = Vector512.FusedMultiplyAdd(lost, lost, squares);
        return Vector512.ConvertToInt32Native(rounded);
    }
}
