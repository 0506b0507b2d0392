using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// Float64 sums in 32 chains, chain i over the values i, i + 32, …, added up as a tree: an order that vectors, threads and GPUs keep alike, so that the
/// same bits come out everywhere. The order of <see cref="Kernels.ILloyd"/> and kernels/cuda/weights.h.
/// </summary>
internal static class InterleavedSum
{
    /// <summary>Chains.</summary>
    public const int kLanes = 32;

    private const int kVector = 8;

    /// <summary>Σ values.</summary>
    public static double Of(ReadOnlySpan<double> values)
    {
        Span<double> lanes = stackalloc double[kLanes];
        Lanes(values, lanes);
        return Tree(lanes);
    }

    /// <summary>The chains of a sum.</summary>
    /// <param name="values">[n].</param>
    /// <param name="lanes">[<see cref="kLanes"/>], written over.</param>
    public static void Lanes(ReadOnlySpan<double> values, Span<double> lanes)
    {
        ref double v = ref MemoryMarshal.GetReference(values);
        Vector512<double> first = default, second = default, third = default, fourth = default;
        int i = 0;
        for (; i + kLanes <= values.Length; i += kLanes)
        {
            first += Vector512.LoadUnsafe(ref v, (nuint)i);
            second += Vector512.LoadUnsafe(ref v, (nuint)(i + kVector));
            third += Vector512.LoadUnsafe(ref v, (nuint)(i + 2 * kVector));
            fourth += Vector512.LoadUnsafe(ref v, (nuint)(i + 3 * kVector));
        }
        first.CopyTo(lanes);
        second.CopyTo(lanes[kVector..]);
        third.CopyTo(lanes[(2 * kVector)..]);
        fourth.CopyTo(lanes[(3 * kVector)..]);
        for (; i < values.Length; i++)
            lanes[i % kLanes] += values[i];
    }

    /// <summary>The chains added up: i and i + 16, then + 8, + 4, + 2, + 1. They are written over.</summary>
    public static double Tree(Span<double> lanes)
    {
        for (int half = kLanes / 2; half > 0; half /= 2)
        {
            for (int i = 0; i < half; i++)
                lanes[i] += lanes[i + half];
        }
        return lanes[0];
    }
}
