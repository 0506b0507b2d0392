using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Training;
using MmeSid.Training.Recommendation;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid evaluate</c>: leave-one-out over all items.</summary>
internal static class EvaluateCommand
{
    public static Command Create()
    {
        Option<string> model = ModelOption.Create();
        var split = new Option<string>("--split")
        {
            Description = "Which event is predicted: test, the last one; validation, the last but one.",
            DefaultValueFactory = _ => "test",
        }.AcceptOnlyFromAmong("test", "validation");
        var command = new Command("evaluate", "How well a model predicts each user's held-out item: HR, nDCG and MRR at 5, 10 and 20 over all items, those of the history left out; nothing is sampled.")
        {
            model, SequenceFile.Option, split,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            ModelFolder folder = ModelFolder.Open(run.Need(model));
            InteractionSequences sequences = SequenceFile.Read(run);
            var counted = new LeaveOneOut(sequences);
            if (counted.Evaluated.Count == 0)
                throw new InvalidDataException($"{run.Need(SequenceFile.Option)}: no user has {LeaveOneOut.LeastEvents} events, so there is nothing to predict");
            TorchRuntime.Start(GlobalOptions.ThreadCount(parsed));
            using SasRecModel trained = SasRecModel.Open(folder);
            RankingMetrics metrics = run.Progress.Step("evaluate", counted.Evaluated.Count, "users", step =>
                NextItemEvaluation.Run(trained.Scorer, sequences, run.Need(split) == "test" ? HeldOut.Test : HeldOut.Validation, evaluated: users => step.Advance(users)));
            foreach (int k in metrics.Cutoffs)
                run.Results.Value($"hr@{k}", metrics.HitRate(k), $"{metrics.HitRate(k):F4}");
            foreach (int k in metrics.Cutoffs)
                run.Results.Value($"ndcg@{k}", metrics.Ndcg(k), $"{metrics.Ndcg(k):F4}");
            foreach (int k in metrics.Cutoffs)
                run.Results.Value($"mrr@{k}", metrics.Mrr(k), $"{metrics.Mrr(k):F4}");
            run.Results.Value("users", metrics.Users);
        }));
        return command;
    }
}
