using System.CommandLine;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Training;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary>Options of commands that train with libtorch. Each command has its own, with its own defaults.</summary>
/// <param name="defaults">Values where the user gives none.</param>
internal sealed class TrainingLoopOptions(LoopOptions defaults)
{
    private readonly Option<int> _epochs = new("--epochs") { Description = "Most epochs.", DefaultValueFactory = _ => defaults.Epochs, HelpName = "count" };

    private readonly Option<double> _rate = new("--learning-rate") { Description = "Learning rate after the warm-up (AdamW).", DefaultValueFactory = _ => defaults.LearningRate, HelpName = "rate" };

    private readonly Option<double> _decay = new("--weight-decay") { Description = "Decoupled weight decay.", DefaultValueFactory = _ => defaults.WeightDecay, HelpName = "rate" };

    private readonly Option<string> _schedule = new Option<string>("--schedule")
    {
        Description = "The learning rate after the warm-up: it stays, or falls along half a cosine to zero.",
        DefaultValueFactory = _ => NameOf(defaults.Schedule),
    }.AcceptOnlyFromAmong(NameOf(LearningRateSchedule.Constant), NameOf(LearningRateSchedule.Cosine));

    private readonly Option<int> _warmUp = new("--warm-up") { Description = "Steps over which the learning rate rises from 0.", DefaultValueFactory = _ => defaults.WarmUpSteps, HelpName = "steps" };

    private readonly Option<int> _accumulate = new("--accumulate") { Description = "Batches whose gradients are averaged for one step.", DefaultValueFactory = _ => defaults.Accumulate, HelpName = "count" };

    private readonly Option<double> _norm = new("--gradient-norm") { Description = "Scale gradients down to this norm; 0 leaves them.", DefaultValueFactory = _ => defaults.GradientNorm, HelpName = "norm" };

    private readonly Option<int> _patience = new("--patience") { Description = "Stop after so many epochs without gain; 0 never stops early.", DefaultValueFactory = _ => defaults.Patience, HelpName = "epochs" };

    private readonly Option<string> _keep = new Option<string>("--keep")
    {
        Description = "The epoch that is written in the end: the best, by validation where the model has one, else by the training loss, or the last.",
        DefaultValueFactory = _ => NameOf(defaults.Keep),
    }.AcceptOnlyFromAmong(NameOf(KeptEpoch.Best), NameOf(KeptEpoch.Last));

    private readonly Option<string> _device = new Option<string>("--device")
    {
        Description = "Where libtorch trains: auto takes a GPU where it can use one. Bytes are the same from run to run on the CPU.",
        DefaultValueFactory = _ => "auto",
    }.AcceptOnlyFromAmong("auto", "cpu", "cuda");

