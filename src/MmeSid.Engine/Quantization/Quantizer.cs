using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// A trained quantizer: L codebooks of float32 codewords and, for OPQ, a rotation. Immutable.
/// A row x ∈ R^d becomes L codes; codes become a vector again by <see cref="Reconstruct"/>. Of learned kinds (<see cref="QuantizerKinds.IsLearned"/>) the
/// rows are what the encoder makes of the table's: R^d is the code space.
/// </summary>
public sealed class Quantizer
{
    private readonly EncodePlan[] _plans;
    private readonly float[]? _rotation;

    /// <summary>Copies and validates the codebooks.</summary>
    /// <param name="kind">How codes are searched.</param>
    /// <param name="dimension">d ≥ 1, the length of a row.</param>
    /// <param name="codebooks">
    /// L ≥ 1 arrays of [K_l, w_l] row-major, 1 ≤ K_l ≤ 65,536, finite. w_l is d for <see cref="QuantizerKind.Vq"/> (L = 1) and
    /// <see cref="QuantizerKind.RqKMeans"/> and the learned kinds; d at level 0 and 2d (residual half first) after it for <see cref="QuantizerKind.Psrq"/>;
    /// d/L for <see cref="QuantizerKind.Pq"/> and <see cref="QuantizerKind.Opq"/>, where L must divide d.
    /// </param>
    /// <param name="rotation">[d, d] row-major with y = R·x, for <see cref="QuantizerKind.Opq"/> and no other kind.</param>
    /// <exception cref="ArgumentException">A shape does not fit or a value is not finite; the message says which.</exception>
    public Quantizer(QuantizerKind kind, int dimension, IReadOnlyList<float[]> codebooks, float[]? rotation = null)
    {
        ArgumentNullException.ThrowIfNull(codebooks);
        if (dimension < 1)
            throw new ArgumentException($"dimension is {dimension}, expected at least 1", nameof(dimension));
        if (codebooks.Count == 0)
            throw new ArgumentException("a quantizer needs at least one codebook", nameof(codebooks));
        Kind = kind;
        Dimension = dimension;
        Levels = codebooks.Count;
        switch (kind)
        {
            case QuantizerKind.Vq when codebooks.Count != 1:
                throw new ArgumentException($"vq has one codebook, got {codebooks.Count}", nameof(codebooks));
            case QuantizerKind.Vq or QuantizerKind.RqKMeans or QuantizerKind.RqVae or QuantizerKind.MmRqVae or QuantizerKind.Hvq:
                _plans = [new EncodePlan(PlanKind.Residual, dimension, codebooks)];
                break;
            case QuantizerKind.Psrq:
                _plans = [new EncodePlan(PlanKind.PrefixSemantic, dimension, codebooks)];
                break;
            case QuantizerKind.Pq or QuantizerKind.Opq:
                int width = SubspaceWidth(dimension, codebooks.Count);
                _plans = new EncodePlan[codebooks.Count];
                for (int s = 0; s < _plans.Length; s++)
                    _plans[s] = SubspacePlan(codebooks[s], s, width);
                break;
            default:
                throw new ArgumentException($"{(int)kind} is no quantizer kind", nameof(kind));
        }
        if ((rotation is null) == (kind == QuantizerKind.Opq))
            throw new ArgumentException(kind == QuantizerKind.Opq ? "opq needs a rotation" : $"{QuantizerName.Of(kind)} takes no rotation", nameof(rotation));
        if (rotation is not null)
        {
            if (rotation.LongLength != (long)dimension * dimension)
                throw new ArgumentException($"rotation has {rotation.LongLength} values, expected {dimension} × {dimension}", nameof(rotation));
            for (int i = 0; i < rotation.Length; i++)
            {
                if (!float.IsFinite(rotation[i]))
                    throw new ArgumentException($"rotation row {i / dimension}, column {i % dimension} is {rotation[i]}, expected a finite value", nameof(rotation));
            }
            _rotation = (float[])rotation.Clone();
        }
    }

    /// <summary>How codes are searched.</summary>
    public QuantizerKind Kind { get; }

    /// <summary>Length of a row, d.</summary>
    public int Dimension { get; }

    /// <summary>Codes per row, L: levels of a residual quantizer, sub-spaces of a product quantizer, 1 for vq.</summary>
    public int Levels { get; }

    /// <summary>True for <see cref="QuantizerKind.Pq"/> and <see cref="QuantizerKind.Opq"/>: a level is a sub-space, and the order of levels carries no meaning.</summary>
    public bool IsProduct => Kind is QuantizerKind.Pq or QuantizerKind.Opq;

    /// <summary>OPQ's orthogonal matrix, [d, d] row-major with y = R·x (a copy); null for every other kind.</summary>
    public float[]? Rotation => (float[]?)_rotation?.Clone();

    /// <summary>Number of codes of a level, K_l.</summary>
    public int CodeCount(int level) => Plan(level, out int index).CodeCount(index);

    /// <summary>Values per codeword of a level: d; 2d for PSRQ levels after the first; d/L for PQ and OPQ.</summary>
    public int CodewordWidth(int level) => Plan(level, out int index).CodewordWidth(index);

    /// <summary>A copy of the level's codewords, [K_l, <see cref="CodewordWidth"/>] row-major; PSRQ levels after the first hold the residual half first.</summary>
    public float[] Codebook(int level) => Codewords(level).ToArray();

