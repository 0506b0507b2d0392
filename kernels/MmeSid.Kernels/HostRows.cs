namespace MmeSid.Kernels;

/// <summary>Rows of a caller, in the form in which they are stored. Whoever makes one keeps the memory where it is.</summary>
internal readonly unsafe struct HostRows
{
    private readonly byte* _first;
    private readonly long _strideBytes;
    private readonly NarrowElement? _narrow;

    /// <summary>Rows of float32.</summary>
    /// <param name="first">Where the view's memory has been fixed.</param>
    /// <param name="rows">The view.</param>
    public HostRows(float* first, RowView rows)
        : this((byte*)first, 0, rows.Count, rows.Dimension, (long)rows.Stride * sizeof(float), null, isShadow: false)
    {
    }

    /// <summary>Rows of 16-bit values.</summary>
    /// <param name="first">Where the view's memory has been fixed.</param>
    /// <param name="rows">The view.</param>
    /// <param name="isShadow">Whether they are the shadow of the rows that count.</param>
    public HostRows(ushort* first, NarrowRows rows, bool isShadow = false)
        : this((byte*)first, 0, rows.Count, rows.Dimension, (long)rows.Dimension * sizeof(ushort), rows.Element, isShadow)
    {
    }

    private HostRows(byte* first, int number, int count, int dimension, long strideBytes, NarrowElement? narrow, bool isShadow)
    {
        _first = first;
        (Number, Count, Dimension, _strideBytes, _narrow, IsShadow) = (number, count, dimension, strideBytes, narrow, isShadow);
    }

    /// <summary>What the caller calls the first of them.</summary>
    public int Number { get; }

    /// <summary>n.</summary>
    public int Count { get; }

    /// <summary>d.</summary>
    public int Dimension { get; }

    /// <summary>Bytes of a row's values.</summary>
    public long RowBytes => (long)Dimension * (_narrow is null ? sizeof(float) : sizeof(ushort));

    /// <summary>Whether nothing lies between the rows.</summary>
    public bool IsContiguous => _strideBytes == RowBytes;

    /// <summary>Whether the rows that count are elsewhere, and these are what float16 made of them.</summary>
    public bool IsShadow { get; }

    /// <summary>Element of kernels/cuda/encode.h.</summary>
    public int Element => IsShadow ? 3 : (int)(_narrow ?? 0);

    /// <summary>First value of a row.</summary>
    public byte* Row(int index) => _first + index * _strideBytes;

    /// <summary>Rows <paramref name="start"/> … <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public HostRows Slice(int start, int count) => new(Row(start), Number + start, count, Dimension, _strideBytes, _narrow, IsShadow);

    /// <summary>A row as float32, exact.</summary>
    public float[] Widened(int index)
    {
        if (_narrow is not { } element)
            return new ReadOnlySpan<float>(Row(index), Dimension).ToArray();
        float[] row = new float[Dimension];
        element.Widen(new ReadOnlySpan<ushort>(Row(index), Dimension), row);
        return row;
    }
}
