using System.Numerics;
using FsCheck;
using FsCheck.Fluent;

namespace MmeSid.Kernels.Tests;

public sealed class ExactSumTests
{
    [Fact]
    public void Sign_equals_that_of_big_integers()
    {
        Prop.ForAll<int[]>(bits =>
        {
            var sum = new ExactSum();
            BigInteger exact = BigInteger.Zero;
            for (int i = 0; i + 1 < bits.Length; i += 2)
            {
                float left = Finite(bits[i]), right = Finite(bits[i + 1]);
                int factor = (i % 8) switch { 0 => 1, 2 => -1, 4 => 2, _ => -2 };
                sum.AddProduct(factor, left, right);
                exact += factor * Scaled(left) * Scaled(right);
            }
            return sum.Sign() == exact.Sign;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Cancels_exactly_over_the_whole_range()
    {
        var sum = new ExactSum();
        sum.AddProduct(1, float.MaxValue, float.MaxValue);
        sum.AddProduct(1, float.Epsilon, float.Epsilon);
        sum.AddProduct(-1, float.MaxValue, float.MaxValue);
        Assert.Equal(1, sum.Sign());
        sum.AddProduct(-1, float.Epsilon, float.Epsilon);
        Assert.Equal(0, sum.Sign());
        sum.AddProduct(-2, float.Epsilon, float.Epsilon);
        Assert.Equal(-1, sum.Sign());
        sum.Clear();
        Assert.Equal(0, sum.Sign());
    }

    private static float Finite(int bits)
    {
        float value = BitConverter.Int32BitsToSingle(unchecked(bits * (int)0x9E3779B1));
        return float.IsFinite(value) ? value : 1;
    }

    // value · 2^149, an integer for every finite float32.
    internal static BigInteger Scaled(float value)
    {
        int bits = BitConverter.SingleToInt32Bits(value);
        int exponent = (bits >> 23) & 0xFF;
        BigInteger mantissa = exponent == 0 ? bits & 0x7FFFFF : (bits & 0x7FFFFF) | 0x800000;
        return (bits < 0 ? -mantissa : mantissa) << Math.Max(0, exponent - 1);
    }
}

/// <summary>The oracle itself, against big-integer arithmetic that shares no code with it.</summary>
public sealed class OracleTests
{
    public static TheoryData<string> CaseNames() =>
        [.. Bench.Cases.EncodeTests.Where(encodeCase => encodeCase.Dimension <= 31 && encodeCase.Codes.Max() <= 100).Select(encodeCase => encodeCase.ToString())];

    [Theory, MemberData(nameof(CaseNames))]
    public void Codes_are_the_argmin_of_the_real_number_distances(string name)
    {
        Bench.Cases.EncodeCase encodeCase = Bench.Cases.EncodeTests.First(candidate => candidate.ToString() == name);
        EncodePlan plan = encodeCase.Plan();
        float[] rows = encodeCase.Values();
        int n = Math.Min(encodeCase.Rows, 25), d = plan.Dimension;
        ushort[] codes = new ushort[n * plan.Levels];
        using IEncoder encoder = new Scalar.ScalarBackend().CreateEncoder(plan);
        encoder.Encode(new RowView(rows.AsSpan(0, n * d), d), codes);
        for (int i = 0; i < n; i++)
        {
            BigInteger[] residual = [.. rows.AsSpan(i * d, d).ToArray().Select(ExactSumTests.Scaled)], chosen = new BigInteger[d];
            for (int level = 0; level < plan.Levels; level++)
            {
                int best = 0;
                BigInteger smallest = Distance(plan, level, 0, residual, chosen);
                for (int k = 1; k < plan.CodeCount(level); k++)
                {
                    BigInteger distance = Distance(plan, level, k, residual, chosen);
                    if (distance < smallest)
                        (smallest, best) = (distance, k);
                }
                Assert.Equal(best, codes[i * plan.Levels + level]);
                for (int j = 0; j < d; j++)
                {
                    BigInteger value = ExactSumTests.Scaled(plan.Codeword(level, best)[j]);
                    residual[j] -= value;
                    chosen[j] += value;
                }
            }
        }
    }

    private static BigInteger Distance(EncodePlan plan, int level, int code, BigInteger[] residual, BigInteger[] chosen)
    {
        int d = plan.Dimension, width = plan.CodewordWidth(level);
        ReadOnlySpan<float> codeword = plan.Codebook(level).Slice(code * width, width);
        BigInteger sum = BigInteger.Zero;
        for (int i = 0; i < width; i++)
            sum += BigInteger.Pow((i < d ? residual[i] : chosen[i - d]) - ExactSumTests.Scaled(codeword[i]), 2);
        return sum;
    }
}
