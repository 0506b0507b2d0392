using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels;

/// <summary>What float32 rows are rounded to where a smaller copy of them is kept: a shadow.</summary>
public enum ShadowFormat
{
    /// <summary>Each value to the nearest float16, ties to even, ±∞ where it overflows. d values, 2·d bytes.</summary>
    Float16,

    /// <summary>
    /// Integers q of 8 bits times a step of the row's own: float32 step, float32 error ≥ ‖x − step·q‖, d values q, ‖·‖ the Euclidean norm; 8 + d bytes. A step has at
    /// most 17 significant bits, so that step·q is a float32.
    /// </summary>
    Int8,
}

/// <summary>
/// The formats of shadows.
/// <code>
///   float16   x̃ = round(x), |x_i − x̃_i| ≤ 2^(max(e_i, 1) − 26), e_i the biased exponent of x̃_i: half of a unit in its last place; σ = (Σ_i 4^(max(e_i, 1) − 26))^½
///   int8      step = max |x_i| / 127 rounded up to 17 bits, q = round(x / step), x̃ = step · q; σ = ‖x − x̃‖, measured in float64 and rounded up when it is made
/// </code>
/// The bytes of a row depend on nothing but the row: not on the instruction set, either.
/// </summary>
public static class ShadowFormats
{
    /// <summary>Bytes of the step and of the error of an int8 row.</summary>
    public const int kInt8HeadBytes = 2 * sizeof(float);

    private const int kLargest = 127;

    // Of float16.
    private const int kExponent = 31;

    // Bits of a float32 that a step leaves zero: its product with 7 bits is exact then.
    private const uint kZeroBits = 0x7F;

    /// <summary>Bytes of a row.</summary>
    /// <param name="format">The format.</param>
    /// <param name="dimension">d.</param>
    public static int RowBytes(this ShadowFormat format, int dimension) => format == ShadowFormat.Float16 ? sizeof(ushort) * dimension : kInt8HeadBytes + dimension;

    /// <summary>Rounds a row.</summary>
    /// <param name="format">To what.</param>
    /// <param name="row">[d], finite values.</param>
    /// <param name="shadow"><see cref="RowBytes"/>.</param>
    /// <exception cref="ArgumentException">The lengths do not fit.</exception>
    public static void Round(this ShadowFormat format, ReadOnlySpan<float> row, Span<byte> shadow)
    {
        CheckLengths(format, row.Length, shadow.Length);
        if (format == ShadowFormat.Float16)
        {
            TensorPrimitives.ConvertToHalf(row, MemoryMarshal.Cast<byte, Half>(shadow));
            return;
        }
        float step = Step(Math.Abs(TensorPrimitives.MaxMagnitude(row)));
        // Twice as many roundings as there are: of differences, squares, sums and the root.
        double error = Math.Sqrt(RoundToStep(row, step, MemoryMarshal.Cast<byte, sbyte>(shadow[kInt8HeadBytes..]))) * (1 + 2 * (row.Length + 8) * Bounds.Float64);
        float above = (float)error;
        MemoryMarshal.Write(shadow, step);
        MemoryMarshal.Write(shadow[sizeof(float)..], above < error ? MathF.BitIncrement(above) : above);
    }

    /// <summary>A row of a shadow as float32, which is exact.</summary>
    /// <param name="format">The format.</param>
    /// <param name="shadow"><see cref="RowBytes"/>.</param>
    /// <param name="row">[d].</param>
    /// <returns>σ ≥ ‖x − x̃‖ for the row x that was rounded; +∞ where nothing is known of it, and then values need not be finite.</returns>
    /// <exception cref="ArgumentException">The lengths do not fit.</exception>
    public static double Widen(this ShadowFormat format, ReadOnlySpan<byte> shadow, Span<float> row)
    {
        CheckLengths(format, row.Length, shadow.Length);
        if (format == ShadowFormat.Float16)
        {
            ReadOnlySpan<ushort> bits = MemoryMarshal.Cast<byte, ushort>(shadow);
            NarrowElement.Float16.Widen(bits, row);
            return HalfUnits(bits);
        }
        float step = MemoryMarshal.Read<float>(shadow), error = MemoryMarshal.Read<float>(shadow[sizeof(float)..]);
        Multiply(step, MemoryMarshal.Cast<byte, sbyte>(shadow[kInt8HeadBytes..]), row);
        bool isExact = (BitConverter.SingleToUInt32Bits(step) & kZeroBits) == 0 && float.IsFinite(step * (kLargest + 1));
        return isExact && error >= 0 ? error : double.PositiveInfinity;
    }

