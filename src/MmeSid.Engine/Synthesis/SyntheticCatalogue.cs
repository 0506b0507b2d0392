using System.Numerics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Synthesis;

/// <summary>What a <see cref="SyntheticCatalogue"/> looks like. The defaults are the data of the benchmarks ("synth at its default").</summary>
public sealed record SyntheticOptions
{
    /// <summary>Rows, n ≥ 0.</summary>
    public required long Items { get; init; }

    /// <summary>Values per row, d ≥ 1.</summary>
    public required int Dimension { get; init; }

    /// <summary>Seed of centres, basis, mean and noise.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Children per node at each depth of the tree of clusters.</summary>
    public IReadOnlyList<int> Branching { get; init; } = [16, 16, 16];

    /// <summary>Exponent of cluster sizes (see <see cref="SyntheticHierarchy"/>).</summary>
    public double Skew { get; init; } = 0.5;

    /// <summary>ρ: length of a centre's step from its parent, relative to the step one depth above.</summary>
    public double CentreDecay { get; init; } = 0.7;

    /// <summary>τ: root-mean-square length of an item's own deviation, relative to the first depth's step.</summary>
    public double Noise { get; init; } = 0.8;

    /// <summary>p: the i-th principal axis has standard deviation ∝ i^−p.</summary>
    public double SpectrumExponent { get; init; } = 0.5;

    /// <summary>m: length of the common mean, relative to the first depth's step.</summary>
    public double MeanNorm { get; init; } = 1;

    /// <summary>A tree shared with other tables (of other modalities); null makes one of <see cref="Branching"/>, <see cref="Skew"/> and <see cref="Seed"/>.</summary>
    public SyntheticHierarchy? Hierarchy { get; init; }

    /// <summary>Probability that this table shows an item's true leaf; otherwise it shows another of the same depth-0 node.</summary>
    public double Agreement { get; init; } = 1;
}

/// <summary>
/// Embeddings of a made-up catalogue: clustered in a known hierarchy, with a power-law spectrum and a mean, so that runs over millions
/// of items need no data. With leaf ℓ(i) of item i in a tree of depth T (<see cref="SyntheticHierarchy"/>):
/// <code>
/// x_i = s · ( μ + Σ_{t=0}^{T−1} ρ^t · c_t[node_t(ℓ(i))] + τ · Q(σ ∘ g_i) )
/// c_t[v] = Q(σ ∘ g_tv)        σ_j ∝ rank(j)^−p, Σσ² = 1        ‖μ‖ = m        s = (m² + Σρ^2t + τ²)^−½
/// </code>
/// g are independent standard normal vectors (values within ±4), rank is a seeded permutation of 1 … d, and Q is an orthogonal map:
/// random signs, then for every power of two h below d the pairs (j, j + h) of each block of 2h columns become their sum and difference over √2
/// (the Hadamard butterfly; where d is no power of two, columns without a partner stay). So the principal axes lie across the columns,
/// the mean squared length of a row is 1, and centres and noise share one spectrum.
/// Row i depends on the seed and i alone: any block, thread count and machine gives the same bytes. Thread-safe.
/// </summary>
public sealed class SyntheticCatalogue
{
    private const float kHalfRoot = 0.70710678f;

    private readonly float[] _deviations;
    private readonly float[] _leafCentres;
    private readonly double _agreement;
    private readonly ulong _rowSeed;
    private readonly ulong _view;

    /// <summary>Draws tree, basis, mean and centres; rows are made when read.</summary>
    /// <exception cref="ArgumentException">A size or a parameter is out of range, or the leaves' centres exceed one array.</exception>
    public SyntheticCatalogue(SyntheticOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Items < 0)
            throw new ArgumentException($"the number of items is {options.Items}, expected at least 0", nameof(options));
        if (options.Dimension < 1)
            throw new ArgumentException($"the dimension is {options.Dimension}, expected at least 1", nameof(options));
        foreach ((string name, double value) in ((string, double)[])
            [("centre decay", options.CentreDecay), ("noise", options.Noise), ("spectrum exponent", options.SpectrumExponent), ("mean norm", options.MeanNorm)])
        {
            if (!double.IsFinite(value) || value < 0)
                throw new ArgumentException($"the {name} is {value}, expected a finite value of at least 0", nameof(options));
        }
        if (options.Agreement is not (>= 0 and <= 1))
            throw new ArgumentException($"the agreement is {options.Agreement}, expected 0 to 1", nameof(options));

