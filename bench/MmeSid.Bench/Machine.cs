using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace MmeSid.Bench;

/// <summary>Where and from what a figure comes: enough to repeat it, nothing that names a host.</summary>
/// <param name="Processor">Model as the processor reports it.</param>
/// <param name="Cores">Logical processors this process may use.</param>
/// <param name="MemoryGigabytes">RAM.</param>
/// <param name="InstructionSet">Widest vector path of the kernels.</param>
/// <param name="System">Operating system.</param>
/// <param name="Runtime">.NET.</param>
/// <param name="Commit">Commit of the sources, with <c>+</c> when they had changes of their own.</param>
/// <param name="Date">Day of the run, UTC.</param>
internal sealed partial record Machine(string Processor, int Cores, double MemoryGigabytes, string InstructionSet, string System, string Runtime, string Commit, string Date)
{
    /// <summary>Folder name under <c>bench/results</c>.</summary>
    public string Slug => NotWord().Replace($"{Trademarks().Replace(Processor, "")}-{Cores}-cores".ToLowerInvariant(), "-").Trim('-');

    /// <summary>Asks the machine and git.</summary>
    public static Machine Describe(string repository) => new(
        ProcessorName(),
        Environment.ProcessorCount,
        Math.Round(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1 << 30), 1),
        Kernels.Simd.SimdBackend.InstructionSet,
        RuntimeInformation.OSDescription.Split('#')[0].Trim(),
        RuntimeInformation.FrameworkDescription,
        ReadCommit(repository),
        DateTime.UtcNow.ToString("yyyy-MM-dd"));

    private static string ProcessorName()
    {
        const string CpuInfo = "/proc/cpuinfo";
        if (File.Exists(CpuInfo))
        {
            var entries = File.ReadLines(CpuInfo).TakeWhile(line => line.Length > 0)
                .Select(line => line.Split(':', 2)).Where(parts => parts.Length == 2)
                .GroupBy(parts => parts[0].Trim()).ToDictionary(group => group.Key, group => group.First()[1].Trim());
            if (entries.TryGetValue("model name", out string? name))
                return entries.TryGetValue("model", out string? model) ? $"{name}, family {entries.GetValueOrDefault("cpu family")} model {model}" : name;
        }
        return Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    private static string ReadCommit(string repository)
    {
        string commit = Git(repository, "rev-parse --short=10 HEAD");
        return commit.Length == 0 ? "unknown" : commit + (Git(repository, "status --porcelain --untracked-files=no").Length > 0 ? "+" : "");
    }

    private static string Git(string repository, string arguments)
    {
        try
        {
            using Process? git = Process.Start(new ProcessStartInfo("git", arguments) { WorkingDirectory = repository, RedirectStandardOutput = true, RedirectStandardError = true });
            string output = git!.StandardOutput.ReadToEnd().Trim();
            git.WaitForExit();
            return git.ExitCode == 0 ? output : "";
        }
        catch (global::System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }

    [GeneratedRegex(@"\((R|TM)\)|\bCPU\b|@.*?GHz")]
    private static partial Regex Trademarks();

    [GeneratedRegex("[^a-z0-9]+")]
    private static partial Regex NotWord();
}
