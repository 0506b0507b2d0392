using System.Diagnostics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Optimization;

/// <summary>
/// Trains with AdamW: epochs of steps, a learning rate by step, the best epoch (or the last) kept, an end when nothing improves, and a checkpoint from which
/// a run that was cut short goes on. On the CPU the same learner, options and threads give the same bytes, resumed or not.
/// </summary>
public static class TrainingLoop
{
    private const string kKey = "key", kState = "state";

    /// <summary>Trains the learner's module; at the end it has the parameters of the epoch that the options keep and is in evaluation mode.</summary>
    /// <param name="learner">Model, data, loss.</param>
    /// <param name="options">Epochs, rates, checkpoint.</param>
    /// <param name="progress">Told every step.</param>
    /// <param name="cancellation">Looked at before each step and by the learner's validation. A checkpoint is written then, and when <paramref name="progress"/> cancels.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="DivergenceException">The loss is NaN or infinite: the step, its parts and what to try.</exception>
    /// <exception cref="InvalidDataException">The checkpoint is damaged or of another run.</exception>
    public static LoopResult Run(ILearner learner, LoopOptions options, IProgress<LoopProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(learner);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        using DisposeScope scope = NewDisposeScope();
        using AdamW optimizer = optim.AdamW(learner.Module.parameters(), options.LearningRate, beta2: options.SecondMoment, weight_decay: options.WeightDecay);
        var best = new Dictionary<string, Tensor>();
        LoopState state = Load(learner.Module, optimizer, best, options) ?? new LoopState();
        int stepsPerEpoch = StepsPerEpoch(learner, options);
        long steps = (long)options.Epochs * stepsPerEpoch;
        long lastSave = Stopwatch.GetTimestamp();
        bool stopped = IsOutOfPatience(state, options);
        try
        {
            while (state.Epoch < options.Epochs && !stopped)
            {
                learner.Module.train();
                while (state.Step < stepsPerEpoch)
                {
                    cancellation.ThrowIfCancellationRequested();
                    Step(learner, optimizer, state, options, steps);
                    state.Step++;
                    string? problem = null;
                    if (Stopwatch.GetElapsedTime(lastSave) >= options.CheckpointInterval)
                    {
                        problem = Save(learner.Module, optimizer, best, state, options);
                        lastSave = Stopwatch.GetTimestamp();
                    }
                    progress?.Report(new LoopProgress((long)state.Epoch * stepsPerEpoch + state.Step, steps, null, problem));
                }
                EpochReport report = EndEpoch(learner, best, state, options, steps, cancellation);
                stopped = IsOutOfPatience(state, options);
                progress?.Report(new LoopProgress((long)state.Epoch * stepsPerEpoch, steps, report));
            }
        }
        catch (OperationCanceledException)
        {
            _ = Save(learner.Module, optimizer, best, state, options);
            throw;
        }
        Restore(learner.Module, best);
        learner.Module.eval();
        return new LoopResult(state.Epochs, state.BestEpoch, options.Keep == KeptEpoch.Best ? state.BestEpoch : state.Epoch, stopped);
    }

    /// <summary>Steps of the optimizer in an epoch.</summary>
    private static int StepsPerEpoch(ILearner learner, LoopOptions options) => (learner.StepsPerEpoch + options.Accumulate - 1) / options.Accumulate;

