using System.CommandLine;
using System.Runtime.InteropServices;
using MmeSid.Cli.Terminal;
using MmeSid.DuckDb;
using MmeSid.Kernels;
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
            IBackend[] backends = [new SimdBackend(GlobalOptions.ThreadCount(parsed)), new ScalarBackend()];
            run.Results.Value("system", $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.ProcessArchitecture}, .NET {Environment.Version}");
            run.Results.Value("cores", Environment.ProcessorCount);
            run.Results.Value("memory_bytes", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1e9:0.0} GB", "memory");
            run.Results.Table("backends", ["backend", "device", "chosen"],
                backends.Select(backend => (IReadOnlyList<ResultSheet.Cell>)[backend.Name, backend.Device, backend.Name == chosen.Name ? "yes" : "no"]));
            run.Results.Table("formats", ["format", "usable", "note"],
            [
                ["npy, safetensors, fvecs, fbin, csv, tsv", "yes", ""],
                ["parquet", DuckDbLibrary.UnavailableReason is null ? "yes" : "no", DuckDbLibrary.UnavailableReason ?? "through libduckdb"],
            ]);
        }));
        return command;
    }
}
