using System.Diagnostics;
using System.Xml.Linq;

namespace MmeSid.Kernels.Ilgpu.Tests;

/// <summary>The classes of MmeSid.Kernels.Ilgpu.Simulated, each in a process of its own, so that a crash or a hang there is a failure here.</summary>
public sealed class SimulatorTests
{
    // A test takes seconds.
    private static readonly TimeSpan s_silence = TimeSpan.FromMinutes(2);

    [Theory]
    [InlineData(typeof(Simulated.Batches))]
    [InlineData(typeof(Simulated.Encode))]
    [InlineData(typeof(Simulated.Accumulate))]
    [InlineData(typeof(Simulated.MmdSums))]
    [InlineData(typeof(Simulated.TopInnerProducts))]
    public void The_contract_holds_on_the_simulator(Type contract)
    {
        string report = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            string ended = Run(contract.Assembly.Location, ["-class", contract.FullName!, "-noLogo", "-noColor", "-noAutoReporters", "-reporter", "verbose", "-xml", report]);
            Assert.True(File.Exists(report), $"the process {ended}");
            XElement[] tests = [.. XDocument.Load(report).Descendants("test")];
            string[] failures = [.. tests.Where(test => (string?)test.Attribute("result") == "Fail").Select(test => $"{test.Attribute("name")?.Value}: {test.Descendants("message").FirstOrDefault()?.Value}")];
            Assert.True(failures.Length == 0, $"{failures.Length} of {tests.Length} tests failed\n{string.Join('\n', failures)}");
            Assert.NotEmpty(tests);
            Assert.All(tests, test => Assert.Equal("Pass", (string?)test.Attribute("result")));
            Assert.Equal("ended with exit code 0", ended.Split(';')[0]);
            TestContext.Current.TestOutputHelper?.WriteLine($"{tests.Length} tests passed");
        }
        finally
        {
            File.Delete(report);
        }
    }

    // How the process ended and what it said last. One that is silent for too long is stopped.
    private static string Run(string assembly, string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, RedirectStandardError = true };
        if (Path.GetFileNameWithoutExtension(start.FileName) != "dotnet")
            start.FileName = "dotnet";
        foreach (string argument in (string[])["exec", assembly, .. arguments])
            start.ArgumentList.Add(argument);
        using Process process = Process.Start(start) ?? throw new InvalidOperationException("the process did not start");
        var clock = Stopwatch.StartNew();
        var said = new Queue<string>();
        DataReceivedEventHandler listen = (_, line) =>
        {
            lock (said)
            {
                clock.Restart();
                if (line.Data is { Length: > 0 })
                    said.Enqueue(line.Data);
                if (said.Count > 12)
                    said.Dequeue();
            }
        };
        process.OutputDataReceived += listen;
        process.ErrorDataReceived += listen;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        bool silent = false;
        while (!silent && !process.WaitForExit(200))
        {
            lock (said)
                silent = clock.Elapsed > s_silence;
        }
        if (silent)
            process.Kill(entireProcessTree: true);
        process.WaitForExit();
        lock (said)
            return $"{(silent ? $"was stopped after {s_silence.TotalMinutes} minutes without a word" : $"ended with exit code {process.ExitCode}")}; its last lines:\n{string.Join('\n', said)}";
    }
}
