using MmeSid.Cli.Terminal;
using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Quantization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary>A modality on its way into a bundle.</summary>
/// <param name="Shape">Its name and columns.</param>
/// <param name="Rows">[n, d] after preprocessing.</param>
/// <param name="Preprocessing">How its tables become these rows.</param>
/// <param name="Inputs">Its raw tables.</param>
internal sealed record ModalityInput(Modality Shape, EmbeddingTable Rows, Preprocessing Preprocessing, IReadOnlyList<BundleInput> Inputs);

/// <summary>A modality's bundle, before it is written.</summary>
internal sealed record LearnedBundle(string Name, BundleContent Content, AssignmentReport Assigned, SettlingReport Settled);

/// <summary>From joined embeddings to bundles through a learned encoder: train, assign, settle. Used by <c>train mm-rq-vae</c>, <c>rq-vae</c> and <c>hvq</c>.</summary>
internal sealed class LearnedTraining
{
    private readonly CommandRun _run;
    private readonly QuantizerKind _kind;
    private readonly LearnedQuantizerChoice _choice;
    private readonly LearnedQuantizerOptions _options;
    private readonly IBackend _backend;
    private readonly torch.Device _device;
    private LoopOptions? _loop;

    /// <summary>Reads the options and loads libtorch, so that what cannot work fails before tables are read.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="BackendUnavailableException">There is no libtorch.</exception>
    public LearnedTraining(CommandRun run, QuantizerKind kind, LearnedQuantizerChoice choice)
    {
        (_run, _kind, _choice) = (run, kind, choice);
        _options = choice.Read(run);
        _ = choice.Loop.Read(run, run.Need(choice.Output));
        _backend = GlobalOptions.CreateBackend(run.Parsed);
        _ = choice.ReadStart(run, _backend);
        _device = choice.Loop.Start(run);
    }

    /// <summary>Levels and codes.</summary>
    public IReadOnlyList<int> Codes => _options.Codebooks.Codes;

    /// <summary>Trains and assigns; reports what training did.</summary>
    /// <param name="modalities">The same items in the same order.</param>
    /// <returns>A bundle per modality.</returns>
    public IReadOnlyList<LearnedBundle> Run(IReadOnlyList<ModalityInput> modalities)
    {
        long items = modalities[0].Rows.Count;
        int batch = _choice.ReadBatch(_run, items);
        // Before k-means finds too few different rows.
        if (_choice.StartsFromRows(_run) && Codes.Index().FirstOrDefault(level => level.Item > items) is { Item: > 0 } crowded)
            throw new ArgumentException($"level {crowded.Index} has {crowded.Item} codes, there are {items} items to start them from: choose fewer --codes, or --init random");
        OptionTexts texts = _choice.Describe(_run, _options, batch);
        _loop = _choice.Loop.Read(_run, _run.Need(_choice.Output), [QuantizerName.Of(_kind), texts.ToString(), .. modalities.Select(modality =>
            $"{modality.Shape.Name} {string.Join(',', modality.Shape.Parts)} {modality.Rows.Fingerprint()}")]);
        if (_run.Need(SettlingChoice.Collisions) == CollisionName.Of(CollisionPolicy.Resettle))
            CollisionSettling.RequireRoom([.. Codes], items);
        (LoopResult result, IReadOnlyList<LearnedQuantizer> learned) = Train(modalities, batch, _loop);
        IReadOnlyDictionary<string, string> described = texts.Add(TrainingLoopOptions.Texts(_loop)).All;
        LearnedBundle[] bundles = [.. learned.Select((quantizer, j) => Assign(modalities[j], quantizer, described, result))];
        Report(result, items);
        return bundles;
    }

    /// <summary>The bundles are safe: the checkpoint goes.</summary>
    public void DeleteCheckpoint() => _run.DeleteCheckpoint(_loop?.CheckpointPath);

    private (LoopResult Result, IReadOnlyList<LearnedQuantizer> Learned) Train(IReadOnlyList<ModalityInput> modalities, int batch, LoopOptions loop)
    {
        Modality[] shapes = [.. modalities.Select(modality => modality.Shape)];
        using var batches = new ItemBatches([.. modalities.Select(modality => modality.Rows)], batch, _run.Seed, _device);
        using QuantizerModel model = _kind == QuantizerKind.Hvq ? new Hvq(shapes[0], _options) : new MmRqVae(shapes, _options, _kind);
        _ = model.to(_device);
        LoopResult result = TrainingLoopOptions.Train(_run, new QuantizerLearner(model, batches, _choice.ReadStart(_run, _backend)), loop);
        return (result, model.Result());
    }

    private LearnedBundle Assign(ModalityInput modality, LearnedQuantizer learned, IReadOnlyDictionary<string, string> described, LoopResult result)
    {
        using var encoder = new LearnedEncoder(learned.Quantizer, learned.Encoder, _backend, threads: GlobalOptions.ThreadCount(_run.Parsed));
        // Settling reads rows one by one, in any order.
        using EmbeddingTable encoded = BundleOptions.EncodeRows(_run, modality.Rows, encoder)!;
        (SidTable codes, AssignmentReport assigned) = Assignment.Collect(_run, encoded, encoder.Search);
        SettlingOptions chosen = SettlingChoice.Of(_run, learned.Quantizer, modality.Rows.Count);
        SettlingResult settled = _run.Progress.Step($"settle ({CollisionName.Of(chosen.Policy)})", modality.Rows.Count, "items", step =>
        {
            SettlingResult done = CollisionSettling.Settle(codes, learned.Quantizer, encoded, chosen, taken: null, _run.Cancellation);
            step.Advance(modality.Rows.Count);
            return done;
        });
        var metrics = new Dictionary<string, double>
        {
            ["colliding_items"] = settled.Report.Colliding,
            ["moved_items"] = settled.Report.Moved,
            ["epochs"] = result.Epochs.Count,
            ["kept_epoch"] = result.KeptEpoch,
            ["loss"] = result.Epochs[result.KeptEpoch - 1].Loss,
        };
        double error = assigned.SquaredError / modality.Rows.Count;
        if (double.IsFinite(error))
            metrics["mean_squared_error"] = error;
        return new LearnedBundle(modality.Shape.Name, new BundleContent
        {
            Quantizer = learned.Quantizer,
            Encoder = learned.Encoder,
            Preprocessing = modality.Preprocessing,
            Items = modality.Rows.Items,
            Codes = codes,
            Sids = settled.Sids,
            Collisions = chosen.Policy,
            Settling = chosen.Method,
            Inputs = modality.Inputs,
            Options = described,
            Metrics = metrics,
        }, assigned, settled.Report);
    }

    private void Report(LoopResult result, long items)
    {
        _run.Results.Value("quantizer", QuantizerName.Of(_kind));
        _run.Results.Value("items", items);
        _run.Results.Value("loss", result.Epochs[result.KeptEpoch - 1].Loss);
        TrainingLoopOptions.Report(_run, result);
    }
}