    /// <summary>The level's codewords without a copy, [K_l, <see cref="CodewordWidth"/>] row-major.</summary>
    public ReadOnlySpan<float> Codewords(int level) => Plan(level, out int index).Codebook(index);

    /// <summary>
    /// The part of a codeword that stands for the row: what a residual level subtracts (its first d values), or the whole codeword of a sub-space.
    /// </summary>
    public ReadOnlySpan<float> Codeword(int level, int code) => Plan(level, out int index).Codeword(index, code);

    /// <summary>Prepares the codebooks on a backend. Of rq-vae and mm-rq-vae it takes encoded rows; who has the table's own rows passes them through the encoder first.</summary>
    /// <param name="backend">Where the search runs.</param>
    /// <param name="beam">
    /// Beam width ≥ 1 of residual quantizers (<see cref="EncodeOptions.Beam"/>). Sub-spaces are independent, so it changes nothing for pq and opq.
    /// </param>
    /// <param name="threads">Threads of OPQ's rotation, 0 for all cores; the backend has its own count.</param>
    /// <exception cref="InvalidOperationException">The kind is hvq, which cannot be searched without the networks between its levels.</exception>
    public IQuantizerEncoder CreateEncoder(IBackend backend, int beam = 1, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(backend);
        if (beam < 1)
            throw new ArgumentException($"beam is {beam}, expected at least 1", nameof(beam));
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        if (Kind == QuantizerKind.Hvq)
            throw new InvalidOperationException("hvq has a network before each level; its codebooks alone give no codes");
        var options = new EncodeOptions { Beam = beam };
        var encoders = new IEncoder[_plans.Length];
        try
        {
            for (int i = 0; i < encoders.Length; i++)
                encoders[i] = backend.CreateEncoder(_plans[i], options);
        }
        catch
        {
            foreach (IEncoder? encoder in encoders)
                encoder?.Dispose();
            throw;
        }
        return IsProduct
            ? new ProductEncoder(this, encoders, _rotation is null ? null : new RowRotation(_rotation, Dimension, threads))
            : new ResidualEncoder(this, encoders[0]);
    }

    /// <summary>
    /// The vectors that codes stand for: the sum of the chosen codewords' residual halves, or for PQ the chosen codewords side by side, turned
    /// back by Rᵀ under OPQ. Computed in float64, rounded once to float32.
    /// </summary>
    /// <param name="codes">[n, L].</param>
    /// <param name="rows">[n, d], overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit, or a code is not below its level's K (row and level named).</exception>
    public void Reconstruct(ReadOnlySpan<ushort> codes, Span<float> rows)
    {
        if (codes.Length % Levels != 0)
            throw new ArgumentException($"{codes.Length} codes do not form whole rows of {Levels} levels", nameof(codes));
        int count = codes.Length / Levels;
        if (rows.Length != (long)count * Dimension)
            throw new ArgumentException($"{count} rows of dimension {Dimension} need {(long)count * Dimension} values, the span has {rows.Length}", nameof(rows));
        var sum = new double[Dimension];
        double[]? turned = _rotation is null ? null : new double[Dimension];
        for (int i = 0; i < count; i++)
        {
            Array.Clear(sum);
            for (int level = 0; level < Levels; level++)
            {
                int code = codes[i * Levels + level];
                if (code >= CodeCount(level))
                    throw new ArgumentException($"row {i}, level {level} has code {code}, expected less than {CodeCount(level)}", nameof(codes));
                ReadOnlySpan<float> codeword = Codeword(level, code);
                Span<double> target = IsProduct ? sum.AsSpan(level * codeword.Length) : sum;
                for (int j = 0; j < codeword.Length; j++)
                    target[j] += codeword[j];
            }
            double[] row = sum;
            if (_rotation is not null && turned is not null)
            {
                Array.Clear(turned);
                for (int k = 0; k < Dimension; k++)
                {
                    for (int j = 0; j < Dimension; j++)
                        turned[j] += (double)_rotation[k * Dimension + j] * sum[k];
                }
                row = turned;
            }
            Span<float> destination = rows.Slice(i * Dimension, Dimension);
            for (int j = 0; j < Dimension; j++)
                destination[j] = (float)row[j];
        }
    }

    /// <summary>Columns per sub-space, d/S.</summary>
    /// <exception cref="ArgumentException">S does not divide d.</exception>
    internal static int SubspaceWidth(int dimension, int subspaces)
    {
        if (subspaces < 1 || dimension % subspaces != 0)
            throw new ArgumentException($"dimension {dimension} cannot be cut into {subspaces} sub-spaces of equal width: choose a number of levels that divides it", nameof(subspaces));
        return dimension / subspaces;
    }

    private static EncodePlan SubspacePlan(float[] codebook, int subspace, int width)
    {
        try
        {
            return new EncodePlan(PlanKind.Residual, width, [codebook]);
        }
        catch (ArgumentException problem)
        {
            throw new ArgumentException($"sub-space {subspace}: {problem.Message}", nameof(codebook), problem);
        }
    }

    private EncodePlan Plan(int level, out int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(level);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(level, Levels);
        index = IsProduct ? 0 : level;
        return _plans[IsProduct ? level : 0];
    }
}
