using System.CommandLine;
using System.Globalization;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Training;
using MmeSid.Training.Ranking;

namespace MmeSid.Cli.Commands;

/// <summary>The part of <c>mmesid evaluate</c> that is about rankers: AUC and log loss of held-out clicks against what was not clicked.</summary>
internal static class RankerEvaluation
{
    private static readonly HeldOutSampleOptions s_defaults = new();

    private static readonly Option<string?> s_negatives = new Option<string?>("--negatives")
    {
        Description = $"Of a {RankerModel.Kind}, with {ClickFile.Sequences.Name}: what a user did not click is drawn, uniform: every item of the file alike; popularity: in proportion to the clicks in training. [default: as in its training, where that drew]",
    }.AcceptOnlyFromAmong(OptionName.All<NegativeItems>());

    private static readonly Option<int> s_perClick = new("--negatives-per-positive")
    {
        Description = $"Of a {RankerModel.Kind}, with {ClickFile.Sequences.Name}: items drawn for each click. All models see the same draws, of --seed.",
        DefaultValueFactory = _ => s_defaults.NegativesPerClick,
        HelpName = "count",
    };

    private static readonly Option<int> s_users = new("--users")
    {
        Description = $"Of a {RankerModel.Kind}: users drawn for the test; 0 takes all.",
        DefaultValueFactory = _ => s_defaults.MaximumUsers,
        HelpName = "count",
    };

    private static readonly Option<int> s_cold = new("--cold-below")
    {
        Description = $"Of a {RankerModel.Kind}: an item is cold that was clicked less often than this in training.",
        DefaultValueFactory = _ => 30,
        HelpName = "count",
    };

    private static readonly Option<string?> s_perSample = new("--per-sample")
    {
        Description = $"Of a {RankerModel.Kind}: also write each sample's score, lines with tabs between user, item, label and score, whatever the file is called.",
        HelpName = "file",
    };

    private static readonly Option[] s_options = [s_negatives, s_perClick, s_users, s_cold, s_perSample];

    /// <summary>Adds the options.</summary>
    public static void AddOptions(Command command)
    {
        foreach (Option option in s_options)
            command.Add(option);
        command.Add(OutputOptions.Force);
    }

    /// <summary>Refuses options that are given for a model of another kind.</summary>
    /// <exception cref="ArgumentException">Which option.</exception>
    public static void RefuseOptions(CommandRun run, ModelFolder folder)
    {
        foreach (Option option in s_options.Append(ClickFile.Samples))
        {
            if (run.Parsed.GetResult(option) is { Implicit: false })
                throw new ArgumentException($"{option.Name} is for models of kind {RankerModel.Kind}, {folder.Path} is '{folder.Description.Kind}'");
        }
    }

    /// <summary>Tests a ranker.</summary>
    /// <param name="run">The options.</param>
    /// <param name="folder">The model.</param>
    /// <param name="which">Which click is tested.</param>
    /// <param name="skipUnknown">Leaves items that the model does not know out of histories and out of what was not clicked, and users whose held-out item is one of them out of the test.</param>
    public static void Run(CommandRun run, ModelFolder folder, HeldOut which, bool skipUnknown)
    {
        using OutputFile? perSample = run.Get(s_perSample) is { } file ? OutputFile.Create(file, run.Force) : null;
        foreach (string input in (string[])[ClickFile.PathOf(run), .. run.Get(EvaluateCommand.Against) is { } scored ? (string[])[scored] : [], .. Directory.GetFiles(folder.Path)])
            perSample?.RequireOther(input);
        ClickLog log = ClickFile.Read(run);
        if (log.Split.Evaluated.Count == 0)
            throw new InvalidDataException($"{ClickFile.PathOf(run)}: no user has {LeaveOneOut.LeastEvents} clicks, so there is nothing to test");
        TorchRuntime.Start(GlobalOptions.ThreadCount(run.Parsed));
        using RankerModel model = RankerModel.Open(folder);
        RankerCatalogue catalogue = RankerCatalogue.Of(model.Items, log);
        HeldOutSamples drawn = HeldOutSamples.Draw(log, Options(run, model, log, which));
        if (drawn.Samples.Length == 0)
            throw new InvalidDataException($"{ClickFile.PathOf(run)}: each of the {drawn.UsersLeftOut} users with {LeaveOneOut.LeastEvents} clicks took all items that can be drawn: there is none that was not clicked");
        if (drawn.UsersLeftOut > 0)
            run.Progress.Note($"{drawn.UsersLeftOut} users who took all items that can be drawn were left out");
        ClickSample[] samples = Known(run, log, catalogue, drawn.Samples, skipUnknown);
        double[] other = run.Get(EvaluateCommand.Against) is { } against ? ClickScoreFile.Read(against, log.Clicks, samples) : [];
        double[] scores = run.Progress.Step("evaluate", samples.Length, "samples", step => model.Scorer.Score(log, catalogue, samples, count =>
        {
            run.Cancellation.ThrowIfCancellationRequested();
            step.Advance(count);
        }));
        long[] clicks = log.TrainingClicks();
        ClickScores measured = Scores(scores);
        var bootstrap = new BootstrapOptions { Seed = run.Seed, Threads = GlobalOptions.ThreadCount(run.Parsed) };
        ClickIntervals intervals = run.Progress.Step("resample", () => UserBootstrap.Of([measured], bootstrap));
        ClickIntervals? difference = other.Length > 0 ? run.Progress.Step("compare", () => UserBootstrap.Difference([measured], [Scores(other)], bootstrap)) : null;
        run.Cancellation.ThrowIfCancellationRequested();
        if (perSample is not null)
        {
            ClickScoreFile.Write(perSample.Stream, log.Clicks, samples, scores);
            perSample.Commit();
        }
        Report(run, measured, intervals, difference);

        ClickScores Scores(double[] values) => new(samples, values, item => clicks[item] < run.Need(s_cold));
    }

