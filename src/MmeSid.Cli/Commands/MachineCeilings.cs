using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary>What this machine can do at best, measured in a second: the yardsticks of <c>mmesid bench</c>.</summary>
internal static class MachineCeilings
{
    private const int kChains = 12;
    private const int kRounds = 2_000_000;
    private const long kBytesPerThread = 128L << 20;
    private const int kRepeats = 5;

    /// <summary>Float32 multiply-adds per second, times two: every thread keeps <see cref="kChains"/> independent vector accumulators busy.</summary>
    public static double FlopsPerSecond(int threads)
    {
        double flops = 2.0 * kChains * kRounds * threads * (Vector512.IsHardwareAccelerated ? Vector512<float>.Count : Vector256<float>.Count);
        return Best(threads, flops, _ => Vector512.IsHardwareAccelerated ? Chain512() : Chain256());
    }

    /// <summary>Bytes per second that all threads together read from memory.</summary>
    public static double BytesPerSecond(int threads)
    {
        const int kColumns = 1024;
        var blocks = new RowMatrix[threads];
        try
        {
            for (int t = 0; t < threads; t++)
            {
                blocks[t] = new RowMatrix(kBytesPerThread / (kColumns * sizeof(float)), kColumns);
                blocks[t].Rows(0, (int)blocks[t].Count).Fill(1);
            }
            return Best(threads, (double)kBytesPerThread * threads, t => Sum(blocks[t].Rows(0, (int)blocks[t].Count)));
        }
        finally
        {
            foreach (RowMatrix? block in blocks)
                block?.Dispose();
        }
    }

    private static double Best(int threads, double amount, Func<int, float> work)
    {
        double best = 0;
        for (int repeat = 0; repeat < kRepeats; repeat++)
        {
            long start = Stopwatch.GetTimestamp();
            var running = new Thread[threads];
            for (int t = 0; t < threads; t++)
            {
                int index = t;
                running[t] = new Thread(() => Keep(work(index)));
                running[t].Start();
            }
            foreach (Thread thread in running)
                thread.Join();
            best = Math.Max(best, amount / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return best;
    }

    /// <summary>Uses a result, so that nobody may leave the computation out.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Keep(float value) => _ = value;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Chain512()
    {
        var factor = Vector512.Create(0.999f);
        var term = Vector512.Create(0.001f);
        Vector512<float> a = term, b = term, c = term, d = term, e = term, f = term, g = term, h = term, i = term, j = term, k = term, l = term;
        for (int round = 0; round < kRounds; round++)
        {
            a = Vector512.FusedMultiplyAdd(a, factor, term);
            b = Vector512.FusedMultiplyAdd(b, factor, term);
            c = Vector512.FusedMultiplyAdd(c, factor, term);
            d = Vector512.FusedMultiplyAdd(d, factor, term);
            e = Vector512.FusedMultiplyAdd(e, factor, term);
            f = Vector512.FusedMultiplyAdd(f, factor, term);
            g = Vector512.FusedMultiplyAdd(g, factor, term);
            h = Vector512.FusedMultiplyAdd(h, factor, term);
            i = Vector512.FusedMultiplyAdd(i, factor, term);
            j = Vector512.FusedMultiplyAdd(j, factor, term);
            k = Vector512.FusedMultiplyAdd(k, factor, term);
            l = Vector512.FusedMultiplyAdd(l, factor, term);
        }
        return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Chain256()
    {
        var factor = Vector256.Create(0.999f);
        var term = Vector256.Create(0.001f);
        Vector256<float> a = term, b = term, c = term, d = term, e = term, f = term, g = term, h = term, i = term, j = term, k = term, l = term;
        for (int round = 0; round < kRounds; round++)
        {
            a = Vector256.FusedMultiplyAdd(a, factor, term);
            b = Vector256.FusedMultiplyAdd(b, factor, term);
            c = Vector256.FusedMultiplyAdd(c, factor, term);
            d = Vector256.FusedMultiplyAdd(d, factor, term);
            e = Vector256.FusedMultiplyAdd(e, factor, term);
            f = Vector256.FusedMultiplyAdd(f, factor, term);
            g = Vector256.FusedMultiplyAdd(g, factor, term);
            h = Vector256.FusedMultiplyAdd(h, factor, term);
            i = Vector256.FusedMultiplyAdd(i, factor, term);
            j = Vector256.FusedMultiplyAdd(j, factor, term);
            k = Vector256.FusedMultiplyAdd(k, factor, term);
            l = Vector256.FusedMultiplyAdd(l, factor, term);
        }
        return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Sum(ReadOnlySpan<float> values)
    {
        Vector256<float> a = default, b = default, c = default, d = default;
        int step = 4 * Vector256<float>.Count;
        for (int i = 0; i + step <= values.Length; i += step)
        {
            a += Vector256.Create(values[i..]);
            b += Vector256.Create(values[(i + 8)..]);
            c += Vector256.Create(values[(i + 16)..]);
            d += Vector256.Create(values[(i + 24)..]);
        }
        return Vector256.Sum(a + b + c + d);
    }
}
