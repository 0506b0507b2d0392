using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Items of <see cref="TopScan"/> rounded to int8, a quarter of their bytes: <c>Q(x − m) = step · a + δ</c>, with the rotation Q of <see cref="HadamardRotation"/> and a vector m near their mean.
/// All products of a query with items differ by one number from those with x − m, whose norms, and with them the bounds, are smaller (docs/exactness.md §8). In blocks that are made when they are
/// first wanted. Thread-safe.
/// </summary>
internal sealed unsafe class ItemShadow : IDisposable
{
    /// <summary>Items of a block: products of a tile of queries with them stay in the first-level cache.</summary>
    public const int kItemsPerBlock = 192;

    // Any vector will do; the mean of these many items is near enough.
    private const int kMeanItems = 2048;

    private readonly int _dimension;
    private readonly ItemBlock?[] _blocks;

    /// <summary>Prepares a shadow of no items yet.</summary>
    public ItemShadow(RowView items)
    {
        _dimension = items.Dimension;
        Rotation = new HadamardRotation(_dimension);
        Centre = new float[Rotation.Width];
        Mean(items).CopyTo(Centre.AsSpan());
        _blocks = new ItemBlock?[(items.Count + kItemsPerBlock - 1) / kItemsPerBlock];
    }

    /// <summary>Of items and queries.</summary>
    public HadamardRotation Rotation { get; }

    /// <summary>m, with zeros behind it, [Rotation.Width].</summary>
    public float[] Centre { get; }

    /// <summary>A block if it has been made.</summary>
    public ItemBlock? Find(int block) => Volatile.Read(ref _blocks[block]);

    /// <summary>Makes a block.</summary>
    /// <param name="items">Its first item.</param>
    /// <param name="stride">Values between two items.</param>
    /// <param name="count">Items in it.</param>
    /// <param name="rows">The caller's own, see <see cref="Buffer"/>.</param>
    public ItemBlock Make(float* items, nint stride, int count, RowMatrix rows) => new(items, stride, count, _dimension, this, rows);

    /// <summary>Memory for one caller of <see cref="Make"/> after the other.</summary>
    public RowMatrix Buffer() => new(kItemsPerBlock, Rotation.Width);

    /// <summary>Keeps a block for all that look for it later, and returns the one that is kept: of several that are made at once the first.</summary>
    public ItemBlock Keep(int block, ItemBlock made)
    {
        ItemBlock? first = Interlocked.CompareExchange(ref _blocks[block], made, null);
        if (first is null)
            return made;
        made.Dispose();
        return first;
    }

    public void Dispose()
    {
        foreach (ItemBlock? block in _blocks)
            block?.Dispose();
    }

    private static float[] Mean(RowView items)
    {
        int d = items.Dimension, count = Math.Min(items.Count, kMeanItems);
        double[] sums = new double[d], values = new double[d];
        for (int i = 0; i < count; i++)
        {
            TensorPrimitives.ConvertTruncating(items[(int)((long)i * items.Count / count)], values.AsSpan());
            TensorPrimitives.Add<double>(sums, values, sums);
        }
        float[] mean = Array.ConvertAll(sums, sum => (float)(sum / count));
        return TensorPrimitives.IsFiniteAll<float>(mean) ? mean : new float[d];
    }
}

/// <summary>A run of items as int8, packed for <see cref="IntegerProduct"/> as if they were codewords.</summary>
internal sealed unsafe class ItemBlock : IDisposable
{
    private readonly IntegerCodewords? _integers;

    public ItemBlock(float* items, nint stride, int count, int dimension, ItemShadow shadow, RowMatrix rows)
    {
        int width = shadow.Rotation.Width;
        double squares = 0;
        for (int i = 0; i < count; i++)
            squares = Math.Max(squares, TensorPrimitives.SumOfSquares(new ReadOnlySpan<float>(items + i * stride, dimension)));
        LargestNorm = Math.Sqrt(Bounds.NormSlack(dimension) * squares + Bounds.Underflow(dimension));
        if (!double.IsFinite(LargestNorm))
            return;
        var row = (float*)rows.DangerousGetHandle();
        fixed (float* centre = shadow.Centre)
        {
            for (int i = 0; i < count; i++, row += width)
            {
                new ReadOnlySpan<float>(items + i * stride, dimension).CopyTo(new Span<float>(row, width));
                new Span<float>(row + dimension, width - dimension).Clear();
                IntegerRows.Subtract(row, centre, width, out _);
                shadow.Rotation.Apply(row);
            }
        }
        // Centring and each addition of the rotation round once.
        const double rounding = Bounds.Float32 * (1 + HadamardRotation.kDepth);
        const int multiple = 2 * IntegerProduct.kCodesPerPanel;
        PaddedCount = (count + multiple - 1) / multiple * multiple;
        _integers = new IntegerCodewords(IntegerFormat.Int8, (float*)rows.DangerousGetHandle(), count, PaddedCount, width, rounding, IntegerProduct.kCodesPerPanel, threads: 1);
        if (double.IsFinite(_integers.LargestNorm) && double.IsFinite(_integers.LostShare))
            return;
        _integers.Dispose();
        _integers = null;
    }

    /// <summary>At least the norm of each item as it is; NaN or infinity where squares overflow or a value is not finite.</summary>
    public double LargestNorm { get; }

    /// <summary>Whole pairs of panels; what is added has norm 0.</summary>
    public int PaddedCount { get; }

    /// <summary>Null where a norm leaves float32's range: then nothing is known of the items.</summary>
    public IntegerCodewords? Integers => _integers;

    public void Dispose() => _integers?.Dispose();
}
