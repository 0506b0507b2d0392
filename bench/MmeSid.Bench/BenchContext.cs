using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>What the suites on the processor need: its ceilings, and FAISS.</summary>
internal sealed class BenchContext : BenchRun
{
    private const double kOperationsPerRun = 2e12;

    public required Ceilings Ceilings { get; init; }

    /// <summary>Real tables, or null where they are absent.</summary>
    public required string? DataFolder { get; init; }

    /// <summary>FAISS, or null with <c>--no-peers</c>.</summary>
    public required FaissPeer? Faiss { get; init; }

    /// <summary>Root of the repository.</summary>
    public required string Repository { get; init; }

    /// <summary>Whether figures of FAISS can be taken; where it was asked for and is not here, the table says what to install.</summary>
    public bool HasFaiss()
    {
        if (Faiss is { IsPresent: false } && !Remarks.Contains(FaissPeer.WhatToInstall))
            Remarks.Add(FaissPeer.WhatToInstall);
        return Faiss is { IsPresent: true };
    }

    /// <summary>One, and all where that is more.</summary>
    public static IEnumerable<int> ThreadCounts => new[] { AllThreads, 1 }.Distinct();

    /// <summary>Times work that float32 multiply-adds bound, and in turn with it what the machine can do of them.</summary>
    public Timing TimeWithCeiling(Action work, int threads) => Timing.Of(work, Quick, () => Ceiling.Fp32Now(threads));

    /// <summary>The rows that keep one run to about the operations of the largest target, when each row takes this many.</summary>
    public static int RowsWithin(double operationsPerRow, long rows) => (int)Math.Min(rows, kOperationsPerRun / operationsPerRow);

    /// <summary>The vector backend.</summary>
    public static SimdBackend Simd(int threads) => new(threads);
}
