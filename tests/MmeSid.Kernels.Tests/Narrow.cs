namespace MmeSid.Kernels.Tests;

/// <summary>float32 values cut down to 16 bits and back, one by one.</summary>
public static class Narrow
{
    /// <summary>The nearest values (bf16: toward zero) that are finite.</summary>
    public static ushort[] Of(float[] values, NarrowElement element) => Array.ConvertAll(values, value => element == NarrowElement.Float16
        ? BitConverter.HalfToUInt16Bits((Half)Math.Clamp(value, -65504f, 65504f))
        : (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16));

    /// <summary>The shadow of rows of dimension d.</summary>
    public static byte[] Shadow(float[] values, int dimension, ShadowFormat format)
    {
        int rowBytes = format.RowBytes(dimension);
        byte[] shadow = new byte[values.Length / dimension * rowBytes];
        for (int i = 0; i < values.Length / dimension; i++)
            format.Round(values.AsSpan(i * dimension, dimension), shadow.AsSpan(i * rowBytes, rowBytes));
        return shadow;
    }

    /// <summary>What a shadow says of its rows.</summary>
    public static float[] ShadowValues(byte[] shadow, int dimension, ShadowFormat format)
    {
        var rows = new ShadowRows(shadow, dimension, format);
        float[] values = new float[rows.Count * dimension];
        for (int i = 0; i < rows.Count; i++)
            format.Widen(rows[i], values.AsSpan(i * dimension, dimension));
        return values;
    }

    public static float[] Values(ushort[] bits, NarrowElement element) => Array.ConvertAll(bits, value => element == NarrowElement.Float16
        ? (float)BitConverter.UInt16BitsToHalf(value)
        : BitConverter.UInt32BitsToSingle((uint)value << 16));
}
