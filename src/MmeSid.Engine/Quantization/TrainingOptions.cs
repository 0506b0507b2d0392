using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Options of <see cref="QuantizerTrainer"/>. The same rows, options and seed give the same codebooks, bit for bit, for any number of threads.</summary>
public sealed record TrainingOptions
{
    /// <summary>What is trained.</summary>
    public QuantizerKind Kind { get; init; } = QuantizerKind.RqKMeans;

    /// <summary>Levels of a residual quantizer, sub-spaces of pq and opq (they must divide d); vq has 1.</summary>
    public int Levels { get; init; } = 4;

    /// <summary>Codes K, 2 … 65,536: one number for every level, or one per level.</summary>
    public IReadOnlyList<int> Codes { get; init; } = [256];

    /// <summary>Seed of everything random.</summary>
    public ulong Seed { get; init; }

    /// <summary>Where k-means starts; ignored under <see cref="WarmStart"/>.</summary>
    public KMeansInitialization Initialization { get; init; }

    /// <summary>Most iterations of k-means per level.</summary>
    public int Iterations { get; init; } = 25;

    /// <summary>Stops a level after an iteration that lowers its objective by at most this share; 0 stops only when it no longer falls.</summary>
    public double Tolerance { get; init; } = 1e-4;

    /// <summary>Rows of a mini-batch, 0 for Lloyd's algorithm. See <see cref="KMeansOptions.MiniBatch"/>.</summary>
    public int MiniBatch { get; init; }

    /// <summary>Moves codes that no row uses onto badly served rows. See <see cref="KMeansOptions.DeadCodeRestart"/>.</summary>
    public bool DeadCodeRestart { get; init; } = true;

    /// <summary>Fewest rows of a cluster at every level, or null.</summary>
    public long? MinimumClusterSize { get; init; }

    /// <summary>Most rows of a cluster at every level, or null.</summary>
    public long? MaximumClusterSize { get; init; }

    /// <summary>Size-constrained k-means with MME-SID's sizes (<see cref="ClusterSizes.ForRows"/>) where none are given.</summary>
    public bool BalancedClusters { get; init; }

    /// <summary>Balances the last level while it is trained (encoding stays a plain argmin), or null.</summary>
    public SinkhornOptions? SinkhornLastLevel { get; init; }

    /// <summary>Most rows to train on, drawn uniformly with the seed; null for all.</summary>
    public long? TrainRows { get; init; }

    /// <summary>
    /// Most bytes of training rows held in memory (with the halves and copies a kind needs); a larger table is sampled down to it. A constant, not
    /// the machine's memory, so that the same call gives the same result everywhere.
    /// </summary>
    public long TrainingBytes { get; init; } = 8L << 30;

    /// <summary>Beam width with which residuals of rq-kmeans and psrq are formed between levels; use the same in encoding.</summary>
    public int Beam { get; init; } = 1;

    /// <summary>Rounds of OPQ's alternation between codebooks and rotation.</summary>
    public int RotationIterations { get; init; } = 16;

    /// <summary>OPQ starts from a random orthogonal matrix instead of the principal axes shared out evenly over the sub-spaces.</summary>
    public bool RandomRotation { get; init; }

    /// <summary>An earlier quantizer of the same kind and shape whose codebooks (and rotation) training starts from, or null.</summary>
    public Quantizer? WarmStart { get; init; }

    /// <summary>
    /// File that holds the state of a run that was cut short, or null. Where it exists, training goes on from it and ends with the same bytes as
    /// a run that was never stopped; it is left in place at the end, for the caller to delete once the result is safe.
    /// </summary>
    public string? CheckpointPath { get; init; }

    /// <summary>A checkpoint of another run, or a damaged one, is begun anew instead of being refused: for a file that no user named.</summary>
    public bool ReplaceOtherCheckpoint { get; init; }

    /// <summary>Least time between two checkpoints; one is also written when a run is cancelled.</summary>
    public TimeSpan CheckpointInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Threads of the parts that do not run on the backend, 0 for all cores. Changes no result.</summary>
    public int Threads { get; init; }

    /// <summary>K of a level.</summary>
    public int CodesOf(int level) => Codes.Count == 1 ? Codes[0] : Codes[level];

