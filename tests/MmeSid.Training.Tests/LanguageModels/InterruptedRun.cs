using MmeSid.Training.Optimization;

namespace MmeSid.Training.Tests.LanguageModels;

/// <summary>Runs of <see cref="TrainingLoop"/> that are cut short.</summary>
internal static class InterruptedRun
{
    /// <summary>Cancels a run after so many steps; its checkpoint stays.</summary>
    public static void Run(ILearner learner, LoopOptions options, int steps)
    {
        using var cancelled = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => TrainingLoop.Run(learner, options, new Steps(steps, cancelled), cancelled.Token));
    }

    private sealed class Steps(int count, CancellationTokenSource source) : IProgress<LoopProgress>
    {
        public void Report(LoopProgress value)
        {
            if (value.StepsDone == count)
                source.Cancel();
        }
    }
}
