using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid inspect</c>: health numbers of bundles and of SIDs that others published.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var paths = new Argument<string[]>("path")
        {
            Description = "Bundles, folders of bundles, or .npy files of SIDs (whole numbers, [n, L]); each becomes a line.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var bundles = new Option<string[]>("--bundle", "-b") { Description = "The same as a path.", HelpName = "folder" };
        var embeddings = new Option<string[]>(TableOptions.Embeddings.Name, "-e")
        {
            Description = "The tables that the bundle was made of: adds error, spectrum, and per level the agreement with the original space.",
            HelpName = "file",
        };
        var named = new Option<string[]>(TableOptions.Table.Name)
        {
            Description = "The same for one bundle of a folder of bundles, such as text=text.npy; once per table. Bundles that no table is for are measured without.",
            HelpName = "name=file",
        };
        var sequences = new Option<string?>("--sequences")
        {
            Description = "With --embeddings or --table: user sequences, lines 'user item item …'. Adds Kendall's tau of the distances from each user's last item to the items before.",
            HelpName = "file",
        };
        var clusters = new Option<int?>("--clusters") { Description = "Reference clusters of the original space. [default: codes of the first level]", HelpName = "count" };
        var neighbours = new Option<int>("--neighbours") { Description = "Neighbours of the purity.", DefaultValueFactory = _ => new AgreementOptions().Neighbours, HelpName = "count" };
        var command = new Command("inspect", "Show the health of SIDs: collisions, codes used per level (perplexity, entropy, Gini), and with --embeddings what they keep of the original space.")
        {
            paths, bundles, embeddings, named, sequences, clusters, neighbours,
        };
        TableOptions.AddReading(command, embeddings);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string[] all = [.. parsed.GetValue(paths) ?? [], .. run.Get(bundles) ?? []];
            if (all.Length == 0)
                throw new ArgumentException("nothing to inspect, expected a bundle or a .npy file of SIDs");
            string[] files = run.Get(embeddings) ?? [], texts = run.Get(named) ?? [];
            BundleTables.RequireOneKind(files, texts);
            if (run.Get(sequences) is not null && files.Length + texts.Length == 0)
                throw new ArgumentException("--sequences needs --embeddings or --table: distances are measured between rows");
            if (texts.Length > 0 && all.Length != 1)
                throw new ArgumentException($"{named.Name} names the bundles of one folder, {all.Length} paths are given");
            if (texts.Length > 0 && !Directory.Exists(all[0]))
                throw new ArgumentException($"{named.Name} names the bundles of a folder, {all[0]} is none");
            BundleTables? tables = texts.Length > 0 ? BundleTables.Named(all[0], texts) : null;
            if (run.Need(neighbours) < 1)
                throw new ArgumentException($"{neighbours.Name} is {run.Need(neighbours)}, expected at least 1");
            if (run.Get(clusters) is { } count and (< 1 or > EncodePlan.MaximumCodes))
                throw new ArgumentException($"{clusters.Name} is {count}, expected 1 to {EncodePlan.MaximumCodes}");
            var options = new AgreementOptions { Clusters = run.Get(clusters), Neighbours = run.Need(neighbours), Seed = run.Seed, Threads = GlobalOptions.ThreadCount(parsed) };
            var sets = new List<(string Name, HealthReport Report)>();
            foreach (string path in all)
            {
                if (!Directory.Exists(path))
                {
                    sets.Add((Path.GetFileName(path), HealthReport.Measure(SidTable.ReadNpy(path))));
                    continue;
                }
                foreach ((string name, string folder) in SidBundle.List(path))
                    sets.Add((name.Length > 0 ? name : Path.GetFileName(Path.TrimEndingDirectorySeparator(path)), Measure(run, folder, tables ?? new BundleTables(files, files.Length > 0 ? [(folder, [.. Enumerable.Range(0, files.Length)])] : []), run.Get(sequences), options)));
            }
            Health.Compare(run.Results, sets);
            if (sets.Count == 1)
                Health.Rows(run.Results, sets[0].Report);
            Health.Levels(run.Results, sets);
            if (all.Length == 1 && SidBundle.IsBundle(all[0]))
                ShowManifest(run.Results, SidBundle.Open(all[0]));
        }));
        return command;
    }

    private static HealthReport Measure(CommandRun run, string folder, BundleTables tables, string? sequences, AgreementOptions options)
    {
        SidBundle bundle = SidBundle.Open(folder);
        if (tables.Places.All(entry => entry.Folder != folder))
            return HealthReport.Measure(bundle, rows: null, encoded: null, users: null, options, GlobalOptions.CreateBackend(run.Parsed), run.Cancellation);
        using EmbeddingTable rows = Health.InOrderOf(bundle, TableOptions.Join(run, tables.Open(run, folder), bundle.Preprocessing));
        using IQuantizerEncoder? encoder = bundle.Encoder is null ? null : BundleOptions.CreateEncoder(run, bundle);
        using EmbeddingTable? encoded = encoder is null ? null : BundleOptions.EncodeRows(run, rows, encoder);
        IReadOnlyList<UserHistory>? users = sequences is null ? null : Health.Histories(bundle.Items, InteractionSequences.ReadFile(sequences));
        return run.Progress.Step($"measure {Path.GetFileName(Path.TrimEndingDirectorySeparator(folder))}",
            () => HealthReport.Measure(bundle, rows, encoded, users, options, GlobalOptions.CreateBackend(run.Parsed), run.Cancellation));
    }

    private static void ShowManifest(ResultSheet results, SidBundle bundle)
    {
        BundleManifest manifest = bundle.Manifest;
        results.Value("quantizer", QuantizerName.Of(manifest.Kind));
        results.Value("dimension", manifest.Dimension);
        if (bundle.Encoder is { } encoder)
        {
            results.Value("input_dimension", encoder.InputDimension);
            string fusion = encoder.Description.Fusion == InputFusion.None ? "" : $"{EncoderName.Of(encoder.Description.Fusion)} of the parts → ";
            string layers = string.Join(" → ", [encoder.FusedWidth, .. encoder.Networks[0].Select(layer => layer.Outputs)]);
            results.Value("encoder", $"{EncoderName.Of(encoder.Kind)}: {fusion}{layers}{(encoder.Kind == EncoderKind.Hierarchical ? " before each level" : "")}");
        }
        results.Value("collisions", CollisionName.Of(manifest.Collisions));
        results.Value("fingerprint", bundle.Fingerprint);
        results.Table("inputs", ["name", "rows", "dimension", "normalize", "weight"], manifest.Inputs.Take(manifest.Preprocessing.Parts.Count).Zip(manifest.Preprocessing.Parts, (input, part) =>
            (IReadOnlyList<ResultSheet.Cell>)[input.Name, input.Rows, (long)input.Dimension, part.Normalize ? "yes" : "no", part.Weight]));
        results.Table("options", ["name", "value"], manifest.Options.OrderBy(option => option.Key, StringComparer.Ordinal).Select(option =>
            (IReadOnlyList<ResultSheet.Cell>)[option.Key.Replace('_', ' '), option.Value]));
    }
}
