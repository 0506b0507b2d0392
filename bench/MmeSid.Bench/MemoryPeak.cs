using System.Globalization;

namespace MmeSid.Bench;

/// <summary>Resident memory that a piece of work adds at its highest point, as Linux counts it.</summary>
internal static class MemoryPeak
{
    /// <summary>Bytes above what was resident before, or null on another system.</summary>
    public static long? Above(Action work)
    {
        if (!File.Exists("/proc/self/clear_refs"))
        {
            work();
            return null;
        }
        // 5 sets the high-water mark back to what is resident now.
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = Read("self", "VmRSS:");
        work();
        return Read("self", "VmHWM:") - before;
    }

    /// <summary>Most that another process has had resident so far; 0 when it is gone or the system does not tell.</summary>
    public static long Of(int process)
    {
        try
        {
            return Read(process.ToString(CultureInfo.InvariantCulture), "VmHWM:");
        }
        catch (Exception exception) when (exception is IOException or InvalidOperationException)
        {
            return 0;
        }
    }

    private static long Read(string process, string field)
    {
        string line = File.ReadLines($"/proc/{process}/status").First(line => line.StartsWith(field, StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
