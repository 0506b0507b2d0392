using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// <c>Σ_j (x_j − p_j)²</c> in float64, summed in lanes of fixed width and a fixed order, so that the same bits come out on every machine.
/// No finite float32 input overflows.
/// </summary>
internal static class SquaredDistance
{
    private const int kLanes = 8;

    public static double Between(ReadOnlySpan<float> row, ReadOnlySpan<double> point)
    {
        ref float x = ref MemoryMarshal.GetReference(row);
        ref double p = ref MemoryMarshal.GetReference(point);
        Vector512<double> even = default, odd = default;
        int j = 0;
        for (; j + 2 * kLanes <= row.Length; j += 2 * kLanes)
        {
            (Vector512<double> low, Vector512<double> high) = Vector512.Widen(Vector512.LoadUnsafe(ref x, (nuint)j));
            Vector512<double> first = low - Vector512.LoadUnsafe(ref p, (nuint)j);
            Vector512<double> second = high - Vector512.LoadUnsafe(ref p, (nuint)(j + kLanes));
            even = Vector512.FusedMultiplyAdd(first, first, even);
            odd = Vector512.FusedMultiplyAdd(second, second, odd);
        }
        double sum = Sum(even + odd);
        for (; j < row.Length; j++)
        {
            double difference = Unsafe.Add(ref x, j) - Unsafe.Add(ref p, j);
            sum = Math.FusedMultiplyAdd(difference, difference, sum);
        }
        return sum;
    }

    private static double Sum(Vector512<double> v)
    {
        Vector256<double> half = v.GetLower() + v.GetUpper();
        return (half[0] + half[2]) + (half[1] + half[3]);
    }
}
