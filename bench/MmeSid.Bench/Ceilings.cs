using System.Diagnostics;
using System.Runtime.InteropServices;

namespace MmeSid.Bench;

/// <summary>What the machine can do, measured in the run whose figures are compared with it.</summary>
/// <param name="Threads">Cores working at once.</param>
/// <param name="Fp32">fp32 multiply-adds from registers, 10⁹ operations per second.</param>
/// <param name="Int8">int8 dot product as .NET exposes it, 10⁹ operations per second; 0 where the processor lacks it.</param>
/// <param name="Int16">int16 dot product, 10⁹ operations per second; 0 where the processor lacks it.</param>
/// <param name="Memory">Reading from RAM, 10⁹ bytes per second.</param>
internal sealed record Ceiling(int Threads, double Fp32, double Int8, double Int16, double Memory);

/// <summary>The ceilings for one core and for all.</summary>
internal sealed class Ceilings
{
    private const double kSecondsPerRound = 0.05;

    // Where the loops' results go, so that no loop can be dropped as useless.
    private static double s_result;

    private readonly Dictionary<int, Ceiling> _byThreads = [];

    /// <summary>Measures; the best of several rounds counts, because a ceiling that a neighbour disturbed would flatter us.</summary>
    public static Ceilings Measure(bool quick)
    {
        var ceilings = new Ceilings();
        foreach (int threads in new[] { 1, Environment.ProcessorCount }.Distinct())
            ceilings._byThreads[threads] = Measure(threads, quick ? 2 : 12, quick ? 64L << 20 : 1L << 30);
        return ceilings;
    }

    /// <summary>One entry per thread count that the benches use.</summary>
    public IEnumerable<Ceiling> All => _byThreads.Values;

    /// <summary>The ceiling for this many threads.</summary>
    public Ceiling For(int threads) => _byThreads[threads];

    private static unsafe Ceiling Measure(int threads, int rounds, long memoryBytes)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc((nuint)memoryBytes, 64);
        new Span<byte>(memory, checked((int)(memoryBytes / 2))).Fill(1);
        new Span<byte>(memory + memoryBytes / 2, checked((int)(memoryBytes / 2))).Fill(2);
        try
        {
            nint share = (nint)(memoryBytes / threads / 256 * 256);
            return new(
                threads,
                Rate(threads, rounds, CeilingLoops.MultiplyAddOperations, (_, steps) => CeilingLoops.MultiplyAdd(steps)),
                CeilingLoops.HasDotInt8 ? Rate(threads, rounds, CeilingLoops.DotInt8Operations, (_, steps) => CeilingLoops.DotInt8(steps)) : 0,
                CeilingLoops.HasDotInt16 ? Rate(threads, rounds, CeilingLoops.DotInt16Operations, (_, steps) => CeilingLoops.DotInt16(steps)) : 0,
                Enumerable.Range(0, rounds).Max(_ => share * threads / Together(threads, thread => CeilingLoops.Read(memory + thread * share, share))) / 1e9);
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    /// <summary>10⁹ operations per second of a loop, on several threads at once, best round.</summary>
    private static double Rate(int threads, int rounds, int operationsPerStep, Func<int, long, double> loop)
    {
        long steps = 1 << 16;
        while (Together(1, thread => loop(thread, steps)) < kSecondsPerRound)
            steps *= 2;
        double best = Enumerable.Range(0, rounds).Min(_ => Together(threads, thread => loop(thread, steps)));
        return (double)operationsPerStep * steps * threads / best / 1e9;
    }

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
