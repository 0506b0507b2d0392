using System.Globalization;
using System.Text;
using System.Text.Json;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>The figures of one suite on a GPU.</summary>
/// <param name="Suite">Name as <c>--suites</c> takes it.</param>
/// <param name="Title">One line over the table.</param>
/// <param name="Commit">Of the sources.</param>
/// <param name="Date">Day of the run, UTC.</param>
/// <param name="Ceilings">Measured in the same process.</param>
/// <param name="Clocks">Under that load, or null where they could not be read.</param>
/// <param name="Remarks">What was left out and why.</param>
/// <param name="Targets">Promises that this suite measures.</param>
/// <param name="Figures">In the order they were taken.</param>
internal sealed record GpuSuiteResult(
    string Suite, string Title, string Commit, string Date, CudaCeilings Ceilings, string? Clocks, IReadOnlyList<string> Remarks, IReadOnlyList<GpuTarget> Targets, IReadOnlyList<Figure> Figures);

/// <summary>Something else that ran on the device.</summary>
/// <param name="Name">What.</param>
/// <param name="Outcome"><c>passed</c>, <c>failed</c>, …</param>
/// <param name="Seconds">It took.</param>
/// <param name="Said">In its own words.</param>
internal sealed record GpuStep(string Name, string Outcome, double Seconds, string Said);

/// <summary>All that is known of a GPU; one JSON file under <c>bench/results</c>, and one page.</summary>
/// <param name="Machine">The GPU and where it is.</param>
/// <param name="Ceilings">Of the latest run.</param>
/// <param name="Clocks">Under that load.</param>
/// <param name="Steps">Of the latest run of <c>bench/device.sh</c>.</param>
/// <param name="Suites">In the order in which they are shown.</param>
internal sealed record GpuResult(GpuMachine Machine, CudaCeilings Ceilings, string? Clocks, IReadOnlyList<GpuStep> Steps, IReadOnlyList<GpuSuiteResult> Suites)
{
    /// <summary>What the folder has of this GPU, with the latest ceilings; nothing yet where it has no file.</summary>
    public static GpuResult Load(string folder, GpuMachine machine, CudaCeilings ceilings, string? clocks)
    {
        string file = Path.Combine(folder, machine.Slug + ".json");
        GpuResult? before = File.Exists(file) ? JsonSerializer.Deserialize<GpuResult>(File.ReadAllText(file), Report.Json) : null;
        return new GpuResult(machine, ceilings, clocks, before?.Steps ?? [], before?.Suites ?? []);
    }

    /// <summary>The same with a suite replaced.</summary>
    public GpuResult With(GpuSuiteResult suite) =>
        this with { Suites = [.. Suites.Where(other => other.Suite != suite.Suite).Append(suite).OrderBy(result => Array.IndexOf(GpuSuites.Names, result.Suite))] };

    /// <summary>Writes both files and returns the page's path.</summary>
    public string Save(string folder)
    {
        Directory.CreateDirectory(folder);
        Write(Path.Combine(folder, Machine.Slug + ".json"), JsonSerializer.Serialize(this, Report.Json) + "\n");
        string page = Path.Combine(folder, Machine.Slug + ".md");
        Write(page, Page());
        return page;

        // Whoever is stopped while it writes leaves what was there before.
        static void Write(string file, string text)
        {
            File.WriteAllText(file + ".new", text);
            File.Move(file + ".new", file, overwrite: true);
        }
    }

    private string Page()
    {
        var page = new StringBuilder($"# {Machine.Name}\n\nWritten by `bench/device.sh`; do not edit.\n\n");
        page.Append($"{Machine}. {Machine.Host.Processor}, {Machine.Host.Cores} cores, {Machine.Host.System}, {Machine.Host.Runtime}. Commit {Machine.Host.Commit}, {Machine.Host.Date}.\n\n");
        page.Append($"Ceilings: {Line(Ceilings)}.{(Clocks is null ? "" : $" Clocks meanwhile: {Clocks}.")}\n\n");
        page.Append("Ceilings are the best of several rounds of copies and of arithmetic in registers (float32 fused multiply-adds; tensor cores by `mma.sync`). Times are medians ± half the distance between the quartiles, of at least five calls ");
        page.Append("after calls that warm up, by the host's clock around calls that return when the device is done. TFLOP/s counts what the definition asks for (2·n·d·ΣK), whatever the screen computes. ");
        page.Append("*Re-checked* is the share of decisions that the screen could not prove and float64 decided, *undecided* the share that float64 left to exact arithmetic; *prepared* the plan's way to the device, once. ");
        page.Append("*% of ceiling* is that of the screen's arithmetic, or of the link where the note says so.\n\n");
        GpuTarget[] targets = [.. Suites.SelectMany(suite => suite.Targets)];
        if (targets.Length > 0)
        {
            page.Append("## What is promised of an H200\n\n| | promised | found here | |\n|---|---|---|---|\n");
            foreach (GpuTarget target in targets)
                page.Append($"| {target.Name} | {target.Aim} | {target.Found} | {(target.Met ? "met" : "not met")} |\n");
            page.Append('\n');
        }
        if (Steps.Count > 0)
        {
            page.Append("## What ran\n\n| step | outcome | time | |\n|---|---|---:|---|\n");
            foreach (GpuStep step in Steps)
                page.Append($"| {step.Name} | {step.Outcome} | {step.Seconds.ToString("F0", CultureInfo.InvariantCulture)} s | {step.Said} |\n");
            page.Append('\n');
        }
        foreach (GpuSuiteResult suite in Suites)
        {
            page.Append($"## {suite.Title}\n\nCommit {suite.Commit}, {suite.Date}. {Line(suite.Ceilings)}.{(suite.Clocks is null ? "" : $" Clocks meanwhile: {suite.Clocks}.")}\n\n");
            foreach (string remark in suite.Remarks)
                page.Append(remark).Append(".\n\n");
            Report.AppendGpuFigures(page, suite.Figures);
        }
        return page.ToString();
    }

    private static string Line(CudaCeilings ceilings) => string.Create(CultureInfo.InvariantCulture,
        $"link {ceilings.HostToDeviceBytes / 1e9:F1} GB/s, copy {ceilings.DeviceCopyBytes / 1e9:F0} GB/s, float32 {ceilings.Float32Operations / 1e12:F1} TFLOP/s, fp16 {ceilings.Float16Operations / 1e12:F0} TFLOP/s, int8 {ceilings.Int8Operations / 1e12:F0} TOP/s");
}
