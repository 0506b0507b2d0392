// Every way to build, check and measure this project. ./build.sh --target <Target>; ./build.sh --description lists them.

using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Xml.Linq;

const string Solution = "MmeSid.Engine.sln";
const string Configuration = "Release";
/// What the kernels are compiled for: everything since Ampere, by the driver also newer GPUs, and Hopper's own instructions, which no later GPU has.
const string CudaArchitecture = "80", HopperArchitecture = "90a";

/// Tests of code that picks an instruction set at run time; they run once per set.
string[] testsPerInstructionSet = ["MmeSid.Kernels.Tests", "MmeSid.Engine.Tests"];
/// .NET 10 reads these names; DOTNET_EnableAVX512F, often seen, is ignored. The tests check that a set switch acts.
string[] instructionSetSwitches = ["DOTNET_EnableAVX512", "DOTNET_EnableAVX2"];
/// Longest that one test project may take in one run; a hung test must not hang whoever waits for it.
TimeSpan testProjectLimit = TimeSpan.FromMinutes(15);

/// Packages that a feed may lack, each the heart of a leaf project that enters the build only where the feed has it.
OptionalPackage[] optionalPackages =
[
    new(["ILGPU", "ILGPU.Algorithms"], "HasIlgpu", "MmeSid.Kernels.Ilgpu", "the backends cuda, simd and scalar carry the work"),
    new(["LLamaSharp", "LLamaSharp.Backend.Cpu", "LLamaSharp.Backend.Cuda12"], "HasLLamaSharp", "MmeSid.Llama.LLamaSharp", "our own llama.cpp binding carries the work"),
    new(["TorchSharp"], "HasTorchSharp", "TorchSharp itself", "our subset over the system's libtorch carries the work (target Torch)"),
];

var target = Argument("target", "Build");
var artifacts = MakeAbsolute(Directory("artifacts"));
var feedProps = artifacts.CombineWithFilePath("feed.props");
var program = artifacts.Combine("mmesid").CombineWithFilePath(IsRunningOnWindows() ? "mmesid.exe" : "mmesid");
TestTotals testTotals = null;

Task("Probe")
    .Description("Asks the package feed once which optional packages it has; writes artifacts/feed.props. --reprobe asks again.")
    .WithCriteria(() => !FileExists(feedProps) || HasArgument("reprobe"), "artifacts/feed.props exists; --reprobe asks the feed again")
    .Does(() => ProbeFeed());

Task("Kernels")
    .Description("Compiles kernels/cuda to PTX (artifacts/ptx) and, for tests without a GPU, to softcuda (artifacts/softcuda), and native/vnni (artifacts/native/vnni). Installs clang-19 on Debian.")
    .Does(() =>
{
    BuildPtx();
    BuildSoftCuda();
    BuildVnni();
});

Task("Torch")
    .Description("Builds the interface to libtorch that training uses (artifacts/torch). --libtorch <folder with include and lib>, else an installed PyTorch's, else the system's, which it installs on Debian.")
    .IsDependentOn("Probe")
    .Does(() =>
{
    if (IsPresent(optionalPackages.Single(package => package.Property == "HasTorchSharp")))
        Information("libtorch: training uses the package TorchSharp, which brings its own interface");
    else
        BuildTorchShim();
});

Task("Llama")
    .Description("Fetches the pinned llama.cpp (npm, 8 MB, hash checked) that runs language models into artifacts/native/llama/.")
    .Does(() => FetchLlama());

Task("Build")
    .Description("Builds the solution and leaves a runnable artifacts/mmesid/mmesid.")
    .IsDependentOn("Probe")
    .IsDependentOn("Kernels")
    .IsDependentOn("Torch")
    .IsDependentOn("Llama")
    .Does(() =>
{
    var settings = new DotNetBuildSettings { Configuration = Configuration, NoLogo = true, Verbosity = DotNetVerbosity.Minimal };
    DotNetBuild(Solution, settings);
    // Leaves are not in the solution; what references one builds it, its tests nobody does.
    foreach (var project in LeafProjects().Where(leaf => IsPresent(leaf.Package)).SelectMany(leaf => leaf.Projects))
        DotNetBuild(project.FullPath, settings);
    DotNetPublish("src/MmeSid.Cli", new DotNetPublishSettings
    {
        Configuration = Configuration, NoBuild = true, NoLogo = true, Verbosity = DotNetVerbosity.Quiet, OutputDirectory = program.GetDirectory(),
    });
    Information("Built {0}", Context.Environment.WorkingDirectory.GetRelativePath(program));
});

