using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>What every backend's <see cref="IBackend.MmdSums"/> must do; floats are held to <see cref="Bounds.MmdSums"/>.</summary>
public abstract class MmdSumsContract(IBackend backend)
{
    public static TheoryData<int, int, int> Shapes() => [.. Cases.MmdTests.Select(shape => (shape.Source, shape.Target, shape.Dimension))];

    private static readonly MmdKernel s_manyBandwidths = new([0.25, 0.5, 1, 2, 4], Relative: true);

    [Theory, MemberData(nameof(Shapes))]
    public void Sums_lie_within_the_bound_of_the_definition(int n, int m, int d)
    {
        foreach (float mean in new[] { 0, 300f })
        {
            foreach (MmdKernel kernel in new[] { MmdKernel.Default, s_manyBandwidths, new MmdKernel([3.0 * d], Relative: false) })
                Compare(Cases.Bell(1, n * d, mean), Cases.Bell(2, m * d, mean + 0.25f), d, kernel);
        }
    }

    [Theory]
    [InlineData(1e30f)]
    [InlineData(1e-30f)]
    [InlineData(3e38f)]
    public void Magnitudes_at_the_ends_of_float32_are_right(float scale)
    {
        float[] source = [.. Cases.Bell(3, 31 * 5).Select(value => Math.Clamp(value, -1, 1) * scale)];
        float[] target = [.. Cases.Bell(4, 33 * 5).Select(value => Math.Clamp(value, -1, 1) * scale)];
        Compare(source, target, 5, s_manyBandwidths);
    }

    [Theory]
    [InlineData(0.004)]
    [InlineData(0.0008)]
    public void Sums_too_small_for_float32_are_right(double factor) =>
        Compare(Cases.Bell(5, 67 * 64), Cases.Bell(6, 41 * 64), 64, new MmdKernel([factor], Relative: true));

    [Fact]
    public void Duplicates_across_and_within_sets_count_as_equal_points()
    {
        float[] source = Cases.Bell(7, 65 * 17, mean: 5), target = [.. source[..(40 * 17)], .. source[..(3 * 17)]];
        Compare(source, target, 17, MmdKernel.Default);
    }

    [Fact]
    public void Points_that_are_all_equal_have_kernel_one()
    {
        float[] rows = [.. Enumerable.Repeat(0.1f, 7 * 3)];
        Assert.Equal(new MmdSums(2 * 4 * 3, 2 * 3 * 2, 2 * 4 * 3, 0), backend.MmdSums(new RowView(rows.AsSpan(0, 12), 3), new RowView(rows.AsSpan(12), 3), new MmdKernel([0.5, 1], Relative: true)));
    }

    [Fact]
    public void Two_points_by_hand()
    {
        // z = 0, 3, 4: squared distances 9, 16, 1; mean over nine ordered pairs 2·26/9.
        MmdSums sums = backend.MmdSums(new RowView([0, 3], 1), new RowView([4], 1), MmdKernel.Default);
        Assert.Equal(52 / 9.0, sums.MeanSquaredDistance, 12);
        Assert.Equal(2 * Math.Exp(-9 * 9 / 52.0), sums.Source, 6);
        Assert.Equal(0, sums.Target);
        Assert.Equal(Math.Exp(-16 * 9 / 52.0) + Math.Exp(-9 / 52.0), sums.Cross, 6);
    }

    [Fact]
    public void A_strided_view_reads_its_own_columns()
    {
        float[] wide = Cases.Bell(8, 70 * 23), narrow = [.. Enumerable.Range(0, 70 * 19).Select(i => wide[2 + i / 19 * 23 + i % 19])];
        var view = new RowView(wide.AsSpan(2), 70, 19, 23);
        Assert.Equal(
            backend.MmdSums(new RowView(narrow.AsSpan(0, 33 * 19), 19), new RowView(narrow.AsSpan(33 * 19), 19), MmdKernel.Default),
            backend.MmdSums(view.Slice(0, 33), view.Slice(33, 37), MmdKernel.Default));
    }

