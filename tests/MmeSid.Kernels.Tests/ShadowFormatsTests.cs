using MmeSid.Bench;

namespace MmeSid.Kernels.Tests;

/// <summary>What shadows are made of: bytes that plain loops give, and a bound that is as large as the error and hardly larger.</summary>
public sealed class ShadowFormatsTests
{
    public static TheoryData<float> Scales() => [1, 0.01f, 1e-20f, 1e-39f, 1e-44f, 1e18f, 5e37f, 0];

    [Theory, MemberData(nameof(Scales))]
    public void Int8_rows_are_what_plain_loops_make_of_them(float scale)
    {
        for (int d = 1; d < 70; d++)
        {
            float[] row = Array.ConvertAll(Cases.Bell(d, d), value => value * scale);
            byte[] shadow = Narrow.Shadow(row, d, ShadowFormat.Int8);

            // A step with 17 significant bits, at least a 127th of the largest value and not much more.
            float largest = row.Max(MathF.Abs), step = BitConverter.ToSingle(shadow), error = BitConverter.ToSingle(shadow, 4);
            Assert.Equal(0u, BitConverter.SingleToUInt32Bits(step) & 0x7F);
            Assert.InRange(step, (float)(largest / 127.0 * (1 - 1e-7)), (float)(largest / 127.0 * (1 + 1.0 / (1 << 15)) + 2e-43));
            double[] lost = new double[d], lanes = new double[8];
            int vectors = d / 16 * 16;
            for (int i = 0; i < d; i++)
            {
                int integer = step == 0 ? 0 : (int)MathF.Round(row[i] / step);
                Assert.Equal(integer, (sbyte)shadow[8 + i]);
                lost[i] = row[i] - (double)step * integer;
                if (i < vectors)
                    lanes[i % 8] += lost[i] * lost[i];
            }
            double squares = (lanes[0] + lanes[4] + (lanes[1] + lanes[5])) + (lanes[2] + lanes[6] + (lanes[3] + lanes[7]));
            foreach (double value in lost.Skip(vectors))
                squares += value * value;
            double above = Math.Sqrt(squares) * (1 + 2 * (d + 8) * Bounds.Float64);
            Assert.Equal((float)above < above ? MathF.BitIncrement((float)above) : (float)above, error);
            Assert.InRange(error, Math.Sqrt(squares), Math.Sqrt(squares) * (1 + 2e-7) + float.Epsilon);

            float[] wide = new float[d];
            Assert.Equal(error, ShadowFormat.Int8.Widen(shadow, wide));
            for (int i = 0; i < d; i++)
                Assert.Equal((double)step * (sbyte)shadow[8 + i], wide[i]);
        }
    }

    [Fact]
    public void Int8_rows_near_float32s_end_are_unknown()
    {
        float[] row = [float.MaxValue, 1e38f, -3];
        Assert.Equal(double.PositiveInfinity, ShadowFormat.Int8.Widen(Narrow.Shadow(row, 3, ShadowFormat.Int8), new float[3]));
    }

    [Theory]
    [InlineData(float.NaN, 1)]
    [InlineData(float.PositiveInfinity, 1)]
    [InlineData(1, float.NaN)]
    [InlineData(1, -1)]
    [InlineData(1, float.PositiveInfinity)]
    [InlineData(1.0000001f, 1)]
    public void Int8_rows_that_nothing_made_are_unknown(float step, float error)
    {
        byte[] shadow = [.. BitConverter.GetBytes(step), .. BitConverter.GetBytes(error), 1, 2, 3];
        Assert.Equal(double.PositiveInfinity, ShadowFormat.Int8.Widen(shadow, new float[3]));
    }

    [Theory, MemberData(nameof(Scales))]
    public void Float16_rows_are_within_half_a_unit_of_each_value(float scale)
    {
        for (int d = 1; d < 70; d++)
        {
            float[] row = Array.ConvertAll(Cases.Bell(d, d), value => Math.Clamp(value * scale, -65000, 65000)), wide = new float[d];
            byte[] shadow = Narrow.Shadow(row, d, ShadowFormat.Float16);

            double error = ShadowFormat.Float16.Widen(shadow, wide);

            double squares = 0;
            for (int i = 0; i < d; i++)
            {
                Assert.Equal((float)(Half)row[i], wide[i]);
                double half = Math.Max(Math.Pow(2, Math.Floor(Math.Log2(Math.Max(1e-30, Math.Abs(wide[i])))) - 11), Math.Pow(2, -25));
                Assert.InRange(Math.Abs((double)row[i] - wide[i]), 0, half);
                squares += half * half;
            }
            Assert.InRange(error, Math.Sqrt(squares), Math.Sqrt(squares) * (1 + 1e-5));
        }
    }

    [Theory, InlineData(0), InlineData(20), InlineData(33)]
    public void Float16_rows_with_a_value_that_overflows_are_unknown(int at)
    {
        float[] row = Cases.Bell(1, 34);
        row[at] = -65520;
        Assert.Equal(double.PositiveInfinity, ShadowFormat.Float16.Widen(Narrow.Shadow(row, 34, ShadowFormat.Float16), new float[34]));
        row[at] = -65519;
        Assert.True(double.IsFinite(ShadowFormat.Float16.Widen(Narrow.Shadow(row, 34, ShadowFormat.Float16), new float[34])));
    }

    [Fact]
    public void Lengths_that_do_not_fit_are_refused_with_both_numbers()
    {
        Assert.Contains("a row of 3 values takes 11 bytes as Int8, the span has 6", Assert.Throws<ArgumentException>(() => ShadowFormat.Int8.Round(new float[3], new byte[6])).Message, StringComparison.Ordinal);
        Assert.Contains("a row of 3 values takes 6 bytes as Float16, the span has 11", Assert.Throws<ArgumentException>(() => ShadowFormat.Float16.Widen(new byte[11], new float[3])).Message, StringComparison.Ordinal);
        Assert.Contains("23 bytes do not form whole rows of dimension 3, 11 bytes each", Assert.Throws<ArgumentException>(() => new ShadowRows(new byte[23], 3, ShadowFormat.Int8).Count).Message, StringComparison.Ordinal);
    }
}
