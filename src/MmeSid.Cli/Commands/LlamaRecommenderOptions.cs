using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Llama;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;

namespace MmeSid.Cli.Commands;

/// <summary>Options that the recommenders on a Llama share: its shape where it is trained from scratch, or a base; histories, batches, and the files of the transformer.</summary>
internal sealed class LlamaRecommenderOptions
{
    private const string kRefuse = "refuse", kSkip = "skip", kFloat32 = "float32", kBFloat16 = "bf16";

    private readonly LlamaTrainingOptions _defaults;
    private readonly Option<int> _layers, _dimension, _heads, _feedForward, _length, _batch, _validation;
    private readonly Option<double?> _dropout;

    private readonly Option<string> _quantize = new Option<string>("--quantize")
    {
        Description = "Size of the transformer's weights in base.gguf; vectors of codes and items stay float32.",
        DefaultValueFactory = _ => "f32",
    }.AcceptOnlyFromAmong("f32", "f16", "q8_0", "q4_k_m");

    private readonly Option<string> _precision = new Option<string>("--precision")
    {
        Description = "Of products with weight matrices: float32, or bf16, which rounds their factors; faster where the device multiplies bf16. All else stays float32.",
        DefaultValueFactory = _ => kFloat32,
    }.AcceptOnlyFromAmong(kFloat32, kBFloat16);

    private readonly Option<string> _unknown;

    /// <summary>Makes the options.</summary>
    /// <param name="defaults">Values where the user gives none.</param>
    /// <param name="holder">What has the items, for help.</param>
    /// <param name="suffix">Whether words may come behind a history.</param>
    public LlamaRecommenderOptions(LlamaTrainingOptions defaults, string holder, bool suffix)
    {
        (_defaults, Base) = (defaults, new BaseModelOptions(suffix));
        _layers = Number("--layers", "Transformer layers.", defaults.Layers);
        _dimension = Number("--dimension", "Values of a vector and of a hidden state.", defaults.Dimension);
        _heads = Number("--heads", "Attention heads; must divide the dimension.", defaults.Heads);
        _feedForward = Number("--feed-forward", "Hidden values of the feed-forward parts.", defaults.FeedForward);
        _length = Number("--length", "Last items of a user that are looked at.", defaults.Length);
        _batch = Number("--batch", "Items that a step predicts.", defaults.BatchItems);
        _validation = Number("--validation-users", "Users whose validation item judges an epoch, drawn with the seed; 0 takes all.", defaults.ValidationUsers);
        _dropout = new Option<double?>("--dropout") { Description = $"Share of values dropped in training, of input vectors and of what layers add. [default: {defaults.Dropout} from scratch, 0 with --base]", HelpName = "share" };
        _unknown = new Option<string>("--unknown-items")
        {
            Description = $"Items of the sequences that {holder}: refused, or left out of the histories.",
            DefaultValueFactory = _ => kRefuse,
        }.AcceptOnlyFromAmong(kRefuse, kSkip);
    }

    /// <summary>Epochs and rates of recommenders that are trained from scratch.</summary>
    public static LoopOptions Loop { get; } = new() { Epochs = 50, LearningRate = 1e-3, WeightDecay = 0.05, WarmUpSteps = 200, GradientNorm = 1, Patience = 5, Schedule = LearningRateSchedule.Cosine };

