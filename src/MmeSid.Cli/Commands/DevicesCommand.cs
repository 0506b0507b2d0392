using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using MmeSid.Cli.Terminal;
using MmeSid.DuckDb;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

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
            List<IBackend> backends = [new SimdBackend(threads), new ScalarBackend()];
            if (noCuda is null)
                backends.InsertRange(0, Enumerable.Range(0, CudaDevice.Count).Select(ordinal => new CudaBackend(ordinal, threads)));
            backends.AddRange(Enumerable.Range(0, IlgpuDevices.Count).Select(ordinal => IlgpuDevices.Create(ordinal, threads)));
            run.Results.Value("system", $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.ProcessArchitecture}, .NET {Environment.Version}");
            run.Results.Value("cores", Environment.ProcessorCount);
            run.Results.Value("memory_bytes", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1e9:0.0} GB", "memory");
            run.Results.Table("backends", ["backend", "device", "chosen"],
                backends.Select(backend => (IReadOnlyList<ResultSheet.Cell>)[backend.Name, backend.Device, backend.Name == chosen.Name ? "yes" : "no"]));
            if (noCuda is not null)
                run.Results.Value("cuda", noCuda);
            if (IlgpuDevices.UnavailableReason is { } noIlgpu)
                run.Results.Value("ilgpu", noIlgpu);
            foreach (CudaBackend backend in backends.OfType<CudaBackend>())
                ShowGpu(run, backend);
            run.Results.Table("formats", ["format", "usable", "note"],
            [
                ["npy, safetensors, fvecs, fbin, csv, tsv", "yes", ""],
                ["parquet", DuckDbLibrary.UnavailableReason is null ? "yes" : "no", DuckDbLibrary.UnavailableReason ?? "through libduckdb"],
            ]);
        }));
        return command;
    }

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
