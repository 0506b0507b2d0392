namespace MmeSid.Kernels;

/// <summary>
/// The steps of k-means (Lloyd's algorithm, greedy k-means++) where rows, centroids and codes lie together: the engine's on the host, a backend's
/// on its device. What is random is the caller's. Not thread-safe.
/// <para>
/// Every implementation returns the same bytes, for the order of all float64 operations is given. <c>‖x − p‖²</c>: 16 chains of fused
/// multiply-adds, chain i over the values i, i + 16, … below the largest multiple of 16, added up as a tree (i and i + 8, then + 4, + 2, + 1), then
/// the other values one by one. A sum of many: 32 chains, chain i over the values i, i + 32, …, added up as a tree in the same way. A sum over
/// rows: of the sums of blocks of 4,096 rows. A mean over rows: one chain per block of as many, then the blocks in one chain.
/// </para>
/// </summary>
public interface ILloyd : IDisposable
{
    /// <summary>Computes the mean μ of the rows, which <see cref="Step"/> needs.</summary>
    /// <returns>Σ‖x − μ‖².</returns>
    double Centre();

    /// <summary>
    /// Greedy k-means++ (Arthur &amp; Vassilvitskii 2007): of C rows drawn with probability proportional to their squared distance to the nearest
    /// seed so far, the one that leaves the smallest sum of these distances becomes a seed; ties to the one drawn first.
    /// </summary>
    /// <param name="sample">[s] rows that may be seeds, or empty for all.</param>
    /// <param name="first">Number of the first seed in the sample.</param>
    /// <param name="candidates">C.</param>
    /// <param name="uniform">[K − 1, C] numbers in [0, 1) that draw the candidates.</param>
    /// <param name="seeds">[K] rows.</param>
    /// <param name="cancellation">Looked at about every second.</param>
    /// <returns>Seeds that were found before each row of the sample was one, 1 … K; the others are undefined.</returns>
    int SeedPlusPlus(ReadOnlySpan<int> sample, int first, int candidates, ReadOnlySpan<double> uniform, Span<int> seeds, CancellationToken cancellation);

    /// <summary>Starts from rows as centroids; all codes are 0.</summary>
    /// <param name="rows">[K].</param>
    void Start(ReadOnlySpan<int> rows);

    /// <summary>Starts from centroids.</summary>
    /// <param name="centroids">[K, d].</param>
    /// <param name="codes">[n] of the iteration before, or empty: all 0.</param>
    void Start(ReadOnlySpan<float> centroids, ReadOnlySpan<ushort> codes);

    /// <summary>
    /// One iteration: each row gets the code of its nearest centroid, exact as <see cref="IEncoder"/> finds it, and each centroid becomes the mean of
    /// its rows, <c>fl(S_k / n_k)</c> with the sums of <see cref="IBackend.Accumulate"/>; one without rows stays where it is. Centroids and codes
    /// are those of before until it returns, also where it throws.
    /// </summary>
    /// <param name="cancellation">Looked at about every second where the rows lie on the host, before the iteration otherwise.</param>
    LloydStep Step(CancellationToken cancellation);

    /// <summary>Computes the squared distance of each row to the centroid of its code.</summary>
    /// <returns>Their sum.</returns>
    double MeasureErrors();

    /// <summary>
    /// Draws rows with probability proportional to what <see cref="MeasureErrors"/> found: <c>u·Σ</c> is walked off along the sums of blocks, then
    /// along the chains of the block's sum, then along the chain's rows.
    /// </summary>
    /// <param name="uniform">[m] numbers u in [0, 1).</param>
    /// <param name="rows">[m], −1 where no row has an error.</param>
    void Draw(ReadOnlySpan<double> uniform, Span<int> rows);

    /// <summary>Puts the centroids of codes without rows, in ascending order of the codes, onto rows.</summary>
    /// <param name="rows">At most <see cref="LloydStep.EmptyCodes"/> of them.</param>
    void Restart(ReadOnlySpan<int> rows);

    /// <summary>Copies the centroids.</summary>
    /// <param name="centroids">[K, d].</param>
    void ReadCentroids(Span<float> centroids);

    /// <summary>Copies the codes.</summary>
    /// <param name="codes">[n].</param>
    void ReadCodes(Span<ushort> codes);
}

/// <summary>What an iteration of k-means reports.</summary>
/// <param name="Objective">
/// Σ‖x − c‖² of the new centroids and codes, at least 0: <c>Σ‖x − μ‖² + Σ_k (n_k ‖c_k − μ‖² − 2 (c_k − μ)·(S_k − n_k μ))</c>, whose first term is
/// computed once; the rows are not read again, and centring keeps the cancellation small where the mean is large.
/// </param>
/// <param name="Moved">Rows whose code is another than before.</param>
/// <param name="EmptyCodes">Codes without rows.</param>
/// <param name="Search">What the search had to check again.</param>
public readonly record struct LloydStep(double Objective, long Moved, int EmptyCodes, EncodeReport Search);

/// <summary>Rows that a backend keeps, and k-means on them.</summary>
public interface IHeldRows : ILloyd
{
    /// <summary>Adds rows behind those that are there.</summary>
    /// <param name="rows">[·, d].</param>
    void Append(RowView rows);
}
