using System.Xml.Linq;

namespace MmeSid.Cli.Tests;

/// <summary>
/// The direction of dependencies, read from the project files: kernels ← engine ← llama, training ← command line.
/// The engine knows one kernel project, the contract with its two CPU backends, and the Parquet adapter; no device, language-model or tensor library.
/// </summary>
public class ArchitectureTests
{
    private static readonly string Root = FindRoot();

    /// <summary>What each project may reference; a project that is not listed here fails, so that adding one means deciding its place.</summary>
    private static readonly Dictionary<string, string[]> MayReference = new()
    {
        ["MmeSid.Kernels"] = [],
        ["MmeSid.Kernels.Cuda"] = ["MmeSid.Kernels"],
        ["MmeSid.Kernels.Ilgpu"] = ["MmeSid.Kernels"],
        ["MmeSid.DuckDb"] = ["MmeSid.Kernels"],
        ["MmeSid.Engine"] = ["MmeSid.Kernels", "MmeSid.DuckDb"],
        ["TorchSharp.Subset"] = [],
        ["MmeSid.Llama"] = ["MmeSid.Engine"],
        ["MmeSid.Llama.LLamaSharp"] = ["MmeSid.Llama"],
        ["MmeSid.Training"] = ["MmeSid.Engine", "TorchSharp.Subset"],
        ["MmeSid.Cli"] =
        [
            "MmeSid.Kernels", "MmeSid.Kernels.Cuda", "MmeSid.Kernels.Ilgpu", "MmeSid.Engine",
            "MmeSid.Llama", "MmeSid.Llama.LLamaSharp", "MmeSid.Training",
        ],
    };

    /// <summary>The packages of the projects at the bottom: they decide what everyone who embeds the engine carries.</summary>
    private static readonly Dictionary<string, string[]> MayUsePackages = new()
    {
        ["MmeSid.Kernels"] = ["System.Numerics.Tensors"],
        ["MmeSid.DuckDb"] = [],
        ["MmeSid.Engine"] = ["CsvHelper", "MathNet.Numerics", "System.Numerics.Tensors"],
    };

    private static readonly string[] ProductFolders = ["kernels", "src", "native"];

    public static TheoryData<string> ProductProjects() =>
        new(ProductFolders.SelectMany(Projects).Select(file => Path.GetRelativePath(Root, file)).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(ProductProjects))]
    public void ProjectReferencesPointDownwards(string project)
    {
        string name = Path.GetFileNameWithoutExtension(project);
        Assert.True(MayReference.ContainsKey(name), $"{project} has no place in the order of projects yet: name what it may reference");
        foreach (string referenced in Includes(project, "ProjectReference").Select(path => Path.GetFileNameWithoutExtension(path.Replace('\\', '/'))))
            Assert.True(MayReference[name].Contains(referenced), $"{name} must not reference {referenced}");
    }

    [Theory]
    [MemberData(nameof(ProductProjects))]
    public void FoundationUsesOnlyThePackagesItNames(string project)
    {
        if (MayUsePackages.TryGetValue(Path.GetFileNameWithoutExtension(project), out string[]? allowed))
            Assert.Empty(Includes(project, "PackageReference").Except(allowed));
    }

    [Fact]
    public void FoundationAssembliesReferenceNoBackendLlamaOrTorch()
    {
        string[] forbidden = ["MmeSid.Kernels.", "MmeSid.Llama", "MmeSid.Training", "LLama", "TorchSharp", "ILGPU", "ManagedCuda"];
        foreach (System.Reflection.Assembly assembly in new[] { typeof(MmeSid.Kernels.EncodePlan).Assembly, System.Reflection.Assembly.Load("MmeSid.Engine") })
        {
            Assert.DoesNotContain(
                assembly.GetReferencedAssemblies().Select(name => name.Name!),
                name => forbidden.Any(prefix => name.StartsWith(prefix, StringComparison.OrdinalIgnoreCase)));
        }
    }

    [Fact]
    public void TrainingTakesTorchSharpOrItsSubsetAndKnowsNoDifference()
    {
        string project = Path.Combine("src", "MmeSid.Training", "MmeSid.Training.csproj");
        string Condition(string element, string name) => (string)XDocument.Load(Path.Combine(Root, project)).Descendants(element)
            .Single(entry => entry.Attribute("Include")!.Value.Contains(name, StringComparison.Ordinal)).Parent!.Attribute("Condition")!;
        Assert.Equal("'$(HasTorchSharp)' == 'true'", Condition("PackageReference", "TorchSharp"));
        Assert.Equal("'$(HasTorchSharp)' != 'true'", Condition("ProjectReference", "TorchSharp.Subset"));
        foreach (string file in Directory.GetFiles(Path.Combine(Root, "src", "MmeSid.Training"), "*.cs").Concat(Directory.GetFiles(Path.Combine(Root, "tests", "MmeSid.Training.Tests"), "*.cs")))
            Assert.DoesNotContain(File.ReadLines(file), line => line.TrimStart().StartsWith("#if", StringComparison.Ordinal));
    }

    [Fact]
    public void ProjectsAreAllInTheSolutionExceptOptionalLeaves()
    {
        string solution = File.ReadAllText(Path.Combine(Root, "MmeSid.Engine.sln")).Replace('\\', '/');
        string[] optionalLeaves = ["MmeSid.Kernels.Ilgpu.csproj", "MmeSid.Kernels.Ilgpu.Simulated.csproj", "MmeSid.Kernels.Ilgpu.Tests.csproj", "MmeSid.Llama.LLamaSharp.csproj", "MmeSid.Llama.LLamaSharp.Tests.csproj"];
        string[] absent =
        [
            .. ProductFolders.Concat(["tests", "bench"]).SelectMany(Projects)
                .Where(file => !optionalLeaves.Contains(Path.GetFileName(file)))
                .Select(file => Path.GetRelativePath(Root, file).Replace('\\', '/'))
                .Where(file => !solution.Contains($"\"{file}\"", StringComparison.Ordinal)),
        ];
        Assert.Empty(absent);
    }

    [Fact]
    public void VersionsAreCentral()
    {
        foreach (string file in ProductFolders.Concat(["tests", "bench"]).SelectMany(Projects))
            Assert.DoesNotContain(XDocument.Load(file).Descendants("PackageReference"), reference => reference.Attribute("Version") is not null);
    }

    [Fact]
    public void EveryPackageIsExplainedInTheListOfDependencies()
    {
        string explained = File.ReadAllText(Path.Combine(Root, "docs", "dependencies.md"));
        string[] unexplained =
        [
            .. XDocument.Load(Path.Combine(Root, "Directory.Packages.props")).Descendants("PackageVersion")
                .Select(entry => entry.Attribute("Include")!.Value).Where(name => !explained.Contains($"| {name} ", StringComparison.Ordinal)),
        ];
        Assert.Empty(unexplained);
    }

    private static IEnumerable<string> Includes(string project, string element) =>
        XDocument.Load(Path.Combine(Root, project)).Descendants(element).Select(entry => entry.Attribute("Include")!.Value);

    private static string[] Projects(string folder)
    {
        string path = Path.Combine(Root, folder);
        return Directory.Exists(path) ? Directory.GetFiles(path, "*.csproj", SearchOption.AllDirectories) : [];
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "MmeSid.Engine.sln")))
                return folder.FullName;
        }
        throw new DirectoryNotFoundException($"MmeSid.Engine.sln is in no folder above {AppContext.BaseDirectory}");
    }
}
