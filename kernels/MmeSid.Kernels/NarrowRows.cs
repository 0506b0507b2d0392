using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels;

/// <summary>A floating-point format of 16 bits. Every value of it is a float32.</summary>
public enum NarrowElement
{
    /// <summary>IEEE half precision: 5 bits of exponent, 10 of fraction.</summary>
    Float16 = 1,

    /// <summary>The upper half of a float32: 8 bits of exponent, 7 of fraction.</summary>
    BFloat16 = 2,
}

/// <summary>What is the same for values wherever they lie.</summary>
public static class NarrowElements
{
    /// <summary>Bits of infinity; a value is finite when its bits without the sign are below them.</summary>
    public static ushort Infinity(this NarrowElement element) => element == NarrowElement.Float16 ? (ushort)0x7C00 : (ushort)0x7F80;

    /// <summary>One value as float32, which is exact.</summary>
    public static float Widen(this NarrowElement element, ushort bits)
        => element == NarrowElement.Float16 ? (float)BitConverter.UInt16BitsToHalf(bits) : BitConverter.UInt32BitsToSingle((uint)bits << 16);

    /// <summary>Converts to float32, which is exact.</summary>
    /// <param name="element">The format.</param>
    /// <param name="bits">[n].</param>
    /// <param name="destination">[n] or longer.</param>
    /// <exception cref="ArgumentException">The destination is too short.</exception>
    public static void Widen(this NarrowElement element, ReadOnlySpan<ushort> bits, Span<float> destination)
    {
        if (destination.Length < bits.Length)
            throw new ArgumentException($"{bits.Length} values to convert, the destination takes {destination.Length}", nameof(destination));
        if (element == NarrowElement.Float16)
        {
            TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<ushort, Half>(bits), destination);
            return;
        }
        Span<uint> wide = MemoryMarshal.Cast<float, uint>(destination);
        int i = 0;
        for (; i <= bits.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(bits[i..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(wide[i..]);
            (high << 16).CopyTo(wide[(i + Vector<uint>.Count)..]);
        }
        for (; i < bits.Length; i++)
            destination[i] = element.Widen(bits[i]);
    }
}

/// <summary>A borrowed block of <c>n</c> rows one behind the other whose values are stored in 16 bits each: half of what the same rows take as float32.</summary>
public readonly ref struct NarrowRows
{
    /// <summary>Views rows; their number is <c>bits.Length / dimension</c>.</summary>
    /// <param name="bits">[n, dimension], row-major.</param>
    /// <param name="dimension">Values per row, at least 1.</param>
    /// <param name="element">What the bits mean.</param>
    /// <exception cref="ArgumentException">The length is no multiple of the dimension.</exception>
    public NarrowRows(ReadOnlySpan<ushort> bits, int dimension, NarrowElement element)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimension, RowView.MaximumDimension);
        if (bits.Length % dimension != 0)
            throw new ArgumentException($"{bits.Length} values do not form whole rows of dimension {dimension}", nameof(bits));
        Bits = bits;
        Count = bits.Length / dimension;
        Dimension = dimension;
        Element = element;
    }

    /// <summary>The viewed memory.</summary>
    public ReadOnlySpan<ushort> Bits { get; }

    /// <summary>Number of rows, n.</summary>
    public int Count { get; }

    /// <summary>Values per row, d.</summary>
    public int Dimension { get; }

    /// <summary>What the bits mean.</summary>
    public NarrowElement Element { get; }

    /// <summary>The same rows as float32, exact. The caller disposes of them.</summary>
    /// <exception cref="InsufficientMemoryException">The machine cannot provide the memory.</exception>
    public RowMatrix Widen()
    {
        var wide = new RowMatrix(Count, Dimension);
        Element.Widen(Bits, wide.Rows(0, Count));
        return wide;
    }
}
