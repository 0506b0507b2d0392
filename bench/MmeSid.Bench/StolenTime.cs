using System.Globalization;

namespace MmeSid.Bench;

/// <summary>
/// Processor time that the hypervisor gave to other machines although this one wanted it, as Linux counts it: what a reader must know before
/// comparing the times of a virtual machine. Elsewhere nothing is counted.
/// </summary>
/// <param name="Stolen">Ticks stolen since the system started.</param>
/// <param name="Wanted">Ticks stolen or used.</param>
internal readonly record struct StolenTime(long Stolen, long Wanted)
{
    private const string Counters = "/proc/stat";
    private const double kRemarkable = 0.005;

    /// <summary>The counters as they stand.</summary>
    public static StolenTime Now()
    {
        if (!File.Exists(Counters))
            return default;
        // cpu user nice system idle iowait irq softirq steal …
        long[] ticks = [.. File.ReadLines(Counters).First().Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Take(8).Select(text => long.Parse(text, CultureInfo.InvariantCulture))];
        return ticks.Length < 8 ? default : new(ticks[7], ticks.Sum() - ticks[3] - ticks[4]);
    }

    /// <summary>A line for the table when a remarkable share was stolen since then, else null.</summary>
    public string? Since(StolenTime before)
    {
        double share = (Stolen - before.Stolen) / Math.Max(1.0, Wanted - before.Wanted);
        return share < kRemarkable ? null : string.Create(CultureInfo.InvariantCulture, $"The hypervisor took {100 * share:F1} % of the processor time that this machine wanted during these runs");
    }
}