    private static void Step(ILearner learner, AdamW optimizer, LoopState state, LoopOptions options, long steps)
    {
        long start = Stopwatch.GetTimestamp();
        long step = (long)state.Epoch * StepsPerEpoch(learner, options) + state.Step;
        foreach (optim.ILearningRateController group in optimizer.ParamGroups)
            group.LearningRate = options.RateAt(step, steps);
        using DisposeScope scope = NewDisposeScope();
        optimizer.zero_grad();
        int first = state.Step * options.Accumulate, end = Math.Min(first + options.Accumulate, learner.StepsPerEpoch);
        for (int batch = first; batch < end; batch++)
        {
            // What the learner needs afterwards lives as long as its batch.
            using DisposeScope room = NewDisposeScope();
            Differentiate(learner, state, options, batch, end - first);
            if (batch == end - 1)
            {
                if (options.GradientNorm > 0)
                    _ = nn.utils.clip_grad_norm_(learner.Module.parameters(), options.GradientNorm);
                _ = optimizer.step();
            }
            using (no_grad())
                learner.AfterStep(state.Epoch, batch);
        }
        state.Seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    // Adds the batch's share of the gradient. Tensors stay in the caller's scope.
    private static void Differentiate(ILearner learner, LoopState state, LoopOptions options, int batch, int batches)
    {
        StepLoss loss = learner.Loss(state.Epoch, batch);
        double total = Add("", loss.Total);
        foreach ((string name, Tensor value) in loss.Parts)
            Add(name, value);
        if (!double.IsFinite(total))
        {
            string parts = string.Join(", ", loss.Parts.Select(part => FormattableString.Invariant($"{part.Name} {part.Value.ToDouble():G4}")));
            throw Diverged(FormattableString.Invariant($"the loss is {total} at step {state.Step + 1} of epoch {state.Epoch + 1}{(parts.Length > 0 ? $" ({parts})" : "")}"), options);
        }
        if (!loss.Total.requires_grad)
            throw new ArgumentException("the loss depends on nothing that is trained: the weights of all its parts that have a gradient are zero");
        (batches == 1 ? loss.Total : loss.Total / batches).backward();

        double Add(string name, Tensor value)
        {
            double number = value.ToDouble();
            state.Sums[name] = state.Sums.GetValueOrDefault(name) + number;
            return number;
        }
    }

    private static EpochReport EndEpoch(ILearner learner, Dictionary<string, Tensor> best, LoopState state, LoopOptions options, long steps, CancellationToken cancellation)
    {
        RequireFinite(learner.Module, state, options);
        double? score = null;
        bool judged = (state.Epoch + 1) % options.ValidateEvery == 0 || state.Epoch + 1 == options.Epochs;
        if (judged)
        {
            learner.Module.eval();
            using DisposeScope scope = NewDisposeScope();
            using (no_grad())
                score = learner.Validate(cancellation);
            if (score is double.NaN)
                throw Diverged($"the model cannot be judged after epoch {state.Epoch + 1}", options);
        }
        double count = learner.StepsPerEpoch;
        double rate = options.RateAt(((state.Epoch + 1L) * StepsPerEpoch(learner, options)) - 1, steps);
        var report = new EpochReport(state.Epoch + 1, state.Sums[""] / count,
            state.Sums.Skip(1).ToDictionary(part => part.Key, part => part.Value / count), score, rate, state.Seconds);
        double gain = score ?? (judged ? -report.Loss : double.NegativeInfinity);
        if (gain > state.BestScore)
        {
            (state.BestScore, state.BestEpoch) = (gain, report.Epoch);
            if (options.Keep == KeptEpoch.Best)
                Keep(learner.Module, best);
        }
        state.Epochs.Add(report);
        state.Epoch++;
        state.Step = 0;
        state.Seconds = 0;
        state.Sums.Clear();
        return report;
    }

    // The last step of an epoch shows in no loss before the model is judged and kept.
    private static void RequireFinite(nn.Module module, LoopState state, LoopOptions options)
    {
        using DisposeScope scope = NewDisposeScope();
        foreach ((string name, Tensor tensor) in module.state_dict())
        {
            if (tensor.is_floating_point() && !tensor.isfinite().all().ToBoolean())
                throw Diverged($"{name} holds what is no number after epoch {state.Epoch + 1}", options);
        }
    }

    private static DivergenceException Diverged(string what, LoopOptions options) => new(FormattableString.Invariant(
        $"{what}; try a smaller learning rate than {options.LearningRate:G3}, more warm-up steps, or a bound on the gradient norm"));

    private static bool IsOutOfPatience(LoopState state, LoopOptions options) =>
        options.Patience > 0 && state.BestEpoch > 0 && state.Epoch - state.BestEpoch >= options.Patience;

    private static void Keep(nn.Module module, Dictionary<string, Tensor> best)
    {
        using (no_grad())
        {
            foreach ((string name, Tensor tensor) in module.state_dict())
            {
                if (best.TryGetValue(name, out Tensor? kept))
                    kept.copy_(tensor);
                else
                    best.Add(name, tensor.detach().clone());
            }
        }
    }

    private static void Restore(nn.Module module, Dictionary<string, Tensor> best)
    {
        using (no_grad())
        {
            foreach ((string name, Tensor tensor) in module.state_dict())
            {
                if (best.TryGetValue(name, out Tensor? kept))
                    tensor.copy_(kept);
            }
        }
    }

    // Where the system refuses, training is worth more than its checkpoint.
    private static string? Save(nn.Module module, AdamW optimizer, Dictionary<string, Tensor> best, LoopState state, LoopOptions options)
    {
        if (options.CheckpointPath is null)
            return null;
        try
        {
            ModelCheckpoint.Save(options.CheckpointPath, module, optimizer, best, new Dictionary<string, string> { [kKey] = options.CheckpointKey, [kState] = state.Format() });
            return null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return $"checkpoint not written: {problem.Message}";
        }
    }

    private static LoopState? Load(nn.Module module, AdamW optimizer, Dictionary<string, Tensor> best, LoopOptions options)
    {
        if (options.CheckpointPath is not { } path || !File.Exists(path))
            return null;
        IReadOnlyDictionary<string, string> texts = ModelCheckpoint.ReadMetadata(path);
        if (!texts.TryGetValue(kKey, out string? key) || !texts.TryGetValue(kState, out string? state))
            throw new InvalidDataException($"{path}: is no checkpoint of a training loop");
        if (key != options.CheckpointKey)
        {
            return options.ReplaceOtherCheckpoint ? null
                : throw new InvalidDataException($"{path}: checkpoint of another run (other data or options); delete it or name another file");
        }
        LoopState parsed = LoopState.Parse(path, state);
        _ = ModelCheckpoint.Load(path, module, optimizer, best);
        return parsed;
    }
}
