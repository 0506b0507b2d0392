namespace MmeSid.Engine.Files;

/// <summary>Type of the values of an array file. Always little-endian.</summary>
public enum ElementType
{
    /// <summary>One byte, 0 or 1.</summary>
    Boolean,

    /// <summary>Unsigned 8-bit.</summary>
    UInt8,

    /// <summary>Signed 8-bit.</summary>
    Int8,

    /// <summary>Unsigned 16-bit.</summary>
    UInt16,

    /// <summary>Signed 16-bit.</summary>
    Int16,

    /// <summary>Unsigned 32-bit.</summary>
    UInt32,

    /// <summary>Signed 32-bit.</summary>
    Int32,

    /// <summary>Unsigned 64-bit.</summary>
    UInt64,

    /// <summary>Signed 64-bit.</summary>
    Int64,

    /// <summary>IEEE half precision.</summary>
    Float16,

    /// <summary>The upper half of a float32.</summary>
    BFloat16,

    /// <summary>IEEE single precision.</summary>
    Float32,

    /// <summary>IEEE double precision.</summary>
    Float64,
}

/// <summary>Facts about <see cref="ElementType"/>.</summary>
public static class ElementTypes
{
    /// <summary>Bytes per value.</summary>
    public static int Size(this ElementType type) => type switch
    {
        ElementType.Boolean or ElementType.UInt8 or ElementType.Int8 => 1,
        ElementType.UInt16 or ElementType.Int16 or ElementType.Float16 or ElementType.BFloat16 => 2,
        ElementType.UInt32 or ElementType.Int32 or ElementType.Float32 => 4,
        _ => 8,
    };

    /// <summary>Whether embeddings may be stored in it: float16, bfloat16, float32, float64, uint8 or int8.</summary>
    public static bool HoldsEmbeddings(this ElementType type) => type is ElementType.Float16 or ElementType.BFloat16 or ElementType.Float32
        or ElementType.Float64 or ElementType.UInt8 or ElementType.Int8;

    /// <summary>The type that stores a C# value type.</summary>
    /// <exception cref="ArgumentException">No array file stores it.</exception>
    public static ElementType Of<T>()
        where T : unmanaged
        => Type.GetTypeCode(typeof(T)) switch
        {
            TypeCode.Boolean => ElementType.Boolean,
            TypeCode.Byte => ElementType.UInt8,
            TypeCode.SByte => ElementType.Int8,
            TypeCode.UInt16 => ElementType.UInt16,
            TypeCode.Int16 => ElementType.Int16,
            TypeCode.UInt32 => ElementType.UInt32,
            TypeCode.Int32 => ElementType.Int32,
            TypeCode.UInt64 => ElementType.UInt64,
            TypeCode.Int64 => ElementType.Int64,
            TypeCode.Single => ElementType.Float32,
            TypeCode.Double => ElementType.Float64,
            _ when typeof(T) == typeof(Half) => ElementType.Float16,
            _ => throw new ArgumentException($"{typeof(T).Name} is not the value type of an array file"),
        };

    /// <summary>Bytes of an array of this shape, or null when a size is negative or the product exceeds 2⁶³ − 1.</summary>
    internal static long? ByteCount(this ElementType type, ReadOnlySpan<long> shape)
    {
        Int128 bytes = type.Size();
        bool empty = false;
        foreach (long size in shape)
        {
            if (size < 0)
                return null;
            if (size == 0)
            {
                empty = true;
                continue;
            }
            bytes *= size;
            if (bytes > long.MaxValue)
                return null;
        }
        return empty ? 0 : (long)bytes;
    }
}