    /// <summary>The base.</summary>
    public BaseModelOptions Base { get; }

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_layers, _dimension, _heads, _feedForward, _dropout, _length, _batch, _precision, _quantize, _unknown, _validation])
            command.Add(option);
        Base.AddTo(command);
        Base.RefuseBeside(command, _layers, _dimension, _heads, _feedForward, _quantize);
    }

    /// <summary>The options as given, checked.</summary>
    /// <param name="run">The command.</param>
    /// <param name="own">What else the recommender is told.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public T Read<T>(CommandRun run, T own)
        where T : LlamaTrainingOptions
    {
        LlamaTrainingOptions options = own;
        options = options with
        {
            Layers = run.Need(_layers),
            Dimension = run.Need(_dimension),
            Heads = run.Need(_heads),
            FeedForward = run.Need(_feedForward),
            Dropout = run.Get(_dropout) ?? (Base.IsGiven(run) ? 0 : _defaults.Dropout),
            Length = run.Need(_length),
            BatchItems = run.Need(_batch),
            Precision = run.Need(_precision) == kBFloat16 ? ProductPrecision.BFloat16 : ProductPrecision.Float32,
            ValidationUsers = run.Need(_validation),
            Lora = Base.ReadLora(run),
        };
        options.Validate();
        return (T)options;
    }

    /// <summary>The transformer: the base, frozen, or one of random weights.</summary>
    /// <param name="run">The command.</param>
    /// <param name="options">Of <see cref="Read"/>.</param>
    /// <param name="shape">Of one from scratch.</param>
    /// <exception cref="InvalidDataException">The base is no Llama.</exception>
    public Training.LanguageModels.Llama Transformer(CommandRun run, LlamaTrainingOptions options, LlamaShape shape)
    {
        Training.LanguageModels.Llama transformer = Base.Load(run, options.Lora) ?? new Training.LanguageModels.Llama(shape);
        transformer.Precision = options.Precision.Type();
        return transformer;
    }

    /// <summary>Whether unknown items are left out.</summary>
    public bool SkipsUnknown(CommandRun run) => run.Need(_unknown) == kSkip;

    /// <summary>The options by name, for the description of what was trained.</summary>
    public OptionTexts Texts(CommandRun run, LlamaTrainingOptions options)
    {
        var texts = new OptionTexts();
        if (!Base.IsGiven(run))
            texts.Add("layers", options.Layers).Add("dimension", options.Dimension).Add("heads", options.Heads).Add("feed-forward", options.FeedForward);
        return texts.Add("length", options.Length).Add("dropout", options.Dropout).Add("batch", options.BatchItems).Add("precision", run.Need(_precision)).Add("validation-users", options.ValidationUsers)
            .Add("unknown-items", run.Need(_unknown)).Add("prefix", Base.PrefixOf(run)).Add(Base.Texts(run, options.Lora));
    }

    /// <summary>The size of the weights in base.gguf, where llama.cpp can store rows of these widths in it.</summary>
    /// <exception cref="ArgumentException">It cannot.</exception>
    public LlamaFileType SizeOf(CommandRun run, LlamaTrainingOptions options)
    {
        string name = run.Need(_quantize);
        LlamaFileType type = Enum.Parse<LlamaFileType>(name, ignoreCase: true);
        if (type == LlamaFileType.F32)
            return type;
        int block = type switch { LlamaFileType.Q8_0 => 32, LlamaFileType.Q4_K_M => 256, _ => 1 };
        foreach ((int width, string what) in ((int, string)[])[(options.Dimension, "--dimension"), (options.FeedForward, "--feed-forward")])
        {
            if (width % block != 0)
                throw new ArgumentException($"{_quantize.Name} {name} stores rows of multiples of {block} values, {what} is {width}");
        }
        LlamaLibrary.Require();
        return type;
    }

    /// <summary>Writes what the transformer was trained to: base.gguf of one from scratch, or the adapter of a base.</summary>
    /// <param name="run">The command.</param>
    /// <param name="folder">Where to.</param>
    /// <param name="transformer">Trained.</param>
    /// <param name="lora">Of a base, or null.</param>
    /// <param name="size">Of the weights of one from scratch.</param>
    /// <param name="write">Writes one from scratch as float32.</param>
    /// <returns>Names of the files.</returns>
    public IReadOnlyList<string> WriteTransformer(CommandRun run, string folder, Training.LanguageModels.Llama transformer, LoraOptions? lora, LlamaFileType size, Action<Stream> write)
    {
        if (Base.PathOf(run) is { } given)
            return lora is null ? [] : transformer.WriteAdapter(folder, lora, given);
        WriteBase(run, folder, size, write);
        return [LanguageModelFiles.BaseName];
    }

    /// <summary>Writes base.gguf.</summary>
    /// <param name="run">The command.</param>
    /// <param name="folder">Where to.</param>
    /// <param name="size">Of the weights.</param>
    /// <param name="write">Writes the model as float32.</param>
    public static void WriteBase(CommandRun run, string folder, LlamaFileType size, Action<Stream> write)
    {
        string path = Path.Combine(folder, LanguageModelFiles.BaseName), whole = size == LlamaFileType.F32 ? path : path + ".f32";
        using (FileStream stream = File.Create(whole))
            write(stream);
        if (size != LlamaFileType.F32)
        {
            run.Progress.Step("quantize", 0, "", _ => LlamaQuantizer.Quantize(whole, path, size, new LlamaQuantizerOptions { Threads = GlobalOptions.ThreadCount(run.Parsed) }));
            File.Delete(whole);
        }
    }

    /// <summary>What is said of the transformer's files: the size and the hash of the base.</summary>
    /// <param name="run">The command.</param>
    /// <param name="folder">Where <see cref="WriteTransformer"/> wrote to.</param>
    /// <param name="baseHash">Of a base outside; null where there is none.</param>
    public OptionTexts FileTexts(CommandRun run, string folder, string? baseHash)
    {
        var texts = new OptionTexts();
        return baseHash is not null ? texts.Add(LanguageModelFiles.HashOption, baseHash)
            : texts.Add("quantize", run.Need(_quantize)).Add(LanguageModelFiles.HashOption, ModelFolder.HashOf(Path.Combine(folder, LanguageModelFiles.BaseName)));
    }

    /// <summary>What the epoch that is kept was measured by, for the description of what was trained.</summary>
    /// <param name="trained">The epochs.</param>
    /// <param name="score">What validation measures.</param>
    public static Dictionary<string, double> Metrics(LoopResult trained, string score)
    {
        EpochReport kept = trained.Epochs[trained.KeptEpoch - 1];
        var metrics = new Dictionary<string, double> { ["loss"] = kept.Loss };
        if (kept.Score is { } value)
            metrics[$"validation {score}"] = value;
        return metrics;
    }

    /// <summary>Shows what was trained on what, and how far.</summary>
    /// <param name="run">The command.</param>
    /// <param name="path">The model.</param>
    /// <param name="sequences">The users.</param>
    /// <param name="perEpoch">What an epoch predicts, and how much of it.</param>
    /// <param name="learner">What was trained.</param>
    /// <param name="trained">The epochs.</param>
    /// <param name="score">What validation measures.</param>
    public static void Report(CommandRun run, string path, ItemSequences sequences, (string Name, long Count) perEpoch, ILearner learner, LoopResult trained, string score)
    {
        run.Results.Value("out", path);
        run.Results.Value("users", sequences.UserCount);
        run.Results.Value("items", sequences.Items.Count);
        if (sequences.UnknownItems > 0)
            run.Results.Value("unknown_items", sequences.UnknownItems);
        run.Results.Value($"{perEpoch.Name}_per_epoch", perEpoch.Count);
        run.Results.Value("steps_per_epoch", learner.StepsPerEpoch);
        run.Results.Value("parameters", learner.Module.parameters().Where(parameter => parameter.requires_grad).Sum(parameter => parameter.numel()));
        TrainingLoopOptions.Report(run, trained, score);
        EpochReport kept = trained.Epochs[trained.KeptEpoch - 1];
        run.Results.Value("loss", kept.Loss);
        if (kept.Score is { } value)
            run.Results.Value($"validation_{score.Replace('-', '_')}", value, label: $"validation {score}");
    }

    private static Option<int> Number(string name, string description, int value) => new(name) { Description = description, DefaultValueFactory = _ => value, HelpName = "count" };
}