    /// <summary>Refuses options outside their range or that do not fit the dimension.</summary>
    /// <param name="dimension">d of the rows.</param>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    /// <exception cref="IOException">No checkpoint can be written where <see cref="CheckpointPath"/> says.</exception>
    /// <exception cref="UnauthorizedAccessException">Nor there.</exception>
    public void Validate(int dimension)
    {
        if (QuantizerName.Of(Kind) is var name && Kind.IsLearned())
            throw new ArgumentException($"{name} is not trained by k-means, expected one of {string.Join(", ", QuantizerKinds.KMeans.Select(QuantizerName.Of))}");
        if (Levels < 1)
            throw new ArgumentException($"levels is {Levels}, expected at least 1");
        if (Kind == QuantizerKind.Vq && Levels != 1)
            throw new ArgumentException($"vq has 1 level, got {Levels}");
        if (Kind is QuantizerKind.Pq or QuantizerKind.Opq)
            _ = Quantizer.SubspaceWidth(dimension, Levels);
        if (Codes.Count != 1 && Codes.Count != Levels)
            throw new ArgumentException($"{Codes.Count} numbers of codes for {Levels} levels, expected 1 or {Levels}");
        for (int level = 0; level < Levels; level++)
        {
            if (CodesOf(level) is < 2 or > EncodePlan.MaximumCodes)
                throw new ArgumentException($"level {level}: the number of codes is {CodesOf(level)}, expected 2 to {EncodePlan.MaximumCodes}");
        }
        long rotationValues = Math.Max(dimension, Enumerable.Range(0, Levels).Max(CodesOf)) * (long)dimension;
        if (Kind == QuantizerKind.Opq && rotationValues > Array.MaxLength)
            throw new ArgumentException($"opq of dimension {dimension} needs arrays of {rotationValues} values, at most {Array.MaxLength} are possible");
        if (Beam < 1)
            throw new ArgumentException($"beam is {Beam}, expected at least 1");
        if (TrainRows is < 1)
            throw new ArgumentException($"the number of training rows is {TrainRows}, expected at least 1");
        if (TrainingBytes < 1)
            throw new ArgumentException($"training bytes is {TrainingBytes}, expected at least 1");
        if (RotationIterations < 1)
            throw new ArgumentException($"rotation iterations is {RotationIterations}, expected at least 1");
        if (CheckpointInterval < TimeSpan.Zero)
            throw new ArgumentException($"the checkpoint interval is {CheckpointInterval}, expected at least 0");
        RequireFittingWarmStart(dimension);
        for (int level = 0; level < Levels; level++)
            KMeansOf(level, 1).Validate();
        if (CheckpointPath is not null)
            TrainingCheckpoint.RequireWritable(CheckpointPath);
    }

    /// <summary>Options of k-means for one level.</summary>
    /// <param name="level">Level or sub-space.</param>
    /// <param name="rows">Training rows.</param>
    internal KMeansOptions KMeansOf(int level, long rows)
    {
        int codes = CodesOf(level);
        ClusterSizes? sizes = BalancedClusters ? ClusterSizes.ForRows(rows, codes) : null;
        if (MinimumClusterSize is not null || MaximumClusterSize is not null)
            sizes = new ClusterSizes(MinimumClusterSize ?? sizes?.Minimum ?? 0, MaximumClusterSize ?? sizes?.Maximum ?? Math.Max(1, rows));
        return new KMeansOptions
        {
            Codes = codes,
            Seed = Seed,
            Initialization = Initialization,
            Centroids = WarmStart?.Codebook(level),
            Iterations = Iterations,
            Tolerance = Tolerance,
            MiniBatch = MiniBatch,
            DeadCodeRestart = DeadCodeRestart,
            Sizes = sizes,
            Sinkhorn = level == Levels - 1 ? SinkhornLastLevel : null,
            Threads = Threads,
        };
    }

    private void RequireFittingWarmStart(int dimension)
    {
        if (WarmStart is null)
            return;
        if (WarmStart.Kind != Kind)
            throw new ArgumentException($"the warm start is {QuantizerName.Of(WarmStart.Kind)}, expected {QuantizerName.Of(Kind)}");
        if (WarmStart.Dimension != dimension)
            throw new ArgumentException($"the warm start has dimension {WarmStart.Dimension}, the rows have {dimension}");
        if (WarmStart.Levels != Levels)
            throw new ArgumentException($"the warm start has {WarmStart.Levels} levels, expected {Levels}");
        for (int level = 0; level < Levels; level++)
        {
            if (WarmStart.CodeCount(level) != CodesOf(level))
                throw new ArgumentException($"level {level} of the warm start has {WarmStart.CodeCount(level)} codes, expected {CodesOf(level)}");
        }
    }
}
