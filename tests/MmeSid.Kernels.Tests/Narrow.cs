namespace MmeSid.Kernels.Tests;

/// <summary>float32 values cut down to 16 bits and back, one by one.</summary>
public static class Narrow
{
    /// <summary>The nearest values (bf16: toward zero) that are finite.</summary>
    public static ushort[] Of(float[] values, NarrowElement element) => Array.ConvertAll(values, value => element == NarrowElement.Float16
        ? BitConverter.HalfToUInt16Bits((Half)Math.Clamp(value, -65504f, 65504f))
        : (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16));

    /// <summary>The nearest float16, ±∞ where it overflows.</summary>
    public static ushort[] Shadow(float[] values) => Array.ConvertAll(values, value => BitConverter.HalfToUInt16Bits((Half)value));

    public static float[] Values(ushort[] bits, NarrowElement element) => Array.ConvertAll(bits, value => element == NarrowElement.Float16
        ? (float)BitConverter.UInt16BitsToHalf(value)
        : BitConverter.UInt32BitsToSingle((uint)value << 16));
}
