using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>Asks for memory that is read soon, here and there, where the processor's own prefetch does not see what comes next.</summary>
internal static unsafe class Prefetch
{
    private const int kLine = 64;

    /// <summary>Into the first-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Lines(void* start, int bytes)
    {
        if (!Sse.IsSupported)
            return;
        for (byte* line = (byte*)start, end = line + bytes; line < end; line += kLine)
            Sse.Prefetch0(line);
    }
}
