using System.Runtime.Intrinsics.X86;

namespace MmeSid.Bench;

/// <summary>Runs FAISS through <c>bench/peers/faiss_peer.py</c>, in processes of their own, with and without telling OpenBLAS the core type.</summary>
internal sealed class FaissPeer(string repository)
{
    private readonly PeerScript _script = new(Path.Combine(repository, "bench", "peers", "faiss_peer.py"), "import faiss, numpy");

    /// <summary>Whether there is one to run.</summary>
    public bool IsPresent => _script.IsPresent;

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
            BenchRun.Say($"  faiss {job["operation"]}, OpenBLAS {(coreType is null ? "as it comes" : "told " + coreType)}");
            times.AddRange(_script.Run(job, Environment(coreType)).Select(time => time with { Tuned = coreType is not null }));
        }
        return times;
    }

    private static Dictionary<string, string> Environment(string? coreType)
    {
        string threads = BenchRun.AllThreads.ToString();
        var variables = new Dictionary<string, string> { ["OPENBLAS_NUM_THREADS"] = threads, ["OMP_NUM_THREADS"] = threads };
        if (coreType is not null)
            variables["OPENBLAS_CORETYPE"] = coreType;
        PeerScript.UseBlas("openblas-pthread", variables);
        return variables;
    }
}
