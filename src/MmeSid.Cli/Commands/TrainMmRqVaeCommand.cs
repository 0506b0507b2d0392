using System.CommandLine;
using System.Text.RegularExpressions;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train mm-rq-vae</c>: a table per modality in, a folder with a bundle per modality out.</summary>
internal static partial class TrainMmRqVaeCommand
{
    private static readonly Option<string[]> s_tables = new("--table", "-t")
    {
        Description = "A modality as name=file, such as collaborative=items.npy: files as --embeddings of the other quantizers takes them. Given once per modality; tables are joined by item id. "
            + $"The others are aligned to the one named {MmRqVae.AnchorName}, else to the first.",
        HelpName = "name=file",
        Required = true,
        AllowMultipleArgumentsPerToken = false,
    };

    public static Command Create()
    {
        var own = new LearnedQuantizerChoice(QuantizerKind.MmRqVae);
        var command = new Command(QuantizerName.Of(QuantizerKind.MmRqVae), "Residual quantization of several modalities behind encoders that are trained together (MM-RQ-VAE of MME-SID, arXiv 2509.02017). "
            + "The paper trains up to 20,000 epochs with a patience of 2,000, at a constant learning rate of 2e-4 and a weight decay of 1e-4.")
        { own.Output };
        command.Options.Add(s_tables);
        TableOptions.AddReading(command, s_tables);
        foreach (Option option in (Option[])[TableOptions.Normalize, SettlingChoice.Collisions, SettlingChoice.Settling, OutputOptions.Force])
            command.Options.Add(option);
        own.AddTo(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Train(run, own)));
        return command;
    }

    private static void Train(CommandRun run, LearnedQuantizerChoice own)
    {
        NamedFile[] named = [.. run.Need(s_tables).Select(Parse)];
        if (named.GroupBy(table => table.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"--table names two modalities {twice.Key}, expected a name of its own for each");
        string path = run.Need(own.Output);
        using OutputFolder output = OutputFolder.Create(path, run.Force, Path.Combine(Replaced(path, [.. named.Select(table => table.Name)]), SidBundle.ManifestName));
        var training = new LearnedTraining(run, QuantizerKind.MmRqVae, own);
        IReadOnlyList<EmbeddingTable> tables = TableOptions.Open(run, [.. named.Select(table => table.File)], [.. Enumerable.Range(0, named.Length)]);
        Modality[] shapes = [.. named.Select((table, j) => new Modality(table.Name, [tables[j].Dimension]))];
        Preprocessing preprocessing = Preprocessing.Of(tables, run.Get(TableOptions.Normalize));
        if (TableOptions.MissingItemsOf(run) == MissingItems.Mean)
            preprocessing = preprocessing.WithMeans(tables);
        using EmbeddingTable joined = TableOptions.Join(run, tables, preprocessing);
        if (joined.Count == 0)
            throw new InvalidDataException($"{string.Join(", ", tables.Select(table => table.Name))}: have no item in common");
        Assignment.RequireRoom(joined, training.Codes.Count);
        BundleInput[] inputs = [.. tables.Select(BundleInput.Of)];
        IReadOnlyList<EmbeddingTable> rows = ModalityTables.Split(joined, shapes);
        try
        {
            IReadOnlyList<LearnedBundle> bundles = training.Run(
                [.. shapes.Select((shape, j) => new ModalityInput(shape, rows[j], new Preprocessing([preprocessing.Parts[j]]), [inputs[j]]))]);
            foreach (LearnedBundle bundle in bundles)
                SidBundle.Write(Path.Combine(output.Path, bundle.Name), bundle.Content, force: false);
            run.Cancellation.ThrowIfCancellationRequested();
            output.Commit();
            training.DeleteCheckpoint();
            run.Results.Value("out", path);
            run.Results.Table("modalities", ["modality", "dimension", "mean_squared_error", "colliding_items", "moved_items"], bundles.Select((bundle, j) =>
                (IReadOnlyList<ResultSheet.Cell>)[bundle.Name, (long)shapes[j].Dimension, bundle.Assigned.SquaredError / joined.Count, (long)bundle.Settled.Colliding, (long)bundle.Settled.Moved]));
        }
        finally
        {
            foreach (EmbeddingTable table in rows)
                table.Dispose();
        }
    }

    /// <summary>A modality whose bundle a folder holds already, or the first. The whole folder is replaced, so it must hold nothing else.</summary>
    private static string Replaced(string path, string[] modalities)
    {
        string[] there = Directory.Exists(path) ? [.. Directory.EnumerateFileSystemEntries(path).Select(entry => Path.GetFileName(entry)).Order(StringComparer.Ordinal)] : [];
        if (there.Except(modalities).FirstOrDefault() is { } other)
            throw new IOException($"{path}: holds {other}, which is none of the modalities {string.Join(", ", modalities)} and would be lost; choose another folder");
        return there.FirstOrDefault() ?? modalities[0];
    }

    private static NamedFile Parse(string text)
    {
        NamedFile table = NamedFile.Parse(s_tables.Name, text);
        return Name().IsMatch(table.Name) ? table
            : throw new ArgumentException($"{s_tables.Name} is '{text}': '{table.Name}' is no name of a modality, expected letters, digits, - and _");
    }

    // It becomes the name of a folder.
    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    private static partial Regex Name();
}
