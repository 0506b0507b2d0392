using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>
/// What every backend's <see cref="IBackend.SinkhornAssign"/> must do. Codes are compared wherever the oracle's two best masses differ by
/// more than <see cref="Bounds.SinkhornAssign"/>, potentials within it.
/// </summary>
public abstract class SinkhornAssignContract(IBackend backend)
{
    public static TheoryData<int, int, int> Shapes() => [.. Cases.SinkhornTests.Select(shape => (shape.Rows, shape.Dimension, shape.Codes))];

    [Theory, MemberData(nameof(Shapes))]
    public void Codes_are_the_oracles_beyond_the_bound(int n, int d, int codeCount)
    {
        foreach (float mean in new[] { 0, 100f })
        {
            foreach (SinkhornOptions options in new SinkhornOptions[] { new() { Iterations = 10 }, new() { Epsilon = 0.05, Iterations = 25 } })
                Compare(Cases.Bell(1, n * d, mean), Cases.Bell(2, codeCount * d, mean), d, options);
        }
    }

    [Theory]
    [InlineData(0.1f)]
    [InlineData(1e15f)]
    [InlineData(1e-15f)]
    public void Distances_may_stay_unscaled(float scale)
    {
        float[] rows = [.. Cases.Bell(3, 331 * 7).Select(value => value * scale)], codewords = [.. Cases.Bell(4, 13 * 7).Select(value => value * scale)];
        Compare(rows, codewords, 7, new() { ScaleDistances = false, Epsilon = 0.02 * scale * scale, Iterations = 12 });
    }

    [Fact]
    public void A_codeword_far_from_every_row_still_gets_its_share()
    {
        // At ε = 0.003 its masses start near e^-600, far below float32.
        const int n = 257, d = 5;
        float[] rows = Cases.Bell(5, n * d), codewords = Cases.Bell(6, 8 * d);
        for (int j = 0; j < d; j++)
            codewords[3 * d + j] = 9;
        ushort[] codes = Compare(rows, codewords, d, new() { Iterations = 60 });
        Assert.InRange(codes.Count(code => code == 3), n / 8 - 8, n / 8 + 8);
    }

    [Fact]
    public void Codes_are_balanced_although_the_rows_are_not()
    {
        const int n = 1200, d = 4, codeCount = 6;
        float[] rows = [.. Cases.Bell(7, n * d).Select((value, i) => value + (i / d < 900 ? 0 : 3))];
        ushort[] codes = Assign(rows, Cases.Bell(8, codeCount * d), d, new() { Epsilon = 0.01, Iterations = 200 }, out _);
        int[] sizes = [.. Enumerable.Range(0, codeCount).Select(k => codes.Count(code => code == k))];
        Assert.All(sizes, size => Assert.InRange(size, n / codeCount - 30, n / codeCount + 30));
    }

    [Fact]
    public void No_iteration_is_the_nearest_codeword()
    {
        float[] rows = [0.9f, 2.1f, 2.6f, 10, -4], codewords = [0, 1, 2, 3];
        Assert.Equal([1, 2, 3, 3, 0], Assign(rows, codewords, 1, new() { Iterations = 0 }, out double[] potentials));
        Assert.All(potentials, potential => Assert.Equal(0, potential));
    }

    [Fact]
    public void Equal_codewords_tie_and_the_smaller_code_wins()
    {
        const int d = 3;
        float[] codewords = Cases.Bell(9, 40 * d);
        for (int k = 20; k < 40; k++)
            codewords.AsSpan((k - 20) * d, d).CopyTo(codewords.AsSpan(k * d));
        ushort[] codes = Assign(Cases.Bell(10, 301 * d), codewords, d, new() { Iterations = 5 }, out double[] potentials);
        Assert.All(codes, code => Assert.InRange(code, 0, 19));
        Assert.Equal(potentials[..20], potentials[20..]);
    }

    [Fact]
    public void Distances_that_are_all_equal_leave_code_zero()
    {
        Assert.Equal([0, 0, 0], Assign([1, 2, 1, 2, 1, 2], [1, 3, 1, 3], 2, new(), out double[] potentials));
        Assert.Equal(potentials[0], potentials[1]);
    }

