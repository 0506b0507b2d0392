using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary>
/// Options of <c>train mm-rq-vae</c>, <c>rq-vae</c> and <c>hvq</c>. Each subcommand has its own, so that help shows what applies and its defaults:
/// MM-RQ-VAE's are the paper's (arXiv 2509.02017) where small data allow it, those of the other two the usual ones of RQ-VAE; codewords are <see cref="CodebookOptions.Following"/>.
/// </summary>
internal sealed class LearnedQuantizerChoice
{
    private const string kNone = "none";

    private static readonly (string Name, CodebookInitialization Value)[] s_initializations =
        [("constrained", CodebookInitialization.ConstrainedKMeans), ("k-means", CodebookInitialization.KMeans), ("random", CodebookInitialization.Random)];

    private static readonly (string Name, ResidualPath Value)[] s_paths = [("every-level", ResidualPath.EveryLevel), ("first-level", ResidualPath.FirstLevel)];

    private static readonly (string Name, ReconstructionLoss Value)[] s_reconstructions =
        [("mmd", ReconstructionLoss.Mmd), ("mse", ReconstructionLoss.Mse), ("both", ReconstructionLoss.Both), (kNone, ReconstructionLoss.None)];

    private static readonly LearnedQuantizerOptions s_paper = new();

    private readonly QuantizerKind _kind;
    private readonly Option<int> _levels, _width, _hiddenLayers, _restarts, _startIterations, _restartAfter, _sinkhornIterations;
    private readonly Option<int?> _batch;
    private readonly Option<string> _codes, _reconstruction, _bandwidths, _path, _initialization, _fusion;
    private readonly Option<string?> _fusionWeights;
    private readonly Option<double> _reconstructionWeight, _residualWeight, _alignmentWeight, _commitment, _temperature, _sinkhorn, _movingAverage;
    private readonly Option<bool> _averageKernels;

    public LearnedQuantizerChoice(QuantizerKind kind)
    {
        _kind = kind;
        bool joint = kind == QuantizerKind.MmRqVae;
        Output = OutputOptions.Out(joint ? "A folder with one bundle per modality, named as the modalities." : "The bundle, a folder.");
        _levels = Number("--levels", "Levels, codes per SID. The paper has 4.", 4, "count", "-l");
        _codes = new("--codes", "-k") { Description = "Codes per level, 2 to 65,536: one number, or one per level such as 256,256,64. The paper has 256.", DefaultValueFactory = _ => "256", HelpName = "count" };
        _width = Number("--width", kind == QuantizerKind.Hvq
            ? "Width of hidden layers, and of the vector that several tables are fused into."
            : "Width of hidden layers and codewords. The paper has 4096, the hidden size of its language model.", s_paper.Width, "columns");
        _hiddenLayers = Number("--hidden-layers", kind == QuantizerKind.Hvq ? "Hidden layers of each level's network." : "Hidden layers of encoder and decoder. The paper has 3.", kind == QuantizerKind.Hvq ? 1 : s_paper.HiddenLayers, "count");
        _batch = new("--batch") { Description = "Items of a batch, at least 2. The paper has 1024. [default: 1024, or all items where they are fewer]", HelpName = "count" };
        _reconstruction = OneOf("--reconstruction", "What the decoder is judged by: mmd (batches as sets; the paper's), mse (row by row), both, or none.", joint ? "mmd" : "mse",
            [.. s_reconstructions.Select(entry => entry.Name).Where(name => kind != QuantizerKind.Hvq || name != kNone)]);
        _bandwidths = new("--mmd-bandwidths")
        {
            Description = "Kernels of MMD: the shares of the mean squared distance that are their σ², such as 0.25,0.5,1; kernels are added up. The paper has 0.5.",
            DefaultValueFactory = _ => "0.5",
            HelpName = "a,a,…",
        };
        _averageKernels = new("--mmd-average") { Description = "Average the kernels of MMD instead of adding them up." };
        _reconstructionWeight = Real("--reconstruction-weight", "Weight of the reconstruction. The paper has 3.", joint ? s_paper.ReconstructionWeight : 1, "number");
        _residualWeight = Real("--rq-weight", "Weight of the residual quantization loss. The paper has 1.", s_paper.ResidualWeight, "number");
        _alignmentWeight = Real("--alignment-weight", "Weight of the contrast between modalities. The paper has 0.01.", s_paper.AlignmentWeight, "number");
        _temperature = Real("--temperature", "Temperature of the contrast between modalities. The paper has 0.1.", s_paper.Temperature, "number");
        _commitment = Real("--commitment", "Weight μ of the encoder's commitment to its codewords. The paper has 0.01.", joint ? s_paper.Commitment : 0.25, "number");
        _path = OneOf("--straight-through", "Levels that commit the encoder: every-level (the paper's formula) or first-level (its released code).", s_paths[0].Name, [.. s_paths.Select(entry => entry.Name)]);
        _sinkhorn = Real("--sinkhorn", "Entropy term ε by which codes of the last level are balanced over each batch in training, at least 0.003; 0 balances nothing. The paper has 0.003.", new SinkhornOptions().Epsilon, "number");
        _sinkhornIterations = Number("--sinkhorn-iterations", "Iterations of that balance. The paper has 50.", new SinkhornOptions().Iterations, "count");
        _movingAverage = Real("--moving-average", "Decay of moving averages that codewords are; 0 trains them by gradients, as the paper does in tens of thousands of steps.", CodebookOptions.Following.MovingAverage, "number");
        _restartAfter = Number("--restart-after", "Move a code that so many batches in a row did not use onto a random row; 0 never does, as the paper.", CodebookOptions.Following.RestartAfter, "steps");
        _initialization = OneOf("--init", "First codewords: k-means over all encoded items with clusters bounded in size (constrained; the paper's), k-means, or random.",
            s_initializations[0].Name, [.. s_initializations.Select(entry => entry.Name)]);
        _restarts = Number("--init-restarts", "Runs of that k-means per level, of which the best counts. The paper has 10.", 1, "count");
        _startIterations = Number("--init-iterations", "Most iterations of that k-means. The paper has 10.", 10, "count");
        _fusion = OneOf("--fusion", "How several --embeddings become one row: none (side by side), mean (a weighted mean after a learned projection of each) or concat (a learned projection of all).",
            kNone, [kNone, "mean", "concat"]);
        _fusionWeights = new("--fusion-weights") { Description = "Weight of each table under --fusion mean, such as 1,0.5. [default: 1 each]", HelpName = "w,w,…" };
    }

