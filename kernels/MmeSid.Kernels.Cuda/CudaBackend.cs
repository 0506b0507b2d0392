using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// CUDA C++ kernels (kernels/cuda) on one NVIDIA GPU, through the driver alone. Codes and orders are the oracle's bit for bit; sums are the
/// same bytes on every run. Beam search, and input that float32 cannot serve, run on the host.
/// </summary>
public sealed partial class CudaBackend : IBackend
{
    private readonly SimdBackend _host;
    private readonly Screening? _screening;

    /// <summary>Opens a GPU.</summary>
    /// <param name="ordinal">0 the first.</param>
    /// <param name="threads">Host threads that prepare plans and copy rows; 0 takes every core.</param>
    /// <exception cref="BackendUnavailableException">There is no driver, no such GPU, or this build has no kernels.</exception>
    public CudaBackend(int ordinal = 0, int threads = 0)
        : this(ordinal, threads, screening: null)
    {
    }

    internal CudaBackend(int ordinal, int threads, Screening? screening)
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException($"cuda: {reason}");
        _host = new SimdBackend(threads);
        _screening = screening;
        Gpu = CudaDevice.Open(ordinal);
        // Refuses here what would otherwise fail in the middle of the work.
        Gpu.Kernel("prepare", "prepare_float32", 256);
    }

    /// <summary>Why this backend cannot be used here, in one line, or null where it can.</summary>
    public static string? UnavailableReason =>
        CudaDevice.WhyNone ?? (CudaDevice.HasKernels ? null : "this build has no CUDA kernels; the target Kernels compiles them where clang-19 is");

    /// <summary>Whether MMESID_LIBCUDA names another driver library than the machine's: nothing to choose unasked.</summary>
    public static bool IsDriverReplaced => Environment.GetEnvironmentVariable(Driver.LibraryVariable) is { Length: > 0 };

    /// <summary>The GPU.</summary>
    public CudaDevice Gpu { get; }

    /// <summary>Bytes of pinned memory that rows pass through.</summary>
    internal const long kStagingBytes = 256L << 20;

    /// <summary>Host threads.</summary>
    internal int Threads => _host.Threads;

    /// <inheritdoc/>
    public string Name => "cuda";

    /// <inheritdoc/>
    public string Device => $"{Gpu.Name}, compute {Gpu.CapabilityMajor}.{Gpu.CapabilityMinor}, driver {Gpu.DriverVersion}";

    /// <inheritdoc/>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        options ??= new EncodeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Beam, 1);
        return options.Beam == 1 ? new CudaEncoder(Gpu, plan, options, _host.Threads, _screening) : _host.CreateEncoder(plan, options);
    }

    /// <inheritdoc/>
    public IHeldRows? Hold(long count, int dimension)
    {
        // A quarter of what is free stays for the sort of Accumulate and the batches of Encode.
        if (count > Array.MaxLength || count * dimension * sizeof(float) > Gpu.FreeBytes / 4 * 3)
            return null;
        return new CudaHeldRows(this, (int)count, dimension, _screening);
    }
}
