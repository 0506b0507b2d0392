using System.CommandLine;
using MmeSid.Bench;

var results = new Option<DirectoryInfo>("--results") { Description = "Folder with one folder of results per machine.", Required = true };
var suites = new Option<string>("--suites") { Description = $"Comma-separated: {string.Join(", ", Suites.Names)}; 'none' only rewrites the tables.", DefaultValueFactory = _ => "all" };
var quick = new Option<bool>("--quick") { Description = "Tiny shapes, two runs: shows that the bench works." };
var noPeers = new Option<bool>("--no-peers") { Description = "Leaves the peers out." };
var readme = new Option<FileInfo?>("--readme") { Description = "README whose results section is rewritten." };
var quality = new Option<bool>("--quality") { Description = "Also writes quality.md: collisions and semantic degradation on real data." };
var claims = new Option<bool>("--claims") { Description = "Instead measures the claims of the MME-SID paper again, into mme-sid-claims.md and .json; what was run before is not run again, and with --suites none nothing is run: the page shows what is done." };
var recommendations = new Option<bool>("--recommendations") { Description = "Instead trains and tests recommenders on real data, into recommendations.md; --suites names its tables: sids, best, beauty, movies, timeline. What was run before is not run again." };
var rankings = new Option<bool>("--rankings") { Description = "Instead trains and tests rankers on real data, into rankings.md; --suites names its tables: lastfm, movies, beauty. What was run before is not run again. --quick: two seeds, one epoch, 200 users." };
var cache = new Option<DirectoryInfo?>("--cache") { Description = "With --claims, --recommendations and --rankings: where finished runs and trained models are kept. [default: the folder of that name in artifacts of the repository]" };
var step = new Option<string?>("--training-step") { Description = "Instead times steps of training for the suite rqvae, which calls this.", Hidden = true };
var rankerStep = new Option<string?>("--ranker-step") { Description = "Instead times steps of training for the suite ranker, which calls this.", Hidden = true };
var gpu = new Option<bool>("--gpu") { Description = $"Measures a GPU instead, into gpu-<name>.md and .json. Its suites: {string.Join(", ", GpuSuites.Names)}; 'none' only its ceilings." };
var device = new Option<int>("--device") { Description = "With --gpu: which GPU, 0 the first." };
var rows = new Option<long>("--rows") { Description = "With --gpu: rows whose codes 'exact' proves on the device; a thousandth of them by the oracle.", DefaultValueFactory = _ => 100_000_000 };
var seconds = new Option<double?>("--seconds") { Description = "With --gpu: longest that 'fuzz' and each part of 'exact' take; 30, with --quick 1." };
var seed = new Option<ulong?>("--seed") { Description = "With --gpu: of 'fuzz'; without it one is drawn and shown." };
var steps = new Option<FileInfo?>("--steps") { Description = "With --gpu: lines 'name<tab>outcome<tab>seconds<tab>what it said' of what else ran on the device; shown on the page." };
var root = new RootCommand("Measures what the machine can do, then the kernels, then their peers, and writes tables of it.")
{
    results, suites, quick, noPeers, readme, quality, claims, recommendations, rankings, cache, step, rankerStep, gpu, device, rows, seconds, seed, steps,
};
root.SetAction(parsed => parsed.GetValue(step) is { } job ? TrainingStep.Run(job) : parsed.GetValue(rankerStep) is { } ranking ? RankerStep.Run(ranking) : parsed.GetValue(rankings) ? RunRankings(parsed.GetRequiredValue(results).FullName, parsed.GetValue(cache)?.FullName, parsed.GetRequiredValue(suites), parsed.GetValue(quick)) : parsed.GetValue(claims) ? RunClaims(parsed.GetRequiredValue(results).FullName, parsed.GetValue(cache)?.FullName, parsed.GetValue(quick), parsed.GetRequiredValue(suites) != "none") : parsed.GetValue(recommendations) ? RunRecommendations(parsed.GetRequiredValue(results).FullName, parsed.GetValue(cache)?.FullName, parsed.GetRequiredValue(suites)) : parsed.GetValue(gpu) ? GpuBench.Run(new GpuBenchOptions(
    parsed.GetRequiredValue(results).FullName, parsed.GetRequiredValue(suites), parsed.GetValue(quick), !parsed.GetValue(noPeers), parsed.GetValue(device),
    parsed.GetValue(rows), TimeSpan.FromSeconds(parsed.GetValue(seconds) ?? (parsed.GetValue(quick) ? 1 : 30)), parsed.GetValue(seed) ?? (ulong)Random.Shared.NextInt64(), parsed.GetValue(steps)?.FullName)) : Run(
    parsed.GetRequiredValue(results).FullName, parsed.GetRequiredValue(suites), parsed.GetValue(quick), parsed.GetValue(noPeers), parsed.GetValue(readme)?.FullName, parsed.GetValue(quality)));
