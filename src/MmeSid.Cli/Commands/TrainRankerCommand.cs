using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Training;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Ranking;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train ranker</c>: clicks and SIDs in, a model that says how likely a user clicks an item out.</summary>
internal sealed class TrainRankerCommand
{
    private const string kScore = "auc", kRefuse = "refuse", kZero = "zero";

    private static readonly RankerOptions s_defaults = new();
    private static readonly RankerSampling s_sampling = new();

    private readonly Option<string> _kind = Choice<RankerKind>("--kind", "din: each set of codes of the history is weighed against the same set of the target (without --sids, item ids alone); "
        + $"mcca: every set is weighed against the target's codes named '{RankerOptions.Joint}'.", s_defaults.Kind);

    private readonly Option<string[]> _sids = new("--sids")
    {
        Description = $"The SIDs of a modality as name=folder, a bundle; once per set, '{RankerOptions.Joint}' for the joint one. Or one folder of bundles, all of which are taken.",
        HelpName = "name=folder",
        AllowMultipleArgumentsPerToken = false,
    };

    private readonly Option<string> _output = OutputOptions.Out("The model, a folder.");

    private readonly Option<string> _without = Choice<RankerAblation>("--without", "Of --kind mcca: leave out the codes of single modalities, or the joint codes; each modality is then weighed against the target's own codes of it.", s_defaults.Without);

    private readonly Option<string> _codes = new Option<string>("--codes")
    {
        Description = "Where code tables start: random, or the bundles' codewords, projected to the dimension. They are trained either way.",
        DefaultValueFactory = _ => OptionName.Of(s_defaults.Codes),
    }.AcceptOnlyFromAmong(OptionName.Of(SidEmbeddingStart.Random), OptionName.Of(SidEmbeddingStart.Codebooks));

    private readonly Option<string> _uncoded = new Option<string>("--uncoded")
    {
        Description = "Items that a set of codes lacks: refuse stops; zero goes on without codes for them.",
        DefaultValueFactory = _ => kRefuse,
    }.AcceptOnlyFromAmong(kRefuse, kZero);

    private readonly Option<string> _negatives = Choice<NegativeItems>("--negatives", "With --sequences, what a user did not click is drawn: uniform, every item of the file alike; popularity, in proportion to the clicks in training.", s_sampling.Negatives);

    private readonly Option<int> _perClick = Number("--negatives-per-positive", "With --sequences: items drawn for each click, anew in every epoch.", s_sampling.NegativesPerClick);
    private readonly Option<int> _dimension = Number("--dimension", "Values per embedding.", s_defaults.Dimension);
    private readonly Option<int> _history = Number("--history", "Last clicks of a user that are looked at.", s_defaults.History);
    private readonly Option<int> _activation = Number("--activation-width", "Hidden values of the network that weighs an item of the history.", s_defaults.ActivationWidth);

    private readonly Option<string> _hidden = new("--hidden")
    {
        Description = "Hidden values of the layers above, such as 200,80.",
        DefaultValueFactory = _ => string.Join(',', s_defaults.Hidden),
        HelpName = "counts",
    };

    private readonly Option<int> _batch = Number("--batch", "Samples per step.", s_sampling.Batch);
    private readonly Option<int> _validation = Number("--validation-users", "Users whose last click but one judges an epoch; 0 takes all.", s_sampling.ValidationUsers);
    private readonly TrainingLoopOptions _loop = new(new LoopOptions { Epochs = 1, LearningRate = 1e-3 });

    public static Command Create()
    {
        var own = new TrainRankerCommand();
        var command = new Command(RankerModel.Kind, "A ranking model, DIN or MCCA (arXiv 2508.20359), over item ids and SIDs. Every click but the last two of a user is trained on, with the clicks before it as history; the last but one (validation) only judges the epochs. The model knows every item of the file; "
            + "else the last click (test) changes nothing, neither what is learned nor which epoch is kept.")
        {
            own._kind,
        };
        ClickFile.AddTo(command);
        foreach (Option option in (Option[])[own._sids, own._output, own._without, own._codes, own._uncoded, own._negatives, own._perClick, own._dimension, own._history, own._activation, own._hidden, own._batch, own._validation, OutputOptions.Force])
            command.Add(option);
        own._loop.AddTo(command);
        command.Validators.Add(parsed =>
        {
            foreach (Option option in (Option[])[own._negatives, own._perClick])
            {
                if (parsed.GetResult(option) is { Implicit: false } && parsed.GetValue(ClickFile.Samples) is not null)
                    parsed.AddError($"{option.Name} is of {ClickFile.Sequences.Name}: {ClickFile.Samples.Name} say what was not clicked");
            }
            foreach (Option option in (Option[])[own._codes, own._uncoded])
            {
                if (parsed.GetResult(option) is { Implicit: false } && parsed.GetResult(own._sids) is null)
                    parsed.AddError($"{option.Name} needs {own._sids.Name}");
            }
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, own.Train));
        return command;
    }

