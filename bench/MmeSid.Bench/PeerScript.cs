using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace MmeSid.Bench;

/// <summary>What a peer reports of one variant of its own.</summary>
/// <param name="Variant">Setting of the peer, e.g. <c>use_beam_LUT=1</c>.</param>
/// <param name="Library">Name and version.</param>
/// <param name="Blas">What multiplies: the matrix library with its version, build and chosen core type, or the GPU.</param>
/// <param name="Threads">The thread count that was fastest; 0 where it is not a matter of threads.</param>
/// <param name="Seconds">One per run.</param>
/// <param name="Differing">Rows whose codes differ from ours, or −1 when nothing was compared.</param>
/// <param name="Output">File it wrote, or null.</param>
/// <param name="Tuned">Whether the BLAS was told its core type.</param>
/// <param name="PeakBytes">Most that its process had resident; 0 where it does not say.</param>
internal sealed record PeerTime(
    string Variant, string Library, string Blas, int Threads, double[] Seconds, long Differing, string? Output, [property: JsonIgnore] bool Tuned, long PeakBytes = 0)
{
    /// <summary>As the tables show it.</summary>
    public string Device => Threads == 0 ? Blas : $"{Blas}, {Threads} {(Threads == 1 ? "thread" : "threads")}";
}

/// <summary>A peer's script and a Python that has what it imports.</summary>
internal sealed class PeerScript
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly string _script;
    private readonly string? _python;

    /// <summary>Looks for such a Python.</summary>
    /// <param name="script">Takes a job as its only argument and prints a <see cref="PeerTime"/> as JSON per line.</param>
    /// <param name="probe">Python that fails where the script would.</param>
    public PeerScript(string script, string probe)
    {
        _script = script;
        _python = !File.Exists(script) ? null : new[] { "/usr/bin/python3", "python3", "python" }.FirstOrDefault(python => Try(python, ["-c", probe]));
    }

    /// <summary>Whether there is one to run.</summary>
    public bool IsPresent => _python is not null;

    /// <summary>Runs a job to its end.</summary>
    /// <param name="job">Operation and files; see the script.</param>
    /// <param name="environment">Variables for it alone.</param>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public IEnumerable<PeerTime> Run(Dictionary<string, object> job, IReadOnlyDictionary<string, string> environment) =>
        Run(new ProcessStartInfo(_python!, [_script, JsonSerializer.Serialize(job)]), Path.GetFileName(_script), environment);

    /// <summary>Runs a program that prints a <see cref="PeerTime"/> as JSON per line, to its end.</summary>
    /// <param name="start">The program and its arguments.</param>
    /// <param name="name">For the message.</param>
    /// <param name="environment">Variables for it alone.</param>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static IEnumerable<PeerTime> Run(ProcessStartInfo start, string name, IReadOnlyDictionary<string, string> environment)
    {
        start.RedirectStandardOutput = true;
        foreach ((string variable, string value) in environment)
            start.Environment[variable] = value;
        using Process process = Process.Start(start)!;
        while (process.StandardOutput.ReadLine() is { } line)
            yield return JsonSerializer.Deserialize<PeerTime>(line, s_json)!;
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{name} ended with exit code {process.ExitCode}");
    }

    /// <summary>What <see cref="Run(ProcessStartInfo, string, IReadOnlyDictionary{string, string})"/> reads.</summary>
    public static string Line(PeerTime time) => JsonSerializer.Serialize(time, s_json);

    /// <summary>Lets a process load one build of OpenBLAS, where Debian keeps it: each is in a folder of its own.</summary>
    /// <param name="name"><c>openblas-pthread</c> or <c>openblas-openmp</c>.</param>
    /// <param name="variables">Its environment, added to.</param>
    public static void UseBlas(string name, Dictionary<string, string> variables)
    {
        const string Libraries = "/usr/lib", Path = "LD_LIBRARY_PATH";
        if (!Directory.Exists(Libraries))
            return;
        var options = new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1, IgnoreInaccessible = true };
        if (Directory.EnumerateDirectories(Libraries, name, options).FirstOrDefault() is { } folder)
            variables[Path] = string.Join(':', new[] { folder, Environment.GetEnvironmentVariable(Path) }.Where(part => !string.IsNullOrEmpty(part)));
    }

    private static bool Try(string program, string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (Win32Exception)
        {
            return false;
        }
    }
}
