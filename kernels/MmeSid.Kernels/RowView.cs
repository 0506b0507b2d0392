namespace MmeSid.Kernels;

/// <summary>
/// A borrowed block of <c>n</c> float32 rows: row <c>i</c> is <c>Values[i·Stride .. i·Stride + Dimension]</c>.
/// A stride larger than the dimension selects columns of a wider table (a PQ sub-space) without copying.
/// </summary>
public readonly ref struct RowView
{
    /// <summary>Largest d. Rounding bounds grow with d and hold up to here with room to spare.</summary>
    public const int MaximumDimension = 1 << 20;

    /// <summary>Views contiguous rows; the row count is <c>values.Length / dimension</c>.</summary>
    /// <param name="values">[n, dimension], row-major.</param>
    /// <param name="dimension">Values per row, at least 1.</param>
    /// <exception cref="ArgumentException">The length is no multiple of the dimension.</exception>
    public RowView(ReadOnlySpan<float> values, int dimension)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimension, MaximumDimension);
        if (values.Length % dimension != 0)
            throw new ArgumentException($"{values.Length} values do not form whole rows of dimension {dimension}", nameof(values));
        Values = values;
        Count = values.Length / dimension;
        Dimension = dimension;
        Stride = dimension;
    }

    /// <summary>Views <paramref name="count"/> rows that start <paramref name="stride"/> values apart.</summary>
    /// <param name="values">Must hold <c>(count − 1)·stride + dimension</c> values (none when count is 0).</param>
    /// <param name="count">Rows, at least 0.</param>
    /// <param name="dimension">Values per row, at least 1.</param>
    /// <param name="stride">Values from one row's start to the next, at least <paramref name="dimension"/>.</param>
    /// <exception cref="ArgumentException">The span is too short for that many rows.</exception>
    public RowView(ReadOnlySpan<float> values, int count, int dimension, int stride)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimension, MaximumDimension);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, dimension);
        long needed = count == 0 ? 0 : ((long)count - 1) * stride + dimension;
        if (values.Length < needed)
            throw new ArgumentException($"{count} rows of dimension {dimension}, {stride} apart, need {needed} values; the span has {values.Length}", nameof(values));
        Values = values;
        Count = count;
        Dimension = dimension;
        Stride = stride;
    }

    /// <summary>The viewed memory.</summary>
    public ReadOnlySpan<float> Values { get; }

    /// <summary>Number of rows, n.</summary>
    public int Count { get; }

    /// <summary>Values per row, d.</summary>
    public int Dimension { get; }

    /// <summary>Values between the starts of two consecutive rows.</summary>
    public int Stride { get; }

    /// <summary>Row <paramref name="index"/>, length <see cref="Dimension"/>.</summary>
    public ReadOnlySpan<float> this[int index] => Values.Slice(checked(index * Stride), Dimension);

    /// <summary>Rows <paramref name="start"/> … <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public RowView Slice(int start, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count - start);
        return new RowView(count == 0 ? default : Values[(start * Stride)..], count, Dimension, Stride);
    }
}
