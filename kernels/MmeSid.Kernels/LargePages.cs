using System.Runtime.InteropServices;

namespace MmeSid.Kernels;

/// <summary>
/// Asks the system to back large blocks of memory by pages of 2 MB (Linux: transparent huge pages, where they are to be asked for). What is read here and there,
/// such as a row of a table of 64 MB per item, then finds its page in the processor's own table; and memory is first touched with a five-hundredth of the faults.
/// </summary>
internal static unsafe partial class LargePages
{
    private const nuint kPage = 2 << 20;
    private const int kHugePage = 14;

    /// <summary>Asks for a block that has not been written yet. Nothing happens where it is small, or the system has no such pages.</summary>
    public static void Advise(void* start, nuint bytes)
    {
        nuint first = ((nuint)start + kPage - 1) & ~(kPage - 1), end = ((nuint)start + bytes) & ~(kPage - 1);
        if (OperatingSystem.IsLinux() && first < end)
            _ = MemoryAdvise((void*)first, end - first, kHugePage);
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int MemoryAdvise(void* start, nuint bytes, int advice);
}
