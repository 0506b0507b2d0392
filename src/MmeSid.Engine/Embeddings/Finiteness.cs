using System.Numerics;
using System.Runtime.InteropServices;

namespace MmeSid.Engine.Embeddings;

/// <summary>Finds values that are NaN or infinite.</summary>
internal static class Finiteness
{
    /// <summary>Index of the first value that is NaN or ±∞, −1 when all are finite.</summary>
    /// <remarks>A float32 is finite when its bits without the sign are below 0x7F800000, so one running maximum of the masked bits decides a block.</remarks>
    public static int IndexOfNonFinite(ReadOnlySpan<float> values)
    {
        const int blockValues = 4096;
        for (int start = 0; start < values.Length; start += blockValues)
        {
            ReadOnlySpan<float> block = values.Slice(start, Math.Min(blockValues, values.Length - start));
            if (AllFinite(block))
                continue;
            for (int i = 0; i < block.Length; i++)
            {
                if (!float.IsFinite(block[i]))
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

    private static bool AllFinite(ReadOnlySpan<float> values)
    {
        var mask = new Vector<uint>(0x7FFF_FFFF);
        Vector<uint> first = Vector<uint>.Zero, second = Vector<uint>.Zero;
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(values);
        int i = 0;
        for (; i <= bits.Length - 2 * Vector<uint>.Count; i += 2 * Vector<uint>.Count)
        {
            first = Vector.Max(first, new Vector<uint>(bits[i..]) & mask);
            second = Vector.Max(second, new Vector<uint>(bits[(i + Vector<uint>.Count)..]) & mask);
        }
        bool finite = Vector.LessThanAll(Vector.Max(first, second), new Vector<uint>(0x7F80_0000));
        for (; i < bits.Length; i++)
            finite &= (bits[i] & 0x7FFF_FFFF) < 0x7F80_0000;
        return finite;
    }
}
