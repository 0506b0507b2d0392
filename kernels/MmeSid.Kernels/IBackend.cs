namespace MmeSid.Kernels;

/// <summary>
/// One implementation of the engine's array operations. Implementations: <c>Scalar</c> (plain float64 loops, the oracle) and
/// <c>Simd</c> (AVX-512, AVX2 or portable vectors, several threads). All are deterministic: the same input gives the same bytes
/// whatever the thread count and batch size. Instances are thread-safe unless an operation says otherwise.
/// </summary>
public interface IBackend
{
    /// <summary>Short name as the command line spells it: <c>scalar</c>, <c>simd</c>.</summary>
    string Name { get; }

    /// <summary>What it runs on, for people: instruction set and threads.</summary>
    string Device { get; }

    /// <summary>Prepares a plan for encoding (packs codewords, builds look-up tables).</summary>
    /// <param name="plan">The codebooks.</param>
    /// <param name="options">Beam width and memory budget; null for the defaults.</param>
    /// <exception cref="OutOfMemoryException">The prepared plan does not fit.</exception>
    IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null);

    /// <summary>
    /// Memory for rows on which k-means will run, as near to the arithmetic as it gets; null where the host's own memory is that, or
    /// where they do not fit.
    /// </summary>
    /// <param name="count">n that will be appended.</param>
    /// <param name="dimension">d.</param>
    IHeldRows? Hold(long count, int dimension) => null;

    /// <summary>
    /// Adds rows to per-code sums: <c>sums[codes[i]] += rows[i]</c>, <c>counts[codes[i]] += 1</c>, in float64, in an order that depends
    /// on the rows alone. The input of Lloyd's update.
    /// </summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="codes">[n], each below <paramref name="codeCount"/>.</param>
    /// <param name="codeCount">K.</param>
    /// <param name="sums">[K, d], added to.</param>
    /// <param name="counts">[K], added to.</param>
    /// <exception cref="ArgumentException">A length does not fit, or a code is K or more.</exception>
    void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts);

    /// <summary>
    /// Gaussian-kernel sums over all pairs of two row sets, in Gram form (no pairs × d array), float64 totals.
    /// </summary>
    /// <param name="source">[n, d], n ≥ 1.</param>
    /// <param name="target">[m, d], m ≥ 1.</param>
    /// <param name="kernel">Bandwidths: relative to the mean pair distance (tllib form) or absolute.</param>
    /// <returns>The three sums of the MMD estimate; each within the relative bound of <c>Bounds.MmdSums</c> of the real value.</returns>
    MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel);

    /// <summary>
    /// Balanced assignment of n rows to K codewords by entropy-regularised transport in the log domain (Sinkhorn), equal masses on both sides.
    /// </summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="codewords">[K, d].</param>
    /// <param name="options">Regularisation and iterations.</param>
    /// <param name="codes">[n], the code with the largest transported mass of each row, ties to the smallest.</param>
    /// <param name="potentials">[K] final code potentials, or empty. In units of the scaled distance.</param>
    void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials);

    /// <summary>
    /// The k largest inner products of each query with the items, without writing the score matrix. Exact: the order is that of the
    /// real-number products of the float32 inputs, ties to the smaller item index.
    /// </summary>
    /// <param name="queries">[q, d].</param>
    /// <param name="items">[n, d].</param>
    /// <param name="count">k, 1 ≤ k ≤ n.</param>
    /// <param name="indices">[q, k] item indices, best first.</param>
    /// <param name="scores">[q, k] the products, float64 evaluation rounded to float32.</param>
    void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores);

    /// <summary>Prepares items whose largest products are asked for again and again, where that makes it faster.</summary>
    /// <param name="items">[n, d], n ≥ 1, fewer than 2³¹ values, finite, which is found out when they are asked for; used, not owned: it stays as it is until what comes back is disposed of.</param>
    IPreparedItems PrepareItems(RowMatrix items)
    {
        ArgumentNullException.ThrowIfNull(items);
        return new PlainItems(this, items);
    }
}

