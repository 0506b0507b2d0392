using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>The machine's ceilings for the thread counts that figures are taken with.</summary>
internal sealed class Ceilings
{
    private readonly Dictionary<int, Ceiling> _byThreads;

    private Ceilings(IEnumerable<Ceiling> ceilings) => _byThreads = ceilings.ToDictionary(ceiling => ceiling.Threads);

    /// <summary>Measures them.</summary>
    public static Ceilings Measure(bool quick) =>
        new(BenchContext.ThreadCounts.Order().Select(threads => quick ? Ceiling.Measure(threads, rounds: 2, memoryBytes: 64L << 20) : Ceiling.Measure(threads)));

    /// <summary>One per thread count.</summary>
    public IEnumerable<Ceiling> All => _byThreads.Values;

    /// <summary>The ceiling for this many threads.</summary>
    public Ceiling For(int threads) => _byThreads[threads];
}