    private readonly Option<string?> _checkpoint = new("--checkpoint")
    {
        Description = "File that keeps the state of training every 30 s and when interrupted: the same command line then goes on where it stopped, on the CPU to the same bytes. Deleted at the end; "
            + "'none' keeps nothing. [default: the output's name with .checkpoint.safetensors, begun anew by another command line]",
        HelpName = "file",
    };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_epochs, _rate, _decay, _schedule, _warmUp, _accumulate, _norm, _patience, _keep, _device, _checkpoint])
            command.Add(option);
    }

    /// <summary>Loads libtorch with the threads of the run and seeds its generator.</summary>
    /// <returns>Where to train.</returns>
    public torch.Device Start(CommandRun run)
    {
        TorchRuntime.Start(GlobalOptions.ThreadCount(run.Parsed));
        _ = torch.manual_seed(unchecked((long)run.Seed));
        return TorchRuntime.DeviceOf(run.Need(_device));
    }

    /// <summary>The options as given.</summary>
    /// <param name="run">The command.</param>
    /// <param name="output">Path of what is trained; names the checkpoint.</param>
    /// <param name="key">What else tells this run from others: data and the model's options.</param>
    public LoopOptions Read(CommandRun run, string output, params IEnumerable<string> key) => Read(run, output, adapted: null, key);

    /// <summary>The options as given.</summary>
    /// <param name="run">The command.</param>
    /// <param name="output">Path of what is trained; names the checkpoint.</param>
    /// <param name="adapted">Learning rate and warm-up where the user gives none, instead of the defaults; or null.</param>
    /// <param name="key">What else tells this run from others: data and the model's options.</param>
    public LoopOptions Read(CommandRun run, string output, LoopOptions? adapted, params IEnumerable<string> key)
    {
        LoopOptions options = defaults with
        {
            Epochs = run.Need(_epochs),
            LearningRate = Given(_rate) ? run.Need(_rate) : (adapted ?? defaults).LearningRate,
            WeightDecay = run.Need(_decay),
            Schedule = run.Need(_schedule) == NameOf(LearningRateSchedule.Cosine) ? LearningRateSchedule.Cosine : LearningRateSchedule.Constant,
            WarmUpSteps = Given(_warmUp) ? run.Need(_warmUp) : (adapted ?? defaults).WarmUpSteps,
            Accumulate = run.Need(_accumulate),
            GradientNorm = run.Need(_norm),
            Patience = run.Need(_patience),
            Keep = run.Need(_keep) == NameOf(KeptEpoch.Last) ? KeptEpoch.Last : KeptEpoch.Best,
            CheckpointPath = run.Get(_checkpoint) switch
            {
                "none" => null,
                null => Path.TrimEndingDirectorySeparator(output) + ".checkpoint.safetensors",
                string named => named,
            },
            ReplaceOtherCheckpoint = run.Get(_checkpoint) is null,
        };
        options.Validate();
        string text = string.Join('\n', key.Append(Texts(options).ToString()).Append(run.Seed.ToString(CultureInfo.InvariantCulture)).Append(run.Need(_device)));
        return options with { CheckpointKey = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))) };

        bool Given(Option option) => run.Parsed.GetResult(option) is { Implicit: false };
    }

    /// <summary>The options by their names on the command line, for the description of what was trained.</summary>
    public static OptionTexts Texts(LoopOptions options) => new OptionTexts()
        .Add("epochs", options.Epochs).Add("learning-rate", options.LearningRate).Add("weight-decay", options.WeightDecay).Add("schedule", NameOf(options.Schedule))
        .Add("warm-up", options.WarmUpSteps).Add("accumulate", options.Accumulate).Add("gradient-norm", options.GradientNorm).Add("patience", options.Patience).Add("keep", NameOf(options.Keep));

    /// <summary>Trains with a bar that shows the steps, the time left and the last epoch; each epoch is a line of detail.</summary>
    /// <param name="run">The command.</param>
    /// <param name="learner">What is trained.</param>
    /// <param name="options">How.</param>
    /// <param name="scoreName">What the learner's validation measures; null where there is none.</param>
    /// <exception cref="IOException">No checkpoint can be written where the options say; found before the work.</exception>
    public static LoopResult Train(CommandRun run, ILearner learner, LoopOptions options, string? scoreName = null) =>
        run.Progress.Step("train", (long)options.Epochs * learner.StepsPerEpoch / options.Accumulate, "steps", step =>
        {
            if (options.CheckpointPath is { } checkpoint)
            {
                using var writable = OutputFile.Create(checkpoint, force: true);
            }
            string note = "";
            return TrainingLoop.Run(learner, options, new DirectProgress<LoopProgress>(at =>
            {
                if (at.Problem is { } problem)
                    run.Progress.Note(problem);
                if (at.Finished is { } epoch)
                {
                    note = Line(epoch, scoreName);
                    run.Progress.Detail($"  {note}");
                }
                step.Reach(at.StepsDone, at.StepsTotal, note);
            }), run.Cancellation);
        });

    /// <summary>The epochs as a table, when details were asked for, and what came of them.</summary>
    public static void Report(CommandRun run, LoopResult trained, string? scoreName = null)
    {
        run.Results.Value("epochs", trained.Epochs.Count, $"{trained.Epochs.Count:N0}{(trained.StoppedEarly ? ", stopped early" : "")}");
        run.Results.Value("best_epoch", trained.BestEpoch);
        run.Results.Value("kept_epoch", trained.KeptEpoch);
        run.Results.Value("seconds_per_epoch", trained.Epochs.Average(epoch => epoch.Seconds));
        if (!run.Verbose && !run.Json)
            return;
        string[] parts = [.. trained.Epochs[0].Parts.Keys], score = scoreName is null ? [] : [scoreName];
        run.Results.Table("loss_curve", ["epoch", "loss", .. parts, .. score, "learning_rate", "seconds"], trained.Epochs.Select(epoch => (IReadOnlyList<ResultSheet.Cell>)
            [(long)epoch.Epoch, epoch.Loss, .. parts.Select(part => (ResultSheet.Cell)epoch.Parts[part]), .. score.Select(_ => epoch.Score is { } value ? value : ResultSheet.Cell.None), epoch.LearningRate, epoch.Seconds]));
    }

    private static string Line(EpochReport epoch, string? scoreName)
    {
        var text = new StringBuilder(FormattableString.Invariant($"epoch {epoch.Epoch}: loss {epoch.Loss:G5}"));
        foreach ((string name, double value) in epoch.Parts)
            text.Append(CultureInfo.InvariantCulture, $", {name} {value:G4}");
        if (epoch.Score is { } score)
            text.Append(CultureInfo.InvariantCulture, $", {scoreName} {score:F4}");
        return text.ToString();
    }

    private static string NameOf(KeptEpoch keep) => keep == KeptEpoch.Last ? "last" : "best";

    private static string NameOf(LearningRateSchedule schedule) => schedule == LearningRateSchedule.Cosine ? "cosine" : "constant";
}
