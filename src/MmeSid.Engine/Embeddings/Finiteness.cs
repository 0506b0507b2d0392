using System.Numerics;
using System.Runtime.InteropServices;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>Finds values that are NaN or infinite.</summary>
internal static class Finiteness
{
    /// <summary>Index of the first value that is NaN or ±∞, −1 when all are finite.</summary>
    public static int IndexOfNonFinite(ReadOnlySpan<float> values) => IndexOfNonFinite(MemoryMarshal.Cast<float, uint>(values), 0x7FFF_FFFFu, 0x7F80_0000u);

    /// <summary>The same for values of 16 bits.</summary>
    public static int IndexOfNonFinite(ReadOnlySpan<ushort> bits, NarrowElement element) => IndexOfNonFinite(bits, (ushort)0x7FFF, element.Infinity());

    /// <remarks>A value is finite when its bits without the sign are below those of infinity, so one running maximum of the masked bits decides a block.</remarks>
    private static int IndexOfNonFinite<T>(ReadOnlySpan<T> bits, T withoutSign, T infinity)
        where T : unmanaged, IBinaryInteger<T>
    {
        const int blockValues = 4096;
        for (int start = 0; start < bits.Length; start += blockValues)
        {
            ReadOnlySpan<T> block = bits.Slice(start, Math.Min(blockValues, bits.Length - start));
            if (AllBelow(block, withoutSign, infinity))
                continue;
            for (int i = 0; i < block.Length; i++)
            {
                if ((block[i] & withoutSign) >= infinity)
                    return start + i;
            }
        }
        return -1;
    }

    /// <summary>The one-line refusal of a value.</summary>
    public static InvalidDataException Refusal(string place, int column, double value)
        => new(double.IsFinite(value)
            ? $"{place}, column {column} is {value:R}, which overflows float32 (at most {float.MaxValue:R})"
            : $"{place}, column {column} is {(double.IsNaN(value) ? "NaN" : value > 0 ? "infinity" : "-infinity")}, expected a finite number");

    private static bool AllBelow<T>(ReadOnlySpan<T> bits, T withoutSign, T infinity)
        where T : unmanaged, IBinaryInteger<T>
    {
        var mask = new Vector<T>(withoutSign);
        Vector<T> first = Vector<T>.Zero, second = Vector<T>.Zero;
        int i = 0;
        for (; i <= bits.Length - 2 * Vector<T>.Count; i += 2 * Vector<T>.Count)
        {
            first = Vector.Max(first, new Vector<T>(bits[i..]) & mask);
            second = Vector.Max(second, new Vector<T>(bits[(i + Vector<T>.Count)..]) & mask);
        }
        bool finite = Vector.LessThanAll(Vector.Max(first, second), new Vector<T>(infinity));
        for (; i < bits.Length; i++)
            finite &= (bits[i] & withoutSign) < infinity;
        return finite;
    }
}