/// <summary>A plan prepared by a backend. Thread-safe; hold it as long as rows of the plan are encoded.</summary>
public interface IEncoder : IDisposable
{
    /// <summary>The plan it encodes with.</summary>
    EncodePlan Plan { get; }

    /// <summary>For people: what the fast pass calculates in, such as <c>int8, AVX-512 VNNI</c>; empty where that is not known (yet).</summary>
    string Screen => "";

    /// <summary>Calls of <see cref="Encode(RowView, Span{ushort}, Span{float})"/> that should run at the same time to keep the hardware busy: 1 where one call takes all of it.</summary>
    int CallsAtOnce => 1;

    /// <summary>
    /// Prepares memory from which rows will be read many times, where that makes reading faster. Dispose of what comes back before the
    /// memory; null where there is nothing to gain.
    /// </summary>
    IDisposable? Pin(RowMatrix rows) => null;

    /// <summary>Exact codes of the rows (see <see cref="EncodePlan"/>), bit for bit the same on every backend.</summary>
    /// <param name="rows">[n, d], finite values.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="squaredErrors">[n] squared norm of the final residual, computed from the residual itself; or empty.</param>
    /// <returns>How many decisions had to be re-checked.</returns>
    /// <exception cref="ArgumentException">A length does not fit, or a value is NaN or infinite (row and column named).</exception>
    EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default);

    /// <summary>
    /// Whether rows of 16-bit values are taken as they are, so that half as many bytes travel. Otherwise <see cref="Encode(NarrowRows, Span{ushort}, Span{float})"/>
    /// makes a float32 copy of them first, and who has them still to read had better read them as float32.
    /// </summary>
    bool TakesNarrowRows => false;

    /// <summary>
    /// Whether <see cref="EncodeShadow"/> reads only what a shadow of this format leaves open; otherwise it reads all rows, and who has a shadow had better leave it where it is.
    /// </summary>
    bool TakesShadows(ShadowFormat format) => false;

    /// <summary>
    /// Exact codes of float32 rows from their shadow: what the shadow leaves undecided is encoded from the row itself.
    /// </summary>
    /// <param name="shadow">[n, d]: each row as <see cref="ShadowFormats.Round"/> rounds it.</param>
    /// <param name="readRow">Reads a row, finite values; may be called by several threads at once.</param>
    /// <param name="codes">[n, L] what <see cref="Encode(RowView, Span{ushort}, Span{float})"/> gives for the rows.</param>
    /// <returns>How many decisions the shadow left open (as re-checked), and what was re-checked of the rows that were read for them (candidates, exact decisions).</returns>
    /// <exception cref="ArgumentException">A length does not fit.</exception>
    EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes)
    {
        using RowMatrix rows = shadow.ReadRows(readRow);
        return Encode(rows.View(0, shadow.Count), codes);
    }

    /// <summary>The same for rows of 16-bit values: bit for bit what their float32 values get.</summary>
    /// <param name="rows">[n, d], finite values.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="squaredErrors">[n] or empty.</param>
    /// <returns>How many decisions had to be re-checked.</returns>
    /// <exception cref="ArgumentException">A length does not fit, or a value is NaN or infinite (row and column named).</exception>
    EncodeReport Encode(NarrowRows rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        using RowMatrix wide = rows.Widen();
        return Encode(wide.View(0, rows.Count), codes, squaredErrors);
    }
}

/// <summary>Reads one row of a block.</summary>
/// <param name="row">Its number in the block.</param>
/// <param name="destination">[d].</param>
public delegate void ReadRow(int row, Span<float> destination);

/// <summary>How a plan is prepared. No option changes a code except <see cref="Beam"/>.</summary>
public sealed record EncodeOptions
{
    /// <summary>
    /// Beam width B ≥ 1. Above 1, each level keeps the B prefixes of smallest distance (ties to the lexicographically smaller prefix)
    /// among all extensions of the B kept before; the result is the best prefix at the last level. Exact in the same sense.
    /// </summary>
    public int Beam { get; init; } = 1;

