using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Evaluation;

/// <summary>Sizes and seed of the agreement measures.</summary>
public sealed record AgreementOptions
{
    /// <summary>Reference clusters of the original space; null for the number of codes that the first level uses, at most a quarter of the rows.</summary>
    public int? Clusters { get; init; }

    /// <summary>Most rows that enter mutual information; more are sampled uniformly.</summary>
    public int MaximumRows { get; init; } = 100_000;

    /// <summary>k of the neighbour purity.</summary>
    public int Neighbours { get; init; } = 10;

    /// <summary>Most items that neighbours are sought among.</summary>
    public int MaximumPool { get; init; } = 50_000;

    /// <summary>Most items whose neighbours are sought.</summary>
    public int MaximumQueries { get; init; } = 1_000;

    /// <summary>Of samples, reference clusters and random codes.</summary>
    public ulong Seed { get; init; }

    /// <summary>Threads of the parts that do not run on the backend, 0 for all cores. Changes no result.</summary>
    public int Threads { get; init; }
}

/// <summary>How one level agrees with the original space.</summary>
/// <param name="AdjustedMutualInformation">Of the level's codes with the reference clusters.</param>
/// <param name="StandardError">Of that number, as a sample of the rows (jackknife over ten groups, finite-population corrected); 0 when every row entered.</param>
/// <param name="RandomBaseline">The same after the level's codes were dealt out anew at random: what chance gives, near 0.</param>
/// <param name="NormalizedMutualInformation">Not adjusted, for comparison with papers that report it.</param>
/// <param name="RandomNormalized">Of the random codes: how far chance alone lifts the unadjusted number.</param>
/// <param name="Purity">Neighbour purity with its own baseline and error.</param>
public sealed record LevelAgreement(
    double AdjustedMutualInformation, double StandardError, double RandomBaseline, double NormalizedMutualInformation, double RandomNormalized, LevelPurity Purity);

/// <summary>
/// Whether deeper levels still follow the original space: the "semantic degradation" of PSRQ (arXiv 2508.20359) as numbers. The paper shows by
/// scatter plots that the codes of deeper levels of plain residual quantization mix the clusters of the original embeddings. Here the rows x
/// are clustered by k-means once (seeded, the reference), and each level's codes alone, not the prefix, are compared with these clusters.
/// </summary>
/// <param name="Levels">One entry per level.</param>
/// <param name="Clusters">Reference clusters.</param>
/// <param name="Rows">Rows that entered mutual information: all, or a uniform sample.</param>
/// <param name="Neighbours">Sizes behind the purities.</param>
public sealed record SpaceAgreement(IReadOnlyList<LevelAgreement> Levels, int Clusters, long Rows, NeighbourPurity Neighbours)
{
    private const int kGroups = 10;

    /// <summary>Measures codes against their rows. Deterministic for a seed.</summary>
    /// <param name="rows">[n, d], n ≥ 2, the original space.</param>
    /// <param name="sids">[n, L].</param>
    /// <param name="options">Sizes, seed.</param>
    /// <param name="backend">For k-means and the neighbours.</param>
    /// <param name="cancellation">Stops the clustering.</param>
    /// <exception cref="ArgumentException">Fewer than two rows, or as many of SIDs.</exception>
    public static SpaceAgreement Measure(EmbeddingTable rows, SidTable sids, AgreementOptions options, IBackend backend, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var purity = NeighbourPurity.Measure(rows, sids, options, backend);
        var random = new RandomSource(options.Seed);
        long[] sample = [.. RowSample.Draw(rows.Count, options.MaximumRows, random.Split(2))];
        SidTable codes = sids.Select(sample);
        (ushort[] reference, int clusters) = Cluster(rows, sample, options, codes, backend, cancellation);
        var levels = new LevelAgreement[sids.Levels];
        for (int level = 0; level < levels.Length; level++)
        {
            ushort[] labels = codes.Level(level);
            var agreement = MutualInformation.Measure(reference, labels);
            double error = sample.Length < rows.Count ? StandardError(reference, labels, (double)sample.Length / rows.Count) : 0;
            random.Split((ulong)(3 + level)).Shuffle<ushort>(labels);
            var chance = MutualInformation.Measure(reference, labels);
            levels[level] = new LevelAgreement(agreement.Adjusted, error, chance.Adjusted, agreement.Normalized, chance.Normalized, purity.Levels[level]);
        }
        return new SpaceAgreement(levels, clusters, sample.Length, purity);
    }

    // √((G − 1)/G · Σ_g (θ_g − θ̄)²) · √(1 − share), θ_g without every G-th row beginning at g.
    private static double StandardError(ushort[] reference, ushort[] labels, double share)
    {
        double[] without = [.. Enumerable.Range(0, kGroups).Select(group =>
        {
            int[] kept = [.. Enumerable.Range(0, labels.Length).Where(i => i % kGroups != group)];
            return MutualInformation.Measure(Array.ConvertAll(kept, i => reference[i]), Array.ConvertAll(kept, i => labels[i])).Adjusted;
        })];
        double mean = without.Average();
        return Math.Sqrt((kGroups - 1.0) / kGroups * without.Sum(value => (value - mean) * (value - mean)) * (1 - share));
    }

    private static (ushort[] Labels, int Clusters) Cluster(EmbeddingTable rows, long[] sample, AgreementOptions options, SidTable codes, IBackend backend, CancellationToken cancellation)
    {
        using var matrix = new RowMatrix(sample.Length, rows.Dimension);
        for (int i = 0; i < sample.Length; i++)
            rows.Read(sample[i], 1, matrix.Rows(i, 1));
        int wanted = options.Clusters ?? Math.Min(codes.Level(0).Distinct().Count(), sample.Length / 4);
        // k-means refuses more clusters than there are different rows.
        int clusters = new RowColumns(matrix).CountDistinct(wanted);
        if (clusters < 2)
            return (new ushort[sample.Length], 1);
        KMeansResult result = KMeans.Train(matrix, new KMeansOptions { Codes = clusters, Seed = options.Seed, Threads = options.Threads }, backend, cancellation: cancellation);
        return (result.Codes, clusters);
    }
}
