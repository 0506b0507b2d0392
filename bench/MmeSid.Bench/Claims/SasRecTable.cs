using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;
using MmeSid.Training;
using MmeSid.Training.Optimization;
using MmeSid.Training.Recommendation;
using static TorchSharp.torch;

namespace MmeSid.Bench;

/// <summary>
/// The collaborative table: item embeddings of a SASRec that never saw the last two events of any user. It is trained once and kept; a model that
/// <c>mmesid train sasrec</c> wrote into the same place is taken as it is.
/// </summary>
/// <param name="Model">The kept model.</param>
internal sealed record SasRecTable(ModelFolder Model)
{
    private const int kQuickItems = 1200;

    /// <summary>nDCG@10 on the last but one event of each user.</summary>
    public double ValidationNdcg => Model.Description.Metrics.Values.First();

    /// <summary>Options of its training, by name.</summary>
    public IReadOnlyDictionary<string, string> Options => Model.Description.Options;

    /// <summary>The embeddings by item.</summary>
    public EmbeddingTable Open(string name, bool quick)
    {
        using SasRecModel model = SasRecModel.Open(Model);
        RowMatrix rows = model.ItemEmbeddings();
        if (!quick || rows.Count <= kQuickItems)
            return EmbeddingTable.FromRows(rows, Model.Items, name);
        var first = new RowMatrix(kQuickItems, rows.Dimension);
        rows.Rows(0, kQuickItems).CopyTo(first.Rows(0, kQuickItems));
        rows.Dispose();
        return EmbeddingTable.FromRows(first, ItemIds.FromStrings(Model.Items.Take(kQuickItems)), name);
    }

    /// <summary>The kept model of these sequences, trained first where there is none.</summary>
    /// <param name="path">File of the sequences, whose hash the model must carry.</param>
    /// <param name="sequences">What it holds.</param>
    /// <param name="folder">Where the model is kept.</param>
    /// <param name="quick">One epoch of a tiny model.</param>
    /// <exception cref="InvalidDataException">The kept model was trained on other sequences.</exception>
    public static SasRecTable Of(string path, InteractionSequences sequences, string folder, bool quick)
    {
        string hash = ModelFolder.HashOf(path);
        if (!Directory.Exists(folder))
            Train(sequences, folder, Path.GetFileName(path), hash, quick);
        var model = ModelFolder.Open(folder);
        return model.Description.Inputs.Values.Contains(hash) ? new(model)
            : throw new InvalidDataException($"{folder}: was trained on other sequences than {path}; delete it to train anew");
    }

    private static void Train(InteractionSequences sequences, string folder, string file, string hash, bool quick)
    {
        const ulong Seed = 1;
        BenchRun.Say($"  SASRec of {file}");
        var options = quick ? new SasRecOptions { Dimension = 16, FeedForward = 16, Blocks = 1, Length = 5 } : new SasRecOptions();
        var loop = new LoopOptions
        {
            Epochs = quick ? 1 : 200, Patience = 12, LearningRate = 1e-3,
            CheckpointPath = folder + ".checkpoint", CheckpointKey = $"{hash} {options}", ReplaceOtherCheckpoint = true,
        };
        Directory.CreateDirectory(Path.GetDirectoryName(folder)!);
        random.manual_seed((long)Seed);
        using var model = new SasRec(sequences.Items.Count, options);
        LoopResult result = TrainingLoop.Run(new SasRecLearner(model, sequences, options, Seed), loop, new Epochs());
        using OutputFolder output = OutputFolder.Create(folder, force: true, ModelFolder.DescriptionName);
        model.WriteModel(output, new ModelDescription
        {
            Kind = SasRecModel.Kind,
            Options = new (string Name, IConvertible Value)[]
            {
                ("dimension", options.Dimension), ("feed-forward", options.FeedForward), ("blocks", options.Blocks), ("heads", options.Heads), ("length", options.Length),
                ("dropout", options.Dropout), ("batch", options.BatchUsers), ("epochs", loop.Epochs), ("patience", loop.Patience), ("learning-rate", loop.LearningRate), ("seed", Seed),
            }.ToDictionary(option => option.Name, option => option.Value.ToString(CultureInfo.InvariantCulture)),
            Metrics = new Dictionary<string, double> { ["validation ndcg@10"] = result.Epochs[result.KeptEpoch - 1].Score ?? 0 },
            Inputs = new Dictionary<string, string> { [file] = hash },
        }, sequences.Items);
        output.Commit();
        File.Delete(loop.CheckpointPath);
    }

    private sealed class Epochs : IProgress<LoopProgress>
    {
        public void Report(LoopProgress value)
        {
            if (value.Finished is { } epoch)
                BenchRun.Say(FormattableString.Invariant($"    epoch {epoch.Epoch}: loss {epoch.Loss:F4}, validation ndcg@10 {epoch.Score:F4}"));
        }
    }
}
