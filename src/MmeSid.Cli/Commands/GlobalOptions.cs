using System.CommandLine;
using System.Globalization;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Cli.Commands;

/// <summary>Options that every command understands.</summary>
internal static class GlobalOptions
{
    /// <summary>What stands before the number of a GPU.</summary>
    public const string kCudaPrefix = "cuda:";

    public static readonly Option<bool> Json = new("--json")
    {
        Description = "Write results as one JSON object.",
        Recursive = true,
    };

    public static readonly Option<string> Backend = AcceptOnlyBackends(new("--backend")
    {
        Description = "What computes: cuda (all NVIDIA GPUs), cuda:1 (one of them, as 'devices' numbers them), ilgpu (the same through ILGPU, only when asked for), simd (vector kernels on all cores), scalar (plain float64 loops, the oracle) "
            + "or auto (the fastest here). All give the same codes, bit for bit.",
        HelpName = "auto|cuda|cuda:n|ilgpu|simd|scalar",
        DefaultValueFactory = _ => "auto",
        Recursive = true,
    });

    public static readonly Option<ulong> Seed = new("--seed")
    {
        Description = "Seed of everything random. Same input, options and seed: same bytes, whatever the number of threads; of what libtorch trains, with the same number.",
        DefaultValueFactory = _ => 1,
        HelpName = "number",
        Recursive = true,
    };

    public static readonly Option<int> Threads = new("--threads")
    {
        Description = "Worker threads; 0 takes every core.",
        DefaultValueFactory = _ => 0,
        HelpName = "count",
        Recursive = true,
    };

    public static readonly Option<bool> Quiet = new("--quiet", "-q")
    {
        Description = "No progress on stderr.",
        Recursive = true,
    };

    public static readonly Option<bool> Verbose = new("--verbose", "-v")
    {
        Description = "More on stderr: every iteration, and stack traces of internal errors.",
        Recursive = true,
    };

    public static void AddTo(RootCommand root)
    {
        foreach (Option option in (Option[])[Json, Backend, Seed, Threads, Quiet, Verbose])
            root.Options.Add(option);
    }

    /// <summary>The backend that <see cref="Backend"/> and <see cref="Threads"/> ask for.</summary>
    /// <exception cref="ArgumentException">The number of threads is negative.</exception>
    /// <exception cref="BackendUnavailableException">The backend that was asked for by name is not here.</exception>
    public static IBackend CreateBackend(ParseResult parsed) => parsed.GetValue(Backend) switch
    {
        "scalar" => new ScalarBackend(),
        "cuda" => CudaBackend.OnAll(ThreadCount(parsed)),
        "ilgpu" => IlgpuDevices.Create(0, ThreadCount(parsed)),
        "auto" when CudaBackend.UnavailableReason is null && !CudaBackend.IsDriverReplaced => CudaBackend.OnAll(ThreadCount(parsed)),
        { } name when GpuOf(name) is { } ordinal => new CudaBackend(ordinal, ThreadCount(parsed)),
        _ => new SimdBackend(ThreadCount(parsed)),
    };

    /// <summary>Value of <see cref="Threads"/>, at least 0.</summary>
    /// <exception cref="ArgumentException">It is negative.</exception>
    public static int ThreadCount(ParseResult parsed)
    {
        int threads = parsed.GetValue(Threads);
        return threads >= 0 ? threads : throw new ArgumentException($"--threads is {threads}, expected 0 (every core) or more");
    }

    // 1 of cuda:1; null of any other name.
    private static int? GpuOf(string name) =>
        name.StartsWith(kCudaPrefix, StringComparison.Ordinal) && int.TryParse(name.AsSpan(kCudaPrefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal) ? ordinal : null;

    private static Option<string> AcceptOnlyBackends(Option<string> option)
    {
        string[] names = ["auto", "cuda", "ilgpu", "simd", "scalar"];
        option.CompletionSources.Add(names);
        option.Validators.Add(result =>
        {
            string? name = result.GetValueOrDefault<string>();
            if (name is null || (!names.Contains(name) && GpuOf(name) is null))
                result.AddError($"'{name}' is no backend; expected {string.Join(", ", names)}, or {kCudaPrefix} and the number of a GPU");
        });
        return option;
    }
}
