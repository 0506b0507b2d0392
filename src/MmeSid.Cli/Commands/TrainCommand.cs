using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train vq|pq|opq|rq-kmeans|psrq</c>: embeddings in, a whole bundle out, the SIDs of the table's own rows included.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        var train = new Command("train", "Train a quantizer on embeddings and write a bundle (codebooks, raw codes and settled SIDs of the rows, item ids, manifest), or a model on user sequences.");
        foreach (QuantizerKind kind in QuantizerKinds.KMeans)
            train.Add(Create(kind));
        train.Add(TrainRqVaeCommand.Create(QuantizerKind.RqVae));
        train.Add(TrainMmRqVaeCommand.Create());
        train.Add(TrainRqVaeCommand.Create(QuantizerKind.Hvq));
        train.Add(TrainSasRecCommand.Create());
        train.Add(TrainSidLmCommand.Create());
        train.Add(TrainMmeSidCommand.Create());
        train.Add(TrainRankerCommand.Create());
        return train;
    }

    private static string Summary(QuantizerKind kind) => kind switch
    {
        QuantizerKind.Vq => "One codebook, one code per row.",
        QuantizerKind.Pq => "Product quantization: --levels sub-spaces of equal width, a codebook each.",
        QuantizerKind.Opq => "Product quantization after a learned rotation.",
        QuantizerKind.RqKMeans => "Residual quantization: each level quantizes what the levels before it left over.",
        QuantizerKind.Psrq => "Residual quantization whose later levels also see what was subtracted already (PSRQ); several --embeddings make its joint set.",
        _ => throw new ArgumentOutOfRangeException(nameof(kind)),
    };

    private static Command Create(QuantizerKind kind)
    {
        var own = new KindOptions(kind);
        var command = new Command(QuantizerName.Of(kind), Summary(kind)) { own.Output };
        TableOptions.AddReading(command);
        foreach (Option option in (Option[])[TableOptions.Normalize, TableOptions.Weights, SettlingChoice.Collisions, SettlingChoice.Settling, OutputOptions.Force])
            command.Options.Add(option);
        own.AddTo(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Train(run, own)));
        return command;
    }

    private static void Train(CommandRun run, KindOptions own)
    {
        string path = run.Need(own.Output);
        using OutputFolder output = OutputFolder.Create(path, run.Force);
        SidBundle? earlier = run.Get(own.WarmStart) is string folder ? SidBundle.Open(folder) : null;
        TrainingOptions options = own.Read(run, earlier?.Quantizer);
        IReadOnlyList<EmbeddingTable> tables = TableOptions.Open(run);
        MissingItems missing = TableOptions.MissingItemsOf(run);
        Preprocessing preprocessing = Preprocessing.Of(tables, run.Get(TableOptions.Normalize), TableOptions.WeightsOf(run));
        options.Validate(preprocessing.Dimension);
        if (missing == MissingItems.Mean)
            preprocessing = preprocessing.WithMeans(tables);
        using EmbeddingTable table = TableOptions.Join(run, tables, preprocessing);
        SettlingChoice.RequireRoom(run, options, table.Count);
        Assignment.RequireRoom(table, options.Levels);
        BundleInput[] inputs = [.. tables.Select(BundleInput.Of)];

        TrainedBundle trained = BundleTraining.Run(run, table, preprocessing, inputs, options, quantizer => SettlingChoice.Of(run, quantizer, table.Count));
        run.Cancellation.ThrowIfCancellationRequested();
        SidBundle.Write(output, trained.Content);
        run.DeleteCheckpoint(options.CheckpointPath);

        run.Results.Value("out", path);
        run.Results.Value("quantizer", QuantizerName.Of(options.Kind));
        run.Results.Value("trained_rows", trained.Training.TrainedRows, $"{trained.Training.TrainedRows:N0} of {trained.Training.TableRows:N0}");
        run.Results.Value("training_seconds", trained.Training.Seconds, ResultSheet.Seconds(trained.Training.Seconds));
        Assignment.Report(run, trained.Assigned);
        Settlement.Report(run.Results, trained.Content, trained.Settled);
        if (earlier is not null)
            ReportMoves(run.Results, earlier, trained.Content);
        if (run.Verbose || run.Json)
        {
            run.Results.Table("iterations", ["level", "iteration", "mean_squared_error", "moved", "empty_codes", "seconds"], trained.Training.Iterations.Select(done =>
                (IReadOnlyList<ResultSheet.Cell>)[(long)done.Level, (long)done.Iteration, done.MeanSquaredError, done.Moved, (long)done.EmptyCodes, done.Seconds]));
        }
    }

    /// <summary>How many items of an earlier bundle have other codes and SIDs now.</summary>
    private static void ReportMoves(ResultSheet results, SidBundle earlier, BundleContent now)
    {
        var oldRows = new List<long>();
        var newRows = new List<long>();
        for (long row = 0; row < now.Items.Count; row++)
        {
            if (!earlier.Items.TryFind(now.Items[row], out long old))
                continue;
            oldRows.Add(old);
            newRows.Add(row);
        }
        int common = newRows.Count;
        results.Value("items_in_earlier_bundle", common);
        Moved("codes_moved", earlier.Codes, now.Codes);
        Moved("sids_moved", earlier.Sids, now.Sids);

        void Moved(string name, SidTable before, SidTable after)
        {
            // With an extra digit on one side only, no SID is what it was.
            long moved = before.Levels != after.Levels ? common : CodeComparison.CountMoved(before.Select([.. oldRows]).Codes, after.Select([.. newRows]).Codes, after.Levels).Rows;
            results.Value(name, moved, $"{moved:N0} of {common:N0} ({ResultSheet.Percent(common > 0 ? (double)moved / common : 0)})");
        }
    }

    /// <summary>The options of one kind of quantizer. Each subcommand has its own, so that help shows what applies.</summary>
    private sealed class KindOptions(QuantizerKind kind)
    {
        private readonly bool _residual = kind is QuantizerKind.RqKMeans or QuantizerKind.Psrq;

        public Option<string> Output { get; } = OutputOptions.Out("The bundle, a folder.");

        public Option<string?> WarmStart { get; } = new("--warm-start")
        {
            Description = "Start from the codebooks of this bundle (same kind, shape and number of codes) and report how many SIDs moved.",
            HelpName = "folder",
        };

        private Option<int> Levels { get; } = new("--levels", "-l")
        {
            Description = kind is QuantizerKind.Pq or QuantizerKind.Opq ? "Sub-spaces, codes per SID; must divide the dimension." : "Levels, codes per SID.",
            DefaultValueFactory = _ => 4,
            HelpName = "count",
        };

        private Option<string> Codes { get; } = new("--codes", "-k")
        {
            Description = "Codes per level, 2 to 65,536: one number, or one per level such as 256,256,256,64.",
            DefaultValueFactory = _ => "256",
            HelpName = "count",
        };

        private Option<int> Iterations { get; } = new("--iterations")
        {
            Description = "Most iterations of k-means per level.",
            DefaultValueFactory = _ => new TrainingOptions().Iterations,
            HelpName = "count",
        };

        private Option<double> Tolerance { get; } = new("--tolerance")
        {
            Description = "A level is done when an iteration lowers its mean squared error by at most this share.",
            DefaultValueFactory = _ => new TrainingOptions().Tolerance,
            HelpName = "share",
        };

        private Option<string> Initialization { get; } = new Option<string>("--init")
        {
            Description = "Where k-means starts: k-means++, or random rows.",
            DefaultValueFactory = _ => BundleTraining.InitializationName(KMeansInitialization.KMeansPlusPlus),
        }.AcceptOnlyFromAmong(BundleTraining.InitializationName(KMeansInitialization.KMeansPlusPlus), BundleTraining.InitializationName(KMeansInitialization.Random));

        private Option<int> MiniBatch { get; } = new("--mini-batch")
        {
            Description = "Rows of a mini-batch; 0 is Lloyd's algorithm over all rows.",
            DefaultValueFactory = _ => 0,
            HelpName = "rows",
        };

        private Option<long?> MinimumSize { get; } = new("--min-size") { Description = "Fewest rows of a cluster at every level, kept exactly. [default: no bound]", HelpName = "rows" };

        private Option<long?> MaximumSize { get; } = new("--max-size") { Description = "Most rows of a cluster at every level, kept exactly. [default: no bound]", HelpName = "rows" };

        private Option<bool> Balanced { get; } = new("--balanced") { Description = "Bounds on cluster sizes as in MME-SID where --min-size and --max-size give none." };

        private Option<bool> BalancedLastLevel { get; } = new("--balanced-last-level") { Description = "Spread rows evenly over the codes of the last level while it is trained (Sinkhorn)." };

        private Option<bool> KeepDeadCodes { get; } = new("--keep-dead-codes") { Description = "Leave codes that no row uses where they are, instead of restarting them." };

        private Option<long?> TrainRows { get; } = new("--train-rows") { Description = "Rows to train on, drawn with the seed; all rows are assigned. [default: all]", HelpName = "rows" };

        private Option<int> Beam { get; } = new("--beam")
        {
            Description = "Beam width of training and encoding, in prefixes kept per level; 1 is greedy.",
            DefaultValueFactory = _ => 1,
            HelpName = "count",
        };

        private Option<int> RotationIterations { get; } = new("--rotation-iterations")
        {
            Description = "Rounds of alternation between codebooks and rotation.",
            DefaultValueFactory = _ => new TrainingOptions().RotationIterations,
            HelpName = "count",
        };

        private Option<bool> RandomRotation { get; } = new("--random-rotation") { Description = "Start from a random rotation instead of the principal axes." };

        private Option<string?> Checkpoint { get; } = new("--checkpoint")
        {
            Description = "File that keeps the state of training every 30 s and when interrupted: the same command line then goes on where it stopped. Deleted at the end; "
                + "'none' keeps nothing. [default: the bundle's name with .checkpoint, begun anew by another command line]",
            HelpName = "file",
        };

        public void AddTo(Command command)
        {
            if (kind != QuantizerKind.Vq)
                command.Add(Levels);
            foreach (Option option in (Option[])[Codes, Iterations, Tolerance, Initialization, MiniBatch, MinimumSize, MaximumSize, Balanced, BalancedLastLevel, KeepDeadCodes, TrainRows])
                command.Add(option);
            if (_residual)
                command.Add(Beam);
            if (kind == QuantizerKind.Opq)
            {
                command.Add(RotationIterations);
                command.Add(RandomRotation);
            }
            command.Add(WarmStart);
            command.Add(Checkpoint);
        }

        public TrainingOptions Read(CommandRun run, Quantizer? warmStart) => new()
        {
            Kind = kind,
            Levels = kind == QuantizerKind.Vq ? 1 : run.Need(Levels),
            Codes = NumberLists.Parse<int>(run.Need(Codes), "--codes"),
            Seed = run.Seed,
            Initialization = run.Need(Initialization) == BundleTraining.InitializationName(KMeansInitialization.Random) ? KMeansInitialization.Random : KMeansInitialization.KMeansPlusPlus,
            Iterations = run.Need(Iterations),
            Tolerance = run.Need(Tolerance),
            MiniBatch = run.Need(MiniBatch),
            DeadCodeRestart = !run.Get(KeepDeadCodes),
            MinimumClusterSize = run.Get(MinimumSize),
            MaximumClusterSize = run.Get(MaximumSize),
            BalancedClusters = run.Get(Balanced),
            SinkhornLastLevel = run.Get(BalancedLastLevel) ? new SinkhornOptions() : null,
            TrainRows = run.Get(TrainRows),
            Beam = _residual ? run.Need(Beam) : 1,
            RotationIterations = kind == QuantizerKind.Opq ? run.Need(RotationIterations) : new TrainingOptions().RotationIterations,
            RandomRotation = kind == QuantizerKind.Opq && run.Get(RandomRotation),
            WarmStart = warmStart,
            CheckpointPath = run.Get(Checkpoint) switch
            {
                "none" => null,
                null => Path.TrimEndingDirectorySeparator(run.Need(Output)) + ".checkpoint",
                string named => named,
            },
            ReplaceOtherCheckpoint = run.Get(Checkpoint) is null,
            Threads = GlobalOptions.ThreadCount(run.Parsed),
        };
    }
}
