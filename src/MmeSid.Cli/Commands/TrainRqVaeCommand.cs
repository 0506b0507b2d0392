using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train rq-vae|hvq</c>: embeddings in, a bundle with a learned encoder out; several tables are fused.</summary>
internal static class TrainRqVaeCommand
{
    /// <summary>Name of the one modality, which no one sees.</summary>
    private const string kModality = "rows";

    public static Command Create(QuantizerKind kind)
    {
        var own = new LearnedQuantizerChoice(kind);
        var command = new Command(QuantizerName.Of(kind), kind == QuantizerKind.Hvq
            ? "Residual quantization with a learned network before each level (HVQ); several --embeddings are fused."
            : "Residual quantization behind a learned encoder (RQ-VAE); several --embeddings are fused.")
        { own.Output };
        TableOptions.AddReading(command);
        foreach (Option option in (Option[])[TableOptions.Normalize, TableOptions.Weights, SettlingChoice.Collisions, SettlingChoice.Settling, OutputOptions.Force])
            command.Options.Add(option);
        own.AddTo(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Train(run, kind, own)));
        return command;
    }

    private static void Train(CommandRun run, QuantizerKind kind, LearnedQuantizerChoice own)
    {
        string path = run.Need(own.Output);
        using OutputFolder output = OutputFolder.Create(path, run.Force);
        var training = new LearnedTraining(run, kind, own);
        IReadOnlyList<EmbeddingTable> tables = TableOptions.Open(run);
        Preprocessing preprocessing = Preprocessing.Of(tables, run.Get(TableOptions.Normalize), TableOptions.WeightsOf(run));
        if (TableOptions.MissingItemsOf(run) == MissingItems.Mean)
            preprocessing = preprocessing.WithMeans(tables);
        using EmbeddingTable table = TableOptions.Join(run, tables, preprocessing);
        if (table.Count == 0)
            throw new InvalidDataException($"{table.Name}: there are no rows to train on");
        Assignment.RequireRoom(table, training.Codes.Count);
        var shape = new Modality(kModality, [.. tables.Select(one => one.Dimension)]);
        LearnedBundle bundle = training.Run([new ModalityInput(shape, table, preprocessing, [.. tables.Select(BundleInput.Of)])])[0];
        run.Cancellation.ThrowIfCancellationRequested();
        SidBundle.Write(output, bundle.Content);
        training.DeleteCheckpoint();
        run.Results.Value("out", path);
        Assignment.Report(run, bundle.Assigned);
        Settlement.Report(run.Results, bundle.Content, bundle.Settled);
    }
}