    /// <summary>What each value of a row may be off where the format tells: half a unit in the last place of a float16.</summary>
    /// <param name="format">The format.</param>
    /// <param name="shadow"><see cref="RowBytes"/>, a row that <see cref="Widen"/> knows a bound of.</param>
    /// <param name="errors">[d]; for int8, which knows no more than the step, empty.</param>
    internal static void Errors(this ShadowFormat format, ReadOnlySpan<byte> shadow, Span<float> errors)
    {
        if (errors.IsEmpty)
            return;
        CheckLengths(format, errors.Length, shadow.Length);
        ReadOnlySpan<ushort> values = MemoryMarshal.Cast<byte, ushort>(shadow);
        for (int i = 0; i < values.Length; i++)
            errors[i] = BitConverter.UInt32BitsToSingle((uint)(Math.Max((values[i] >> 10) & kExponent, 1) + 127 - 26) << 23);
    }

    private static void CheckLengths(ShadowFormat format, int dimension, int bytes)
    {
        if (bytes != format.RowBytes(dimension))
            throw new ArgumentException($"a row of {dimension} values takes {format.RowBytes(dimension)} bytes as {format}, the span has {bytes}");
    }

    private static float Step(float largest)
    {
        if (largest == 0)
            return 0;
        uint bits = BitConverter.SingleToUInt32Bits((float)((double)largest / kLargest));
        return BitConverter.UInt32BitsToSingle(Math.Max(kZeroBits + 1, (bits + kZeroBits) & ~kZeroBits));
    }

