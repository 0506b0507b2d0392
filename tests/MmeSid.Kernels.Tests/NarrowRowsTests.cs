namespace MmeSid.Kernels.Tests;

public sealed class NarrowRowsTests
{
    [Theory, InlineData(NarrowElement.Float16), InlineData(NarrowElement.BFloat16)]
    public void Every_value_widens_to_itself(NarrowElement element)
    {
        ushort[] bits = [.. Enumerable.Range(0, 1 << 16).Select(value => (ushort)value).Where(value => (value & 0x7FFF) < element.Infinity())];
        float[] expected = Narrow.Values(bits, element), wide = new float[bits.Length];
        element.Widen(bits, wide);
        Assert.Equal(Array.ConvertAll(expected, BitConverter.SingleToUInt32Bits), Array.ConvertAll(wide, BitConverter.SingleToUInt32Bits));
        Assert.Equal(expected, Array.ConvertAll(bits, value => element.Widen(value)));
        // Lengths around the width of a vector.
        for (int length = 0; length < 70; length++)
        {
            float[] some = new float[length + 1];
            element.Widen(bits.AsSpan(1000, length), some);
            Assert.Equal([.. expected.AsSpan(1000, length), 0f], some);
        }
        Assert.Contains("2 values to convert, the destination takes 1", Assert.Throws<ArgumentException>(() => element.Widen([1, 2], new float[1])).Message, StringComparison.Ordinal);
    }

    [Theory, InlineData(NarrowElement.Float16), InlineData(NarrowElement.BFloat16)]
    public void Infinity_is_where_finite_values_end(NarrowElement element)
    {
        Assert.Equal(float.PositiveInfinity, element.Widen(element.Infinity()));
        Assert.True(float.IsFinite(element.Widen((ushort)(element.Infinity() - 1))));
    }

    [Fact]
    public void A_length_that_is_no_multiple_of_the_dimension_is_refused() =>
        Assert.Contains("7 values do not form whole rows of dimension 3", Assert.Throws<ArgumentException>(() => new NarrowRows(new ushort[7], 3, NarrowElement.Float16).Count).Message, StringComparison.Ordinal);
}
