using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// CUDA C++ kernels (kernels/cuda) on NVIDIA GPUs, through the driver alone. Codes and orders are the oracle's bit for bit; sums are the
/// same bytes on every run. Encode splits rows over all its GPUs, the other operations run on the first. Beam search, and input that float32
/// cannot serve, run on the host.
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
        : this([ordinal], threads)
    {
    }

    /// <summary>Opens several GPUs.</summary>
    /// <param name="ordinals">At least one, 0 the first, each once.</param>
    /// <param name="threads">Host threads that prepare plans and copy rows; 0 takes every core.</param>
    /// <param name="screening">Which screens do the work; null for the fastest.</param>
    /// <exception cref="BackendUnavailableException">There is no driver, no such GPU, or this build has no kernels.</exception>
    internal CudaBackend(IReadOnlyList<int> ordinals, int threads, Screening? screening = null)
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException($"cuda: {reason}");
        _host = new SimdBackend(threads);
        _screening = screening;
        Gpus = [.. ordinals.Select(CudaDevice.Open)];
        // Refuses here what would otherwise fail in the middle of the work.
        foreach (CudaDevice gpu in Gpus)
            gpu.Kernel("prepare", "prepare_float32", 256);
    }

    /// <summary>Opens every GPU that can run the kernels.</summary>
    /// <param name="threads">Host threads that prepare plans and copy rows; 0 takes every core.</param>
    /// <exception cref="BackendUnavailableException">There is no driver, this build has no kernels, or no GPU can run them (what the first one says).</exception>
    public static CudaBackend OnAll(int threads = 0)
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException($"cuda: {reason}");
        int[] usable = [.. Enumerable.Range(0, CudaDevice.Count).Where(ordinal => WhyUnusable(ordinal) is null)];
        return usable.Length > 0 ? new CudaBackend(usable, threads) : new CudaBackend(0, threads);
    }

    /// <summary>Why a GPU cannot run the kernels, in one line, or null where it can.</summary>
    /// <param name="ordinal">0 the first.</param>
    public static string? WhyUnusable(int ordinal)
    {
        try
        {
            _ = new CudaBackend(ordinal, threads: 1);
            return null;
        }
        catch (BackendUnavailableException unusable)
        {
            return unusable.Message;
        }
    }

    /// <summary>Why this backend cannot be used here, in one line, or null where it can.</summary>
    public static string? UnavailableReason =>
        CudaDevice.WhyNone ?? (CudaDevice.HasKernels ? null : "this build has no CUDA kernels; the target Kernels compiles them where clang-19 is");

    /// <summary>Whether MMESID_LIBCUDA names another driver library than the machine's: nothing to choose unasked.</summary>
    public static bool IsDriverReplaced => Environment.GetEnvironmentVariable(Driver.LibraryVariable) is { Length: > 0 };

    /// <summary>The GPUs, at least one.</summary>
    public IReadOnlyList<CudaDevice> Gpus { get; }

    /// <summary>The first of them.</summary>
    public CudaDevice Gpu => Gpus[0];

    /// <summary>Rows of a call that are worth a part of their own on another GPU; 0 for a whole batch.</summary>
    internal int LeastPartRows { get; init; }

    /// <summary>Bytes of pinned memory that rows pass through.</summary>
    internal const long kStagingBytes = 256L << 20;

    /// <summary>Host threads.</summary>
    internal int Threads => _host.Threads;

    /// <inheritdoc/>
    public string Name => "cuda";

    /// <inheritdoc/>
    public string Device => string.Join(" + ", Gpus
        .GroupBy(gpu => $"{gpu.Name}, compute {gpu.CapabilityMajor}.{gpu.CapabilityMinor}, driver {gpu.DriverVersion}")
        .Select(alike => alike.Count() == 1 ? alike.Key : $"{alike.Count()} × {alike.Key}"));

    /// <inheritdoc/>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        options ??= new EncodeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Beam, 1);
        if (options.Beam > 1)
            return _host.CreateEncoder(plan, options);
        return Gpus.Count == 1 ? On(Gpu) : new CudaEncoderOnSeveral([.. Gpus.Select(gpu => (Func<CudaEncoder>)(() => On(gpu)))], LeastPartRows);

        CudaEncoder On(CudaDevice gpu) => new(gpu, plan, options, _host.Threads, _screening);
    }

    /// <inheritdoc/>
    public IHeldRows? Hold(long count, int dimension)
    {
        // A quarter of what is free stays for codebooks, the distances of k-means++ and the batches of Encode.
        if (count > Array.MaxLength || count * CudaHeldRows.BytesPerRow(dimension) > Gpu.FreeBytes / 4 * 3)
            return null;
        return new CudaHeldRows(this, (int)count, dimension, _screening);
    }
}
