using MmeSid.Cli.Terminal;
using MmeSid.Training.Optimization;

namespace MmeSid.Cli.Commands;

/// <summary>
/// Shows a training loop in a step of a command: steps done, time left, the last epoch's loss and its parts; every epoch as a line where details were asked for.
/// Reports on the calling thread.
/// </summary>
internal sealed class TrainingLoopProgress(CommandRun run, ProgressStep step) : IProgress<LoopProgress>
{
    private string _note = "epoch 1";

    public void Report(LoopProgress value)
    {
        if (value.Problem is { } problem)
            run.Progress.Note(problem);
        if (value.Finished is { } epoch)
        {
            _note = Describe(epoch);
            if (run.Verbose)
                run.Progress.Note($"  {_note}, {ResultSheet.Seconds(epoch.Seconds)}");
        }
        try
        {
            step.Reach(value.StepsDone, value.StepsTotal, _note);
        }
        catch (OperationCanceledException)
        {
            // The loop looks for itself before its next step, and then writes its checkpoint.
        }
    }

    /// <summary>The epochs as a table of results: curves.</summary>
    public static void Report(ResultSheet results, IReadOnlyList<EpochReport> epochs)
    {
        if (epochs.Count == 0)
            return;
        string[] parts = [.. epochs[0].Parts.Keys];
        bool scored = epochs.Any(epoch => epoch.Score is not null);
        results.Table("epochs", ["epoch", "loss", .. parts.Select(part => part.Replace(' ', '_')), .. scored ? (string[])["score"] : [], "learning_rate", "seconds"],
            epochs.Select(epoch => (IReadOnlyList<ResultSheet.Cell>)
            [
                (long)epoch.Epoch, epoch.Loss, .. parts.Select(part => (ResultSheet.Cell)epoch.Parts[part]),
                .. scored ? (ResultSheet.Cell[])[epoch.Score is { } score ? score : ResultSheet.Cell.None] : [], epoch.LearningRate, epoch.Seconds,
            ]));
    }

    private static string Describe(EpochReport epoch)
    {
        string parts = string.Join(", ", epoch.Parts.Select(part => $"{part.Key} {part.Value:G4}"));
        string score = epoch.Score is { } value ? $", score {value:G5}" : "";
        return $"epoch {epoch.Epoch}, loss {epoch.Loss:G5}{(parts.Length > 0 ? $" ({parts})" : "")}{score}";
    }
}
