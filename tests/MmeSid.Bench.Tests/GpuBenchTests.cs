using System.Diagnostics;
using System.Text.Json;

namespace MmeSid.Bench.Tests;

/// <summary>The bench of a GPU as <c>bench/device.sh</c> runs it, with tiny sizes, on the driver that runs kernels without a GPU.</summary>
public sealed class GpuBenchTests : IDisposable
{
    private const string kDriver = "MMESID_LIBCUDA";

    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    private readonly string _results = Directory.CreateTempSubdirectory("mmesid-test-").FullName;

    public void Dispose() => Directory.Delete(_results, recursive: true);

    [Fact]
    public void Every_suite_runs_and_its_figures_are_what_they_say()
    {
        // In two runs, as the steps of a script: the second keeps what the first found.
        string driver = SoftCuda(), steps = Path.Combine(_results, "steps.tsv");
        File.WriteAllText(steps, "contract\tpassed\t12.5\t617 passed\nfuzz\tover time\t3\t\n");
        Succeeded(Run(driver, "--suites", "fuzz"));
        string page = Succeeded(Run(driver, "--suites", string.Join(',', GpuSuites.Names.Where(name => name != "fuzz")), "--no-peers", "--steps", steps)), text = File.ReadAllText(page);

        GpuResult result = JsonSerializer.Deserialize<GpuResult>(File.ReadAllText(Path.ChangeExtension(page, ".json")), Report.Json)!;
        Assert.Equal(GpuSuites.Names, result.Suites.Select(suite => suite.Suite));
        Assert.Equal(["contract", "fuzz"], result.Steps.Select(step => step.Name));
        Assert.Contains("| contract | passed | 12 s | 617 passed |", text, StringComparison.Ordinal);
        Assert.All(result.Suites, suite => Check(suite, text));
    }

    private static void Check(GpuSuiteResult found, string text)
    {
        Assert.Empty(found.Targets);
        Assert.DoesNotContain(found.Remarks, remark => remark.Contains("Stopped", StringComparison.Ordinal));
        Assert.True(found.Figures.Count > 0 || found.Remarks.Count > 0, "neither figures nor a remark that says why");
        Assert.Contains(found.Title, text, StringComparison.Ordinal);
        foreach (Figure figure in found.Figures)
        {
            Assert.Contains(figure.Operation, text, StringComparison.Ordinal);
            Assert.InRange(figure.Time.Median, 1e-9, s_patience.TotalSeconds);
            Assert.InRange(figure.Rechecked ?? 0, 0, 1);
            Assert.InRange(figure.Undecided ?? 0, 0, figure.Rechecked ?? 0);
            if (figure.Codes > 0 && figure.Operations > 0)
                Assert.Equal(2.0 * figure.Rows * figure.Dimension * figure.Codes * figure.Levels, figure.Operations);
        }
    }

    [Fact]
    public void What_cannot_run_says_so_in_a_line()
    {
        (int exit, string page, string error) = Run("/nowhere/libcuda.so.1", "--suites", "none");
        Assert.Equal((2, ""), (exit, page));
        Assert.Contains("/nowhere/libcuda.so.1", Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);

        (exit, _, error) = Run("", "--suites", "encoed");
        Assert.Equal(2, exit);
        Assert.Contains("there is no suite 'encoed' of a GPU; there are encode, ", error, StringComparison.Ordinal);
    }

    private static string Succeeded((int Exit, string Output, string Error) run)
    {
        Assert.True(run.Exit == 0, run.Error);
        return run.Output.Trim();
    }

    private (int Exit, string Output, string Error) Run(string driver, params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "MmeSid.Bench.exe" : "MmeSid.Bench");
        var start = new ProcessStartInfo(program, ["--gpu", "--quick", "--results", _results, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment[kDriver] = driver;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill();
            Assert.Fail($"{string.Join(' ', arguments)} did not end within {s_patience}");
        }
        return (process.ExitCode, output.Result, error.Result);
    }

    private static string SoftCuda()
    {
        if (Environment.GetEnvironmentVariable(kDriver) is { Length: > 0 } named)
            return named;
        string? library = Machine.Repository() is { } repository ? Path.Combine(repository, "artifacts", "softcuda", "libcuda.so.1") : null;
        Assert.SkipUnless(File.Exists(library), "softcuda is not built: the target Kernels builds it where clang-19, cmake and g++ are");
        return library;
    }
}
