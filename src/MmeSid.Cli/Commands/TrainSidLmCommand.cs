using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Llama;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train sid-lm</c>: a bundle and user sequences in, a language model that generates SIDs out.</summary>
internal static class TrainSidLmCommand
{
    private const string kScore = "log-probability";
    private const string kCodebooks = "codebooks", kRandom = "random", kRefuse = "refuse", kSkip = "skip", kTied = "tied", kOwn = "own";

    public static Command Create()
    {
        var defaults = new SidLlamaOptions();
        var bundle = new Option<string>("--bundle", "-b") { Description = "The bundle whose SIDs are generated.", HelpName = "folder", Required = true };
        Option<string> output = OutputOptions.Out("The model, a folder.");
        Option<int> layers = Number("--layers", "Transformer layers.", defaults.Layers);
        Option<int> dimension = Number("--dimension", "Values of a vector and of a hidden state.", defaults.Dimension);
        Option<int> heads = Number("--heads", "Attention heads; must divide the dimension.", defaults.Heads);
        Option<int> feedForward = Number("--feed-forward", "Hidden values of the feed-forward parts.", defaults.FeedForward);
        Option<int> length = Number("--length", "Last items of a user that are looked at.", defaults.Length);
        Option<int> batch = Number("--batch", "Items that a step predicts.", defaults.BatchItems);
        Option<int> validation = Number("--validation-users", "Users whose validation item judges an epoch, drawn with the seed; 0 takes all.", defaults.ValidationUsers);
        var dropout = new Option<double?>("--dropout") { Description = $"Share of values dropped in training, of input vectors and of what layers add. [default: {defaults.Dropout} from scratch, 0 with --base]", HelpName = "share" };
        var baseModel = new BaseModelOptions();
        Option<string> embeddings = new Option<string>("--embeddings")
        {
            Description = "Where the vectors of codes start: the bundle's codewords, projected to the dimension, or random.",
            DefaultValueFactory = _ => kCodebooks,
        }.AcceptOnlyFromAmong(kCodebooks, kRandom);
        Option<string> head = new Option<string>("--head")
        {
            Description = "What scores codes: their input vectors, or vectors of their own.",
            DefaultValueFactory = _ => kTied,
        }.AcceptOnlyFromAmong(kTied, kOwn);
        Option<string> quantize = new Option<string>("--quantize")
        {
            Description = "Size of the transformer's weights in base.gguf; vectors of codes stay float32.",
            DefaultValueFactory = _ => "f32",
        }.AcceptOnlyFromAmong("f32", "f16", "q8_0", "q4_k_m");
        Option<string> unknown = new Option<string>("--unknown-items")
        {
            Description = "Items of the sequences that the bundle has not: refused, or left out of the histories.",
            DefaultValueFactory = _ => kRefuse,
        }.AcceptOnlyFromAmong(kRefuse, kSkip);
        var loop = new TrainingLoopOptions(new LoopOptions { Epochs = 50, LearningRate = 1e-3, WeightDecay = 0.05, WarmUpSteps = 200, GradientNorm = 1, Patience = 5, Schedule = LearningRateSchedule.Cosine });
        var command = new Command(SidLanguageModel.Kind, "A language model on the SIDs of each user's items: a small Llama trained from scratch, as a GGUF file, or a frozen --base with LoRA. The last event of a user (test) is never seen, the last but one (validation) only judges the epochs.")
        {
            bundle, SequenceFile.Option, output, layers, dimension, heads, feedForward, dropout, length, batch, embeddings, head, quantize, unknown, validation, OutputOptions.Force,
        };
        baseModel.AddTo(command);
        baseModel.RefuseBeside(command, layers, dimension, heads, feedForward, quantize);
        loop.AddTo(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            using OutputFolder folder = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
            var options = new SidLlamaOptions
            {
                Layers = run.Need(layers),
                Dimension = run.Need(dimension),
                Heads = run.Need(heads),
                FeedForward = run.Need(feedForward),
                Dropout = run.Get(dropout) ?? (baseModel.IsGiven(run) ? 0 : defaults.Dropout),
                Length = run.Need(length),
                BatchItems = run.Need(batch),
                Start = run.Need(embeddings) == kCodebooks ? SidEmbeddingStart.Codebooks : SidEmbeddingStart.Random,
                Tied = run.Need(head) == kTied,
                ValidationUsers = run.Need(validation),
                Lora = baseModel.ReadLora(run),
            };
            options.Validate();
            LlamaFileType size = SizeOf(run.Need(quantize), options);
            string hash = ModelFolder.HashOf(run.Need(SequenceFile.Option));
            SidBundle sids = SidBundle.Open(run.Need(bundle));
            InteractionSequences events = SequenceFile.Read(run);
            var sequences = new SidSequences(events, sids, run.Need(unknown) == kSkip);
            OptionTexts texts = Texts(options, baseModel.IsGiven(run)).Add("codes", string.Join(',', sequences.Vocabulary.Codes)).Add("unknown-items", run.Need(unknown)).Add(baseModel.Texts(run, options.Lora));
            string? baseHash = baseModel.HashOf(run);
            LoopOptions loopOptions = loop.Read(run, path, SidLanguageModel.Kind, texts.ToString(), hash, sids.Fingerprint, baseHash ?? "");
            torch.Device device = loop.Start(run);
            Training.LanguageModels.Llama transformer = baseModel.Load(run, options.Lora) ?? new Training.LanguageModels.Llama(options.Shape(sequences.Vocabulary.Levels));
            using SidLlama model = new SidLlama(sequences.Vocabulary, transformer,
                SidVectors.Draw(sids, sequences.Vocabulary, transformer.Shape.Dimension, options.Start, run.Seed), options.Tied).to(device);
            options.RequireRoom(transformer.Shape, sequences.Vocabulary.Levels);
            var learner = new SidLlamaLearner(model, sequences, options, run.Seed);
            LoopResult trained = TrainingLoopOptions.Train(run, learner, loopOptions, kScore);
            run.Cancellation.ThrowIfCancellationRequested();
            IReadOnlyList<string> others = [];
            if (baseHash is null)
                others = WriteBase(run, model, folder.Path, size);
            else if (options.Lora is { } lora)
                others = transformer.WriteAdapter(folder.Path, lora, baseModel.PathOf(run)!);
            EpochReport kept = trained.Epochs[trained.KeptEpoch - 1];
            var metrics = new Dictionary<string, double> { ["loss"] = kept.Loss };
            if (kept.Score is { } score)
                metrics[$"validation {kScore}"] = score;
            var inputs = new Dictionary<string, string> { [Path.GetFileName(run.Need(SequenceFile.Option))] = hash, ["bundle"] = sids.Fingerprint };
            if (baseHash is not null)
                inputs["base"] = baseHash;
            model.WriteModel(folder, new ModelDescription
            {
                Kind = SidLanguageModel.Kind,
                Options = (baseHash is null ? texts.Add("quantize", run.Need(quantize)) : texts).Add("prefix", "").Add(LanguageModelFiles.HashOption, baseHash ?? ModelFolder.HashOf(Path.Combine(folder.Path, LanguageModelFiles.BaseName)))
                    .Add(TrainingLoopOptions.Texts(loopOptions)).Add("seed", run.Seed).All,
                Metrics = metrics,
                Inputs = inputs,
            }, sids, others);
            folder.Commit();
            run.DeleteCheckpoint(loopOptions.CheckpointPath);
            run.Results.Value("out", path);
            run.Results.Value("users", events.Users.Count);
            run.Results.Value("items", sids.Count);
            if (sequences.UnknownItems > 0)
                run.Results.Value("unknown_items", sequences.UnknownItems);
            run.Results.Value("codes_per_epoch", learner.CodesPerEpoch);
            run.Results.Value("steps_per_epoch", learner.StepsPerEpoch);
            run.Results.Value("parameters", model.parameters().Where(parameter => parameter.requires_grad).Sum(parameter => parameter.numel()));
            TrainingLoopOptions.Report(run, trained, kScore);
            run.Results.Value("loss", kept.Loss);
            if (kept.Score is { } validated)
                run.Results.Value("validation_log_probability", validated, label: $"validation {kScore}");
        }));
        return command;
    }

    /// <summary>The size of the weights, where llama.cpp can store rows of these widths in it.</summary>
    private static LlamaFileType SizeOf(string name, SidLlamaOptions options)
    {
        LlamaFileType type = Enum.Parse<LlamaFileType>(name, ignoreCase: true);
        if (type == LlamaFileType.F32)
            return type;
        int block = type switch { LlamaFileType.Q8_0 => 32, LlamaFileType.Q4_K_M => 256, _ => 1 };
        foreach ((int width, string what) in ((int, string)[])[(options.Dimension, "--dimension"), (options.FeedForward, "--feed-forward")])
        {
            if (width % block != 0)
                throw new ArgumentException($"--quantize {name} stores rows of multiples of {block} values, {what} is {width}");
        }
        LlamaLibrary.Require();
        return type;
    }

    private static IReadOnlyList<string> WriteBase(CommandRun run, SidLlama model, string folder, LlamaFileType size)
    {
        string path = Path.Combine(folder, LanguageModelFiles.BaseName), whole = size == LlamaFileType.F32 ? path : path + ".f32";
        using (FileStream stream = File.Create(whole))
            model.WriteGguf(stream);
        if (size != LlamaFileType.F32)
        {
            run.Progress.Step("quantize", 0, "", _ => LlamaQuantizer.Quantize(whole, path, size, new LlamaQuantizerOptions { Threads = GlobalOptions.ThreadCount(run.Parsed) }));
            File.Delete(whole);
        }
        return [LanguageModelFiles.BaseName];
    }

    private static OptionTexts Texts(SidLlamaOptions options, bool withBase)
    {
        var texts = new OptionTexts();
        if (!withBase)
            texts.Add("layers", options.Layers).Add("dimension", options.Dimension).Add("heads", options.Heads).Add("feed-forward", options.FeedForward);
        return texts.Add("length", options.Length).Add("dropout", options.Dropout).Add("batch", options.BatchItems)
            .Add("embeddings", options.Start == SidEmbeddingStart.Codebooks ? kCodebooks : kRandom).Add("head", options.Tied ? kTied : kOwn).Add("validation-users", options.ValidationUsers);
    }

    private static Option<int> Number(string name, string description, int value) => new(name) { Description = description, DefaultValueFactory = _ => value, HelpName = "count" };
}
