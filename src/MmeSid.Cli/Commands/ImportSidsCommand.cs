using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid import sids</c>: SIDs that others published, as a bundle whose codebooks are fitted to embeddings.</summary>
internal static class ImportSidsCommand
{
    public static Command Create()
    {
        var sids = new Option<string>("--sids")
        {
            Description = "SIDs, a .npy file [items, levels] of whole numbers 0 … 65535, in the order of the embeddings' rows.",
            HelpName = "file",
            Required = true,
        };
        Option<string> collisions = new Option<string>("--collisions")
        {
            Description = "Items with equal SIDs: none leaves them as they are, extra-digit numbers them in one more level, resettle moves all but one to a free SID nearby.",
            DefaultValueFactory = _ => CollisionName.Of(CollisionPolicy.None),
        }.AcceptOnlyFromAmong([.. CollisionName.Policies]);
        Option<string> output = OutputOptions.Out("The bundle, a folder. It appears whole or not at all.");
        var command = new Command("sids", "Make a bundle of SIDs that come without codebooks. A codeword becomes the mean of what the levels before it leave of the rows that carry its code; "
            + "a code that no item carries gets zero.")
        {
            sids, output,
        };
        TableOptions.AddReading(command);
        foreach (Option option in (Option[])[TableOptions.Normalize, TableOptions.Weights, collisions, OutputOptions.Force])
            command.Options.Add(option);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Write(run, run.Need(sids), CollisionName.ParsePolicy(run.Need(collisions)), run.Need(output))));
        return command;
    }

    private static void Write(CommandRun run, string file, CollisionPolicy policy, string path)
    {
        using OutputFolder output = OutputFolder.Create(path, run.Force);
        var codes = SidTable.ReadNpy(file);
        IReadOnlyList<EmbeddingTable> tables = TableOptions.Open(run);
        Preprocessing preprocessing = Preprocessing.Of(tables, run.Get(TableOptions.Normalize), TableOptions.WeightsOf(run));
        if (TableOptions.MissingItemsOf(run) == MissingItems.Mean)
            preprocessing = preprocessing.WithMeans(tables);
        using EmbeddingTable table = TableOptions.Join(run, tables, preprocessing);
        if (codes.Count != table.Count)
            throw new InvalidDataException($"{file}: {codes.Count} SIDs, expected one for each of the {table.Count} rows of {table.Name}");
        BundleInput[] inputs = [.. tables.Select(BundleInput.Of)];
        Quantizer quantizer = run.Progress.Step("codebooks", 0, "", _ => CodebookMeans.Of(table, codes, run.Cancellation));
        SettlingResult settled = CollisionSettling.Settle(codes, quantizer, table, new SettlingOptions { Policy = policy, Threads = GlobalOptions.ThreadCount(run.Parsed) }, taken: null, run.Cancellation);
        var error = ReconstructionError.Measure(table, quantizer, codes);
        var content = new BundleContent
        {
            Quantizer = quantizer,
            Preprocessing = preprocessing,
            Items = table.Items,
            Codes = codes,
            Sids = settled.Sids,
            Collisions = policy,
            Inputs = inputs,
            Options = new Dictionary<string, string> { ["codes"] = string.Join(',', Enumerable.Range(0, quantizer.Levels).Select(quantizer.CodeCount)), ["sids"] = Path.GetFileName(file) },
            Metrics = new Dictionary<string, double> { ["colliding_items"] = settled.Report.Colliding, ["moved_items"] = settled.Report.Moved, ["mean_squared_error"] = error.MeanSquared },
        };
        run.Cancellation.ThrowIfCancellationRequested();
        SidBundle.Write(output, content);
        run.Results.Value("out", path);
        run.Results.Value("items", table.Count);
        run.Results.Value("levels", quantizer.Levels);
        run.Results.Value("mean_squared_error", error.MeanSquared, $"{error.MeanSquared:G6}, {ResultSheet.Percent(error.Relative)} of the variance");
        Settlement.Report(run.Results, content, settled.Report);
    }
}
