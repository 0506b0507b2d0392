using System.Diagnostics;
using System.Reflection;
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
    public string Slug => FileName($"{Trademarks().Replace(Processor, "")}-{Cores}-cores");

    /// <summary>A name as part of a file's: small letters and digits, with <c>-</c> between.</summary>
    public static string FileName(string name) => NotWord().Replace(name.ToLowerInvariant(), "-").Trim('-');

    /// <summary>The file that marks the repository's root.</summary>
    public const string Solution = "MmeSid.Engine.sln";

    /// <summary>The repository that this program lies in, or null for one that was published.</summary>
    public static string? Repository()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, Solution)))
                return folder.FullName;
        }
        return null;
    }

    /// <summary>Asks the machine, and git; where there is no git or no repository, the commit is the one that the program was built from.</summary>
    public static Machine Describe(string? repository) => new(
        ProcessorName(),
        Environment.ProcessorCount,
        Math.Round(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1 << 30), 1),
        Kernels.Simd.SimdBackend.InstructionSet,
        RuntimeInformation.OSDescription.Split('#')[0].Trim(),
        RuntimeInformation.FrameworkDescription,
        repository is null ? BuiltFrom() : ReadCommit(repository),
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

    // The version is 0.1.0+commit.
    private static string BuiltFrom() =>
        typeof(Machine).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+', 2) is [_, { Length: > 0 } commit] ? commit : "unknown";

    private static string ReadCommit(string repository)
    {
        string commit = Git(repository, "rev-parse --short=10 HEAD");
        return commit.Length == 0 ? BuiltFrom() : commit + (Git(repository, "status --porcelain --untracked-files=no").Length > 0 ? "+" : "");
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