Task("Format")
    .Description("Fails when a source file breaks the style; --apply rewrites the files instead.")
    .Does(() =>
{
    foreach (string project in LeafProjects().Where(leaf => IsPresent(leaf.Package)).SelectMany(leaf => leaf.Projects).Select(project => project.FullPath).Prepend(Solution))
        DotNetFormat(project, new DotNetFormatSettings { VerifyNoChanges = !HasArgument("apply") });
});

Task("Test")
    .Description("Builds and runs all tests; those of the kernels and the engine again without AVX-512 and without AVX2.")
    .IsDependentOn("Build")
    .Does(() => testTotals = RunTests());

Task("Bench")
    .Description("Measures ceilings, kernels and peers into bench/results/<machine>/. --suites a,b (none: only the tables)  --quick  --peers false  --quality  --readme")
    .IsDependentOn("Build")
    .Does(() =>
{
    // A quick run shows that the bench works; its figures mean nothing and stay out of the committed ones.
    var results = HasArgument("quick") ? artifacts.Combine("bench") : MakeAbsolute(Directory("bench/results"));
    var arguments = new ProcessArgumentBuilder().Append("--results").AppendQuoted(results.FullPath);
    if (HasArgument("suites"))
        arguments.Append("--suites").AppendQuoted(Argument<string>("suites"));
    if (HasArgument("quick"))
        arguments.Append("--quick");
    if (!Argument("peers", true))
        arguments.Append("--no-peers");
    if (HasArgument("quality"))
        arguments.Append("--quality");
    if (HasArgument("readme"))
        arguments.Append("--readme").AppendQuoted(MakeAbsolute(File("README.md")).FullPath);
    DotNetExecute($"bench/MmeSid.Bench/bin/{Configuration}/net10.0/MmeSid.Bench.dll", arguments);
});

Task("Claims")
    .Description("Measures what the MME-SID paper claims again, on real data (MMESID_DATA, else ../shared/data), into bench/results/mme-sid-claims.md and .json. About an hour on two cores; what was run before (artifacts/claims) is not run again. --suites none (only the page of what is done)  --quick")
    .IsDependentOn("Build")
    .Does(() =>
{
    bool quick = HasArgument("quick");
    var results = quick ? artifacts.Combine("bench") : MakeAbsolute(Directory("bench/results"));
    var arguments = new ProcessArgumentBuilder().Append("--claims").Append("--results").AppendQuoted(results.FullPath)
        .Append("--cache").AppendQuoted(artifacts.Combine(quick ? "claims-quick" : "claims").FullPath);
    if (HasArgument("suites"))
        arguments.Append("--suites").AppendQuoted(Argument<string>("suites"));
    if (quick)
        arguments.Append("--quick");
    DotNetExecute($"bench/MmeSid.Bench/bin/{Configuration}/net10.0/MmeSid.Bench.dll", arguments);
});

Task("Recommendations")
    .Description("Trains and tests recommenders on real data (MMESID_DATA, else ../shared/data) into bench/results/recommendations.md, by the commands that the page shows. Hours on two cores; what was run before (artifacts/recommendations) is not run again. --suites sids,best,beauty,movies,timeline (none: only the page of what is done)")
    .IsDependentOn("Build")
    .Does(() =>
{
    var arguments = new ProcessArgumentBuilder().Append("--recommendations").Append("--results").AppendQuoted(MakeAbsolute(Directory("bench/results")).FullPath)
        .Append("--cache").AppendQuoted(artifacts.Combine("recommendations").FullPath);
    if (HasArgument("suites"))
        arguments.Append("--suites").AppendQuoted(Argument<string>("suites"));
    DotNetExecute($"bench/MmeSid.Bench/bin/{Configuration}/net10.0/MmeSid.Bench.dll", arguments);
});

Task("Rankings")
    .Description("Trains and tests rankers, DIN and MCCA, on real data (MMESID_DATA, else ../shared/data) into bench/results/rankings.md, by the commands that the page shows. Half an hour to an hour on one core for each table; what was run before (artifacts/rankings) is not run again. --suites lastfm,movies,beauty (none: only the page of what is done)  --quick")
    .IsDependentOn("Build")
    .Does(() =>
{
    bool quick = HasArgument("quick");
    var results = quick ? artifacts.Combine("bench") : MakeAbsolute(Directory("bench/results"));
    var arguments = new ProcessArgumentBuilder().Append("--rankings").Append("--results").AppendQuoted(results.FullPath)
        .Append("--cache").AppendQuoted(artifacts.Combine(quick ? "rankings-quick" : "rankings").FullPath);
    if (HasArgument("suites"))
        arguments.Append("--suites").AppendQuoted(Argument<string>("suites"));
    if (quick)
        arguments.Append("--quick");
    DotNetExecute($"bench/MmeSid.Bench/bin/{Configuration}/net10.0/MmeSid.Bench.dll", arguments);
});