return root.Parse(args).Invoke();

static int Run(string resultsFolder, string suiteNames, bool quick, bool noPeers, string? readme, bool quality)
{
    string[] wanted = suiteNames switch { "all" => Suites.Names, "none" => [], _ => suiteNames.Split(',', StringSplitOptions.TrimEntries) };
    if (wanted.Except(Suites.Names).FirstOrDefault() is { } unknown)
    {
        Console.Error.WriteLine($"there is no suite '{unknown}'; there are {string.Join(", ", Suites.Names)}");
        return 2;
    }
    string repository = Repository();
    Machine machine = Machine.Describe(repository);
    string folder = Path.Combine(resultsFolder, machine.Slug);
    string? dataFolder = DataFolder(repository);
    if (wanted.Length > 0)
    {
        BenchContext.Say($"{machine.Processor}, {machine.Cores} cores; measuring the ceilings");
        using var context = new BenchContext
        {
            Ceilings = Ceilings.Measure(quick),
            Quick = quick,
            DataFolder = dataFolder,
            Faiss = noPeers ? null : new FaissPeer(repository),
            Repository = repository,
        };
        foreach (Suite suite in Suites.All.Where(suite => wanted.Contains(suite.Name)))
        {
            BenchContext.Say($"{suite.Name}: {suite.Title}");
            context.Remarks.Clear();
            StolenTime before = StolenTime.Now();
            List<Figure> figures = [];
            foreach (Figure figure in suite.Run(context))
            {
                figures.Add(figure);
                BenchContext.Say("  " + Report.Line(figure));
            }
            if (StolenTime.Now().Since(before) is { } remarkable)
                context.Remarks.Add(remarkable);
            foreach (string remark in context.Remarks)
                BenchContext.Say("  " + remark);
            Report.Save(folder, new SuiteResult(suite.Name, suite.Title, machine, [.. context.Ceilings.All], [.. context.Remarks], figures));
        }
        Console.WriteLine(Path.Combine(folder, "README.md"));
    }
    if (quality)
        QualityPage.Write(resultsFolder, dataFolder, machine);
    if (readme is not null)
        Report.UpdateReadme(readme, resultsFolder);
    return 0;
}

static int RunClaims(string resultsFolder, string? cache, bool quick, bool train)
{
    string repository = Repository();
    Console.WriteLine(Claims.Run(resultsFolder, cache ?? Path.Combine(repository, "artifacts", "claims"), DataFolder(repository), Machine.Describe(repository), quick, train));
    return 0;
}

static int RunRecommendations(string resultsFolder, string? cache, string tables)
{
    string repository = Repository();
    Console.WriteLine(Recommendations.Run(resultsFolder, cache ?? Path.Combine(repository, "artifacts", "recommendations"), repository, DataFolder(repository), Machine.Describe(repository), tables));
    return 0;
}

static int RunRankings(string resultsFolder, string? cache, string tables, bool quick)
{
    string repository = Repository();
    Console.WriteLine(Rankings.Run(resultsFolder, cache ?? Path.Combine(repository, "artifacts", "rankings"), repository, DataFolder(repository), Machine.Describe(repository), tables, quick ? new RankingSize(2, 200, true) : new RankingSize(5, 0, false)));
    return 0;
}

static string Repository() => Machine.Repository() ?? throw new DirectoryNotFoundException($"{Machine.Solution} is in no folder above {AppContext.BaseDirectory}");

// Real tables, or null where they are absent.
static string? DataFolder(string repository)
{
    string data = Environment.GetEnvironmentVariable("MMESID_DATA") ?? Path.Combine(repository, "..", "shared", "data");
    return Directory.Exists(data) ? data : null;
}
