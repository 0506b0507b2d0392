using System.CommandLine;
using System.Text.Json.Nodes;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Engine.Synthesis;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid demo</c>: the whole way from a made-up catalogue to recommendations, in under two minutes, with nothing downloaded.</summary>
internal static class DemoCommand
{
    private const int kItems = 6_000;
    private const int kDimension = 64;
    private const int kLevels = 4;
    private const int kCodes = 128;
    private const int kShownItems = 4;
    private const int kShownNeighbours = 3;
    private const string kText = "lsa.npy";
    private const string kBehaviour = "ppmi.npy";
    private const string kRecommender = "recommender";

    public static Command Create()
    {
        var output = new Option<string?>("--out", "-o") { Description = "Folder for everything the demo makes. [default: a new folder among the temporary files]", HelpName = "folder" };
        var items = new Option<int>("--items") { Description = "Items of the catalogue.", DefaultValueFactory = _ => kItems, HelpName = "count" };
        var command = new Command("demo", "From a made-up catalogue to SIDs: texts and user sequences become embeddings, RQ-KMeans and PSRQ make SIDs of them, collisions are settled, health is measured; a tiny Llama learns them and recommends. Nothing is downloaded.")
        {
            output, items, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Get(output) ?? Path.Combine(Path.GetTempPath(), $"mmesid-demo-{Guid.NewGuid():N}"[..20]);
            using OutputFolder folder = OutputFolder.Create(path, run.Force, SyntheticFolder.Sequences);
            Show(run, path, folder.Path, run.Need(items));
            run.Cancellation.ThrowIfCancellationRequested();
            folder.Commit();
        }));
        return command;
    }

    private static void Show(CommandRun run, string path, string folder, int items)
    {
        SyntheticHierarchy hierarchy = SyntheticFolder.Hierarchy(items, run.Seed);
        SyntheticStore store = SyntheticFolder.WriteStore(run, folder, hierarchy, items, 2L * items, run.Seed);
        int threads = GlobalOptions.ThreadCount(run.Parsed);
        EmbeddingFiles.Write(run, Path.Combine(folder, kText), () => run.Progress.Step("embed text", () => TextEmbedder.Embed(
            TextItems.ReadFile(Path.Combine(folder, SyntheticFolder.Items)), new TextOptions { Dimension = kDimension, Seed = run.Seed, Threads = threads }, run.Cancellation)));
        EmbeddingFiles.Write(run, Path.Combine(folder, kBehaviour), () => run.Progress.Step("embed interactions", () => InteractionEmbedder.Embed(
            InteractionSequences.ReadFile(Path.Combine(folder, SyntheticFolder.Sequences)),
            new InteractionOptions { Dimension = kDimension, Empty = EmptyItems.Drop, Seed = run.Seed, Threads = threads }, run.Cancellation)));

        EmbeddingTable[] tables = [.. ((string[])[kText, kBehaviour]).Select(name => EmbeddingTable.Open([Path.Combine(folder, name)],
            new EmbeddingOptions { ItemsFile = EmbeddingFiles.ItemsPath(Path.Combine(folder, name)) }))];
        BundleInput[] inputs = [.. tables.Select(BundleInput.Of)];
        Preprocessing preprocessing = Preprocessing.Of(tables, normalize: true);
        using EmbeddingTable table = EmbeddingTable.Combine(tables, preprocessing, MissingItems.Zero);
        var bundles = new List<SidBundle>();
        var sets = new List<(string Name, HealthReport Report)>();
        foreach (QuantizerKind kind in (QuantizerKind[])[QuantizerKind.RqKMeans, QuantizerKind.Psrq])
        {
            string name = QuantizerName.Of(kind);
            var options = new TrainingOptions { Kind = kind, Levels = kLevels, Codes = [kCodes], Seed = run.Seed, Threads = threads };
            TrainedBundle trained = BundleTraining.Run(run, table, preprocessing, inputs, options,
                _ => new SettlingOptions { Policy = CollisionPolicy.Resettle, Threads = threads }, eachIteration: false);
            SidBundle.Write(Path.Combine(folder, name), trained.Content, force: false);
            SidBundle bundle = SidBundle.Open(Path.Combine(folder, name));
            bundles.Add(bundle);
            sets.Add((name, run.Progress.Step($"measure {name}",
                () => HealthReport.Measure(bundle, table, encoded: null, users: null, new AgreementOptions { Seed = run.Seed, Threads = threads }, GlobalOptions.CreateBackend(run.Parsed), run.Cancellation))));
        }

        run.Results.Value("folder", path);
        run.Results.Value("items", items);
        run.Results.Value("users", 2L * items);
        run.Results.Value("clusters", string.Join(" × ", hierarchy.Branching));
        Health.Compare(run.Results, sets);
        Health.Levels(run.Results, sets);
        run.Results.Text("""
            Collision rate: items that share their codes with another, before and after settling. Mutual information and neighbour purity: whether the codes
            of one level follow the original space (1: fully; by chance: beside it). PSRQ's deeper levels still do where those of RQ-KMeans do not; the
            price is that its levels repeat each other, so that more items collide before settling.
            """);
        ShowTruth(run.Results, bundles, hierarchy);
        foreach (SidBundle bundle in bundles)
            ShowItems(run.Results, bundle, store);
        DemoRecommendations.Show(run, Path.Combine(folder, kRecommender), Path.Combine(path, kRecommender), bundles[^1], InteractionSequences.ReadFile(Path.Combine(folder, SyntheticFolder.Sequences)), store);
        run.Results.Text($"""
            The same by hand:
              mmesid embed text --input {path}/{SyntheticFolder.Items} --out text.npy
              mmesid embed interactions --input {path}/{SyntheticFolder.Sequences} --empty drop --out behaviour.npy
              mmesid train psrq --embeddings text.npy --embeddings behaviour.npy --normalize --missing zero --out bundle
              mmesid inspect bundle
              mmesid train sid-lm --bundle bundle --sequences {path}/{SyntheticFolder.Sequences} --quantize q8_0 --out recommender
              mmesid recommend --model {path}/{kRecommender} --histories {path}/{SyntheticFolder.Sequences} --titles {path}/{SyntheticFolder.Items}
            """);
    }

    /// <summary>Only a made-up catalogue has it: how well the first codes find the clusters that are really there.</summary>
    private static void ShowTruth(ResultSheet results, IReadOnlyList<SidBundle> bundles, SyntheticHierarchy hierarchy)
    {
        results.Table("agreement_with_the_true_clusters", ["quantizer", "level", .. Enumerable.Range(0, hierarchy.Depth).Select(depth => $"depth_{depth + 1}")], bundles.SelectMany(bundle =>
            Enumerable.Range(0, bundle.Quantizer.Levels).Select(level => (IReadOnlyList<ResultSheet.Cell>)
            [
                QuantizerName.Of(bundle.Quantizer.Kind), (long)level,
                .. Enumerable.Range(0, hierarchy.Depth).Select(depth => (ResultSheet.Cell)Math.Round(
                    MutualInformation.Measure(bundle.Codes.Level(level), Nodes(bundle, hierarchy, depth)).Adjusted, 3)),
            ])), "Adjusted mutual information of each level with the clusters that are really there, by depth of the tree:");
    }

    /// <summary>The true node of each item at a depth.</summary>
    private static ushort[] Nodes(SidBundle bundle, SyntheticHierarchy hierarchy, int depth) =>
        [.. Enumerable.Range(0, (int)bundle.Count).Select(row => (ushort)hierarchy.Node(hierarchy.Leaf(RowOf(bundle, row)), depth))];

    private static void ShowItems(ResultSheet results, SidBundle bundle, SyntheticStore store)
    {
        string name = QuantizerName.Of(bundle.Quantizer.Kind);
        results.Table($"items_by_{name.Replace('-', '_')}", ["item", "title", "sid", "shared_codes", "nearest_by_sid"], Enumerable.Range(0, kShownItems).Select(i =>
        {
            long row = i * bundle.Count / kShownItems;
            (int shared, IReadOnlyList<string> near, _) = SidNeighbours.Of(bundle, bundle.Items[row], bundle.Sids[row], kShownNeighbours);
            string[] titles = [.. near.Select(id => store.Title(long.Parse(id) - 1))];
            return (IReadOnlyList<ResultSheet.Cell>)
            [
                bundle.Items[row], store.Title(RowOf(bundle, row)), SidText.Tokens(bundle.Sids[row]), (long)shared,
                new ResultSheet.Cell(new JsonArray([.. near.Select(id => (JsonNode?)id)]), string.Join(" | ", titles), false),
            ];
        }), $"Items and their SIDs by {name}, with the items that share the longest prefix:");
    }

    /// <summary>Item ids of the shop are row numbers from 1.</summary>
    private static long RowOf(SidBundle bundle, long row) => long.Parse(bundle.Items[row]) - 1;
}
