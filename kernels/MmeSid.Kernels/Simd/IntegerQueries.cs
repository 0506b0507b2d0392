namespace MmeSid.Kernels.Simd;

/// <summary>
/// Queries rounded to int8 for products with <see cref="ItemBlock"/>, and what is certain of these. With q̂ = step · b, ‖Q q − q̂‖ ≤ λ, an item N ≥ ‖x − m‖ and ρN ≥ what its integers lose,
/// <code>
///   q·x ≤ q·m + step · (itemStep · a·b + G·N) + η        G = (λ + ‖q̂‖(ρ + 3u(1 + ρ))) / step
/// </code>
/// so that an item is out where <c>itemStep · a·b + G·N</c> in float32 is below <see cref="Limit"/> (docs/exactness.md §8); 3u pays for what float32 rounds of the first product.
/// </summary>
internal sealed unsafe class IntegerQueries : IDisposable
{
    private const double kConversions = 3 * Bounds.Float32;

    private readonly RowMatrix _tiles;
    private readonly double[] _steps, _shifts, _slacks;
    // G = fixed + ρ · variable.
    private readonly float[] _fixedReaches, _variableReaches;

    /// <summary>Rotates, rounds and packs.</summary>
    /// <param name="queries">First query.</param>
    /// <param name="stride">Values between two queries.</param>
    /// <param name="count">q ≥ 1.</param>
    /// <param name="dimension">d.</param>
    /// <param name="norms">‖q‖ of each.</param>
    /// <param name="shadow">What they are multiplied with.</param>
    public IntegerQueries(float* queries, nint stride, int count, int dimension, double[] norms, ItemShadow shadow)
    {
        const int kTile = Product.kRowsPerTile;
        int width = shadow.Rotation.Width;
        Words = width / IntegerProduct.ValuesPerWord(IntegerFormat.Int8);
        (_steps, _shifts, _slacks, _fixedReaches, _variableReaches) = (new double[count], new double[count], new double[count], new float[count], new float[count]);
        Offsets = new int[count];
        double centreNorm = Math.Sqrt(shadow.Centre.Sum(value => (double)value * value));
        _tiles = new RowMatrix(Product.PaddedRows(count), Words);
        using RowMatrix rows = new(2, width), integers = new(kTile, Words);
        float* row = (float*)rows.DangerousGetHandle(), zeros = row + width;
        var words = (int*)integers.DangerousGetHandle();
        for (int q = 0; q < count; q++)
        {
            var query = new ReadOnlySpan<float>(queries + q * stride, dimension);
            query.CopyTo(new Span<float>(row, width));
            new Span<float>(row + dimension, width - dimension).Clear();
            shadow.Rotation.Apply(row);
            double norm = IntegerRows.Subtract(row, zeros, width, out float largest);
            double lost = IntegerRows.Round(IntegerFormat.Int8, row, width, largest, norm, words + (nint)(q % kTile) * Words, out float step, out int sum);
            // Without a step the integers are zeros, whatever the step.
            _steps[q] = step == 0 ? 1 : step;
            // Items are stored as 128 more.
            Offsets[q] = 128 * sum;
            double rounding = Bounds.Float32 * norm * HadamardRotation.kDepth + width * (double)float.Epsilon, rounded = norm + lost, slack = Bounds.NormSlack(width) / _steps[q];
            _fixedReaches[q] = MathF.BitIncrement((float)(slack * (lost + rounding + rounded * kConversions)));
            _variableReaches[q] = MathF.BitIncrement((float)(slack * rounded * (1 + kConversions)));
            ExactProducts.Product shift = ExactProducts.Evaluate(query, shadow.Centre.AsSpan(0, dimension), 0);
            _shifts[q] = shift.Score;
            // η: what the rotation's scales lose of items below float32's range.
            _slacks[q] = Bounds.InnerProduct64(dimension, norms[q] * centreNorm) + Bounds.Slack * rounded * width * float.Epsilon;
            if (q % kTile == kTile - 1 || q == count - 1)
                Product.TransposeTile((float*)words, Words, Words, (float*)Tile(q / kTile));
        }
    }

    /// <summary>32-bit words of a query.</summary>
    public int Words { get; }

    /// <summary>What integer products are too large by.</summary>
    public int[] Offsets { get; }

    /// <summary>24 queries, [words][24].</summary>
    public int* Tile(int tile) => (int*)_tiles.DangerousGetHandle() + (nint)tile * Product.kRowsPerTile * Words;

    /// <summary>G for a block whose integers lose at most a share of each item.</summary>
    public float Reach(int q, float lostShare) => MathF.FusedMultiplyAdd(_variableReaches[q], lostShare, _fixedReaches[q]);

    /// <summary>Items whose <c>itemStep · a·b + G·N</c> is below it have a product below a threshold.</summary>
    public float Limit(int q, double threshold)
    {
        double slack = _slacks[q] + 4 * Bounds.Float64 * (Math.Abs(threshold) + Math.Abs(_shifts[q]));
        return MathF.BitDecrement((float)((threshold - _shifts[q] - slack) / _steps[q]));
    }

    public void Dispose() => _tiles.Dispose();
}
