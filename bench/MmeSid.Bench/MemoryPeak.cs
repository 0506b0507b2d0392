using System.Globalization;

namespace MmeSid.Bench;

/// <summary>Resident memory that a piece of work adds at its highest point, as Linux counts it.</summary>
internal static class MemoryPeak
{
    private const string Status = "/proc/self/status";

    /// <summary>Bytes above what was resident before, or null on another system.</summary>
    public static long? Above(Action work)
    {
        if (!File.Exists(Status))
        {
            work();
            return null;
        }
        // 5 sets the high-water mark back to what is resident now.
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = Read("VmRSS:");
        work();
        return Read("VmHWM:") - before;
    }

    private static long Read(string field) =>
        1024 * long.Parse(File.ReadLines(Status).First(line => line.StartsWith(field, StringComparison.Ordinal)).Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
}
