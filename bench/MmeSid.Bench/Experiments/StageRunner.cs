using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MmeSid.Engine.Files;

namespace MmeSid.Bench;

/// <summary>What a stage that is done left.</summary>
/// <param name="Key">Of the commands that led to it.</param>
/// <param name="Commit">Of the program that ran it; null where it is not known.</param>
/// <param name="Figures">What it printed, or null.</param>
internal sealed record StageResult(string Key, string? Commit, JsonNode? Figures);

/// <summary>Runs stages through the shell, each once: what is done is kept in the working folder as long as the command and those before it stay the same.</summary>
/// <param name="program">Folder of the program <c>mmesid</c>.</param>
/// <param name="data">The real data.</param>
/// <param name="work">Where stages put what they make.</param>
/// <param name="commit">Of the program.</param>
/// <param name="stages">All, each after those that it needs.</param>
internal sealed class StageRunner(string program, string data, string work, string commit, IReadOnlyList<Stage> stages)
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    /// <summary>The stages that one needs, in order, and itself.</summary>
    public IReadOnlyList<Stage> LeadingTo(Stage stage) =>
        [.. stages.Where(stage.Needs).SelectMany(LeadingTo).Append(stage).Distinct()];

    /// <summary>The result where it is done, else null.</summary>
    public StageResult? Find(Stage stage)
    {
        string path = PathOf(stage);
        StageResult? result = File.Exists(path) ? JsonSerializer.Deserialize<StageResult>(File.ReadAllText(path), s_json) : null;
        return result?.Key == KeyOf(stage) ? result : null;
    }

    /// <summary>The result, run where it is not done.</summary>
    /// <exception cref="InvalidOperationException">The command failed; what it said went to standard error.</exception>
    public StageResult Get(Stage stage)
    {
        if (Find(stage) is { } done)
            return done;
        foreach (Stage needed in stages.Where(stage.Needs))
            Get(needed);
        BenchRun.Say($"  {stage.Command}");
        Directory.CreateDirectory(work);
        string options = (stage.HasFigures ? " --json" : "") + (stage.Command.Contains(" --out ", StringComparison.Ordinal) ? " --force" : "");
        var start = new ProcessStartInfo("/bin/sh", ["-e", "-c", stage.Command + options]) { RedirectStandardOutput = true };
        start.Environment["PATH"] = $"{program}{Path.PathSeparator}{Environment.GetEnvironmentVariable("PATH")}";
        start.Environment[Stage.Data[1..]] = data;
        start.Environment[Stage.Work[1..]] = work;
        using Process process = Process.Start(start) ?? throw new InvalidOperationException("the shell did not start");
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"'{stage.Command}' ended with status {process.ExitCode}");
        var result = new StageResult(KeyOf(stage), commit, stage.HasFigures ? JsonNode.Parse(output) : null);
        using OutputFile file = OutputFile.Create(PathOf(stage), force: true);
        JsonSerializer.Serialize(file.Stream, result, s_json);
        file.Commit();
        return result;
    }

    /// <summary>The file that a path of a stage stands for.</summary>
    public string PathOf(string path) => path.Replace(Stage.Work, work, StringComparison.Ordinal).Replace(Stage.Data, data, StringComparison.Ordinal);

    private string PathOf(Stage stage) => Path.Combine(work, $"{stage.Name}.stage.json");

    private string KeyOf(Stage stage) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', LeadingTo(stage).Select(each => each.Command)))))[..16];
}
