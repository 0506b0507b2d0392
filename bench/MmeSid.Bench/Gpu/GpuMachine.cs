using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>The GPU that figures come from, and the machine around it.</summary>
/// <param name="Name">As the driver names it.</param>
/// <param name="Capability">Compute capability.</param>
/// <param name="Multiprocessors">Of the device.</param>
/// <param name="MemoryGigabytes">10⁹ bytes.</param>
/// <param name="CacheMegabytes">Second-level cache, 10⁶ bytes.</param>
/// <param name="Cuda">CUDA version that the driver supports.</param>
/// <param name="Driver">Release of the driver, or null where <c>nvidia-smi</c> is absent.</param>
/// <param name="Link">PCIe link, or null where the system does not tell.</param>
/// <param name="Host">Processor, system, runtime, commit and date.</param>
internal sealed record GpuMachine(
    string Name, string Capability, int Multiprocessors, double MemoryGigabytes, double CacheMegabytes, string Cuda, string? Driver, string? Link, Machine Host)
{
    /// <summary>File name of its results, without an ending.</summary>
    public string Slug => "gpu-" + Machine.FileName(Name);

    /// <summary>Asks the driver.</summary>
    public static GpuMachine Describe(CudaDevice gpu, string? repository) => new(
        gpu.Name,
        $"{gpu.CapabilityMajor}.{gpu.CapabilityMinor}",
        gpu.Multiprocessors,
        Math.Round(gpu.MemoryBytes / 1e9, 1),
        Math.Round(gpu.L2CacheBytes / 1e6, 1),
        gpu.DriverVersion,
        CudaBackend.IsDriverReplaced ? null : Ask(gpu, "driver_version")?[0],
        gpu.Link,
        Machine.Describe(repository));

    /// <summary>Measures the ceilings, several times until the clocks under that load are read as well: the best of each counts.</summary>
    public static (CudaCeilings Ceilings, string? Clocks) MeasureCeilings(CudaBackend backend)
    {
        CudaCeilings best = CudaCeilings.Measure(backend);
        Task<string[]?> clocks = CudaBackend.IsDriverReplaced ? Task.FromResult<string[]?>(null)
            : Task.Run(() => Ask(backend.Gpu, "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit"));
        while (!clocks.IsCompleted)
        {
            CudaCeilings again = CudaCeilings.Measure(backend);
            best = new CudaCeilings(
                Math.Max(best.HostToDeviceBytes, again.HostToDeviceBytes), Math.Max(best.DeviceCopyBytes, again.DeviceCopyBytes),
                Math.Max(best.Float32Operations, again.Float32Operations), Math.Max(best.Float16Operations, again.Float16Operations), Math.Max(best.Int8Operations, again.Int8Operations));
        }
        return (best, clocks.Result is [var now, var most, var memory, var power, var limit]
            ? $"multiprocessors {now} MHz of {most}, memory {memory} MHz, {power} W of {limit}" : null);
    }

    // Reads only; null where there is no nvidia-smi or it does not know the device.
    private static string[]? Ask(CudaDevice gpu, params string[] fields)
    {
        try
        {
            using Process asked = Process.Start(new ProcessStartInfo("nvidia-smi", $"--id={gpu.PciAddress} --format=csv,noheader,nounits --query-gpu={string.Join(',', fields)}")
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            string[] answer = asked.StandardOutput.ReadToEnd().Trim().Split(", ");
            asked.WaitForExit();
            return asked.ExitCode == 0 && answer.Length == fields.Length ? answer : null;
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    /// <summary>One line for people.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Name}, compute {Capability}, {Multiprocessors} multiprocessors, {MemoryGigabytes:F1} GB, {CacheMegabytes:F0} MB of second-level cache, CUDA {Cuda}{(Driver is null ? "" : $", driver {Driver}")}{(Link is null ? "" : $", PCIe {Link}")}");
}