Task("Demo")
    .Description("Builds, then turns a synthetic catalogue into semantic IDs and recommendations and shows them: about a minute on two cores.")
    .IsDependentOn("Build")
    .Does(() => Run(program, "demo"));

Task("Publish")
    .Description("A self-contained folder and zip for linux-x64 that need no .NET: artifacts/publish/.")
    .IsDependentOn("Kernels")
    .Does(() =>
{
    const string Runtime = "linux-x64";
    var folder = artifacts.Combine("publish").Combine($"mmesid-{Runtime}");
    EnsureDirectoryDoesNotExist(folder);
    DotNetPublish("src/MmeSid.Cli", new DotNetPublishSettings
    {
        Configuration = Configuration, Runtime = Runtime, SelfContained = true, NoLogo = true, Verbosity = DotNetVerbosity.Minimal, OutputDirectory = folder,
        // Objects of their own: a restore for one runtime must not disturb the restore of the plain build.
        ArgumentCustomization = arguments => arguments.Append("--artifacts-path").AppendQuoted(artifacts.Combine("publish").Combine("objects").FullPath)
            .Append("-p:PublishDocumentationFiles=false").Append("-p:PublishReferencesDocumentationFiles=false"),
    });
    CopyFiles(["LICENSE", "docs/dependencies.md"], folder);
    CopyVnni(folder);
    var zip = artifacts.Combine("publish").CombineWithFilePath($"mmesid-{Runtime}.zip");
    if (FileExists(zip))
        DeleteFile(zip);
    // Cake's own Zip drops the permission to execute.
    System.IO.Compression.ZipFile.CreateFromDirectory(folder.FullPath, zip.FullPath);
    Information("Published {0} ({1:F0} MB) and {2} ({3:F0} MB)",
        folder.GetDirectoryName(), GetFiles($"{folder}/**/*").Sum(file => FileSize(file)) / 1e6, zip.GetFilename(), FileSize(zip) / 1e6);
});

Task("DevicePublish")
    .Description("All that bench/device.sh needs to check and measure a GPU on a machine that has only its driver: artifacts/device/mmesid-device-linux-x64.tar.gz.")
    .IsDependentOn("Kernels")
    .Does(() =>
{
    const string Runtime = "linux-x64";
    var folder = artifacts.Combine("device").Combine($"mmesid-device-{Runtime}");
    EnsureDirectoryDoesNotExist(folder);
    // Three programs over one runtime.
    foreach (string project in new[] { "src/MmeSid.Cli", "bench/MmeSid.Bench", "tests/MmeSid.Kernels.Cuda.Tests" })
    {
        DotNetPublish(project, new DotNetPublishSettings
        {
            Configuration = Configuration, Runtime = Runtime, SelfContained = true, NoLogo = true, Verbosity = DotNetVerbosity.Quiet, OutputDirectory = folder,
            ArgumentCustomization = arguments => arguments.Append("--artifacts-path").AppendQuoted(artifacts.Combine("device").Combine("objects").FullPath)
                .Append("-p:PublishDocumentationFiles=false").Append("-p:PublishReferencesDocumentationFiles=false").Append("-p:DebugType=none")
                .Append("-p:TravelsToDevice=true").Append("-p:ValidateExecutableReferencesMatchSelfContained=false").Append($"-p:SourceRevisionId={Commit()}"),
        });
    }
    EnsureDirectoryExists(folder.Combine("peers"));
    CopyFile("bench/peers/torch_encode.py", folder.Combine("peers").CombineWithFilePath("torch_encode.py"));
    CopyFiles(["bench/device.sh", "LICENSE", "docs/dependencies.md"], folder);
    CopyVnni(folder);
    var archive = folder.GetParent().CombineWithFilePath(folder.GetDirectoryName() + ".tar.gz");
    Run("tar", $"-czf \"{archive}\" -C \"{folder.GetParent()}\" {folder.GetDirectoryName()}");
    Information("Published {0} ({1:F0} MB) and {2} ({3:F1} MB)",
        folder.GetDirectoryName(), GetFiles($"{folder}/**/*").Sum(file => FileSize(file)) / 1e6, archive.GetFilename(), FileSize(archive) / 1e6);
});

Task("Parquet")
    .Description("Fetches the pinned libduckdb (npm, hash checked) that reads and writes Parquet into artifacts/native/duckdb/.")
    .Does(() => FetchDuckDb());

RunTarget(target);

