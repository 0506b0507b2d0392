using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid evaluate</c>: leave-one-out over all items.</summary>
internal static class EvaluateCommand
{
    private static readonly int[] s_cutoffs = [5, 10, 20];

    public static Command Create()
    {
        Option<string> model = ModelOption.Create(TrainedRecommender.Kinds);
        var split = new Option<string>("--split")
        {
            Description = "Which event is predicted: test, the last one; validation, the last but one.",
            DefaultValueFactory = _ => "test",
        }.AcceptOnlyFromAmong("test", "validation");
        var unknown = new Option<string>("--unknown")
        {
            Description = "Items that the model does not know: refuse stops; skip leaves them out of histories and counts a user whose held-out item is one of them as a miss.",
            DefaultValueFactory = _ => "refuse",
        }.AcceptOnlyFromAmong("refuse", "skip");
        var command = new Command("evaluate", "How well a model predicts each user's held-out item: HR, nDCG and MRR at 5, 10 and 20 over all items, those of the history left out; nothing is sampled. "
            + "Of a model that generates SIDs: over what its beams find; items that share a SID count as if their order were random. ± is half the 95 % confidence interval over users.")
        {
            model, SequenceFile.Option, split, unknown,
        };
        TrainedRecommender.AddOptions(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            ModelFolder folder = ModelFolder.Open(run.Need(model));
            InteractionSequences sequences = SequenceFile.Read(run);
            var counted = new LeaveOneOut(sequences);
            if (counted.Evaluated.Count == 0)
                throw new InvalidDataException($"{run.Need(SequenceFile.Option)}: no user has {LeaveOneOut.LeastEvents} events, so there is nothing to predict");
            using TrainedRecommender trained = TrainedRecommender.Open(run, folder, s_cutoffs.Max());
            bool skip = run.Need(unknown) == "skip";
            HeldOut which = run.Need(split) == "test" ? HeldOut.Test : HeldOut.Validation;
            RankingMetrics metrics = run.Progress.Step("evaluate", counted.Evaluated.Count, "users", step =>
            {
                void Evaluated(int users)
                {
                    run.Cancellation.ThrowIfCancellationRequested();
                    step.Advance(users);
                }
                return trained.Scorer is { } scorer
                    ? NextItemEvaluation.Run(scorer, sequences, which, s_cutoffs, Evaluated, skip)
                    : NextItemEvaluation.Run(trained.Recommender, sequences, which, s_cutoffs, Evaluated, skip);
            });
            (string Name, Func<int, double> Mean, Func<int, double> Margin)[] measures = [("hr", metrics.HitRate, metrics.HitRateMargin), ("ndcg", metrics.Ndcg, metrics.NdcgMargin), ("mrr", metrics.Mrr, metrics.MrrMargin)];
            foreach ((string name, Func<int, double> mean, Func<int, double> margin) in measures)
            {
                foreach (int k in metrics.Cutoffs)
                    run.Results.Value($"{name}@{k}", mean(k), $"{mean(k):F4} ± {margin(k):F4}");
            }
            run.Results.Value("users", metrics.Users);
            if (!run.Json)
                return;
            foreach ((string name, _, Func<int, double> margin) in measures)
            {
                foreach (int k in metrics.Cutoffs)
                    run.Results.Value($"{name}@{k}_margin", margin(k));
            }
        }));
        return command;
    }
}
