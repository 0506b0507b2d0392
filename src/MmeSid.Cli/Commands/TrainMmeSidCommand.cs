using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Llama;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train mme-sid</c>: tables and bundles per modality and user sequences in, a language model that scores all items out.</summary>
internal sealed class TrainMmeSidCommand
{
    private const string kCodebooks = "codebooks", kRandom = "random";

    private static readonly string s_score = $"ndcg@{MmeSidLearner.ValidationCutoff}";

    private readonly Option<string[]> _tables = new("--table", "-t")
    {
        Description = "A modality as name=file, such as collaborative=items.npy. Given once per modality; tables are joined by item id. Their embeddings stay as they are, behind a trained projection.",
        HelpName = "name=file",
        Required = true,
        AllowMultipleArgumentsPerToken = false,
    };

    private readonly Option<string[]> _bundles = new("--bundle", "-b")
    {
        Description = "The SIDs of a modality as name=folder, a bundle of the same items; or the folder that 'train mm-rq-vae' wrote, for all modalities. A modality without one has no code embeddings.",
        HelpName = "name=folder",
        AllowMultipleArgumentsPerToken = false,
    };

    private readonly Option<string> _output = OutputOptions.Out("The model, a folder.");

    private readonly Option<string> _codes = new Option<string>("--codes")
    {
        Description = "Where code embeddings start: the bundles' codewords, projected where their width is not the dimension, or random ones of the same size. They are trained either way.",
        DefaultValueFactory = _ => kCodebooks,
    }.AcceptOnlyFromAmong(kCodebooks, kRandom);

    private readonly Option<string> _fusion = new Option<string>("--fusion")
    {
        Description = "What scores an item: the item table and each modality's projection weighted by how often the item occurs (frequency), weighted alike (equal), or the item table alone (none).",
        DefaultValueFactory = _ => NameOf(ScoreFusion.Frequency),
    }.AcceptOnlyFromAmong([.. Enum.GetValues<ScoreFusion>().Select(NameOf)]);

    private readonly Option<double> _temperature = new("--temperature")
    {
        Description = "With --fusion frequency: what the logits of the weights are divided by; 1 is the paper's equation, 0.001 the released code, which makes weights nearly one-hot.",
        DefaultValueFactory = _ => new MmeSidOptions().Temperature,
        HelpName = "number",
    };

    private readonly LlamaRecommenderOptions _llama = new(new MmeSidOptions(), "the tables have not", suffix: true);
    private readonly TrainingLoopOptions _loop = new(LlamaRecommenderOptions.Loop);