        Hierarchy = options.Hierarchy ?? new SyntheticHierarchy(options.Branching, options.Skew, options.Seed);
        if ((long)Hierarchy.LeafCount * options.Dimension > Array.MaxLength)
            throw new ArgumentException($"the centres of {Hierarchy.LeafCount} leaves × dimension {options.Dimension} exceed one array of {Array.MaxLength} values", nameof(options));
        Options = options;
        _agreement = options.Agreement;
        _view = options.Seed;
        _rowSeed = SyntheticHierarchy.Mix(options.Seed ^ 0x726F7773);

        double steps = 0;
        for (int depth = 0; depth < Hierarchy.Depth; depth++)
            steps += Math.Pow(options.CentreDecay, 2 * depth);
        double variance = options.MeanNorm * options.MeanNorm + steps + options.Noise * options.Noise;
        double scale = variance > 0 ? 1 / Math.Sqrt(variance) : 1;

        var random = new RandomSource(SyntheticHierarchy.Mix(options.Seed ^ 0x63656E74));
        double[] spectrum = Spectrum(options, random);
        _leafCentres = LeafCentres(spectrum, scale, random);
        _deviations = Array.ConvertAll(spectrum, deviation => (float)(deviation * options.Noise * scale));
    }

    /// <summary>The parameters it was made from.</summary>
    public SyntheticOptions Options { get; }

    /// <summary>The clusters that its items belong to.</summary>
    public SyntheticHierarchy Hierarchy { get; }

    /// <summary>Number of rows, n.</summary>
    public long Count => Options.Items;

    /// <summary>Values per row, d.</summary>
    public int Dimension => Options.Dimension;

    /// <summary>The leaf that row <paramref name="row"/> is drawn around: its true cluster, or what this table shows instead (see <see cref="SyntheticOptions.Agreement"/>).</summary>
    public int Leaf(long row) => _agreement < 1 ? Hierarchy.Leaf(row, _view, _agreement) : Hierarchy.Leaf(row);

    /// <summary>Makes rows <paramref name="firstRow"/> … on the calling thread. Allocates one small object per row.</summary>
    /// <param name="firstRow">From 0.</param>
    /// <param name="rows">How many.</param>
    /// <param name="destination">[rows, d], finite values.</param>
    /// <exception cref="ArgumentException">The rows are not all inside the catalogue, or the destination has another length.</exception>
    public void Read(long firstRow, int rows, Span<float> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstRow);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        if (firstRow + rows > Count)
            throw new ArgumentException($"rows {firstRow} … {firstRow + rows - 1} were asked for, the catalogue has {Count}", nameof(rows));
        if (destination.Length != (long)rows * Dimension)
            throw new ArgumentException($"the destination has {destination.Length} values, {rows} rows of dimension {Dimension} need {(long)rows * Dimension}", nameof(destination));
        for (int i = 0; i < rows; i++)
        {
            Span<float> row = destination.Slice(i * Dimension, Dimension);
            NormalQuantiles.Fill(new RandomSource(SyntheticHierarchy.Mix(_rowSeed) + (ulong)(firstRow + i)), row);
            Multiply(row, _deviations);
            Rotate(row);
            Add(row, _leafCentres.AsSpan(Leaf(firstRow + i) * Dimension, Dimension));
        }
    }

    /// <summary>Makes all rows at once, on <paramref name="threads"/> threads.</summary>
    /// <param name="threads">0 for all cores.</param>
    /// <param name="cancellation">Ends the work early.</param>
    public RowMatrix ToRows(int threads = 0, CancellationToken cancellation = default)
    {
        const int kRowsPerBlock = 1024;
        int perBlock = Math.Max(1, Math.Min(kRowsPerBlock, int.MaxValue / Dimension));
        var matrix = new RowMatrix(Count, Dimension);
        try
        {
            Parallel.For(0, (Count + perBlock - 1) / perBlock,
                new ParallelOptions { MaxDegreeOfParallelism = threads > 0 ? threads : Environment.ProcessorCount, CancellationToken = cancellation },
                block =>
                {
                    int rows = (int)Math.Min(perBlock, Count - block * perBlock);
                    Read(block * perBlock, rows, matrix.Rows(block * perBlock, rows));
                });
            return matrix;
        }
        catch
        {
            matrix.Dispose();
            throw;
        }
    }

    /// <summary>σ with random signs, in the column order that the butterfly starts from.</summary>
    private static double[] Spectrum(SyntheticOptions options, RandomSource random)
    {
        var spectrum = new double[options.Dimension];
        double energy = 0;
        for (int i = 0; i < spectrum.Length; i++)
        {
            spectrum[i] = Math.Pow(i + 1, -options.SpectrumExponent);
            energy += spectrum[i] * spectrum[i];
        }
        for (int i = 0; i < spectrum.Length; i++)
            spectrum[i] *= (random.NextUInt64() & 1) == 0 ? 1 / Math.Sqrt(energy) : -1 / Math.Sqrt(energy);
        random.Shuffle<double>(spectrum);
        return spectrum;
    }

    /// <summary>[leaves, d]: s · (μ + Σ_t ρ^t c_t) per leaf.</summary>
    private float[] LeafCentres(double[] spectrum, double scale, RandomSource random)
    {
        var mean = new float[Dimension];
        NormalQuantiles.Fill(random, mean);
        double norm = Math.Sqrt(mean.Sum(value => (double)value * value));
        if (norm > 0)
            mean = Array.ConvertAll(mean, value => (float)(value / norm * Options.MeanNorm * scale));

        var centres = new float[Hierarchy.LeafCount * Dimension];
        for (int leaf = 0; leaf < Hierarchy.LeafCount; leaf++)
            mean.CopyTo(centres, leaf * Dimension);
        var step = new float[Dimension];
        for (int depth = 0; depth < Hierarchy.Depth; depth++)
        {
            double length = Math.Pow(Options.CentreDecay, depth) * scale;
            float[] deviations = Array.ConvertAll(spectrum, deviation => (float)(deviation * length));
            int leaves = Hierarchy.LeafCount / Hierarchy.NodeCount(depth);
            for (int node = 0; node < Hierarchy.NodeCount(depth); node++)
            {
                NormalQuantiles.Fill(random, step);
                Multiply(step, deviations);
                Rotate(step);
                for (int leaf = node * leaves; leaf < (node + 1) * leaves; leaf++)
                    Add(centres.AsSpan(leaf * Dimension, Dimension), step);
            }
        }
        return centres;
    }

    /// <summary>Q of the class remarks without its signs, which the spectrum carries. Element-wise float32 operations: the same bits for every vector width.</summary>
    private static void Rotate(Span<float> row)
    {
        for (int h = 1; h < row.Length; h *= 2)
        {
            for (int block = 0; block + h < row.Length; block += 2 * h)
            {
                int end = Math.Min(block + h, row.Length - h);
                int i = block;
                for (; i <= end - Vector<float>.Count; i += Vector<float>.Count)
                {
                    var a = new Vector<float>(row[i..]);
                    var b = new Vector<float>(row[(i + h)..]);
                    ((a + b) * kHalfRoot).CopyTo(row[i..]);
                    ((a - b) * kHalfRoot).CopyTo(row[(i + h)..]);
                }
                for (; i < end; i++)
                {
                    (float a, float b) = (row[i], row[i + h]);
                    row[i] = (a + b) * kHalfRoot;
                    row[i + h] = (a - b) * kHalfRoot;
                }
            }
        }
    }

    private static void Multiply(Span<float> row, ReadOnlySpan<float> factors)
    {
        int i = 0;
        for (; i <= row.Length - Vector<float>.Count; i += Vector<float>.Count)
            (new Vector<float>(row[i..]) * new Vector<float>(factors[i..])).CopyTo(row[i..]);
        for (; i < row.Length; i++)
            row[i] *= factors[i];
    }

    private static void Add(Span<float> row, ReadOnlySpan<float> terms)
    {
        int i = 0;
        for (; i <= row.Length - Vector<float>.Count; i += Vector<float>.Count)
            (new Vector<float>(row[i..]) + new Vector<float>(terms[i..])).CopyTo(row[i..]);
        for (; i < row.Length; i++)
            row[i] += terms[i];
    }
}
