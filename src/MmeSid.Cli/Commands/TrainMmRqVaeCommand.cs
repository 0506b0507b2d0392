using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train mm-rq-vae</c>: a table per modality in, a folder with a bundle per modality out.</summary>
internal static class TrainMmRqVaeCommand
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
        NamedFile[] named = NamedFile.ParseModalities(s_tables.Name, run.Need(s_tables));
        string path = run.Need(own.Output);
        using OutputFolder output = OutputFolder.Create(path, run.Force, Path.Combine(Replaced(path, [.. named.Select(table => table.Name)]), SidBundle.ManifestName));
        var training = new LearnedTraining(run, QuantizerKind.MmRqVae, own);
        using ModalityRows modalities = ModalityRows.Read(run, named);
        Assignment.RequireRoom(modalities.Tables[0], training.Codes.Count);
        IReadOnlyList<LearnedBundle> bundles = training.Run([.. modalities.Shapes.Select((shape, j) => new ModalityInput(shape, modalities.Tables[j], modalities.Preprocessing[j], [modalities.Inputs[j]]))]);
        foreach (LearnedBundle bundle in bundles)
            SidBundle.Write(Path.Combine(output.Path, bundle.Name), bundle.Content, force: false);
        run.Cancellation.ThrowIfCancellationRequested();
        output.Commit();
        training.DeleteCheckpoint();
        run.Results.Value("out", path);
        run.Results.Table("modalities", ["modality", "dimension", "mean_squared_error", "colliding_items", "moved_items"], bundles.Select((bundle, j) =>
            (IReadOnlyList<ResultSheet.Cell>)[bundle.Name, (long)modalities.Shapes[j].Dimension, bundle.Assigned.SquaredError / modalities.Tables[j].Count, (long)bundle.Settled.Colliding, (long)bundle.Settled.Moved]));
    }

    /// <summary>A modality whose bundle a folder holds already, or the first. The whole folder is replaced, so it must hold nothing else.</summary>
    private static string Replaced(string path, string[] modalities)
    {
        string[] there = Directory.Exists(path) ? [.. Directory.EnumerateFileSystemEntries(path).Select(entry => Path.GetFileName(entry)).Order(StringComparer.Ordinal)] : [];
        if (there.Except(modalities).FirstOrDefault() is { } other)
            throw new IOException($"{path}: holds {other}, which is none of the modalities {string.Join(", ", modalities)} and would be lost; choose another folder");
        return there.FirstOrDefault() ?? modalities[0];
    }
}