    private static HeldOutSampleOptions Options(CommandRun run, RankerModel model, ClickLog log, HeldOut which)
    {
        if (log.HasPassed && ((Option[])[s_negatives, s_perClick]).FirstOrDefault(option => run.Parsed.GetResult(option) is { Implicit: false }) is { } useless)
            throw new ArgumentException($"{useless.Name} is of {ClickFile.Sequences.Name}: {ClickFile.Samples.Name} say what was not clicked");
        NegativeItems? negatives = run.Get(s_negatives) is { } name ? OptionName.Parse<NegativeItems>(name) : model.Negatives;
        if (negatives is null && !log.HasPassed)
            throw new ArgumentException($"{s_negatives.Name} is missing, and nothing was drawn in the training: its samples said what was not clicked, {ClickFile.Sequences.Name} do not");
        return new HeldOutSampleOptions
        {
            Which = which,
            Negatives = negatives ?? default,
            NegativesPerClick = run.Need(s_perClick),
            MaximumUsers = run.Need(s_users),
            Seed = run.Seed,
        };
    }

    private static ClickSample[] Known(CommandRun run, ClickLog log, RankerCatalogue catalogue, ClickSample[] samples, bool skipUnknown)
    {
        foreach (ClickSample sample in skipUnknown ? [] : samples)
        {
            foreach (int item in (int[])[.. log.Clicks[sample.User][..sample.Seen], sample.Item])
            {
                if (catalogue.Rows[item] < 0)
                    throw new InvalidDataException(Histories.WhereOf(log.Clicks.Users[sample.User]) + KnownItems.Lacks(catalogue.Items, log.Clicks.Items[item]));
            }
        }
        ILookup<bool, ClickSample> unknown = samples.Where(sample => catalogue.Rows[sample.Item] < 0).ToLookup(sample => sample.IsClicked);
        // Without its click there is nothing that a user's other samples could be told from.
        HashSet<int> users = [.. unknown[true].Select(sample => sample.User)];
        ClickSample[] known = [.. samples.Where(sample => catalogue.Rows[sample.Item] >= 0 && !users.Contains(sample.User))];
        if (known.Length == 0)
            throw new InvalidDataException($"{ClickFile.PathOf(run)}: none of the {users.Count} held-out clicks is on an item that the model knows");
        if (users.Count > 0)
            run.Progress.Note($"{users.Count} users whose held-out item the model does not know were left out");
        int others = unknown[false].Count(sample => !users.Contains(sample.User));
        if (others > 0)
            run.Progress.Note($"{others} other samples are of items that the model does not know and were left out");
        return known;
    }

    private static void Report(CommandRun run, ClickScores measured, ClickIntervals intervals, ClickIntervals? difference)
    {
        (string Name, string Label, Func<ClickIntervals, BootstrapInterval> Of)[] measures =
            [("auc", "AUC", all => all.Auc), ("auc-cold", "AUC of cold items", all => all.ColdAuc), ("gauc", "AUC by user", all => all.GroupedAuc), ("logloss", "log loss", all => all.LogLoss)];
        foreach ((string name, string label, Func<ClickIntervals, BootstrapInterval> of) in measures)
            run.Results.Value(name, of(intervals).Value, double.IsNaN(of(intervals).Value) ? "–" : $"{Four(of(intervals).Value)} ± {Four(of(intervals).Margin)}", label);
        run.Results.Value("users", measured.Users);
        run.Results.Value("samples", measured.Samples);
        run.Results.Value("clicks", measured.Clicks);
        run.Results.Value("cold_samples", measured.ColdSamples);
        foreach ((string name, string label, Func<ClickIntervals, BootstrapInterval> of) in measures)
        {
            if (run.Json)
                run.Results.Value($"{name}_margin", of(intervals).Margin);
            if (difference is null)
                continue;
            BootstrapInterval found = of(difference);
            run.Results.Value($"{name}_difference", found.Value, double.IsNaN(found.Value) ? "–" : $"{Four(found.Value)}, 95 % within {Four(found.Low)} … {Four(found.High)}", $"{label}, difference");
            if (!run.Json)
                continue;
            run.Results.Value($"{name}_difference_low", found.Low);
            run.Results.Value($"{name}_difference_high", found.High);
        }
    }

    private static string Four(double value) => value.ToString("F4", CultureInfo.InvariantCulture);
}
