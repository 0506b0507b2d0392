using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Loops that do one kind of operation as fast as the core can, from registers (or, for memory, from RAM). Each loop is a method of its
/// own: a vector local that lives across a call would be spilled. Results are returned so that nothing is optimised away.
/// </summary>
internal static unsafe class CeilingLoops
{
    /// <summary>Independent chains: more than latency × throughput of a multiply-add on any core we know.</summary>
    private const int kChains = 12;

    private const MethodImplOptions kOwnLoop = MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization;

    /// <summary>Operations (a multiply-add counts two) of one step of <see cref="MultiplyAdd"/>.</summary>
    public static int MultiplyAddOperations => kChains * 2 * (UseAvx512 ? 16 : UseAvx2 ? 8 : 4);

    /// <summary>Operations of one step of <see cref="DotInt8"/>.</summary>
    public static int DotInt8Operations => VnniLibrary.IsPresent ? VnniLibrary.CeilingChains * 2 * 64 : kChains * 2 * 32;

    /// <summary>Operations of one step of <see cref="DotInt16"/>.</summary>
    public static int DotInt16Operations => VnniLibrary.IsPresent ? VnniLibrary.CeilingChains * 2 * 32 : kChains * 2 * (UseAvx512 ? 32 : 16);

    /// <summary>Whether there is an int8 dot product: the one of <see cref="VnniLibrary"/>, 512 bits wide, or the one that .NET 10 exposes, 256.</summary>
    public static bool HasDotInt8 => VnniLibrary.IsPresent || AvxVnni.IsSupported;

    /// <summary>Whether there is a vector int16 dot product.</summary>
    public static bool HasDotInt16 => Avx2.IsSupported;

    private static bool UseAvx512 => Avx512BW.IsSupported && Vector512.IsHardwareAccelerated;

    private static bool UseAvx2 => Fma.IsSupported && Vector256.IsHardwareAccelerated;

    /// <summary>fp32 multiply-adds.</summary>
    public static float MultiplyAdd(long steps) => UseAvx512 ? MultiplyAdd512(steps) : UseAvx2 ? MultiplyAdd256(steps) : MultiplyAdd128(steps);

    /// <summary>u8 × s8 quadruples multiplied and added to int32.</summary>
    public static int DotInt8(long steps) => VnniLibrary.IsPresent ? VnniLibrary.Int8Ceiling(steps) : DotInt8Narrow(steps);

    /// <summary>int16 pairs multiplied and added to int32.</summary>
    public static int DotInt16(long steps) => VnniLibrary.IsPresent ? VnniLibrary.Int16Ceiling(steps) : UseAvx512 ? DotInt16Wide(steps) : DotInt16Narrow(steps);

