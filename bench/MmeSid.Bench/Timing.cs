using System.Diagnostics;

namespace MmeSid.Bench;

/// <summary>Repeated wall-clock times of one piece of work.</summary>
/// <param name="Median">Seconds.</param>
/// <param name="Spread">Half the distance between the lower and the upper quartile, seconds.</param>
/// <param name="Runs">How often it ran, warm-up excluded.</param>
/// <param name="AllocatedBytes">Least that one run allocated on the garbage-collected heap, all threads; null where that was not measured.</param>
/// <param name="CeilingMeanwhile">Median of the ceiling measured before every run, 10⁹ operations per second; null where none was measured.</param>
internal sealed record Timing(double Median, double Spread, int Runs, long? AllocatedBytes, double? CeilingMeanwhile = null)
{
    private const double kSecondsInAll = 3;
    private const double kSlowRun = 30;

    /// <summary>
    /// Runs once to warm up, then at least five times (three when one run takes over half a minute), more for short ones.
    /// </summary>
    /// <param name="work">What is timed.</param>
    /// <param name="quick">Two runs are enough.</param>
    /// <param name="ceiling">Measured in turn with the work, outside its time; or null.</param>
    public static Timing Of(Action work, bool quick, Func<double>? ceiling = null)
    {
        double warmUp = Seconds(work);
        int runs = quick ? 2 : warmUp > kSlowRun ? 3 : (int)Math.Clamp(kSecondsInAll / warmUp, 5, 25);
        double[] times = new double[runs], ceilings = new double[ceiling is null ? 0 : runs];
        long allocated = long.MaxValue;
        for (int run = 0; run < runs; run++)
        {
            if (ceiling is not null)
                ceilings[run] = ceiling();
            long before = GC.GetTotalAllocatedBytes(precise: true);
            times[run] = Seconds(work);
            allocated = Math.Min(allocated, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        return Of(times, allocated) with { CeilingMeanwhile = ceiling is null ? null : Quantile([.. ceilings.Order()], 0.5) };
    }

    /// <summary>Median seconds of two pieces of work that take turns, so that both have the same machine.</summary>
    public static (double Work, double Other) InTurn(Action work, Action other, bool quick)
    {
        List<double> others = [];
        Timing timing = Of(work, quick, () =>
        {
            others.Add(Seconds(other));
            return 0;
        });
        return (timing.Median, Of(others).Median);
    }

    /// <summary>Summary of times taken elsewhere.</summary>
    public static Timing Of(IReadOnlyList<double> seconds, long? allocatedBytes = null)
    {
        double[] sorted = [.. seconds.Order()];
        return new(Quantile(sorted, 0.5), (Quantile(sorted, 0.75) - Quantile(sorted, 0.25)) / 2, sorted.Length, allocatedBytes);
    }

    /// <summary>Wall-clock seconds of one run.</summary>
    public static double Seconds(Action work)
    {
        var clock = Stopwatch.StartNew();
        work();
        return clock.Elapsed.TotalSeconds;
    }

    private static double Quantile(double[] sorted, double share)
    {
        double at = share * (sorted.Length - 1);
        int below = (int)at;
        return sorted[below] + (at - below) * (sorted[Math.Min(below + 1, sorted.Length - 1)] - sorted[below]);
    }
}
