using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using MmeSid.Kernels;
using TorchSharp;

namespace MmeSid.Training;

/// <summary>
/// libtorch, loaded when first asked for and held for the life of the process. Everything that trains calls <see cref="Start"/> first; nothing else
/// needs it. Where it cannot be had, <see cref="UnavailableReason"/> says what to install and everything that does not train works.
/// </summary>
public static partial class TorchRuntime
{
    /// <summary>Environment variable that, set to anything but 0, hides libtorch from this program.</summary>
    public const string HideVariable = "MMESID_NO_LIBTORCH";

    // Of glibc's malloc.h.
    private const int kTrimThreshold = -1, kMmapMax = -4;

    private static readonly Lazy<string?> s_reason = new(Load);

    /// <summary>Why nothing can be trained here, in one line that says what to install; null where it can.</summary>
    public static string? UnavailableReason => s_reason.Value;

    /// <summary>Version of libtorch.</summary>
    public static string Version => torch.__version__;

    /// <summary>GPUs that libtorch can use.</summary>
    public static int CudaDevices => torch.cuda.is_available() ? torch.cuda.device_count() : 0;

    /// <summary>Loads libtorch and sets the threads of its operators on the CPU.</summary>
    /// <param name="threads">0 takes every core.</param>
    /// <exception cref="BackendUnavailableException">There is no libtorch; the message is <see cref="UnavailableReason"/>.</exception>
    public static void Start(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException(reason);
        torch.set_num_threads(threads == 0 ? Environment.ProcessorCount : threads);
    }

    /// <summary>Where tensors live.</summary>
    /// <param name="name"><c>cpu</c>, <c>cuda</c>, or <c>auto</c>: the first GPU that libtorch can use, else the CPU.</param>
    /// <exception cref="BackendUnavailableException">A GPU is asked for and libtorch can use none.</exception>
    /// <exception cref="ArgumentException">The name is none of these.</exception>
    public static torch.Device DeviceOf(string name) => name switch
    {
        "cpu" => torch.CPU,
        "auto" => CudaDevices > 0 ? torch.CUDA : torch.CPU,
        "cuda" => CudaDevices > 0 ? torch.CUDA
            : throw new BackendUnavailableException($"libtorch {Version} can use no GPU here; a libtorch with CUDA is taken with ./build.sh --target Torch --libtorch <folder>"),
        _ => throw new ArgumentException($"'{name}' is no device, expected auto, cpu or cuda"),
    };

    private static string? Load()
    {
        if (Environment.GetEnvironmentVariable(HideVariable) is { Length: > 0 } hidden && hidden != "0")
            return $"training needs libtorch, which {HideVariable} hides";
        if (OperatingSystem.IsLinux())
            TuneForThisMachine();
        try
        {
            torch.TryInitializeDeviceType(DeviceType.CPU);
            return null;
        }
        catch (Exception problem) when (problem is NotSupportedException or DllNotFoundException or TypeInitializationException)
        {
            return $"training needs libtorch: {problem.Message.Split('\n')[0].Trim()}";
        }
    }

    /// <summary>
    /// What libtorch's libraries read from the C environment once, while they load; what the user has set stays. .NET's own
    /// variables are a copy that native code does not see.
    /// </summary>
    private static void TuneForThisMachine()
    {
        // OpenBLAS falls back to code without AVX where the processor is newer than itself; this is the newest core that every release in use knows.
        if (Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported)
            _ = setenv("OPENBLAS_CORETYPE", "SkylakeX", overwrite: 0);
        // Threads that wait for work by spinning stall each other where the cores are shared.
        _ = setenv("OMP_WAIT_POLICY", "PASSIVE", overwrite: 0);
        // Every step asks for the same large tensors: handed back to the system in between, their pages are made and cleared again each time.
        try
        {
            _ = mallopt(kMmapMax, 0);
            _ = mallopt(kTrimThreshold, int.MaxValue);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library, which has its own ways.
        }
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
