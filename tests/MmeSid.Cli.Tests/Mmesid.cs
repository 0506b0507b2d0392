using System.Diagnostics;

namespace MmeSid.Cli.Tests;

/// <summary>What a run of the program left behind.</summary>
public sealed record Outcome(int ExitCode, string Output, string Error)
{
    /// <summary>Lines of stderr.</summary>
    public string[] ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public Outcome Succeeded()
    {
        Assert.True(ExitCode == 0, $"exit {ExitCode}\n{Error}\n{Output}");
        return this;
    }

    /// <summary>Exit 1, one line on stderr that holds every fragment, nothing on stdout.</summary>
    public Outcome FailedWith(params string[] fragments)
    {
        Assert.True(ExitCode == 1, $"exit {ExitCode}, expected 1\n{Error}\n{Output}");
        Assert.True(ErrorLines.Length == 1 && Error.StartsWith("mmesid: ", StringComparison.Ordinal), $"expected one line 'mmesid: …' on stderr, found:\n{Error}");
        Assert.DoesNotContain("internal error", Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", Error, StringComparison.Ordinal);
        foreach (string fragment in fragments)
            Assert.Contains(fragment, Error, StringComparison.Ordinal);
        Assert.Equal("", Output);
        return this;
    }
}

/// <summary>Runs the built executable as users do: as a process of its own.</summary>
public static class Mmesid
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private static readonly string s_program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "mmesid.exe" : "mmesid");

    /// <summary>Runs to the end without progress lines on stderr.</summary>
    public static Outcome Run(params string[] arguments) => RunVerbatim([.. arguments, "--quiet"]);

    /// <summary>Runs to the end with exactly these arguments.</summary>
    public static Outcome RunVerbatim(params string[] arguments) => Finish(Start(arguments), arguments);

    /// <summary>Runs to the end without progress lines, with a variable of the environment of its own.</summary>
    public static Outcome RunWith(string variable, string value, params string[] arguments) => RunWith(new() { [variable] = value }, arguments);

    /// <summary>The same with several variables.</summary>
    public static Outcome RunWith(Dictionary<string, string> variables, params string[] arguments) => Finish(Start([.. arguments, "--quiet"], variables), arguments);

    private static Outcome Finish(Process started, string[] arguments)
    {
        using Process process = started;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill();
            Assert.Fail($"mmesid {string.Join(' ', arguments)} did not end within {s_patience}");
        }
        return new Outcome(process.ExitCode, output.Result, error.Result);
    }

    /// <summary>Starts without waiting.</summary>
    public static Process Start(params string[] arguments) => Start(arguments, []);

    /// <summary>Trains on sequences without a pause, and again interrupted and resumed: the same bytes must come of both, and of the interrupted run nothing but a checkpoint until then.</summary>
    /// <param name="scratch">Where models go.</param>
    /// <param name="files">Of the model.</param>
    /// <param name="train">The command, up to the value of <c>--out</c>.</param>
    public static void InterruptedTrainingEndsWithTheSameBytes(ScratchFolder scratch, string[] files, params string[] train)
    {
        Run([.. train, scratch["whole"]]).Succeeded();
        InterruptTraining([.. train, scratch["resumed"]]);
        Assert.False(Directory.Exists(scratch["resumed"]));
        Assert.True(File.Exists(scratch["resumed.checkpoint.safetensors"]));
        Run([.. train, scratch["resumed"]]).Succeeded();
        foreach (string name in files)
            Assert.Equal(File.ReadAllBytes(scratch[$"whole/{name}"]), File.ReadAllBytes(scratch[$"resumed/{name}"]));
        Assert.False(File.Exists(scratch["resumed.checkpoint.safetensors"]));
    }

    // Interrupts (SIGINT) once steps are done; training must end as an interrupted command does.
    private static void InterruptTraining(string[] arguments)
    {
        using Process process = Start(arguments);
        // The first line says that the sequences are read, the second that steps are done.
        process.StandardError.ReadLine();
        process.StandardError.ReadLine();
        using (Process kill = Process.Start("kill", ["-INT", $"{process.Id}"]))
            kill.WaitForExit();
        process.WaitForExit();
        Assert.Equal(130, process.ExitCode);
    }

    private static Process Start(string[] arguments, Dictionary<string, string> variables)
    {
        Assert.True(File.Exists(s_program), $"{s_program} was not built");
        var start = new ProcessStartInfo(s_program) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        foreach ((string variable, string value) in variables)
            start.Environment[variable] = value;
        return Process.Start(start) ?? throw new InvalidOperationException("the process did not start");
    }
}
