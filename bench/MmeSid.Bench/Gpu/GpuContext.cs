using System.Globalization;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>What this project promises of an H200, and what was found.</summary>
/// <param name="Name">What is measured.</param>
/// <param name="Aim">The promise.</param>
/// <param name="Found">The measurement.</param>
/// <param name="Met">Whether it keeps the promise.</param>
internal sealed record GpuTarget(string Name, string Aim, string Found, bool Met);

/// <summary>What the suites on a GPU need: the GPU, its ceilings, PyTorch, and sizes that fit.</summary>
internal sealed class GpuContext : BenchRun
{
    // What is left is for the encoder's batches and tables.
    private const double kShareOfMemory = 0.7;

    public required CudaBackend Backend { get; init; }

    public required CudaCeilings Ceilings { get; init; }

    /// <summary>PyTorch, or null with <c>--no-peers</c>.</summary>
    public required TorchPeer? Torch { get; init; }

    /// <summary>Rows whose codes are proven on the device.</summary>
    public required long ProvenRows { get; init; }

    /// <summary>Longest that a part which could go on for ever takes.</summary>
    public required TimeSpan Box { get; init; }

    /// <summary>Of what is drawn at random.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Of the current suite.</summary>
    public List<GpuTarget> Targets { get; } = [];

    /// <summary>The GPU.</summary>
    public CudaDevice Gpu => Backend.Gpu;

    /// <summary>The screens that the GPU can run.</summary>
    public IReadOnlyList<Screen> Screens => [.. Screen.All.Where(screen => screen.Fits(Gpu))];

    /// <summary>The same GPU with one screen for all levels, or with whatever it measures to be fastest.</summary>
    public CudaBackend With(Screening? screening) => new([Gpu.Ordinal], AllThreads, screening);

    /// <summary>10⁹ operations per second of what a screen computes with.</summary>
    public double Ceiling(ScreenKind screen) => screen switch
    {
        ScreenKind.Float32 => Ceilings.Float32Operations,
        ScreenKind.Int8 => Ceilings.Int8Operations,
        _ => Ceilings.Float16Operations,
    } / 1e9;

    /// <summary>As many rows as are wanted and fit the device and, where they are made there, the host; fewer are remarked on.</summary>
    /// <param name="wanted">Rows.</param>
    /// <param name="bytesPerRow">On the device.</param>
    /// <param name="hostBytesPerRow">On the host.</param>
    public int Fit(long wanted, long bytesPerRow, long hostBytesPerRow)
    {
        long host = hostBytesPerRow == 0 ? long.MaxValue : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2 / hostBytesPerRow;
        long fitting = Math.Min(host, (long)(Gpu.FreeBytes * kShareOfMemory) / bytesPerRow);
        if (fitting >= wanted)
            return (int)wanted;
        string remark = string.Create(CultureInfo.InvariantCulture, $"Memory holds {fitting:N0} rows of {bytesPerRow} bytes, fewer than the {wanted:N0} of the definition");
        if (!Remarks.Contains(remark))
            Remarks.Add(remark);
        return (int)fitting;
    }

    /// <summary>Synthetic rows, as many as fit both memories.</summary>
    public RowMatrix Synth(long wanted, int dimension) => BenchData.Synth(Fit(wanted, sizeof(float) * (long)dimension, sizeof(float) * (long)dimension), dimension);

    /// <summary>Adds what was found beside what is promised; nothing in a quick run, whose sizes are not those of any promise.</summary>
    public void Compare(string name, string aim, string found, bool met)
    {
        if (!Quick)
            Targets.Add(new GpuTarget(name, aim, found, met));
    }

    /// <summary>Text with numbers as the tables write them.</summary>
    public static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
