using MmeSid.Engine.Files;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>What every suite needs: ceilings, sizes, peers, and a folder for files that peers read.</summary>
internal sealed class BenchContext : IDisposable
{
    private const double kOperationsPerRun = 5e11;

    private readonly string _temporary = Directory.CreateTempSubdirectory("mmesid-bench-").FullName;

    public required Ceilings Ceilings { get; init; }

    /// <summary>Tiny shapes and two runs: shows that the bench works, measures nothing.</summary>
    public required bool Quick { get; init; }

    /// <summary>Real tables, or null where they are absent.</summary>
    public required string? DataFolder { get; init; }

    /// <summary>FAISS, or null with <c>--no-peers</c>.</summary>
    public required FaissPeer? Faiss { get; init; }

    /// <summary>Root of the repository.</summary>
    public required string Repository { get; init; }

    /// <summary>What the current suite could not do and why; stands over its table.</summary>
    public List<string> Remarks { get; } = [];

    /// <summary>Whether figures of FAISS can be taken; where it was asked for and is not here, the table says what to install.</summary>
    public bool HasFaiss()
    {
        if (Faiss is { IsPresent: false } && !Remarks.Contains(FaissPeer.WhatToInstall))
            Remarks.Add(FaissPeer.WhatToInstall);
        return Faiss is { IsPresent: true };
    }

    /// <summary>All cores.</summary>
    public static int AllThreads => Environment.ProcessorCount;

    /// <summary>One, and all where that is more.</summary>
    public static IEnumerable<int> ThreadCounts => new[] { AllThreads, 1 }.Distinct();

    /// <summary>The full size, or a tiny one.</summary>
    public int Size(int full, int quick) => Quick ? quick : full;

    /// <summary>Times work with the runs that this bench takes.</summary>
    public Timing Time(Action work) => Timing.Of(work, Quick);

    /// <summary>Times work that float32 multiply-adds bound, and in turn with it what the machine can do of them.</summary>
    public Timing TimeWithCeiling(Action work, int threads) => Timing.Of(work, Quick, () => Ceiling.Fp32Now(threads));

    /// <summary>The rows that keep one run to about the operations of the largest target, when each row takes this many.</summary>
    public static int RowsWithin(double operationsPerRow, long rows) => (int)Math.Min(rows, kOperationsPerRun / operationsPerRow);

    /// <summary>Says on standard error what is going on.</summary>
    public static void Say(string line) => Console.Error.WriteLine(line);

    /// <summary>A path for a file that peers read; gone when the bench ends.</summary>
    public string TemporaryFile(string name) => Path.Combine(_temporary, name);

    /// <summary>Writes rows as <c>.npy</c> for a peer and returns the path; a file of that name is replaced.</summary>
    public string WriteRows(string name, RowMatrix rows)
    {
        string path = TemporaryFile(name);
        using FileStream stream = File.Create(path);
        var writer = new NpyWriter<float>(stream, rows.Count, rows.Dimension);
        for (long first = 0; first < rows.Count;)
        {
            int count = (int)Math.Min(rows.Count - first, 4096);
            writer.Write(rows.Rows(first, count));
            first += count;
        }
        writer.Complete();
        return path;
    }

    /// <summary>Writes an array as <c>.npy</c> for a peer and returns the path.</summary>
    public string WriteArray<T>(string name, ReadOnlySpan<T> values, params ReadOnlySpan<long> shape)
        where T : unmanaged
    {
        string path = TemporaryFile(name);
        using FileStream stream = File.Create(path);
        NpyFile.Write(stream, values, shape);
        return path;
    }

    /// <summary>The vector backend.</summary>
    public static SimdBackend Simd(int threads) => new(threads);

    public void Dispose() => Directory.Delete(_temporary, recursive: true);
}
