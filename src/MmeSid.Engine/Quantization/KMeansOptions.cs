using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Where k-means starts.</summary>
public enum KMeansInitialization
{
    /// <summary>
    /// Greedy k-means++: the first centroid is a random row; for each further one up to 2 + ⌊ln K⌋ rows are drawn with probability proportional to
    /// their squared distance to the nearest centroid so far, and the one that lowers the objective most is taken. Over all rows while
    /// n ≤ max(16·K, 2³¹/(K·d)), above that over a uniform sample of as many, with as many candidates as keep the start cheaper than an iteration.
    /// </summary>
    KMeansPlusPlus,

    /// <summary>K distinct rows drawn uniformly.</summary>
    Random,
}

/// <summary>Options of <see cref="KMeans"/>.</summary>
public sealed record KMeansOptions
{
    /// <summary>Clusters, K, 2 … 65,536.</summary>
    public int Codes { get; init; } = 256;

    /// <summary>Seed of everything random.</summary>
    public ulong Seed { get; init; }

    /// <summary>Where the centroids start; ignored when <see cref="Centroids"/> is given.</summary>
    public KMeansInitialization Initialization { get; init; }

    /// <summary>Centroids to start from, [K, d], or null.</summary>
    public float[]? Centroids { get; init; }

    /// <summary>Most iterations, at least 1.</summary>
    public int Iterations { get; init; } = 25;

    /// <summary>Stops after an iteration that lowers the objective by at most this share of it; 0 stops only when it no longer falls.</summary>
    public double Tolerance { get; init; } = 1e-4;

    /// <summary>
    /// Rows of a mini-batch, 0 for Lloyd's algorithm. With mini-batches an iteration is one pass over all rows in random order, and a centroid
    /// moves after each batch towards the batch's rows by their share of all rows it has seen (Sculley 2010).
    /// </summary>
    public int MiniBatch { get; init; }

    /// <summary>
    /// Codes that no row uses are moved, after each iteration, onto rows drawn with probability proportional to their squared distance to
    /// their centroid. This never raises the objective.
    /// </summary>
    public bool DeadCodeRestart { get; init; } = true;

    /// <summary>Accepts fewer different rows than codes: what is too many stays a copy of another code that no row chooses.</summary>
    public bool AllowUnusedCodes { get; init; }

    /// <summary>Bounds on the size of every cluster, kept exactly in each iteration, or null. Holds n·K float64 distances.</summary>
    public ClusterSizes? Sizes { get; init; }

    /// <summary>Balances the assignment of each iteration by entropic transport, or null. Needs n·d ≤ 2³¹.</summary>
    public SinkhornOptions? Sinkhorn { get; init; }

    /// <summary>Threads of the parts that do not run on the backend, 0 for all cores. Changes no result.</summary>
    public int Threads { get; init; }

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    internal void Validate()
    {
        if (Codes is < 2 or > EncodePlan.MaximumCodes)
            throw new ArgumentException($"the number of codes is {Codes}, expected 2 to {EncodePlan.MaximumCodes}");
        if (Iterations < 1)
            throw new ArgumentException($"iterations is {Iterations}, expected at least 1");
        if (!(Tolerance >= 0) || double.IsInfinity(Tolerance))
            throw new ArgumentException($"tolerance is {Tolerance}, expected a finite value of at least 0");
        if (MiniBatch < 0)
            throw new ArgumentException($"mini-batch is {MiniBatch}, expected at least 0");
        if (Threads < 0)
            throw new ArgumentException($"threads is {Threads}, expected at least 0");
        int schemes = (MiniBatch > 0 ? 1 : 0) + (Sizes is not null ? 1 : 0) + (Sinkhorn is not null ? 1 : 0);
        if (schemes > 1)
            throw new ArgumentException("mini-batch, cluster sizes and Sinkhorn balancing exclude each other; choose one");
    }
}