    [MethodImpl(kOwnLoop)]
    private static float MultiplyAdd512(long steps)
    {
        Vector512<float> a = Vector512.Create(0.9999f), b = Vector512.Create(1e-4f);
        Vector512<float> s0 = b, s1 = b, s2 = b, s3 = b, s4 = b, s5 = b, s6 = b, s7 = b, s8 = b, s9 = b, s10 = b, s11 = b;
        for (long i = 0; i < steps; i++)
        {
            s0 = Avx512F.FusedMultiplyAdd(s0, a, b); s1 = Avx512F.FusedMultiplyAdd(s1, a, b); s2 = Avx512F.FusedMultiplyAdd(s2, a, b);
            s3 = Avx512F.FusedMultiplyAdd(s3, a, b); s4 = Avx512F.FusedMultiplyAdd(s4, a, b); s5 = Avx512F.FusedMultiplyAdd(s5, a, b);
            s6 = Avx512F.FusedMultiplyAdd(s6, a, b); s7 = Avx512F.FusedMultiplyAdd(s7, a, b); s8 = Avx512F.FusedMultiplyAdd(s8, a, b);
            s9 = Avx512F.FusedMultiplyAdd(s9, a, b); s10 = Avx512F.FusedMultiplyAdd(s10, a, b); s11 = Avx512F.FusedMultiplyAdd(s11, a, b);
        }
        return Vector512.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    [MethodImpl(kOwnLoop)]
    private static float MultiplyAdd256(long steps)
    {
        Vector256<float> a = Vector256.Create(0.9999f), b = Vector256.Create(1e-4f);
        Vector256<float> s0 = b, s1 = b, s2 = b, s3 = b, s4 = b, s5 = b, s6 = b, s7 = b, s8 = b, s9 = b, s10 = b, s11 = b;
        for (long i = 0; i < steps; i++)
        {
            s0 = Fma.MultiplyAdd(s0, a, b); s1 = Fma.MultiplyAdd(s1, a, b); s2 = Fma.MultiplyAdd(s2, a, b);
            s3 = Fma.MultiplyAdd(s3, a, b); s4 = Fma.MultiplyAdd(s4, a, b); s5 = Fma.MultiplyAdd(s5, a, b);
            s6 = Fma.MultiplyAdd(s6, a, b); s7 = Fma.MultiplyAdd(s7, a, b); s8 = Fma.MultiplyAdd(s8, a, b);
            s9 = Fma.MultiplyAdd(s9, a, b); s10 = Fma.MultiplyAdd(s10, a, b); s11 = Fma.MultiplyAdd(s11, a, b);
        }
        return Vector256.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    // Multiply, then add: what portable code without a fused instruction can do (on ARM the JIT's vectors are this wide as well).
    [MethodImpl(kOwnLoop)]
    private static float MultiplyAdd128(long steps)
    {
        Vector128<float> a = Vector128.Create(0.9999f), b = Vector128.Create(1e-4f);
        Vector128<float> s0 = b, s1 = b, s2 = b, s3 = b, s4 = b, s5 = b, s6 = b, s7 = b, s8 = b, s9 = b, s10 = b, s11 = b;
        for (long i = 0; i < steps; i++)
        {
            s0 = s0 * a + b; s1 = s1 * a + b; s2 = s2 * a + b; s3 = s3 * a + b; s4 = s4 * a + b; s5 = s5 * a + b;
            s6 = s6 * a + b; s7 = s7 * a + b; s8 = s8 * a + b; s9 = s9 * a + b; s10 = s10 * a + b; s11 = s11 * a + b;
        }
        return Vector128.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    [MethodImpl(kOwnLoop)]
    private static int DotInt8Narrow(long steps)
    {
        Vector256<byte> a = Vector256.Create((byte)3);
        Vector256<sbyte> b = Vector256.Create((sbyte)-5);
        Vector256<int> z = Vector256<int>.Zero;
        Vector256<int> s0 = z, s1 = z, s2 = z, s3 = z, s4 = z, s5 = z, s6 = z, s7 = z, s8 = z, s9 = z, s10 = z, s11 = z;
        for (long i = 0; i < steps; i++)
        {
            s0 = AvxVnni.MultiplyWideningAndAdd(s0, a, b); s1 = AvxVnni.MultiplyWideningAndAdd(s1, a, b);
            s2 = AvxVnni.MultiplyWideningAndAdd(s2, a, b); s3 = AvxVnni.MultiplyWideningAndAdd(s3, a, b);
            s4 = AvxVnni.MultiplyWideningAndAdd(s4, a, b); s5 = AvxVnni.MultiplyWideningAndAdd(s5, a, b);
            s6 = AvxVnni.MultiplyWideningAndAdd(s6, a, b); s7 = AvxVnni.MultiplyWideningAndAdd(s7, a, b);
            s8 = AvxVnni.MultiplyWideningAndAdd(s8, a, b); s9 = AvxVnni.MultiplyWideningAndAdd(s9, a, b);
            s10 = AvxVnni.MultiplyWideningAndAdd(s10, a, b); s11 = AvxVnni.MultiplyWideningAndAdd(s11, a, b);
        }
        return Vector256.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    // A product has no accumulator: its operand comes from a small buffer, at a place that changes, or the JIT would lift it out of the loop.
    [MethodImpl(kOwnLoop)]
    private static int DotInt16Wide(long steps)
    {
        const int kLanes = 32;
        byte* buffer = stackalloc byte[(kChains + 2) * kLanes * sizeof(short)];
        short* values = (short*)(((nuint)buffer + 63) & ~(nuint)63);
        Vector512<short> b = Vector512.Create((short)7);
        Vector512<int> z = Vector512<int>.Zero;
        Vector512<int> s0 = z, s1 = z, s2 = z, s3 = z, s4 = z, s5 = z, s6 = z, s7 = z, s8 = z, s9 = z, s10 = z, s11 = z;
        for (long i = 0; i < steps; i++)
        {
            short* x = values + (i & 1) * kLanes;
            s0 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x)); s1 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + kLanes));
            s2 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 2 * kLanes)); s3 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 3 * kLanes));
            s4 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 4 * kLanes)); s5 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 5 * kLanes));
            s6 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 6 * kLanes)); s7 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 7 * kLanes));
            s8 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 8 * kLanes)); s9 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 9 * kLanes));
            s10 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 10 * kLanes)); s11 += Avx512BW.MultiplyAddAdjacent(b, Vector512.Load(x + 11 * kLanes));
        }
        return Vector512.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    [MethodImpl(kOwnLoop)]
    private static int DotInt16Narrow(long steps)
    {
        const int kLanes = 16;
        byte* buffer = stackalloc byte[(kChains + 3) * kLanes * sizeof(short)];
        short* values = (short*)(((nuint)buffer + 31) & ~(nuint)31);
        Vector256<short> b = Vector256.Create((short)7);
        Vector256<int> z = Vector256<int>.Zero;
        Vector256<int> s0 = z, s1 = z, s2 = z, s3 = z, s4 = z, s5 = z, s6 = z, s7 = z, s8 = z, s9 = z, s10 = z, s11 = z;
        for (long i = 0; i < steps; i++)
        {
            short* x = values + (i & 1) * kLanes;
            s0 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x)); s1 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + kLanes));
            s2 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 2 * kLanes)); s3 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 3 * kLanes));
            s4 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 4 * kLanes)); s5 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 5 * kLanes));
            s6 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 6 * kLanes)); s7 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 7 * kLanes));
            s8 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 8 * kLanes)); s9 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 9 * kLanes));
            s10 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 10 * kLanes)); s11 += Avx2.MultiplyAddAdjacent(b, Vector256.Load(x + 11 * kLanes));
        }
        return Vector256.Sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11);
    }

    /// <summary>Reads <paramref name="bytes"/> (a multiple of 256) from memory once.</summary>
    [MethodImpl(kOwnLoop)]
    public static long Read(byte* start, nint bytes)
    {
        Vector512<long> s0 = Vector512<long>.Zero, s1 = s0, s2 = s0, s3 = s0;
        for (nint at = 0; at < bytes; at += 256)
        {
            s0 += Vector512.Load((long*)(start + at)); s1 += Vector512.Load((long*)(start + at + 64));
            s2 += Vector512.Load((long*)(start + at + 128)); s3 += Vector512.Load((long*)(start + at + 192));
        }
        return Vector512.Sum(s0 + s1 + s2 + s3);
    }
}
