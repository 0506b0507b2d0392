namespace MmeSid.Engine.Quantization;

/// <summary>How few and how many rows each cluster of a size-constrained k-means may hold.</summary>
/// <param name="Minimum">Fewest rows of a cluster, at least 0.</param>
/// <param name="Maximum">Most rows of a cluster, at least 1 and at least <paramref name="Minimum"/>.</param>
public readonly record struct ClusterSizes(long Minimum, long Maximum)
{
    /// <summary>
    /// The sizes MME-SID starts its code tables with: at least min(⌊n/512⌋, 50) rows a cluster, at most four times that. The rule of the
    /// released code cannot hold n > 51,200 rows in 256 clusters, and allows nothing below n = 512; so the maximum here is
    /// max(4·minimum, ⌈2n/K⌉), and the minimum never exceeds ⌊n/K⌋.
    /// </summary>
    /// <param name="rows">n ≥ 1.</param>
    /// <param name="codes">K ≥ 1.</param>
    public static ClusterSizes ForRows(long rows, int codes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(codes, 1);
        long minimum = Math.Min(Math.Min(rows / 512, 50), rows / codes);
        return new ClusterSizes(minimum, Math.Max(4 * minimum, (2 * rows + codes - 1) / codes));
    }

    /// <summary>Refuses sizes that n rows cannot be cut into K clusters of.</summary>
    /// <exception cref="ArgumentException">K·minimum exceeds n, or K·maximum is below it.</exception>
    internal void RequireFeasible(long rows, int codes)
    {
        if (Minimum < 0 || Maximum < 1 || Maximum < Minimum)
            throw new ArgumentException($"cluster sizes {Minimum} to {Maximum} are no range, expected 0 ≤ minimum ≤ maximum and maximum ≥ 1");
        if (codes * (Int128)Minimum > rows)
            throw new ArgumentException($"{codes} clusters of at least {Minimum} rows need {codes * (Int128)Minimum} rows, there are {rows}");
        if (codes * (Int128)Maximum < rows)
            throw new ArgumentException($"{codes} clusters of at most {Maximum} rows hold {codes * (Int128)Maximum} rows, there are {rows}");
    }
}