    [Fact]
    public void Potentials_may_be_left_out_and_views_strided()
    {
        float[] wide = Cases.Bell(11, 100 * 9), codewords = Cases.Bell(12, 5 * 6), narrow = [.. Enumerable.Range(0, 600).Select(i => wide[1 + i / 6 * 9 + i % 6])];
        ushort[] codes = new ushort[100];
        backend.SinkhornAssign(new RowView(wide.AsSpan(1), 100, 6, 9), new RowView(codewords, 6), new(), codes, default);
        Assert.Equal(Assign(narrow, codewords, 6, new(), out _), codes);
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        float[] rows = Cases.Bell(13, 12), codewords = Cases.Bell(14, 6);
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 4), new RowView(codewords, 3), new(), new ushort[3], default));
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView([], 3), new(), new ushort[4], default));
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView(codewords, 3), new(), new ushort[3], default));
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView(codewords, 3), new(), new ushort[4], new double[3]));
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView(codewords, 3), new() { Epsilon = 0 }, new ushort[4], default));
        Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView(codewords, 3), new() { Iterations = -1 }, new ushort[4], default));
        codewords[5] = float.PositiveInfinity;
        var error = Assert.Throws<ArgumentException>(() => backend.SinkhornAssign(new RowView(rows, 3), new RowView(codewords, 3), new(), new ushort[4], default));
        Assert.Contains("codeword 1, column 2", error.Message, StringComparison.Ordinal);
    }

    private ushort[] Assign(float[] rows, float[] codewords, int d, SinkhornOptions options, out double[] potentials)
    {
        var codes = new Guarded<ushort>(rows.Length / d, 54_321, initial: 9999);
        var code = new Guarded<double>(codewords.Length / d, -7.5, initial: -1);
        backend.SinkhornAssign(new RowView(rows, d), new RowView(codewords, d), options, codes.Span, code.Span);
        potentials = code.Check();
        return codes.Check();
    }

    private ushort[] Compare(float[] rows, float[] codewords, int d, SinkhornOptions options)
    {
        int n = rows.Length / d, codeCount = codewords.Length / d;
        ushort[] codes = Assign(rows, codewords, d, options, out double[] potentials), expected = new ushort[n];
        double[] oracle = new double[codeCount];
        new ScalarBackend().SinkhornAssign(new RowView(rows, d), new RowView(codewords, d), options, expected, oracle);
        if (n == 0)
        {
            Assert.All(potentials, potential => Assert.Equal(0, potential));
            return codes;
        }

        double[] centre = [.. Enumerable.Range(0, d).Select(j => Enumerable.Range(0, codeCount).Average(k => (double)codewords[k * d + j]))];
        double Squared(float[] left, int i, Func<int, double> right) => Enumerable.Range(0, d).Sum(j => Math.Pow(left[i * d + j] - right(j), 2));
        double largest = Math.Max(Enumerable.Range(0, n).Max(i => Squared(rows, i, j => centre[j])), Enumerable.Range(0, codeCount).Max(k => Squared(codewords, k, j => centre[j])));
        double[][] cost = [.. Enumerable.Range(0, n).Select(i => Enumerable.Range(0, codeCount).Select(k => Squared(rows, i, j => codewords[k * d + j])).ToArray())];
        double least = cost.Min(row => row.Min()), most = cost.Max(row => row.Max()), half = options.ScaleDistances ? (most - least) / 2 : 1;
        if (half == 0)
        {
            Assert.All(codes, code => Assert.Equal(0, code));
            return codes;
        }
        // Potentials of all iterations lie within the range of the costs of the last.
        double largestPotential = oracle.Max(Math.Abs) + 2 * (most - least) / half;
        (double potentialBound, double marginBound) = Bounds.SinkhornAssign(d, codeCount, options, largest, half, largestPotential);

        int decided = 0;
        for (int i = 0; i < n; i++)
        {
            double[] mass = [.. Enumerable.Range(0, codeCount).Select(k => oracle[k] - cost[i][k] / half)];
            double best = mass.Max();
            Assert.True(mass[codes[i]] >= best - marginBound, $"row {i}: code {codes[i]} has mass {mass[codes[i]]}, code {expected[i]} has {best}, bound {marginBound}");
            if (mass.Count(value => value >= best - marginBound) > 1)
                continue;
            decided++;
            Assert.Equal(expected[i], codes[i]);
        }
        Assert.True(decided >= n / 2, $"only {decided} of {n} rows lie beyond the bound {marginBound}");
        for (int k = 0; k < codeCount; k++)
            Assert.True(Math.Abs(oracle[k] - potentials[k]) <= potentialBound, $"potential {k} is {potentials[k]}, expected {oracle[k]} ± {potentialBound}");
        return codes;
    }
}

public sealed class ScalarSinkhornAssignTests() : SinkhornAssignContract(new ScalarBackend());

public sealed class SimdSinkhornAssignTests() : SinkhornAssignContract(new SimdBackend())
{
    [Theory]
    [InlineData(9000, 12, 33)]
    [InlineData(20_011, 3, 5)]
    public void Threads_change_nothing(int n, int d, int codeCount)
    {
        float[] rows = Cases.Bell(20, n * d), codewords = Cases.Bell(21, codeCount * d);
        ushort[] expected = new ushort[n];
        double[] expectedPotentials = new double[codeCount];
        new SimdBackend(1).SinkhornAssign(new RowView(rows, d), new RowView(codewords, d), new() { Iterations = 4 }, expected, expectedPotentials);
        foreach (int threads in new[] { 2, 3, 5 })
        {
            ushort[] codes = new ushort[n];
            double[] potentials = new double[codeCount];
            new SimdBackend(threads).SinkhornAssign(new RowView(rows, d), new RowView(codewords, d), new() { Iterations = 4 }, codes, potentials);
            Assert.Equal(expected, codes);
            Assert.Equal(expectedPotentials, potentials);
        }
    }
}