    /// <summary>
    /// Epochs, rates, device, checkpoint. The paper's rate and decay; its up to 20,000 epochs and 2,000 epochs of patience are for a data centre.
    /// </summary>
    public TrainingLoopOptions Loop { get; } = new(QuantizerLearner.PaperLoop);

    /// <summary>Where the result goes.</summary>
    public Option<string> Output { get; }

    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_levels, _codes, _width, _hiddenLayers, _batch, _reconstruction, _bandwidths, _averageKernels, _reconstructionWeight, _residualWeight])
            command.Add(option);
        if (_kind == QuantizerKind.MmRqVae)
        {
            command.Add(_alignmentWeight);
            command.Add(_temperature);
        }
        command.Add(_commitment);
        if (_kind != QuantizerKind.Hvq)
            command.Add(_path);
        foreach (Option option in (Option[])[_sinkhorn, _sinkhornIterations, _movingAverage, _restartAfter, _initialization, _restarts, _startIterations])
            command.Add(option);
        if (_kind != QuantizerKind.MmRqVae)
        {
            command.Add(_fusion);
            command.Add(_fusionWeights);
        }
        Loop.AddTo(command);
    }

    /// <summary>Shape and loss.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public LearnedQuantizerOptions Read(CommandRun run)
    {
        int levels = run.Need(_levels);
        IReadOnlyList<int> codes = NumberLists.Parse<int>(run.Need(_codes), "--codes");
        if (levels < 1)
            throw new ArgumentException($"--levels is {levels}, expected at least 1");
        if (codes.Count != 1 && codes.Count != levels)
            throw new ArgumentException($"--codes gives {codes.Count} numbers of codes for {levels} levels, expected 1 or {levels}");
        double epsilon = run.Need(_sinkhorn);
        bool joint = _kind == QuantizerKind.MmRqVae;
        InputFusion fusion = joint ? InputFusion.None : EncoderName.ParseFusion(run.Need(_fusion));
        IReadOnlyList<double>? fusionWeights = !joint && run.Get(_fusionWeights) is string weights ? NumberLists.Parse<double>(weights, "--fusion-weights") : null;
        if (fusionWeights is not null && fusion != InputFusion.Mean)
            throw new ArgumentException("--fusion-weights is given without --fusion mean");
        var options = new LearnedQuantizerOptions
        {
            Width = run.Need(_width),
            HiddenLayers = run.Need(_hiddenLayers),
            Codebooks = new CodebookOptions
            {
                Codes = codes.Count == levels ? codes : [.. Enumerable.Repeat(codes[0], levels)],
                Path = _kind == QuantizerKind.Hvq ? default : Value(s_paths, run.Need(_path)),
                LastLevel = epsilon == 0 ? null : new SinkhornOptions { Epsilon = epsilon, Iterations = run.Need(_sinkhornIterations) },
                MovingAverage = run.Need(_movingAverage),
                RestartAfter = run.Need(_restartAfter),
            },
            Reconstruction = Value(s_reconstructions, run.Need(_reconstruction)),
            Bandwidths = NumberLists.Parse<double>(run.Need(_bandwidths), "--mmd-bandwidths"),
            AverageKernels = run.Get(_averageKernels),
            ReconstructionWeight = run.Need(_reconstructionWeight),
            ResidualWeight = run.Need(_residualWeight),
            AlignmentWeight = joint ? run.Need(_alignmentWeight) : 0,
            Temperature = joint ? run.Need(_temperature) : s_paper.Temperature,
            Commitment = run.Need(_commitment),
            Fusion = fusion,
            FusionWeights = fusionWeights,
            Seed = run.Seed,
        };
        options.Validate();
        return options;
    }

    /// <summary>Whether the first codewords are found among the rows.</summary>
    public bool StartsFromRows(CommandRun run) => Value(s_initializations, run.Need(_initialization)) != CodebookInitialization.Random;

    /// <summary>First codewords.</summary>
    public CodebookStart ReadStart(CommandRun run, IBackend backend)
    {
        var start = new CodebookStart
        {
            Initialization = Value(s_initializations, run.Need(_initialization)),
            Iterations = run.Need(_startIterations),
            Restarts = run.Need(_restarts),
            Seed = run.Seed,
            Threads = GlobalOptions.ThreadCount(run.Parsed),
            Backend = backend,
            Progress = new DirectProgress<string>(what => run.Progress.Detail($"  first codewords: {what}")),
            Cancellation = run.Cancellation,
        };
        start.Validate();
        return start;
    }

    /// <summary>Items of a batch.</summary>
    /// <exception cref="ArgumentException">More than there are, or fewer than 2.</exception>
    public int ReadBatch(CommandRun run, long items)
    {
        int batch = run.Get(_batch) ?? (int)Math.Min(1024, Math.Max(2, items));
        ItemBatches.RequireBatch(batch, items);
        return batch;
    }

    /// <summary>Every option of the run by name, as the manifest keeps them.</summary>
    public OptionTexts Describe(CommandRun run, LearnedQuantizerOptions options, int batch)
    {
        OptionTexts texts = new OptionTexts()
            .Add("levels", options.Codebooks.Codes.Count).Add("codes", string.Join(',', options.Codebooks.Codes)).Add("width", options.Width).Add("hidden-layers", options.HiddenLayers)
            .Add("batch", batch).Add("reconstruction", run.Need(_reconstruction)).Add("mmd-bandwidths", run.Need(_bandwidths)).Add("mmd-average", options.AverageKernels)
            .Add("reconstruction-weight", options.ReconstructionWeight).Add("rq-weight", options.ResidualWeight).Add("commitment", options.Commitment)
            .Add("sinkhorn", run.Need(_sinkhorn)).Add("sinkhorn-iterations", run.Need(_sinkhornIterations))
            .Add("moving-average", options.Codebooks.MovingAverage).Add("restart-after", options.Codebooks.RestartAfter)
            .Add("init", run.Need(_initialization)).Add("init-restarts", run.Need(_restarts)).Add("init-iterations", run.Need(_startIterations)).Add("seed", run.Seed);
        if (_kind == QuantizerKind.MmRqVae)
            texts.Add("alignment-weight", options.AlignmentWeight).Add("temperature", options.Temperature);
        else
            texts.Add("fusion", run.Need(_fusion)).Add("fusion-weights", run.Get(_fusionWeights) ?? "");
        return _kind == QuantizerKind.Hvq ? texts : texts.Add("straight-through", run.Need(_path));
    }

    private static T Value<T>((string Name, T Value)[] entries, string name) => entries.First(entry => entry.Name == name).Value;

    private static Option<int> Number(string name, string description, int value, string help, params string[] aliases) =>
        new(name, aliases) { Description = description, DefaultValueFactory = _ => value, HelpName = help };

    private static Option<double> Real(string name, string description, double value, string help) =>
        new(name) { Description = description, DefaultValueFactory = _ => value, HelpName = help };

    private static Option<string> OneOf(string name, string description, string value, string[] names) =>
        new Option<string>(name) { Description = description, DefaultValueFactory = _ => value }.AcceptOnlyFromAmong(names);
}