if (testTotals is not null)
{
    // After Cake's own report, so that these are the last lines.
    foreach (var (package, projects) in LeafProjects().Where(leaf => !IsPresent(leaf.Package)))
        Console.Out.WriteLine($"left out: {string.Join(", ", projects.Select(file => file.GetFilenameWithoutExtension()))}: {(FileExists(feedProps) ? $"the package feed lacks {string.Join(" or ", package.Names)}" : "the package feed could not be asked")}; {package.Otherwise}");
    Console.Out.WriteLine($"{testTotals.Passed} passed, {testTotals.Failed} failed, {testTotals.Skipped} skipped");
    Console.Out.Flush();
    if (testTotals.Failed > 0 || testTotals.Passed == 0)
        System.Environment.Exit(1);
}

// ── what the targets do ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

record OptionalPackage(string[] Names, string Property, string Leaf, string Otherwise);
record TestTotals(int Passed, int Failed, int Skipped);

void Run(FilePath tool, ProcessArgumentBuilder arguments, DirectoryPath folder = null)
{
    int exit = StartProcess(tool, new ProcessSettings { Arguments = arguments, WorkingDirectory = folder });
    if (exit != 0)
        throw new CakeException($"{tool.GetFilename()} {arguments.RenderSafe()} ended with exit code {exit}");
}

/// The leaf projects that exist, each with the projects of its tests.
IEnumerable<(OptionalPackage Package, FilePath[] Projects)> LeafProjects() => optionalPackages
    .Select(package => (package, GetFiles($"{{kernels,src,tests}}/{package.Leaf}/*.csproj").Concat(GetFiles($"tests/{package.Leaf}.*/*.csproj")).ToArray()))
    .Where(leaf => leaf.Item2.Length > 0);

/// What the target Probe found.
bool IsPresent(OptionalPackage package) => FileExists(feedProps) && (string)XDocument.Load(feedProps.FullPath).Descendants(package.Property).FirstOrDefault() == "true";

/// The commit that a published program names, with + where files differ from it.
string Commit()
{
    string Git(string arguments)
    {
        int exit = StartProcess("git", new ProcessSettings { Arguments = arguments, RedirectStandardOutput = true, RedirectStandardError = true }, out var output, out _);
        return exit == 0 ? string.Concat(output) : "";
    }
    return Git("rev-parse --short=10 HEAD") + (Git("status --porcelain --untracked-files=no").Length > 0 ? "+" : "");
}

/// One restore of a throw-away project that asks for all optional packages at their central versions; the errors name those that are missing.
void ProbeFeed()
{
    var versions = XDocument.Load("Directory.Packages.props").Descendants("PackageVersion")
        .ToDictionary(entry => entry.Attribute("Include").Value, entry => entry.Attribute("Version").Value);
    var folder = artifacts.Combine("probe");
    CleanDirectory(folder);
    // Empty ones of its own keep this repository's central settings out of the probe.
    foreach (string settings in new[] { "Directory.Build.props", "Directory.Packages.props" })
        System.IO.File.WriteAllText(folder.CombineWithFilePath(settings).FullPath, "<Project />\n");
    var project = folder.CombineWithFilePath("probe.csproj");
    new XElement("Project", new XAttribute("Sdk", "Microsoft.NET.Sdk"),
        new XElement("PropertyGroup", new XElement("TargetFramework", "net10.0"), new XElement("NuGetAudit", "false")),
        new XElement("ItemGroup", optionalPackages.SelectMany(package => package.Names).Select(name => new XElement("PackageReference",
            new XAttribute("Include", name), new XAttribute("Version", $"[{versions[name]}]"))))).Save(project.FullPath);
    int exit = StartProcess("dotnet",
        new ProcessSettings { Arguments = $"restore \"{project}\" --verbosity quiet", RedirectStandardOutput = true, RedirectStandardError = true },
        out var output, out var errors);
    string[] lines = [.. output, .. errors];
    bool anyNamed = optionalPackages.Any(package => MissingCode(package) is not null);
    bool answered = exit == 0 || anyNamed;

    var found = new XElement("PropertyGroup");
    foreach (var package in optionalPackages)
    {
        string reason = MissingCode(package) switch
        {
            "NU1101" => "the package feed does not have it",
            "NU1102" or "NU1103" => "the package feed does not have this version",
            _ => answered ? null : "the package feed could not be asked",
        };
        found.Add(new XElement(package.Property, reason is null ? "true" : "false"));
        if (reason is null)
            Information("{0} {1}: present, {2} enters the build", package.Names[0], versions[package.Names[0]], package.Leaf);
        else
            Information("{0} {1}: {2} is skipped, {3}; {4}", package.Names[0], versions[package.Names[0]], package.Leaf, reason, package.Otherwise);
    }
    DeleteDirectory(folder, new DeleteDirectorySettings { Recursive = true, Force = true });
    // A feed that did not answer is asked again by the next build.
    if (answered)
        new XElement("Project", new XComment(" Written by the target Probe; delete it to ask the feed again. "), found).Save(feedProps.FullPath);
    else if (FileExists(feedProps))
        DeleteFile(feedProps);

    string MissingCode(OptionalPackage package) => package.Names
        .SelectMany(name => lines.Select(line => Regex.Match(line, $@"error (NU110\d): .*\b{Regex.Escape(name)}(?!\.?\w)")))
        .FirstOrDefault(match => match.Success)?.Groups[1].Value;
}

