using System.CommandLine;
using System.Globalization;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Training.Ranking;
using MmeSid.Training.Recommendation;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid evaluate</c>: leave-one-out, over all items or, of a ranker, against what was not clicked.</summary>
internal static class EvaluateCommand
{
    private static readonly int[] s_cutoffs = [5, 10, 20];

    /// <summary>What a model is held against.</summary>
    public static Option<string?> Against { get; } = new("--against")
    {
        Description = "Another model, for the same users: what this one gains over it, and which share of the best items both return; options of models that generate are for both. "
            + $"Of a {RankerModel.Kind}: the file that --per-sample wrote for another one; adds the differences and their intervals, both models seeing the same users in every resample.",
        HelpName = "path",
    };

    public static Command Create()
    {
        Option<string> model = ModelOption.Create($"{SasRecModel.Kind}, {SidLanguageModel.Kind}, {MmeSidModel.Kind} or {RankerModel.Kind}");
        var split = new Option<string>("--split")
        {
            Description = "Which event is predicted: test, the last one; validation, the last but one.",
            DefaultValueFactory = _ => "test",
        }.AcceptOnlyFromAmong("test", "validation");
        var unknown = new Option<string>("--unknown")
        {
            Description = "Items that the model does not know: refuse stops; skip leaves them out of histories and counts a user whose held-out item is one of them as a miss. "
                + $"Of a {RankerModel.Kind}: such a user is left out, and what was not clicked is without them.",
            DefaultValueFactory = _ => "refuse",
        }.AcceptOnlyFromAmong("refuse", "skip");
        var command = new Command("evaluate", "How well a model predicts each user's held-out item: HR, nDCG and MRR at 5, 10 and 20 over all items, those of the history left out; nothing is sampled. "
            + "Of a model that generates SIDs: over what its beams find; items that share a SID count as if their order were random. Of a ranker: AUC of all and of cold items, AUC by user and log loss of the held-out clicks "
            + "against what was not clicked, given or drawn. ± is half the 95 % confidence interval over users.")
        {
            model, Against,
        };
        ClickFile.AddTo(command);
        command.Add(split);
        command.Add(unknown);
        RankerEvaluation.AddOptions(command);
        TrainedRecommender.AddOptions(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            ModelFolder folder = ModelFolder.Open(run.Need(model));
            bool skip = run.Need(unknown) == "skip";
            HeldOut which = run.Need(split) == "test" ? HeldOut.Test : HeldOut.Validation;
            if (folder.Description.Kind == RankerModel.Kind)
            {
                TrainedRecommender.RefuseOptions(run, folder);
                RankerEvaluation.Run(run, folder, which, skip);
                return;
            }
            RankerEvaluation.RefuseOptions(run, folder);
            InteractionSequences sequences = SequenceFile.Read(run, run.Get(ClickFile.Sequences)!);
            var counted = new LeaveOneOut(sequences);
            if (counted.Evaluated.Count == 0)
                throw new InvalidDataException($"{run.Get(ClickFile.Sequences)}: no user has {LeaveOneOut.LeastEvents} events, so there is nothing to predict");
            ModelFolder? second = run.Get(Against) is { } path ? ModelFolder.Open(path) : null;
            using TrainedRecommender trained = TrainedRecommender.Open(run, folder, s_cutoffs.Max(), second);
            using TrainedRecommender? other = second is null ? null : TrainedRecommender.Open(run, second, s_cutoffs.Max(), folder);
            RankingComparison? comparison = null;
            RankingMetrics metrics = run.Progress.Step("evaluate", counted.Evaluated.Count, "users", step =>
            {
                void Evaluated(int users)
                {
                    run.Cancellation.ThrowIfCancellationRequested();
                    step.Advance(users);
                }
                if (other is not null)
                    return (comparison = NextItemEvaluation.Compare(trained.Recommender, other.Recommender, sequences, which, s_cutoffs, Evaluated, skip)).First;
                return trained.Scorer is { } scorer
                    ? NextItemEvaluation.Run(scorer, sequences, which, s_cutoffs, Evaluated, skip)
                    : NextItemEvaluation.Run(trained.Recommender, sequences, which, s_cutoffs, Evaluated, skip);
            });
            Show(run, metrics, "", "F4");
            run.Results.Value("users", metrics.Users);
            if (run.Json)
                ShowMargins(run, metrics, "");
            if (comparison is null)
                return;
            Show(run, comparison.Gains, "gain_", "+0.0000;-0.0000;0.0000");
            if (run.Json)
                ShowMargins(run, comparison.Gains, "gain_");
            foreach (int k in s_cutoffs)
                run.Results.Value($"overlap@{k}", comparison.Overlap(k), $"{comparison.Overlap(k):F4}");
            run.Results.Value("score_difference", comparison.ScoreDifference);
        }));
        return command;
    }

    private static (string Name, Func<int, double> Mean, Func<int, double> Margin)[] Measures(RankingMetrics metrics) =>
        [("hr", metrics.HitRate, metrics.HitRateMargin), ("ndcg", metrics.Ndcg, metrics.NdcgMargin), ("mrr", metrics.Mrr, metrics.MrrMargin)];

    private static void Show(CommandRun run, RankingMetrics metrics, string prefix, string format)
    {
        foreach ((string name, Func<int, double> mean, Func<int, double> margin) in Measures(metrics))
        {
            foreach (int k in metrics.Cutoffs)
                run.Results.Value($"{prefix}{name}@{k}", mean(k), string.Create(CultureInfo.CurrentCulture, $"{mean(k).ToString(format, CultureInfo.CurrentCulture)} ± {margin(k):F4}"), label: $"{prefix.Replace('_', ' ')}{name}@{k}");
        }
    }

    private static void ShowMargins(CommandRun run, RankingMetrics metrics, string prefix)
    {
        foreach ((string name, _, Func<int, double> margin) in Measures(metrics))
        {
            foreach (int k in metrics.Cutoffs)
                run.Results.Value($"{prefix}{name}@{k}_margin", margin(k));
        }
    }
}