    public static Command Create()
    {
        var own = new TrainMmeSidCommand();
        var command = new Command(MmeSidModel.Kind, "MME-SID's language model (arXiv 2509.02017): each item of a history is one soft token made of its embeddings and SIDs, and one pass scores all items. "
            + "A small Llama trained from scratch, as a GGUF file, or a frozen --base with LoRA, whose learning rate then is 3e-4 after 100 steps where none is given. "
            + "The last event of a user (test) is never trained on, the last but one (validation) only judges the epochs.")
        {
            own._tables, own._bundles, SequenceFile.Option, own._output, own._codes, own._fusion, own._temperature,
        };
        TableOptions.AddReading(command, own._tables);
        command.Add(TableOptions.Normalize);
        command.Add(OutputOptions.Force);
        own._llama.AddTo(command);
        own._loop.AddTo(command);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetResult(own._temperature) is { Implicit: false } && parsed.GetResult(own._fusion) is { Implicit: false } fusion && fusion.GetValueOrDefault<string>() != NameOf(ScoreFusion.Frequency))
                parsed.AddError($"{own._temperature.Name} is of {own._fusion.Name} {NameOf(ScoreFusion.Frequency)}");
            if (parsed.GetResult(own._codes) is { Implicit: false } && parsed.GetResult(own._bundles) is null)
                parsed.AddError($"{own._codes.Name} needs a {own._bundles.Name}");
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, own.Train));
        return command;
    }

    private void Train(CommandRun run)
    {
        NamedFile[] named = NamedFile.ParseModalities(_tables.Name, run.Need(_tables));
        string path = run.Need(_output);
        using OutputFolder folder = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
        MmeSidOptions options = _llama.Read(run, new MmeSidOptions
        {
            Fusion = Enum.Parse<ScoreFusion>(run.Need(_fusion), ignoreCase: true),
            Temperature = run.Need(_temperature),
            Start = run.Need(_codes) == kCodebooks ? SidEmbeddingStart.Codebooks : SidEmbeddingStart.Random,
        });
        LlamaFileType size = _llama.SizeOf(run, options);
        if (_llama.Base.PathOf(run) is { } given)
            folder.RequireOutside(given);
        IReadOnlyList<SidBundle?> bundles = ModalityBundles.Open(_bundles.Name, run.Get(_bundles) ?? [], [.. named.Select(table => table.Name)]);
        InteractionSequences events = SequenceFile.Read(run);
        using ModalityRows modalities = ModalityRows.Read(run, named);
        var sequences = new ItemSequences(events, modalities.Tables[0].Items, "the tables", _llama.SkipsUnknown(run));
        IReadOnlyDictionary<string, string> inputs = Inputs(run, modalities, bundles);
        OptionTexts texts = _llama.Texts(run, options).Add("suffix", _llama.Base.SuffixOf(run)).Add("modalities", string.Join(',', named.Select(table => table.Name)))
            .Add("coded", string.Join(',', named.Where((_, j) => bundles[j] is not null).Select(table => table.Name))).Add("codes", run.Need(_codes))
            .Add("fusion", NameOf(options.Fusion)).Add("temperature", options.Temperature).Add("normalize", run.Get(TableOptions.Normalize)).Add("missing", run.Need(TableOptions.Missing));
        LoopOptions? adapted = options.Lora is null ? null : new LoopOptions { LearningRate = 3e-4, WarmUpSteps = 100 };
        LoopOptions loop = _loop.Read(run, path, adapted, [MmeSidModel.Kind, texts.ToString(), .. inputs.Values]);
        torch.Device device = _loop.Start(run);
        LlamaPrompt prompt = _llama.Base.ReadPrompt(run);
        Training.LanguageModels.Llama transformer = _llama.Transformer(run, options, options.Shape());
        options.RequireRoom(transformer.Shape, prompt.Count);
        ItemModalitySource[] sources = [.. named.Select((table, j) => new ItemModalitySource(table.Name, modalities.Tables[j], bundles[j]))];
        using MmeSidLlama model = new MmeSidLlama(transformer, new MmeSidItems(sources, sequences.Frequencies(), transformer.Shape.Dimension, options, run.Seed), prompt).to(device);
        var learner = new MmeSidLearner(model, sequences, options, run.Seed);
        IReadOnlyList<UserHistory> users = Health.Histories(sequences.Items, events);
        MmeSidMeasures before = Measure("measure the start");
        LoopResult trained = TrainingLoopOptions.Train(run, learner, loop, s_score);
        run.Cancellation.ThrowIfCancellationRequested();
        var report = new MmeSidReport(before, Measure("measure the items"));
        IReadOnlyList<string> others = _llama.WriteTransformer(run, folder.Path, transformer, options.Lora, size, model.WriteGguf);
        Dictionary<string, double> metrics = LlamaRecommenderOptions.Metrics(trained, s_score);
        foreach ((string name, double value) in report.Metrics())
            metrics.Add(name, value);
        model.WriteModel(folder, new ModelDescription
        {
            Kind = MmeSidModel.Kind,
            Options = texts.Add(_llama.FileTexts(run, folder.Path, inputs.GetValueOrDefault("base"))).Add(TrainingLoopOptions.Texts(loop)).Add("seed", run.Seed).All,
            Metrics = metrics,
            Inputs = inputs,
        }, sequences.Items, others);
        folder.Commit();
        run.DeleteCheckpoint(loop.CheckpointPath);
        LlamaRecommenderOptions.Report(run, path, sequences, ("items", learner.ItemsPerEpoch), learner, trained, s_score);
        report.Show(run.Results);

        MmeSidMeasures Measure(string step) => run.Progress.Step(step, () => MmeSidMeasures.Measure(model.Items, sources, users, GlobalOptions.ThreadCount(run.Parsed)));
    }

    // SHA-256 of everything that the model depends on, by what it is.
    private Dictionary<string, string> Inputs(CommandRun run, ModalityRows modalities, IReadOnlyList<SidBundle?> bundles)
    {
        string file = run.Need(SequenceFile.Option);
        var inputs = new Dictionary<string, string> { [Path.GetFileName(file)] = ModelFolder.HashOf(file) };
        for (int j = 0; j < bundles.Count; j++)
        {
            string name = modalities.Shapes[j].Name;
            inputs[$"table {name}"] = modalities.Inputs[j].Fingerprint;
            if (bundles[j] is not { } bundle)
                continue;
            inputs[$"bundle {name}"] = bundle.Fingerprint;
            if (bundle.Manifest.Inputs.All(input => input.Fingerprint != modalities.Inputs[j].Fingerprint))
                run.Progress.Note($"{bundle.Folder} was not trained on the table of '{name}'; its items are taken by their ids");
        }
        if (_llama.Base.HashOf(run) is { } hash)
            inputs["base"] = hash;
        return inputs;
    }

    private static string NameOf(ScoreFusion fusion) => fusion.ToString().ToLowerInvariant();
}
