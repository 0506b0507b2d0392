using System.Diagnostics;
using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>
/// The whole command, as a user runs it: <c>mmesid assign</c> from a file in the page cache to a file of codes, beside the kernel alone
/// on the same rows in memory.
/// </summary>
internal static class FileSuite
{
    private const int kPollMilliseconds = 5;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        string program = Path.Combine(context.Repository, "artifacts", "mmesid", OperatingSystem.IsWindows() ? "mmesid.exe" : "mmesid");
        if (!File.Exists(program))
        {
            context.Remarks.Add("Skipped, artifacts/mmesid is not built: ./build.sh --target Build");
            yield break;
        }
        int items = context.Size(1_000_000, 5_000), dimension = context.Size(768, 48), codeCount = context.Size(256, 32);
        string table = context.TemporaryFile("million.npy"), sample = context.TemporaryFile("sample.npy"), bundle = context.TemporaryFile("bundle");
        string output = context.TemporaryFile("assigned.npy");
        Command(program, $"synth --items {items} --dimension {dimension} --out {table}");
        Command(program, $"synth --items {context.Size(65_536, 2_000)} --dimension {dimension} --out {sample}");
        Command(program, $"train rq-kmeans --embeddings {sample} --levels 4 --codes {codeCount} --out {bundle}");
        long peak = 0;
        Timing time = context.Time(() => peak = Math.Max(peak, Command(program, $"assign --bundle {bundle} --embeddings {table} --out {output} --force")));

        using RowMatrix rows = EmbeddingTable.Open(table).ReadAll();
        SidBundle opened = SidBundle.Open(bundle);
        ushort[] codes = new ushort[rows.Count * opened.Quantizer.Levels];
        Figure kernel = EncodeRun.Measure(context, "the kernel alone", BenchData.SynthName, rows, TrainedPlans.Of(opened.Quantizer), BenchContext.AllThreads, codes);
        if (!NpyFile.Read<ushort>(output).Values.AsSpan().SequenceEqual(codes))
            throw new InvalidOperationException("mmesid assign wrote other codes than the kernel returns");
        yield return kernel with
        {
            Operation = "mmesid assign, file to file",
            Time = time with { AllocatedBytes = null },
            FirstCall = null,
            OverFloat32 = null,
            Open = null,
            Candidates = null,
            Rechecked = null,
            Check = "same codes as the kernel",
            Note = string.Create(CultureInfo.InvariantCulture,
                $"{time.Median / kernel.Time.Median:F2} × the time of the kernel alone, start-up, preparation and trials included; peak {Report.Bytes(peak)} resident, the file has {Report.Bytes(new FileInfo(table).Length)}"),
            Headline = true,
        };
        yield return kernel with { Headline = true };
    }

    /// <summary>Runs the program to its end; its peak resident bytes, 0 where the system does not tell.</summary>
    private static long Command(string program, string arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments + " --quiet") { RedirectStandardOutput = true })!;
        process.BeginOutputReadLine();
        long peak = 0;
        while (!process.WaitForExit(kPollMilliseconds))
            peak = Math.Max(peak, MemoryPeak.Of(process.Id));
        return process.ExitCode == 0 ? peak : throw new InvalidOperationException($"mmesid {arguments} ended with exit code {process.ExitCode}");
    }
}
