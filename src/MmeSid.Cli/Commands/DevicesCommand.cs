using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using MmeSid.Cli.Terminal;
using MmeSid.DuckDb;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;
using MmeSid.Llama;
using MmeSid.Training;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid devices</c>: what can compute here, and what is built in.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        var command = new Command("devices", "List what can compute here and what is built in.");
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            IBackend chosen = GlobalOptions.CreateBackend(parsed);
            int threads = GlobalOptions.ThreadCount(parsed);
            string? noCuda = CudaBackend.UnavailableReason;
            int[] gpus = [.. Enumerable.Range(0, noCuda is null ? CudaDevice.Count : 0)];
            List<IReadOnlyList<ResultSheet.Cell>> backends = [.. gpus.Select(ordinal => Gpu(ordinal, threads, chosen))];
            backends.AddRange(Enumerable.Range(0, IlgpuDevices.Count).Select(ordinal => IlgpuDevices.Create(ordinal, threads)).Concat([new SimdBackend(threads), new ScalarBackend()])
                .Select(backend => (IReadOnlyList<ResultSheet.Cell>)[backend.Name, backend.Device, YesNo(backend.Name == chosen.Name)]));
            run.Results.Value("system", $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.ProcessArchitecture}, .NET {Environment.Version}");
            run.Results.Value("cores", Environment.ProcessorCount);
            run.Results.Value("memory_bytes", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1e9:0.0} GB", "memory");
            run.Results.Table("backends", ["backend", "device", "chosen"], backends);
            if (noCuda is not null)
                run.Results.Value("cuda", noCuda);
            if (IlgpuDevices.UnavailableReason is { } noIlgpu)
                run.Results.Value("ilgpu", noIlgpu);
            foreach (int ordinal in gpus.Where(ordinal => CudaBackend.WhyUnusable(ordinal) is null))
                ShowGpu(run, new CudaBackend(ordinal, threads));
            run.Results.Value("training", TorchRuntime.UnavailableReason ?? Training());
            run.Results.Value("language_models", LlamaLibrary.UnavailableReason ?? $"llama.cpp {LlamaLibrary.Release}: {LlamaLibrary.SystemInformation}");
            run.Results.Table("formats", ["format", "usable", "note"],
            [
                ["npy, safetensors, fvecs, fbin, csv, tsv", "yes", ""],
                ["parquet", YesNo(DuckDbLibrary.UnavailableReason is null), DuckDbLibrary.UnavailableReason ?? "through libduckdb"],
            ]);
        }));
        return command;
    }

    private static string YesNo(bool value) => value ? "yes" : "no";

    // A GPU that cannot run the kernels is there too, with the reason.
    private static IReadOnlyList<ResultSheet.Cell> Gpu(int ordinal, int threads, IBackend chosen) =>
    [
        GlobalOptions.kCudaPrefix + ordinal.ToString(CultureInfo.InvariantCulture),
        CudaBackend.WhyUnusable(ordinal) ?? new CudaBackend(ordinal, threads).Device,
        YesNo(chosen is CudaBackend cuda && cuda.Gpus.Any(gpu => gpu.Ordinal == ordinal)),
    ];

    private static string Training() => string.Create(CultureInfo.InvariantCulture, $"libtorch {TorchRuntime.Version} on the CPU{TorchRuntime.CudaDevices switch
    {
        0 => "",
        1 => " and 1 GPU",
        var gpus => $" and {gpus} GPUs",
    }}");

    private static void ShowGpu(CommandRun run, CudaBackend backend)
    {
        CudaDevice gpu = backend.Gpu;
        CudaCeilings ceilings = CudaCeilings.Measure(backend);
        run.Results.Table($"gpu_{gpu.Ordinal}", ["property", "value"],
        [
            ["name", gpu.Name],
            ["memory", string.Create(CultureInfo.InvariantCulture, $"{gpu.MemoryBytes / 1e9:F1} GB, {gpu.L2CacheBytes / 1e6:F1} MB second-level cache")],
            ["compute capability", string.Create(CultureInfo.InvariantCulture, $"{gpu.CapabilityMajor}.{gpu.CapabilityMinor}, {gpu.Multiprocessors} multiprocessors")],
            ["driver", $"CUDA {gpu.DriverVersion}"],
            ["PCIe link", gpu.Link ?? "not known"],
            ["host to device, pinned", ResultSheet.PerSecond(ceilings.HostToDeviceBytes, "B")],
            ["device memory, copy", ResultSheet.PerSecond(ceilings.DeviceCopyBytes, "B")],
            ["float32 fused multiply-add", ResultSheet.PerSecond(ceilings.Float32Operations, "FLOP")],
            ["fp16 tensor cores", ResultSheet.PerSecond(ceilings.Float16Operations, "FLOP")],
            ["int8 tensor cores", ResultSheet.PerSecond(ceilings.Int8Operations, "OP")],
        ]);
    }
}
