using System.Diagnostics.CodeAnalysis;

namespace MmeSid.Engine.Files;

/// <summary>
/// How a GGUF file stores the values of a tensor; numbers and names are the format's. Quantized types store rows in blocks of a fixed number of
/// values, so the length of a row must be a multiple of it (<see cref="GgufTensorTypes.BlockValues"/>).
/// </summary>
[SuppressMessage("Naming", "CA1707", Justification = "The format's own names, by which files and options call them.")]
public enum GgufTensorType
{
    /// <summary>IEEE single precision.</summary>
    F32 = 0,

    /// <summary>IEEE half precision.</summary>
    F16 = 1,

    /// <summary>4 bits, 32 values with one scale.</summary>
    Q4_0 = 2,

    /// <summary>4 bits, 32 values with scale and minimum.</summary>
    Q4_1 = 3,

    /// <summary>5 bits, 32 values with one scale.</summary>
    Q5_0 = 6,

    /// <summary>5 bits, 32 values with scale and minimum.</summary>
    Q5_1 = 7,

    /// <summary>8 bits, 32 values with one scale.</summary>
    Q8_0 = 8,

    /// <summary>8 bits, 32 values with scale and sum.</summary>
    Q8_1 = 9,

    /// <summary>2 bits, 256 values with 16 scales and minima.</summary>
    Q2_K = 10,

    /// <summary>3 bits, 256 values with 16 scales.</summary>
    Q3_K = 11,

    /// <summary>4 bits, 256 values with 8 scales and minima.</summary>
    Q4_K = 12,

    /// <summary>5 bits, 256 values with 8 scales and minima.</summary>
    Q5_K = 13,

    /// <summary>6 bits, 256 values with 16 scales.</summary>
    Q6_K = 14,

    /// <summary>8 bits, 256 values with a float scale and 16 sums.</summary>
    Q8_K = 15,

    /// <summary>About 2.1 bits, from a table of vectors.</summary>
    IQ2_XXS = 16,

    /// <summary>About 2.3 bits, from a table of vectors.</summary>
    IQ2_XS = 17,

    /// <summary>About 3.1 bits, from a table of vectors.</summary>
    IQ3_XXS = 18,

    /// <summary>About 1.6 bits, from a table of vectors.</summary>
    IQ1_S = 19,

    /// <summary>4 bits, 32 values on an uneven scale.</summary>
    IQ4_NL = 20,

    /// <summary>About 3.4 bits, from a table of vectors.</summary>
    IQ3_S = 21,

    /// <summary>About 2.6 bits, from a table of vectors.</summary>
    IQ2_S = 22,

    /// <summary>4 bits, 256 values on an uneven scale.</summary>
    IQ4_XS = 23,

    /// <summary>Signed 8-bit.</summary>
    I8 = 24,

    /// <summary>Signed 16-bit.</summary>
    I16 = 25,

    /// <summary>Signed 32-bit.</summary>
    I32 = 26,

    /// <summary>Signed 64-bit.</summary>
    I64 = 27,

    /// <summary>IEEE double precision.</summary>
    F64 = 28,

    /// <summary>About 1.75 bits, from a table of vectors.</summary>
    IQ1_M = 29,

    /// <summary>The upper half of a float32.</summary>
    BF16 = 30,

    /// <summary>Three values, packed five to a byte.</summary>
    TQ1_0 = 34,

    /// <summary>Three values in 2 bits.</summary>
    TQ2_0 = 35,

    /// <summary>4-bit floats, 32 values with one exponent.</summary>
    MXFP4 = 39,

    /// <summary>4-bit floats, 64 values with four 8-bit float scales.</summary>
    NVFP4 = 40,
}

/// <summary>Facts about <see cref="GgufTensorType"/>.</summary>
public static class GgufTensorTypes
{
    /// <summary>Whether the number is one of the enumeration.</summary>
    public static bool IsKnown(this GgufTensorType type) => Layout(type).Values != 0;

    /// <summary>Values per block; 1 for types that are not quantized.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The type is unknown.</exception>
    public static int BlockValues(this GgufTensorType type) => Known(type).Values;

    /// <summary>Bytes per block.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The type is unknown.</exception>
    public static int BlockBytes(this GgufTensorType type) => Known(type).Bytes;

    /// <summary>Bytes of a tensor of this shape (outermost size first), or null when a size is below 1, rows are no whole number of blocks, or the product exceeds 2⁶³ − 1.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The type is unknown.</exception>
    public static long? ByteCount(this GgufTensorType type, ReadOnlySpan<long> shape)
    {
        (int values, int bytes) = Known(type);
        long row = shape.IsEmpty ? 1 : shape[^1];
        if (row < 1 || row % values != 0)
            return null;
        Int128 total = (Int128)(row / values) * bytes;
        foreach (long size in shape.IsEmpty ? shape : shape[..^1])
        {
            if (size < 1)
                return null;
            total *= size;
            if (total > long.MaxValue)
                return null;
        }
        return total > long.MaxValue ? null : (long)total;
    }

    private static (int Values, int Bytes) Known(GgufTensorType type)
        => Layout(type) is { Values: > 0 } layout ? layout : throw new ArgumentOutOfRangeException(nameof(type), $"{(int)type} is no type of a GGUF tensor");

    // Scales and minima are halves; a super-block has 256 values.
    private static (int Values, int Bytes) Layout(GgufTensorType type) => type switch
    {
        GgufTensorType.F32 or GgufTensorType.I32 => (1, 4),
        GgufTensorType.F16 or GgufTensorType.BF16 or GgufTensorType.I16 => (1, 2),
        GgufTensorType.I8 => (1, 1),
        GgufTensorType.F64 or GgufTensorType.I64 => (1, 8),
        GgufTensorType.Q4_0 => (32, 2 + 16),
        GgufTensorType.Q4_1 => (32, 4 + 16),
        GgufTensorType.Q5_0 => (32, 2 + 4 + 16),
        GgufTensorType.Q5_1 => (32, 4 + 4 + 16),
        GgufTensorType.Q8_0 => (32, 2 + 32),
        GgufTensorType.Q8_1 => (32, 4 + 32),
        GgufTensorType.Q2_K => (256, 16 + 64 + 4),
        GgufTensorType.Q3_K => (256, 32 + 64 + 12 + 2),
        GgufTensorType.Q4_K => (256, 4 + 12 + 128),
        GgufTensorType.Q5_K => (256, 4 + 12 + 32 + 128),
        GgufTensorType.Q6_K => (256, 128 + 64 + 16 + 2),
        GgufTensorType.Q8_K => (256, 4 + 256 + 32),
        GgufTensorType.IQ2_XXS => (256, 2 + 64),
        GgufTensorType.IQ2_XS => (256, 2 + 64 + 8),
        GgufTensorType.IQ2_S => (256, 2 + 64 + 16),
        GgufTensorType.IQ3_XXS => (256, 2 + 96),
        GgufTensorType.IQ3_S => (256, 2 + 64 + 8 + 32 + 4),
        GgufTensorType.IQ1_S => (256, 2 + 32 + 16),
        GgufTensorType.IQ1_M => (256, 32 + 16 + 8),
        GgufTensorType.IQ4_NL => (32, 2 + 16),
        GgufTensorType.IQ4_XS => (256, 2 + 2 + 4 + 128),
        GgufTensorType.TQ1_0 => (256, 48 + 4 + 2),
        GgufTensorType.TQ2_0 => (256, 64 + 2),
        GgufTensorType.MXFP4 => (32, 1 + 16),
        GgufTensorType.NVFP4 => (64, 4 + 32),
        _ => (0, 0),
    };
}
