using System.Numerics.Tensors;

namespace MmeSid.Kernels;

/// <summary>How a level's search sees the levels before it.</summary>
public enum PlanKind
{
    /// <summary>
    /// Residual quantization: <c>k_l = argmin_k ‖r_l − c_l[k]‖²</c>, <c>r_{l+1} = r_l − c_l[k_l]</c>, <c>r_1 = x</c>.
    /// One level is plain vector quantization.
    /// </summary>
    Residual,

    /// <summary>
    /// PSRQ (arXiv 2508.20359): level 1 as <see cref="Residual"/>; at level l ≥ 2 a codeword is <c>[a | b]</c> of length 2d,
    /// <c>k_l = argmin_k ‖[r_l ; x − r_l] − [a_k | b_k]‖²</c>, and only the residual half is subtracted: <c>r_{l+1} = r_l − a_{k_l}</c>.
    /// </summary>
    PrefixSemantic,
}

/// <summary>
/// What a greedy residual encoder needs: L codebooks of K_l float32 codewords. Immutable.
/// The codes of a row x are defined by the real-number distances above from x and these stored codewords, ties to the smallest k;
/// every backend returns exactly these codes (docs/exactness.md).
/// </summary>
public sealed class EncodePlan
{
    /// <summary>Codes are stored as uint16.</summary>
    public const int MaximumCodes = 65_536;

    private readonly float[][] _codebooks;

    /// <summary>Copies and validates the codebooks.</summary>
    /// <param name="kind">How levels after the first are searched.</param>
    /// <param name="dimension">d ≥ 1, the length of a row.</param>
    /// <param name="codebooks">L ≥ 1 arrays; level l is [K_l, <see cref="CodewordWidth"/>(l)] row-major, 1 ≤ K_l ≤ 65,536, all values finite.</param>
    /// <exception cref="ArgumentException">A shape does not fit or a value is not finite; the message names level, codeword and column.</exception>
    public EncodePlan(PlanKind kind, int dimension, IReadOnlyList<float[]> codebooks)
        : this(kind, dimension, codebooks, copies: true)
    {
    }

    private EncodePlan(PlanKind kind, int dimension, IReadOnlyList<float[]> codebooks, bool copies)
    {
        ArgumentNullException.ThrowIfNull(codebooks);
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimension, RowView.MaximumDimension);
        if (codebooks.Count == 0)
            throw new ArgumentException("a plan needs at least one codebook", nameof(codebooks));
        Kind = kind;
        Dimension = dimension;
        _codebooks = new float[codebooks.Count][];
        for (int level = 0; level < codebooks.Count; level++)
        {
            float[] codebook = codebooks[level] ?? throw new ArgumentException($"codebook {level} is missing", nameof(codebooks));
            int width = CodewordWidth(level);
            if (codebook.Length == 0 || codebook.Length % width != 0)
                throw new ArgumentException($"codebook {level} has {codebook.Length} values, no positive multiple of its codeword width {width}", nameof(codebooks));
            if (codebook.Length / width > MaximumCodes)
                throw new ArgumentException($"codebook {level} has {codebook.Length / width} codes, at most {MaximumCodes} fit a uint16 code", nameof(codebooks));
            bool finite = TensorPrimitives.IsFiniteAll<float>(codebook);
            for (int i = 0; i < codebook.Length && !finite; i++)
            {
                if (!float.IsFinite(codebook[i]))
                    throw new ArgumentException($"codebook {level}, codeword {i / width}, column {i % width} is {codebook[i]}, expected a finite value", nameof(codebooks));
            }
            _codebooks[level] = copies ? (float[])codebook.Clone() : codebook;
        }
    }

    /// <summary>The same without a copy, for who leaves the arrays alone as long as the plan is used.</summary>
    internal static EncodePlan Over(PlanKind kind, int dimension, IReadOnlyList<float[]> codebooks) => new(kind, dimension, codebooks, copies: false);

    /// <summary>How levels after the first are searched.</summary>
    public PlanKind Kind { get; }

    /// <summary>Length of a row, d.</summary>
    public int Dimension { get; }

    /// <summary>Number of levels, L.</summary>
    public int Levels => _codebooks.Length;

    /// <summary>Number of codes of a level, K_l.</summary>
    public int CodeCount(int level) => _codebooks[level].Length / CodewordWidth(level);

    /// <summary>Values per codeword of a level: d, or 2d for PSRQ levels after the first (residual half first).</summary>
    public int CodewordWidth(int level) => Kind == PlanKind.PrefixSemantic && level > 0 ? 2 * Dimension : Dimension;

    /// <summary>The level's codewords, [K_l, <see cref="CodewordWidth"/>] row-major.</summary>
    public ReadOnlySpan<float> Codebook(int level) => _codebooks[level];

    /// <summary>The part of a codeword that is subtracted from the residual: its first d values.</summary>
    public ReadOnlySpan<float> Codeword(int level, int code) => _codebooks[level].AsSpan(code * CodewordWidth(level), Dimension);
}
