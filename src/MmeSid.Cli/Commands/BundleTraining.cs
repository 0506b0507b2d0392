using MmeSid.Cli.Terminal;
using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary>A quantizer trained on a table, and the SIDs of the table's own rows.</summary>
internal sealed record TrainedBundle(BundleContent Content, TrainingResult Training, AssignmentReport Assigned, SettlingReport Settled);

/// <summary>From embeddings to a bundle: train, assign, settle. Used by <c>train</c> and <c>demo</c>.</summary>
internal static class BundleTraining
{
    /// <summary>Trains and assigns.</summary>
    /// <param name="run">Progress, threads, backend.</param>
    /// <param name="table">Rows x, after preprocessing.</param>
    /// <param name="preprocessing">How <paramref name="table"/> came about.</param>
    /// <param name="inputs">The raw tables.</param>
    /// <param name="options">How to train.</param>
    /// <param name="settling">How collisions are settled, given the quantizer.</param>
    /// <param name="eachIteration">A line on stderr for every iteration of k-means; otherwise only when details were asked for.</param>
    public static TrainedBundle Run(CommandRun run, EmbeddingTable table, Preprocessing preprocessing, IReadOnlyList<BundleInput> inputs,
        TrainingOptions options, Func<Quantizer, SettlingOptions> settling, bool eachIteration = true)
    {
        IBackend backend = GlobalOptions.CreateBackend(run.Parsed);
        TrainingResult training = Train(run, table, options, backend, eachIteration || run.Verbose);
        using IQuantizerEncoder encoder = training.Quantizer.CreateEncoder(backend, options.Beam, options.Threads);
        (SidTable codes, AssignmentReport assigned) = Assignment.Collect(run, table, encoder);
        SettlingOptions chosen = settling(training.Quantizer);
        SettlingResult settled = run.Progress.Step($"settle ({CollisionName.Of(chosen.Policy)})", table.Count, "items", step =>
        {
            SettlingResult result = CollisionSettling.Settle(codes, training.Quantizer, table, chosen, taken: null, run.Cancellation);
            step.Advance(table.Count);
            return result;
        });
        var content = new BundleContent
        {
            Quantizer = training.Quantizer,
            Preprocessing = preprocessing,
            Items = table.Items,
            Codes = codes,
            Sids = settled.Sids,
            Collisions = chosen.Policy,
            Settling = chosen.Method,
            Inputs = inputs,
            Options = Describe(options),
            Metrics = Measured(table.Count > 0 ? assigned.SquaredError / table.Count : 0, settled.Report),
        };
        return new TrainedBundle(content, training, assigned, settled.Report);
    }

    private static TrainingResult Train(CommandRun run, EmbeddingTable table, TrainingOptions options, IBackend backend, bool eachIteration) =>
        run.Progress.Step($"train {QuantizerName.Of(options.Kind)}", 0, "rows", step =>
        {
            string unit = options.Kind is QuantizerKind.Pq or QuantizerKind.Opq ? "sub-space" : "level";
            return QuantizerTrainer.Train(table, options, backend, new DirectProgress<TrainingProgress>(progress =>
            {
                if (progress.Problem is { } problem)
                {
                    run.Progress.Note(problem);
                    return;
                }
                string where = progress.Level < 0 ? "rotation" : $"{unit} {progress.Level + 1} of {progress.Levels}";
                string stage = progress.Finished is { } iteration
                    ? $"{where}, iteration {iteration.Iteration}, mean squared error {iteration.MeanSquaredError:G6}"
                    : $"{where}, {progress.Stage.ToString().ToLowerInvariant()}";
                step.Reach(progress.RowsDone, progress.RowsTotal, stage);
                if (eachIteration && progress.Finished is { } done)
                    run.Progress.Detail($"  {stage}, {done.Moved:N0} rows moved, {done.EmptyCodes:N0} codes empty, {ResultSheet.Seconds(done.Seconds)}");
            }), run.Cancellation);
        });

    /// <summary>The numbers that the manifest keeps; an error that overflows float32 is none.</summary>
    private static Dictionary<string, double> Measured(double meanSquaredError, SettlingReport settled)
    {
        var metrics = new Dictionary<string, double> { ["colliding_items"] = settled.Colliding, ["moved_items"] = settled.Moved };
        if (double.IsFinite(meanSquaredError))
            metrics["mean_squared_error"] = meanSquaredError;
        return metrics;
    }

    /// <summary>The options as the manifest keeps them.</summary>
    private static Dictionary<string, string> Describe(TrainingOptions options)
    {
        var names = new Dictionary<string, string>
        {
            ["levels"] = $"{options.Levels}",
            ["codes"] = string.Join(',', options.Codes),
            ["seed"] = $"{options.Seed}",
            ["initialization"] = options.WarmStart is not null ? "warm start" : InitializationName(options.Initialization),
            ["iterations"] = $"{options.Iterations}",
            ["tolerance"] = $"{options.Tolerance}",
            [BundleOptions.BeamName] = $"{options.Beam}",
        };
        if (options.MiniBatch > 0)
            names["mini_batch"] = $"{options.MiniBatch}";
        if (options.TrainRows is { } rows)
            names["train_rows"] = $"{rows}";
        if (options.MinimumClusterSize is { } least)
            names["min_size"] = $"{least}";
        if (options.MaximumClusterSize is { } most)
            names["max_size"] = $"{most}";
        if (options.BalancedClusters)
            names["balanced"] = "true";
        if (options.SinkhornLastLevel is not null)
            names["balanced_last_level"] = "true";
        if (options.Kind == QuantizerKind.Opq)
            names["rotation_iterations"] = $"{options.RotationIterations}";
        return names;
    }

    /// <summary>A start of k-means as the command line spells it.</summary>
    public static string InitializationName(KMeansInitialization initialization) => initialization == KMeansInitialization.Random ? "random" : "k-means++";
}