    // Integers, and the squared norm of what they lose, in one order of sums on every machine. step · q is exact.
    private static double RoundToStep(ReadOnlySpan<float> row, float step, Span<sbyte> integers)
    {
        if (step == 0)
        {
            integers.Clear();
            return 0;
        }
        Vector256<float> steps = Vector256.Create(step);
        Vector256<double> wideSteps = Vector256.Create((double)step), even = Vector256<double>.Zero, odd = even;
        ref float from = ref MemoryMarshal.GetReference(row);
        int i = 0;
        for (; i + 16 <= row.Length; i += 16)
        {
            Vector256<int> low = Eight(ref Unsafe.Add(ref from, i), steps, wideSteps, ref even, ref odd), high = Eight(ref Unsafe.Add(ref from, i + 8), steps, wideSteps, ref even, ref odd);
            Vector256<short> both = Vector256.Narrow(low, high);
            Vector128.Narrow(both.GetLower(), both.GetUpper()).StoreUnsafe(ref Unsafe.Add(ref MemoryMarshal.GetReference(integers), i));
        }
        even += odd;
        double squares = ((even[0] + even[1]) + (even[2] + even[3]));
        for (; i < row.Length; i++)
        {
            float rounded = MathF.Round(row[i] / step);
            double lost = row[i] - (double)step * rounded;
            squares += lost * lost;
            integers[i] = (sbyte)rounded;
        }
        return squares;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Eight(ref float values, Vector256<float> step, Vector256<double> wideStep, ref Vector256<double> even, ref Vector256<double> odd)
    {
        Vector256<float> value = Vector256.LoadUnsafe(ref values), rounded = Vector256.Round(value / step);
        (Vector256<double> lowValue, Vector256<double> highValue) = Vector256.Widen(value);
        (Vector256<double> lowRounded, Vector256<double> highRounded) = Vector256.Widen(rounded);
        Vector256<double> low = lowValue - wideStep * lowRounded, high = highValue - wideStep * highRounded;
        even += low * low;
        odd += high * high;
        return Vector256.ConvertToInt32(rounded);
    }

    private static void Multiply(float step, ReadOnlySpan<sbyte> integers, Span<float> row)
    {
        Vector256<float> steps = Vector256.Create(step);
        ref sbyte from = ref MemoryMarshal.GetReference(integers);
        ref float to = ref MemoryMarshal.GetReference(row);
        int i = 0;
        for (; i + 16 <= row.Length; i += 16)
        {
            (Vector128<short> first, Vector128<short> second) = Vector128.Widen(Vector128.LoadUnsafe(ref from, (nuint)i));
            (Vector256<int> low, Vector256<int> high) = Vector256.Widen(Vector256.Create(first, second));
            (Vector256.ConvertToSingle(low) * steps).StoreUnsafe(ref to, (nuint)i);
            (Vector256.ConvertToSingle(high) * steps).StoreUnsafe(ref to, (nuint)(i + 8));
        }
        for (; i < row.Length; i++)
            row[i] = step * integers[i];
    }

    // σ of float16. 4^(max(e, 1) − 26) is the float32 of biased exponent 127 + 2 (max(e, 1) − 26).
    private static double HalfUnits(ReadOnlySpan<ushort> values)
    {
        const int kBias = 127 - 2 * 26, kInfinite = kExponent << 10;
        Vector256<float> low = Vector256<float>.Zero, high = low;
        Vector256<ushort> largest = Vector256<ushort>.Zero;
        ref ushort from = ref MemoryMarshal.GetReference(values);
        int i = 0;
        for (; i + 16 <= values.Length; i += 16)
        {
            Vector256<ushort> exponents = (Vector256.LoadUnsafe(ref from, (nuint)i) >>> 10) & Vector256.Create((ushort)kExponent);
            largest = Vector256.Max(largest, exponents);
            (Vector256<uint> first, Vector256<uint> second) = Vector256.Widen(Vector256.Max(exponents, Vector256<ushort>.One));
            low += (((first << 1) + Vector256.Create((uint)kBias)) << 23).AsSingle();
            high += (((second << 1) + Vector256.Create((uint)kBias)) << 23).AsSingle();
        }
        double squares = Vector256.Sum(low + high);
        bool isFinite = !Vector256.EqualsAny(largest, Vector256.Create((ushort)kExponent));
        for (; i < values.Length; i++)
        {
            isFinite &= (values[i] & kInfinite) != kInfinite;
            squares += BitConverter.UInt32BitsToSingle((uint)(2 * Math.Max((values[i] >> 10) & kExponent, 1) + kBias) << 23);
        }
        return isFinite ? Math.Sqrt(squares * (1 + 2 * values.Length * Bounds.Float32)) : double.PositiveInfinity;
    }
}

/// <summary>A borrowed block of <c>n</c> rows of a shadow, one behind the other.</summary>
public readonly ref struct ShadowRows
{
    /// <summary>Views rows; their number is <c>bytes.Length</c> over the bytes of a row.</summary>
    /// <param name="bytes">Rows as <see cref="ShadowFormats.Round"/> writes them.</param>
    /// <param name="dimension">Values per row, at least 1.</param>
    /// <param name="format">What they are rounded to.</param>
    /// <exception cref="ArgumentException">The length is no multiple of a row's.</exception>
    public ShadowRows(ReadOnlySpan<byte> bytes, int dimension, ShadowFormat format)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimension, RowView.MaximumDimension);
        if (bytes.Length % format.RowBytes(dimension) != 0)
            throw new ArgumentException($"{bytes.Length} bytes do not form whole rows of dimension {dimension}, {format.RowBytes(dimension)} bytes each", nameof(bytes));
        Bytes = bytes;
        Count = bytes.Length / format.RowBytes(dimension);
        Dimension = dimension;
        Format = format;
    }

    /// <summary>The viewed memory.</summary>
    public ReadOnlySpan<byte> Bytes { get; }

    /// <summary>Number of rows, n.</summary>
    public int Count { get; }

    /// <summary>Values per row, d.</summary>
    public int Dimension { get; }

    /// <summary>What the rows are rounded to.</summary>
    public ShadowFormat Format { get; }

    /// <summary>Row <paramref name="index"/>.</summary>
    public ReadOnlySpan<byte> this[int index] => Bytes.Slice(checked(index * Format.RowBytes(Dimension)), Format.RowBytes(Dimension));

    /// <summary>Rows <paramref name="start"/> … <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public ShadowRows Slice(int start, int count)
        => new(Bytes.Slice(checked(start * Format.RowBytes(Dimension)), checked(count * Format.RowBytes(Dimension))), Dimension, Format);

    /// <summary>All of the rows that it stands for, where nothing is to be gained from a shadow. The caller disposes of them.</summary>
    /// <exception cref="InsufficientMemoryException">The machine cannot provide the memory.</exception>
    internal RowMatrix ReadRows(ReadRow readRow)
    {
        var rows = new RowMatrix(Count, Dimension);
        for (int row = 0; row < Count; row++)
            readRow(row, rows.Rows(row, 1));
        return rows;
    }
}
