using System.Runtime.InteropServices;

namespace MmeSid.Kernels;

/// <summary>
/// An owned [n, d] float32 matrix outside the garbage-collected heap, 64-byte aligned, contiguous and row-major.
/// It may exceed the 2³¹ elements of a span; callers walk it in blocks with <see cref="Rows"/>. Zero-filled at creation.
/// Not thread-safe against <see cref="SafeHandle.Dispose()"/>; reading and writing disjoint rows from several threads is.
/// </summary>
public sealed unsafe class RowMatrix : SafeHandle
{
    private const nuint kAlignment = 64;

    /// <summary>Allocates <paramref name="count"/> × <paramref name="dimension"/> zeros.</summary>
    /// <exception cref="InsufficientMemoryException">The machine cannot provide the memory.</exception>
    public RowMatrix(long count, int dimension)
        : base(0, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        Count = count;
        Dimension = dimension;
        nuint bytes = checked((nuint)count * (nuint)dimension * sizeof(float));
        try
        {
            // calloc leaves fresh pages untouched: a large matrix costs nothing until it is written.
            _block = NativeMemory.AllocZeroed(checked(bytes + kAlignment));
        }
        catch (OutOfMemoryException)
        {
            throw new InsufficientMemoryException($"a matrix of {count} × {dimension} float32 values needs {bytes / 1e9:F2} GB, which could not be allocated");
        }
        LargePages.Advise(_block, bytes + kAlignment);
        SetHandle((nint)(((nuint)_block + kAlignment - 1) & ~(kAlignment - 1)));
    }

    private readonly void* _block;

    /// <summary>Number of rows, n.</summary>
    public long Count { get; }

    /// <summary>Values per row, d.</summary>
    public int Dimension { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>Rows <paramref name="start"/> … as one writable span of <c>count · Dimension</c> values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The rows are not all inside the matrix, or exceed one span.</exception>
    public Span<float> Rows(long start, int count)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + count, Count);
        return new Span<float>((float*)handle + start * Dimension, checked(count * Dimension));
    }

    /// <summary>The same rows as a <see cref="RowView"/> for the kernels.</summary>
    public RowView View(long start, int count) => new(Rows(start, count), Dimension);

    /// <summary>Largest number of rows that one span of this matrix can hold.</summary>
    public int MaximumSpanRows => int.MaxValue / Dimension;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.Free(_block);
        return true;
    }
}
