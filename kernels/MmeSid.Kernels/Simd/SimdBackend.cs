using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// C# vector kernels on all cores: AVX-512 where the processor has it, else AVX2, else portable 128-bit vectors (NEON, SSE, or scalar code).
/// Codes are the oracle's bit for bit; sums are the same bytes for any thread count.
/// </summary>
public sealed partial class SimdBackend : IBackend
{
    /// <summary>Creates the backend.</summary>
    /// <param name="threads">Worker threads; 0 takes every core.</param>
    /// <param name="screen">What vectors are rounded to where nearest codewords or largest products are searched; changes no result.</param>
    public SimdBackend(int threads = 0, SimdScreen screen = SimdScreen.Fastest)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        Threads = threads == 0 ? Environment.ProcessorCount : threads;
        Screen = screen;
    }

    /// <summary>What vectors are rounded to where nearest codewords or largest products are searched.</summary>
    public SimdScreen Screen { get; }

    /// <summary>Worker threads an operation uses.</summary>
    public int Threads { get; }

    /// <inheritdoc/>
    public string Name => "simd";

    /// <inheritdoc/>
    public string Device => $"{InstructionSet}, {Threads} {(Threads == 1 ? "thread" : "threads")}";

    /// <summary>The widest path this process takes: <c>AVX-512</c>, <c>AVX2</c> or <c>portable 128-bit</c>.</summary>
    public static string InstructionSet =>
        Vector512.IsHardwareAccelerated && Avx512F.IsSupported ? "AVX-512"
        : Vector256.IsHardwareAccelerated && Fma.IsSupported ? "AVX2"
        : "portable 128-bit";
}

/// <summary>
/// What vectors are rounded to before they are multiplied, in the search of nearest codewords and of the largest inner products. The results are the same.
/// Largest products know <see cref="Fastest"/>, <see cref="Float32"/> and <see cref="Int8"/>, for which <see cref="Int8Prefix"/> stands as well; <see cref="Int16"/> stands for <see cref="Float32"/>.
/// </summary>
public enum SimdScreen
{
    /// <summary>The fastest on the first rows of a long call; short calls take <see cref="Float32"/>.</summary>
    Fastest,

    /// <summary>Not rounded.</summary>
    Float32,

    /// <summary>16-bit integers, where the processor multiplies them; else <see cref="Float32"/>.</summary>
    Int16,

    /// <summary>8-bit integers after a rotation, where the processor multiplies them; else <see cref="Float32"/>.</summary>
    Int8,

    /// <summary>8-bit integers of the directions that hold most of the codewords, where there are many codewords; else <see cref="Int8"/>.</summary>
    Int8Prefix,
}