    [Fact]
    public void Bad_input_is_refused_by_name()
    {
        float[] rows = Cases.Bell(9, 12);
        Assert.Throws<ArgumentException>(() => backend.MmdSums(new RowView(rows, 3), new RowView(rows, 4), MmdKernel.Default));
        Assert.Throws<ArgumentException>(() => backend.MmdSums(new RowView(rows, 3), new RowView([], 3), MmdKernel.Default));
        Assert.Throws<ArgumentException>(() => backend.MmdSums(new RowView(rows, 3), new RowView(rows, 3), new MmdKernel([], true)));
        Assert.Throws<ArgumentException>(() => backend.MmdSums(new RowView(rows, 3), new RowView(rows, 3), new MmdKernel([1, 0], true)));
        rows[7] = float.NaN;
        var error = Assert.Throws<ArgumentException>(() => backend.MmdSums(new RowView(new float[6], 3), new RowView(rows, 3), MmdKernel.Default));
        Assert.Contains("target 2, column 1", error.Message, StringComparison.Ordinal);
    }

    private void Compare(float[] source, float[] target, int d, MmdKernel kernel)
    {
        RowView s = new(source, d), t = new(target, d);
        MmdSums expected = new ScalarBackend().MmdSums(s, t, kernel), actual = backend.MmdSums(s, t, kernel);
        float[] all = [.. source, .. target];
        double[] centre = [.. Enumerable.Range(0, d).Select(j => (double)(float)Enumerable.Range(0, all.Length / d).Average(i => (double)all[i * d + j]))];
        double largest = Enumerable.Range(0, all.Length / d).Max(i => Enumerable.Range(0, d).Sum(j => Math.Pow(all[i * d + j] - centre[j], 2)));
        double variance = kernel.Factors.Min() * (kernel.Relative ? expected.MeanSquaredDistance : 1);
        double bound = Bounds.MmdSums(d, all.Length / d, largest, variance);
        Assert.InRange(actual.MeanSquaredDistance, expected.MeanSquaredDistance * (1 - 1e-12), expected.MeanSquaredDistance * (1 + 1e-12));
        if (expected.MeanSquaredDistance == 0)
            return;
        Near(expected.Source, actual.Source, bound);
        Near(expected.Target, actual.Target, bound);
        Near(expected.Cross, actual.Cross, bound);
    }

    private static void Near(double expected, double actual, double bound)
    {
        // Where the bound is loose the sums must still be of the right size, not merely inside of it.
        Assert.True(bound < 0.2, $"the bound {bound} says nothing");
        Assert.InRange(actual, expected * (1 - bound), expected * (1 + bound));
    }
}

public sealed class ScalarMmdSumsTests() : MmdSumsContract(new ScalarBackend());

public sealed class SimdMmdSumsTests() : MmdSumsContract(new SimdBackend())
{
    [Fact]
    public void Threads_change_nothing()
    {
        float[] source = Cases.Bell(11, 701 * 33, mean: 3), target = Cases.Bell(12, 523 * 33);
        MmdSums one = new SimdBackend(1).MmdSums(new RowView(source, 33), new RowView(target, 33), MmdKernel.Default);
        foreach (int threads in new[] { 2, 3, 7 })
            Assert.Equal(one, new SimdBackend(threads).MmdSums(new RowView(source, 33), new RowView(target, 33), MmdKernel.Default));
    }

    [Fact]
    public unsafe void The_exponential_keeps_its_bound()
    {
        float* values = stackalloc float[16];
        double worst = 0;
        for (uint bits = 0x8000_0000; BitConverter.UInt32BitsToSingle(bits) >= Lanes.kLeastExponent; bits += 16 * 997)
        {
            for (int i = 0; i < 16; i++)
                values[i] = Math.Max(Lanes.kLeastExponent, BitConverter.UInt32BitsToSingle(bits + 997 * (uint)i));
            worst = Math.Max(worst, WorstError(values));
        }
        Assert.InRange(worst, 0, Bounds.Exp32);
    }

    private static unsafe double WorstError(float* values)
    {
        float* results = stackalloc float[48];
        for (int i = 0; i < 16; i += 4)
            Lanes.Exp(Lanes128.Load(values + i)).Store(results + i);
        for (int i = 0; i < 16; i += 8)
            Lanes.Exp(Lanes256.IsSupported ? Lanes256.Load(values + i) : default).Store(results + 16 + i);
        if (Lanes512.IsSupported)
            Lanes.Exp(Lanes512.Load(values)).Store(results + 32);
        double worst = 0;
        for (int i = 0; i < 16; i++)
        {
            double exact = Math.Exp(values[i]);
            worst = Math.Max(worst, Math.Abs(results[i] / exact - 1));
            if (Lanes256.IsSupported)
                worst = Math.Max(worst, Math.Abs(results[16 + i] / exact - 1));
            if (Lanes512.IsSupported)
                worst = Math.Max(worst, Math.Abs(results[32 + i] / exact - 1));
        }
        return worst;
    }
}
