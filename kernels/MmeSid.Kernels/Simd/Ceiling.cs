using System.Diagnostics;

namespace MmeSid.Kernels.Simd;

/// <summary>What the machine can do at best, for figures of the same run to be compared with.</summary>
/// <param name="Threads">Cores working at once.</param>
/// <param name="Fp32">float32 multiply-adds from registers, 10⁹ operations per second (a multiply-add counts two).</param>
/// <param name="Int8">int8 dot product, as wide as our kernels have it (512 bits with <c>native/vnni</c>), 10⁹ operations per second; 0 where the processor lacks it.</param>
/// <param name="Int16">int16 dot product, likewise, 10⁹ operations per second; 0 where the processor lacks it.</param>
/// <param name="Memory">Reading from RAM, 10⁹ bytes per second.</param>
public sealed record Ceiling(int Threads, double Fp32, double Int8, double Int16, double Memory)
{
    private const double kSecondsPerRound = 0.05;
    private const long kStepsNow = 1 << 23;

    // Where the loops' results go, so that no loop can be dropped as useless.
    private static double s_result;

    /// <summary>Measures; the best of several rounds counts, because a ceiling that a neighbour disturbed would flatter whoever is compared with it.</summary>
    /// <param name="threads">1 or more.</param>
    /// <param name="rounds">Of 0.05 s each, per ceiling.</param>
    /// <param name="memoryBytes">Read per round, over all threads; far more than the caches hold.</param>
    /// <exception cref="InsufficientMemoryException">The machine cannot provide the memory.</exception>
    public static unsafe Ceiling Measure(int threads, int rounds = 12, long memoryBytes = 1L << 30)
    {
        const int kColumns = 1024;
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        using var memory = new RowMatrix(memoryBytes / (kColumns * sizeof(float)), kColumns);
        // Pages that were never written share one page of zeros, which would be read from the cache.
        for (long row = 0; row < memory.Count; row++)
            memory.Rows(row, 1).Fill(1);
        long rowsPerThread = memory.Count / threads;
        nint share = (nint)(rowsPerThread * kColumns * sizeof(float));
        double Read(int thread)
        {
            fixed (float* start = memory.Rows(thread * rowsPerThread, 1))
                return CeilingLoops.Read((byte*)start, share);
        }
        return new(
            threads,
            Rate(threads, rounds, CeilingLoops.MultiplyAddOperations, steps => CeilingLoops.MultiplyAdd(steps)),
            CeilingLoops.HasDotInt8 ? Rate(threads, rounds, CeilingLoops.DotInt8Operations, steps => CeilingLoops.DotInt8(steps)) : 0,
            CeilingLoops.HasDotInt16 ? Rate(threads, rounds, CeilingLoops.DotInt16Operations, steps => CeilingLoops.DotInt16(steps)) : 0,
            (double)share * threads / Best(rounds, threads, Read) / 1e9);
    }

    /// <summary>
    /// One short round of <see cref="Fp32"/>: what this many threads get now, with whatever else is going on. Taken in turn with a kernel's
    /// runs, the ratio of the two medians does not depend on how busy the machine was.
    /// </summary>
    public static double Fp32Now(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        return (double)CeilingLoops.MultiplyAddOperations * kStepsNow * threads / Together(threads, _ => CeilingLoops.MultiplyAdd(kStepsNow)) / 1e9;
    }

    private static double Rate(int threads, int rounds, int operationsPerStep, Func<long, double> loop)
    {
        long steps = 1 << 16;
        while (Together(1, _ => loop(steps)) < kSecondsPerRound)
            steps *= 2;
        return (double)operationsPerStep * steps * threads / Best(rounds, threads, _ => loop(steps)) / 1e9;
    }

    private static double Best(int rounds, int threads, Func<int, double> body) => Enumerable.Range(0, rounds).Min(_ => Together(threads, body));

    /// <summary>Seconds from the common start of the threads to the end of the last.</summary>
    private static double Together(int threads, Func<int, double> body)
    {
        using var start = new Barrier(threads + 1);
        Thread[] workers =
        [
            .. Enumerable.Range(0, threads).Select(index => new Thread(() =>
            {
                start.SignalAndWait();
                Volatile.Write(ref s_result, body(index));
            })),
        ];
        foreach (Thread worker in workers)
            worker.Start();
        start.SignalAndWait();
        var clock = Stopwatch.StartNew();
        foreach (Thread worker in workers)
            worker.Join();
        return clock.Elapsed.TotalSeconds;
    }
}
