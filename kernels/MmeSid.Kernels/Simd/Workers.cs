using System.Runtime.ExceptionServices;

namespace MmeSid.Kernels.Simd;

/// <summary>Runs one piece of work on several threads at once.</summary>
internal static class Workers
{
    /// <summary>Calls <paramref name="work"/>(0 … threads − 1), each on its own thread, and returns when all have ended.</summary>
    public static void Run(int threads, Action<int> work)
    {
        if (threads == 1)
            work(0);
        else
            Unwrapped(() => Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, work));
    }

    // The same exception whatever the number of threads.
    private static void Unwrapped(Action run)
    {
        try
        {
            run();
        }
        catch (AggregateException failures)
        {
            ExceptionDispatchInfo.Throw(failures.InnerExceptions[0]);
        }
    }

    /// <summary>
    /// Calls <paramref name="work"/>(worker, unit) once for each unit 0 … <paramref name="units"/> − 1. Units are handed out in ascending
    /// order to whichever worker is free, so what a unit computes must not depend on the worker.
    /// </summary>
    public static void RunUnits(int threads, int units, Action<int, int> work)
    {
        int next = -1;
        Run(Math.Max(1, Math.Min(threads, units)), worker =>
        {
            for (int unit = Interlocked.Increment(ref next); unit < units; unit = Interlocked.Increment(ref next))
                work(worker, unit);
        });
    }
}
