using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>
/// The kernels in C#, compiled for an NVIDIA GPU by ILGPU. Codes, orders and the sums of <see cref="Accumulate"/> are the oracle's bit for bit, those of
/// <see cref="MmdSums"/> the same bytes on every run. Encoding, accumulation, MMD and the largest products run on the device; beams wider than 1,
/// <see cref="SinkhornAssign"/> and input that float32 cannot serve on the host's vectors. Thread-safe: a device does one operation at a time.
/// </summary>
public sealed partial class IlgpuBackend : IBackend
{
    private readonly SimdBackend _host;

    /// <summary>Opens a GPU.</summary>
    /// <param name="ordinal">0 the first.</param>
    /// <param name="threads">Host threads that prepare plans and copy rows; 0 takes every core.</param>
    /// <exception cref="BackendUnavailableException">There is no driver, or no such GPU.</exception>
    public IlgpuBackend(int ordinal = 0, int threads = 0)
        : this(UnavailableReason is { } reason ? throw new BackendUnavailableException($"ilgpu: {reason}") : IlgpuDevice.Open(ordinal), threads)
    {
    }

    internal IlgpuBackend(IlgpuDevice device, int threads)
    {
        Gpu = device;
        _host = new SimdBackend(threads);
    }

    /// <summary>GPUs that this backend can open.</summary>
    public static int DeviceCount => IlgpuDevice.Count;

    /// <summary>Why this backend cannot be used here, in one line, or null where it can.</summary>
    public static string? UnavailableReason => DeviceCount > 0 ? null : "ILGPU finds no NVIDIA driver, or no GPU that it supports";

    /// <summary>The GPU, or the simulator.</summary>
    internal IlgpuDevice Gpu { get; }

    /// <summary>Host threads.</summary>
    internal int Threads => _host.Threads;

    /// <summary>Bytes of rows that pass through page-locked memory at a time, except in Encode. No bit of a result depends on it.</summary>
    internal long StagingBytes { get; init; } = 64L << 20;

    /// <inheritdoc/>
    public string Name => "ilgpu";

    /// <inheritdoc/>
    public string Device => Gpu.Name;

    /// <inheritdoc/>
    /// <exception cref="BackendUnavailableException">The plan does not fit the device's memory.</exception>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        options ??= new EncodeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Beam, 1);
        return options.Beam == 1 ? new IlgpuEncoder(Gpu, plan, options, _host) : _host.CreateEncoder(plan, options);
    }

    /// <inheritdoc/>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) =>
        _host.SinkhornAssign(rows, codewords, options, codes, potentials);
}