/// Runs each test project as the program it is, reads its XML report, and prints failures and the reasons of skips.
TestTotals RunTests()
{
    var reports = artifacts.Combine("test-reports");
    CleanDirectory(reports);
    var totals = new TestTotals(0, 0, 0);
    var skipped = new SortedSet<string>(StringComparer.Ordinal);
    string[] projects =
    [
        .. GetFiles("tests/*.Tests/*.csproj").Select(file => file.GetFilenameWithoutExtension().FullPath)
            .Except(optionalPackages.Where(package => !IsPresent(package)).Select(package => $"{package.Leaf}.Tests")).Order(StringComparer.Ordinal),
    ];
    // Two at a time: the kernels of softcuda run on one core, and are at it for longest.
    var runs = projects.OrderByDescending(project => project == "MmeSid.Kernels.Cuda.Tests").Select(project => (Project: project, Switch: (string)null))
        .Concat(instructionSetSwitches.SelectMany(name => projects.Intersect(testsPerInstructionSet).Select(project => (Project: project, Switch: name))));
    Parallel.ForEach(Partitioner.Create(runs, EnumerablePartitionerOptions.NoBuffering), new ParallelOptions { MaxDegreeOfParallelism = 2 }, run => Add(RunTestProject(run.Project, run.Switch)));
    foreach (string reason in skipped)
        Information("skipped: {0}", reason);
    return totals;

    void Add(TestTotals more)
    {
        lock (skipped)
            totals = new(totals.Passed + more.Passed, totals.Failed + more.Failed, totals.Skipped + more.Skipped);
    }

    TestTotals RunTestProject(string project, string instructionSetSwitch)
    {
        string name = instructionSetSwitch is null ? project : $"{project} with {instructionSetSwitch}=0";
        var report = reports.CombineWithFilePath($"{project}{(instructionSetSwitch is null ? "" : "." + instructionSetSwitch)}.xml");
        var settings = new ProcessSettings
        {
            Arguments = $"exec tests/{project}/bin/{Configuration}/net10.0/{project}.dll -noLogo -noColor -xml \"{report}\"",
            EnvironmentVariables = instructionSetSwitch is null ? new Dictionary<string, string>() : new() { [instructionSetSwitch] = "0" },
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var clock = System.Diagnostics.Stopwatch.StartNew();
        using IProcess process = StartAndReturnProcess("dotnet", settings);
        if (!process.WaitForExit((int)testProjectLimit.TotalMilliseconds))
        {
            process.Kill();
            Error("{0}: still running after {1} minutes, stopped", name, testProjectLimit.TotalMinutes);
            return new(0, 1, 0);
        }
        if (!FileExists(report))
        {
            Error("{0}: ended with exit code {1} and no report:", name, process.GetExitCode());
            foreach (string line in process.GetStandardError().Concat(process.GetStandardOutput()).Take(20))
                Error("    {0}", line.Length <= 200 ? line : line[..200] + "…");
            return new(0, 1, 0);
        }
        var assemblies = XDocument.Load(report.FullPath).Descendants("assembly").ToArray();
        int Count(string attribute) => assemblies.Sum(assembly => (int?)assembly.Attribute(attribute) ?? 0);
        foreach (var failure in assemblies.Descendants("failure"))
        {
            var owner = failure.Parent;
            Error("{0}: {1} failed", name, (string)owner.Attribute("name") ?? (string)owner.Attribute("type"));
            Error("    {0}", ((string)failure.Element("message"))?.Trim().Replace("\n", "\n    "));
            Error("    {0}", ((string)failure.Element("stack-trace"))?.Trim().Split('\n')[0]);
        }
        foreach (var test in assemblies.Descendants("test").Where(test => (string)test.Attribute("result") == "Skip"))
        {
            lock (skipped)
                skipped.Add($"{((string)test.Attribute("name")).Split('(')[0]}: {((string)test.Element("reason"))?.Trim()}");
        }
        TestTotals result = new(Count("passed"), Count("failed") + Count("errors"), Count("skipped"));
        if (result.Failed == 0 && process.GetExitCode() != 0 && result.Passed > 0)
        {
            Error("{0}: reported no failure but ended with exit code {1}", name, process.GetExitCode());
            result = result with { Failed = 1 };
        }
        Information("{0}: {1} passed, {2} failed, {3} skipped in {4:F1} s", name, result.Passed, result.Failed, result.Skipped, clock.Elapsed.TotalSeconds);
        return result;
    }
}

/// One PTX file per source: it is text that the driver compiles for the GPU at hand, so nothing but the compiler is needed here.
void BuildPtx()
{
    var sources = GetFiles("kernels/cuda/*.cu").ToArray();
    var folder = artifacts.Combine("ptx");
    FilePath Ptx(FilePath source) => folder.CombineWithFilePath(source.GetFilenameWithoutExtension() + ".ptx");
    if (sources.All(source => FileExists(Ptx(source))) && !AnyNewer(GetFiles("kernels/cuda/*"), sources.Select(Ptx)))
        return;
    var clang = DebianTool("clang++-19", "clang-19");
    var nvcc = clang is null ? Context.Tools.Resolve("nvcc") : null;
    if ((clang ?? nvcc) is not { } compiler)
    {
        Information("CUDA kernels: neither clang-19 nor nvcc is here to compile them to PTX; the build goes on without the backend cuda");
        return;
    }
    EnsureDirectoryExists(folder);
    Parallel.ForEach(sources, source => Run(compiler, (clang is null ? ForNvcc(Architecture(source)) : ForClang(Architecture(source))) + $" \"{source}\" -o \"{Ptx(source)}\""));
    Information("CUDA kernels: {0} sources compiled to PTX by {1}", sources.Length, compiler.GetFilename());

    string Architecture(FilePath source) => source.GetFilenameWithoutExtension().FullPath.EndsWith("_hopper", StringComparison.Ordinal) ? HopperArchitecture : CudaArchitecture;
    // Neither may fuse a product and a sum by itself: kernels say where they want that.
    string ForClang(string architecture) => $"-x cuda --cuda-device-only --cuda-gpu-arch=sm_{architecture} -nocudainc -nocudalib -std=c++17 -O3 -ffp-contract=off -Wall -Wextra -Wno-unknown-cuda-version -S";
    string ForNvcc(string architecture) => $"--ptx --gpu-architecture=compute_{architecture} -std=c++17 -O3 --fmad=false";
}

/// The driver library that tests load where there is no GPU: the same kernels, compiled for the host.
void BuildSoftCuda()
{
    var library = artifacts.Combine("softcuda").CombineWithFilePath("libcuda.so.1");
    if (!IsRunningOnLinux() || (FileExists(library) && !AnyNewer(GetFiles("kernels/cuda/*") + GetFiles("tests/softcuda/*"), [library])))
        return;
    if (DebianTool("cmake", "cmake") is not { } cmake || DebianTool("g++", "g++") is null)
    {
        Information("softcuda: no cmake or no g++; tests of the backend cuda are skipped where there is no GPU");
        return;
    }
    var folder = artifacts.Combine("softcuda").Combine("build");
    Run(cmake, $"-S tests/softcuda -B \"{folder}\" -Wno-dev --log-level=WARNING");
    Run(cmake, $"--build \"{folder}\" --parallel 2 -- --quiet");
    CopyFile(folder.CombineWithFilePath("libcuda.so.1"), library);
    Information("softcuda: {0}", Context.Environment.WorkingDirectory.GetRelativePath(library));
}

/// 512-bit integer dot products for the integer screens of simd; without them 256-bit ones of .NET do that work.
void BuildVnni()
{
    var library = artifacts.Combine("native").Combine("vnni").CombineWithFilePath("libmmesid_vnni.so");
    if (!IsRunningOnLinux() || System.Runtime.InteropServices.RuntimeInformation.OSArchitecture != System.Runtime.InteropServices.Architecture.X64
        || (FileExists(library) && !AnyNewer(GetFiles("native/vnni/*"), [library])))
        return;
    if (DebianTool("cmake", "cmake") is not { } cmake || DebianTool("gcc", "gcc") is null)
    {
        Information("native/vnni: no cmake or no gcc; integer screens use the 256-bit instructions that .NET has");
        return;
    }
    var folder = library.GetDirectory().Combine("build");
    Run(cmake, $"-S native/vnni -B \"{folder}\" -Wno-dev --log-level=WARNING");
    Run(cmake, $"--build \"{folder}\" -- --quiet");
    CopyFile(folder.CombineWithFilePath(library.GetFilename()), library);
    Information("native/vnni: {0}", Context.Environment.WorkingDirectory.GetRelativePath(library));
}

/// Puts it beside a published program, where there is one.
void CopyVnni(DirectoryPath folder)
{
    foreach (FilePath library in GetFiles($"{artifacts}/native/vnni/*.so"))
        CopyFileToDirectory(library, folder);
}

/// The C interface over the libtorch that is found; without one the build goes on without training.
void BuildTorchShim()
{
    const string Otherwise = "the build goes on, and mmesid trains no networks";
    var folder = artifacts.Combine("torch");
    var library = folder.CombineWithFilePath(IsRunningOnWindows() ? "mmesid_torch.dll" : IsRunningOnMacOs() ? "libmmesid_torch.dylib" : "libmmesid_torch.so");
    var (root, origin) = FindLibtorch();
    if (origin is null)
    {
        Information("libtorch: neither PyTorch nor libtorch-dev is here, and --libtorch names none; {0}", Otherwise);
        return;
    }
    // Another libtorch, or another version of it, needs another build.
    string headers = $"{root ?? "/usr"}/include/torch";
    var numbers = new FilePath[] { $"{headers}/csrc/api/include/torch/version.h", $"{headers}/headeronly/version.h" }.Where(header => FileExists(header))
        .SelectMany(header => Regex.Matches(System.IO.File.ReadAllText(header.FullPath), @"define TORCH_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)")).Select(match => match.Groups[1].Value);
    origin = $"libtorch {string.Join('.', numbers)}, {origin}";
    var stamp = folder.CombineWithFilePath("origin.txt");
    if (FileExists(library) && !AnyNewer(GetFiles("native/torch/*.*"), [library]) && FileExists(stamp) && System.IO.File.ReadAllText(stamp.FullPath) == origin)
        return;
    if (DebianTool("cmake", "cmake") is not { } cmake || (!IsRunningOnWindows() && !IsRunningOnMacOs() && DebianTool("g++", "g++") is null))
    {
        Information("libtorch: no cmake or no g++ to build the interface to it; {0}", Otherwise);
        return;
    }
    var build = folder.Combine("build");
    // CMake would remember where it looked before.
    CleanDirectory(build);
    try
    {
        Run(cmake, $"-S native/torch -B \"{build}\" -Wno-dev --log-level=WARNING" + (root is null ? "" : $" -DTORCH_ROOT=\"{root}\""));
        Run(cmake, $"--build \"{build}\" --config Release");
    }
    catch (CakeException error) when (!HasArgument("libtorch"))
    {
        // One that was found, not named, may be anything; what was asked for is the rest.
        Warning("libtorch: the interface could not be built for {0}: {1}; {2}", origin, error.Message, Otherwise);
        return;
    }
    CopyFile(GetFiles($"{build}/**/{library.GetFilename()}").First(), library);
    System.IO.File.WriteAllText(stamp.FullPath, origin);
    Information("libtorch: {0} built for {1}", Context.Environment.WorkingDirectory.GetRelativePath(library), origin);
}

/// The folder that holds include and lib, null for the system's own, and which one it is; no origin where there is none.
(string Root, string Origin) FindLibtorch()
{
    if (HasArgument("libtorch"))
    {
        string named = MakeAbsolute(Directory(Argument<string>("libtorch"))).FullPath;
        return (named, named);
    }
    // Where PyTorch is installed says its package, without loading it.
    const string Where = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";
    if (Context.Tools.Resolve(IsRunningOnWindows() ? "python.exe" : "python3") is { } python
        && StartProcess(python, new ProcessSettings { Arguments = $"-c \"{Where}\"", RedirectStandardOutput = true, RedirectStandardError = true, Silent = true }, out var output, out _) == 0
        && output.FirstOrDefault() is { Length: > 0 } package)
    {
        return (package, $"the PyTorch in {package}");
    }
    bool Installed() => GetFiles("/usr/include/ATen/ATen.h").Count + GetFiles("/usr/local/include/ATen/ATen.h").Count > 0;
    if (IsRunningOnWindows() || !(Installed() || (InstallDebian("libtorch-dev", "libopenblas0-openmp") && Installed())))
        return (null, null);
    return (null, "the system's libtorch");
}

bool AnyNewer(IEnumerable<FilePath> sources, IEnumerable<FilePath> results) =>
    sources.Max(file => System.IO.File.GetLastWriteTimeUtc(file.FullPath)) > results.Min(file => System.IO.File.GetLastWriteTimeUtc(file.FullPath));

/// A tool from the path; on Debian, and as root, its package is installed first. Null where it cannot be had.
FilePath DebianTool(string tool, string package)
{
    if (Context.Tools.Resolve(tool) is { } present)
        return present;
    return InstallDebian(package) ? Context.Tools.Resolve(tool) : null;
}

/// Installs packages on Debian, as root; false where that is not so, or fails.
bool InstallDebian(params string[] packages)
{
    if (!FileExists("/etc/debian_version") || System.Environment.UserName != "root" || Context.Tools.Resolve("apt-get") is not { } apt)
        return false;
    string names = string.Join(' ', packages);
    Information("installing {0}", names);
    var settings = new ProcessSettings { Arguments = $"-y --no-install-recommends install {names}", Silent = true, RedirectStandardOutput = true };
    StartProcess(apt, new ProcessSettings { Arguments = "update", Silent = true, RedirectStandardOutput = true });
    int exit = StartProcess(apt, settings);
    if (exit != 0)
        Warning("{0} could not be installed (exit code {1})", names, exit);
    return exit == 0;
}

/// libduckdb is large and asked for on request only; without it nothing else suffers, so that it must come.
void FetchDuckDb()
{
    if (FetchNative("duckdb") is { } obstacle)
        throw new CakeException($"Parquet needs libduckdb: {obstacle}");
}

/// Part of every build: a machine without npm or without a way to the registry goes on without language models.
void FetchLlama()
{
    if (FetchNative("llama") is not { } obstacle)
        return;
    if (target == "Llama")
        throw new CakeException($"language models need llama.cpp: {obstacle}");
    Information("llama.cpp: {0}; the build goes on without language models", obstacle);
}

/// Fetches the package that native/<library>/manifest.json pins for this platform into artifacts/native/<library>; says what was in the way, or null.
/// npm knows the user's registry, so no host is named here; what arrives must have the pinned hash, or the build ends.
string FetchNative(string library)
{
    string system = IsRunningOnWindows() ? "win" : IsRunningOnMacOs() ? "osx" : "linux";
    string platform = $"{system}-{System.Runtime.InteropServices.RuntimeInformation.OSArchitecture.ToString().ToLowerInvariant()}";
    using var manifest = JsonDocument.Parse(System.IO.File.ReadAllText($"native/{library}/manifest.json"));
    if (!manifest.RootElement.GetProperty("platforms").TryGetProperty(platform, out var entry))
        return $"native/{library}/manifest.json pins none for {platform}";
    string name = entry.GetProperty("name").GetString();
    string version = entry.GetProperty("version").GetString();
    string integrity = entry.GetProperty("integrity").GetString();
    // The folder of the package whose libraries are wanted; all of it where none is named.
    string wanted = entry.TryGetProperty("folder", out var part) ? part.GetString() : null;
    var folder = artifacts.Combine("native").Combine(library);
    var stamp = folder.CombineWithFilePath("integrity.txt");
    if (FileExists(stamp) && System.IO.File.ReadAllText(stamp.FullPath) == integrity)
    {
        Information("{0} {1} is in place", name, version);
        return null;
    }
    if (Context.Tools.Resolve(IsRunningOnWindows() ? "npm.cmd" : "npm") is not { } npm)
        return "npm, which fetches it, is not here; on Debian: apt-get install npm";
    CleanDirectory(folder);
    int exit = StartProcess(npm, new ProcessSettings { Arguments = $"pack {name}@{version} --silent", WorkingDirectory = folder });
    if (exit != 0)
        return $"npm pack {name}@{version} ended with exit code {exit}";
    var package = GetFiles($"{folder}/*.tgz").Single();
    string actual = "sha512-" + Convert.ToBase64String(SHA512.HashData(System.IO.File.ReadAllBytes(package.FullPath)));
    if (actual != integrity)
    {
        CleanDirectory(folder);
        throw new CakeException($"{name} {version}: expected {integrity}, received {actual}; nothing was installed");
    }
    Run("tar", $"-xzf \"{package.GetFilename()}\" --strip-components=1", folder);
    DeleteFile(package);
    if (wanted is not null)
    {
        // Only the libraries, and the licence under which they may be passed on.
        var libraries = GetFiles($"{folder}/{wanted}/*.so") + GetFiles($"{folder}/{wanted}/*.dylib") + GetFiles($"{folder}/{wanted}/*.dll") + GetFiles($"{folder}/{wanted}/*.metal");
        MoveFiles(libraries, folder);
        foreach (var rest in GetSubDirectories(folder))
            DeleteDirectory(rest, new DeleteDirectorySettings { Recursive = true });
    }
    System.IO.File.WriteAllText(stamp.FullPath, integrity);
    Information("{0} {1}: fetched and verified into {2}", name, version, Context.Environment.WorkingDirectory.GetRelativePath(folder));
    return null;
}