    /// <summary>Most bytes that look-up tables between levels may take; above it the encoder recomputes residuals instead.</summary>
    public long TableBytes { get; init; } = 1L << 30;

    /// <summary>
    /// An encoder, not yet disposed, of a plan of the same shape for much the same rows, such as k-means had in its last iteration: where it has found out which screen is
    /// fastest (<see cref="IEncoder.Screen"/>), nothing is tried again.
    /// </summary>
    public IEncoder? ChoiceOf { get; init; }
}

/// <summary>What certification cost.</summary>
/// <param name="Decisions">Rows × levels decided.</param>
/// <param name="Rechecked">Decisions that the fast pass could not prove and that were evaluated again in float64.</param>
/// <param name="Candidates">Codewords evaluated again, over all rechecked decisions.</param>
/// <param name="Exact">Decisions that float64 could not prove either and that took exact arithmetic (ties, mostly).</param>
public readonly record struct EncodeReport(long Decisions, long Rechecked, long Candidates, long Exact)
{
    /// <summary>Decisions that a screen in fewer bits left open, and that were made in float32, or re-checked after that.</summary>
    public long Open { get; init; }

    /// <summary>Codewords that were left to choose from, over all open decisions.</summary>
    public long OpenCandidates { get; init; }

    /// <summary>Share of the decisions that were re-checked, 0 … 1.</summary>
    public double RecheckedShare => Decisions == 0 ? 0 : (double)Rechecked / Decisions;

    /// <summary>Share of the decisions that were left open, 0 … 1.</summary>
    public double OpenShare => Decisions == 0 ? 0 : (double)Open / Decisions;

    /// <summary>Adds two reports.</summary>
    public static EncodeReport operator +(EncodeReport left, EncodeReport right) => new(
        left.Decisions + right.Decisions, left.Rechecked + right.Rechecked, left.Candidates + right.Candidates, left.Exact + right.Exact)
    {
        Open = left.Open + right.Open,
        OpenCandidates = left.OpenCandidates + right.OpenCandidates,
    };
}

/// <summary>Gaussian kernel <c>k(x, y) = Σ_t exp(−‖x − y‖² / 2σ_t²)</c> of an MMD estimate.</summary>
/// <param name="Factors">One value per bandwidth, each positive.</param>
/// <param name="Relative">
/// True (tllib form): σ_t² = Factors[t] · mean of ‖z_i − z_j‖² over all (n + m)² pairs of the joined sets, the zeros of the diagonal included.
/// False: σ_t² = Factors[t].
/// </param>
public sealed record MmdKernel(IReadOnlyList<double> Factors, bool Relative)
{
    /// <summary>The single kernel of MME-SID: σ² = ½ · mean pair distance, so k = exp(−d² / mean d²).</summary>
    public static MmdKernel Default { get; } = new([0.5], Relative: true);
}

/// <summary>Kernel sums of an MMD estimate.</summary>
/// <param name="Source">Σ over ordered pairs i ≠ j of k(s_i, s_j).</param>
/// <param name="Target">Σ over ordered pairs i ≠ j of k(t_i, t_j).</param>
/// <param name="Cross">Σ over all i, j of k(s_i, t_j).</param>
/// <param name="MeanSquaredDistance">Mean of ‖z_i − z_j‖² over all pairs of the joined sets, diagonal included.</param>
public readonly record struct MmdSums(double Source, double Target, double Cross, double MeanSquaredDistance);

/// <summary>Options of <see cref="IBackend.SinkhornAssign"/>.</summary>
public sealed record SinkhornOptions
{
    /// <summary>Entropic regularisation ε, in units of the scaled distance.</summary>
    public double Epsilon { get; init; } = 0.003;

    /// <summary>Row-and-column scalings.</summary>
    public int Iterations { get; init; } = 50;

    /// <summary>Scale squared distances linearly to [−1, 1] over all pairs before regularising (LETTER, MME-SID); otherwise they are used as they are.</summary>
    public bool ScaleDistances { get; init; } = true;
}