    private void Train(CommandRun run)
    {
        string path = run.Need(_output), file = ClickFile.PathOf(run);
        using OutputFolder folder = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
        folder.RequireOutside(file);
        RankerOptions options = Read(run);
        RankerSampling sampling = ReadSampling(run);
        NamedFile[] named = Named(run);
        foreach (NamedFile bundle in named)
            folder.RequireOutside(bundle.File);
        _ = options.Weighed([.. named.Select(bundle => bundle.Name)]);
        CodeSource[] sources = [.. named.Select(bundle => new CodeSource(bundle.Name, SidBundle.Open(bundle.File)))];
        var inputs = new Dictionary<string, string> { [Path.GetFileName(file)] = ModelFolder.HashOf(file) };
        foreach (CodeSource source in sources)
            inputs[$"sids {source.Name}"] = source.Bundle.Fingerprint;
        ClickLog log = ClickFile.Read(run);
        bool uncoded = run.Need(_uncoded) == kZero;
        RankerCatalogue catalogue = RankerCatalogue.Of(log, sources, uncoded);
        OptionTexts texts = Texts(run, options, sampling, log, named);
        LoopOptions loop = _loop.Read(run, path, [RankerModel.Kind, texts.ToString(), .. inputs.Values]);
        torch.Device device = _loop.Start(run);
        using Ranker model = new Ranker(catalogue.Items, sources, options, uncoded, run.Seed).to(device);
        var learner = new RankerLearner(model, log, catalogue, sampling, run.Seed);
        if (learner.UsersLeftOut > 0)
            run.Progress.Note($"{learner.UsersLeftOut} users who took all items that can be drawn were left out of the training");
        LoopResult trained = TrainingLoopOptions.Train(run, learner, loop, kScore);
        run.Cancellation.ThrowIfCancellationRequested();
        double? score = trained.Epochs[trained.KeptEpoch - 1].Score;
        model.WriteModel(folder, new ModelDescription
        {
            Kind = RankerModel.Kind,
            Options = texts.Add("sets", string.Join(',', model.SetNames)).Add(TrainingLoopOptions.Texts(loop)).Add("seed", run.Seed).All,
            Metrics = score is { } measured ? new Dictionary<string, double> { [$"validation {kScore}"] = measured } : [],
            Inputs = inputs,
        }, catalogue.Items);
        folder.Commit();
        run.DeleteCheckpoint(loop.CheckpointPath);
        run.Results.Value("out", path);
        run.Results.Value("users", log.Clicks.Users.Count);
        run.Results.Value("items", catalogue.Items.Count);
        run.Results.Value("clicks", log.Clicks.EventCount);
        run.Results.Value("samples_per_epoch", learner.SamplesPerEpoch);
        run.Results.Value("parameters", model.parameters().Sum(parameter => parameter.numel()));
        TrainingLoopOptions.Report(run, trained, kScore);
        if (score is not null)
            run.Results.Value("validation_auc", score, label: $"validation {kScore}");
    }

    private RankerOptions Read(CommandRun run)
    {
        var options = new RankerOptions
        {
            Kind = OptionName.Parse<RankerKind>(run.Need(_kind))!.Value,
            Without = OptionName.Parse<RankerAblation>(run.Need(_without))!.Value,
            Dimension = run.Need(_dimension),
            History = run.Need(_history),
            ActivationWidth = run.Need(_activation),
            Hidden = NumberLists.Parse<int>(run.Need(_hidden), _hidden.Name),
            Codes = OptionName.Parse<SidEmbeddingStart>(run.Need(_codes))!.Value,
        };
        options.Validate();
        return options;
    }

    private RankerSampling ReadSampling(CommandRun run)
    {
        var sampling = new RankerSampling
        {
            Negatives = OptionName.Parse<NegativeItems>(run.Need(_negatives))!.Value,
            NegativesPerClick = run.Need(_perClick),
            Batch = run.Need(_batch),
            ValidationUsers = run.Need(_validation),
        };
        sampling.Validate();
        return sampling;
    }

    private NamedFile[] Named(CommandRun run)
    {
        string[] texts = run.Get(_sids) ?? [];
        if (texts is not [var folder] || !Directory.Exists(folder))
            return NamedFile.ParseModalities(_sids.Name, texts);
        return SidBundle.IsBundle(folder)
            ? throw new ArgumentException($"{_sids.Name} {folder} is a bundle without the name of its modality, expected such as {_sids.Name} text={folder}")
            : NamedFile.RequireModalities(_sids.Name, [.. SidBundle.List(folder).Select(bundle => new NamedFile(bundle.Name, bundle.Folder))]);
    }

    private OptionTexts Texts(CommandRun run, RankerOptions options, RankerSampling sampling, ClickLog log, NamedFile[] named)
    {
        OptionTexts texts = new OptionTexts().Add("kind", run.Need(_kind)).Add("without", run.Need(_without)).Add("sids", string.Join(',', named.Select(bundle => bundle.Name)))
            .Add("codes", run.Need(_codes)).Add("uncoded", run.Need(_uncoded)).Add("dimension", options.Dimension).Add("history", options.History)
            .Add("activation-width", options.ActivationWidth).Add("hidden", string.Join(',', options.Hidden)).Add("batch", sampling.Batch).Add("validation-users", sampling.ValidationUsers);
        return texts.Add("negatives", log.HasPassed ? RankerModel.GivenNegatives : run.Need(_negatives)).Add("negatives-per-positive", log.HasPassed ? 0 : sampling.NegativesPerClick);
    }

    private static Option<int> Number(string name, string description, int value) => new(name) { Description = description, DefaultValueFactory = _ => value, HelpName = "count" };

    private static Option<string> Choice<T>(string name, string description, T value)
        where T : struct, Enum => new Option<string>(name) { Description = description, DefaultValueFactory = _ => OptionName.Of(value) }.AcceptOnlyFromAmong(OptionName.All<T>());
}
