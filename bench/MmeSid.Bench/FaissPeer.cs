using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace MmeSid.Bench;

/// <summary>What a peer reports of one variant of its own.</summary>
/// <param name="Variant">Setting of the peer, e.g. <c>use_beam_LUT=1</c>.</param>
/// <param name="Library">Name and version.</param>
/// <param name="Blas">Matrix library, its version, build and chosen core type.</param>
/// <param name="Threads">The thread count that was fastest.</param>
/// <param name="Seconds">One per run.</param>
/// <param name="Differing">Rows whose codes differ from ours, or −1 when nothing was compared.</param>
/// <param name="Output">File it wrote, or null.</param>
/// <param name="Tuned">Whether the BLAS was told its core type.</param>
internal sealed record PeerTime(
    string Variant, string Library, string Blas, int Threads, double[] Seconds, long Differing, string? Output, [property: JsonIgnore] bool Tuned)
{
    /// <summary>As the tables show it.</summary>
    public string Device => $"{Blas}, {Threads} {(Threads == 1 ? "thread" : "threads")}";
}

/// <summary>Runs FAISS through <c>bench/peers/faiss_peer.py</c>, in processes of their own, with and without telling OpenBLAS the core type.</summary>
internal sealed class FaissPeer
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly string _script;
    private readonly string? _python;

    /// <summary>Looks for a Python that has FAISS.</summary>
    public FaissPeer(string repository)
    {
        _script = Path.Combine(repository, "bench", "peers", "faiss_peer.py");
        _python = new[] { "/usr/bin/python3", "python3", "python" }.FirstOrDefault(python => Try(python, ["-c", "import faiss, numpy"]));
    }

    /// <summary>Whether there is one to run.</summary>
    public bool IsPresent => _python is not null;

    /// <summary>The line that stands where its figures would.</summary>
    public const string WhatToInstall = "FAISS is skipped, it was not found: on Debian, apt-get install python3-faiss libopenblas0-pthread";

    /// <summary>Runs a job in every way the peer can be set up; each variant with the thread count that was fastest on a part of the rows.</summary>
    /// <param name="job">Operation and files; see the script.</param>
    public IReadOnlyList<PeerTime> Run(Dictionary<string, object> job)
    {
        List<PeerTime> times = [];
        // An OpenBLAS older than the processor falls back to AVX2 kernels; told the core type it takes its AVX-512 ones.
        foreach (string? coreType in Avx512F.IsSupported ? new[] { null, "SkylakeX" } : [null])
        {
            BenchContext.Say($"  faiss {job["operation"]}, OpenBLAS {(coreType is null ? "as it comes" : "told " + coreType)}");
            foreach (string line in Start(job, coreType))
                times.Add(JsonSerializer.Deserialize<PeerTime>(line, s_json)! with { Tuned = coreType is not null });
        }
        return times;
    }

    private string[] Start(Dictionary<string, object> job, string? coreType)
    {
        var start = new ProcessStartInfo(_python!, [_script, JsonSerializer.Serialize(job)]) { RedirectStandardOutput = true };
        string threads = BenchContext.AllThreads.ToString();
        start.Environment["OPENBLAS_NUM_THREADS"] = threads;
        start.Environment["OMP_NUM_THREADS"] = threads;
        if (coreType is not null)
            start.Environment["OPENBLAS_CORETYPE"] = coreType;
        // Debian keeps each BLAS in a folder of its own; the choice holds for this process only.
        if (BlasFolder() is { } folder)
            start.Environment["LD_LIBRARY_PATH"] = string.Join(':', new[] { folder, Environment.GetEnvironmentVariable("LD_LIBRARY_PATH") }.Where(part => !string.IsNullOrEmpty(part)));
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{_script} ended with exit code {process.ExitCode}");
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    private static string? BlasFolder() => !Directory.Exists("/usr/lib") ? null
        : Directory.EnumerateDirectories("/usr/lib", "openblas-pthread", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1, IgnoreInaccessible = true }).FirstOrDefault();

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
