using MmeSid.Training.Quantization;

namespace MmeSid.Training.Tests.Quantization;

/// <summary>Losses against the printed formulas in plain float64 loops, gradients against central differences of these.</summary>
public sealed class LossTests
{
    // Between the values of two float32 evaluations of sums of about a hundred exponentials, and float64.
    private const double kFloat32 = 1e-5;

    public LossTests() => Libtorch.Require();

    public static TheoryData<int, int, double, double[], bool> MmdCases() => new()
    {
        { 2, 1, 0, [0.5], false },
        { 3, 5, 0, [0.5], false },
        { 7, 4, 0, [0.5], false },
        // A mean far from zero: the Gram form cancels unless points are centred.
        { 7, 4, 1000, [0.5], false },
        { 6, 3, 0, [0.25, 0.5, 2], false },
        { 6, 3, 0, [2, 0.5], true },
        { 5, 70, 0, [1], false },
    };

    [Theory]
    [MemberData(nameof(MmdCases))]
    public void MmdIsThePrintedFormula(int batch, int dimension, double mean, double[] bandwidths, bool average)
    {
        double[] s = Libtorch.Numbers(1, (long)batch * dimension, mean - 2, mean + 2), t = Libtorch.Numbers(2, (long)batch * dimension, mean - 1, mean + 3);
        double expected = Mmd(s, t, batch, bandwidths, average, null);
        Assert.Equal(expected, Value(s, t, batch, bandwidths, average, float64), 1e-9);
        Assert.Equal(expected, Value(s, t, batch, bandwidths, average, float32), mean == 0 ? kFloat32 : 1e-3);
    }

    [Theory]
    [MemberData(nameof(MmdCases))]
    public void MmdGradientLeavesTheBandwidthAlone(int batch, int dimension, double mean, double[] bandwidths, bool average)
    {
        double[] s = Libtorch.Numbers(1, (long)batch * dimension, mean - 2, mean + 2), t = Libtorch.Numbers(2, (long)batch * dimension, mean - 1, mean + 3);
        double width = MeanDistance(s, t, batch);
        double[] expected = Differences.Of(s, () => Mmd(s, t, batch, bandwidths, average, width));
        using DisposeScope scope = NewDisposeScope();
        Tensor source = tensor(s, [batch, dimension], float64);
        source.requires_grad = true;
        // Through an operation, as in training, and weighted.
        (MmdLoss.Of(source * 1, tensor(t, [batch, dimension], float64), bandwidths, average) * 3).backward();
        Libtorch.Near([.. expected.Select(value => 3 * value)], Libtorch.Values(source.grad!), Math.Max(Bounds.Difference, 1e-9 * mean), "gradient of MMD");
    }

    /// <summary>More rows than the block in which the kernel among the targets is evaluated, and not a multiple of it.</summary>
    [Fact]
    public void MmdOfManyRowsIsThePrintedFormula()
    {
        const int Batch = 600;
        double[] s = Libtorch.Numbers(1, Batch * 3, -2, 2), t = Libtorch.Numbers(2, Batch * 3, -1, 3), bandwidths = [0.5, 2];
        Assert.Equal(Mmd(s, t, Batch, bandwidths, average: false, null), Value(s, t, Batch, bandwidths, average: false, float64), 1e-9);
    }

    [Fact]
    public void MmdOfEqualPoints()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor same = full(4, 3, 0.7);
        same.requires_grad = true;
        Tensor loss = MmdLoss.Of(same, full(4, 3, 0.7));
        loss.backward();
        // Every kernel is 1: 1 + 1 − 2 + 2/(B − 1).
        Assert.Equal(2.0 / 3, loss.ToDouble(), 1e-6);
        Assert.All(Libtorch.Values(same.grad!), value => Assert.Equal(0, value));
    }

    [Fact]
    public void MmdFallsWhenSetsApproach()
    {
        using DisposeScope scope = NewDisposeScope();
        manual_seed(3);
        Tensor target = randn(64, 8), far = target + 2, near = target.flip(0) + 0.1;
        Assert.True(MmdLoss.Of(near, target).ToDouble() < 0.2 * MmdLoss.Of(far, target).ToDouble());
    }

    [Fact]
    public void MmdRefusesWhatItCannotCompare()
    {
        using DisposeScope scope = NewDisposeScope();
        Assert.Contains("at least 2", Assert.Throws<ArgumentException>(() => MmdLoss.Of(ones(1, 3), ones(1, 3))).Message, StringComparison.Ordinal);
        Assert.Contains("[2, 3] and [2, 4]", Assert.Throws<ArgumentException>(() => MmdLoss.Of(ones(2, 3), ones(2, 4))).Message, StringComparison.Ordinal);
        Assert.Contains("-1", Assert.Throws<ArgumentException>(() => MmdLoss.Of(ones(2, 3), ones(2, 3), [0.5, -1])).Message, StringComparison.Ordinal);
        Assert.Contains("constant", Assert.Throws<ArgumentException>(() => MmdLoss.Of(ones(2, 3), ones(2, 3, requires_grad: true))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0.1)]
    [InlineData(0.7)]
    public void InfoNceIsThePrintedFormula(double temperature)
    {
        const int batch = 5, width = 3;
        double[] q = Libtorch.Numbers(3, batch * width, -2, 2), p = Libtorch.Numbers(4, batch * width, -2, 2);
        double Loss() => InfoNce(q, p, batch, temperature);
        foreach (ScalarType type in (ScalarType[])[float64, float32])
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor queries = tensor(q, [batch, width], type), positives = tensor(p, [batch, width], type);
            queries.requires_grad = positives.requires_grad = true;
            Tensor loss = InfoNceLoss.Of(queries, positives, temperature);
            loss.backward();
            double slack = type == float64 ? 0 : Bounds.Float32;
            Assert.Equal(Loss(), loss.ToDouble(), 1e-12 + slack);
            Libtorch.Near(Differences.Of(q, Loss), Libtorch.Values(queries.grad!), Bounds.Difference + slack, "gradient by queries");
            Libtorch.Near(Differences.Of(p, Loss), Libtorch.Values(positives.grad!), Bounds.Difference + slack, "gradient by positives");
        }
    }

    [Fact]
    public void ResidualLossIsThePrintedFormula()
    {
        const int batch = 3, width = 2, levels = 2;
        const double commitment = 0.3;
        double[][] r = [.. Enumerable.Range(0, levels).Select(l => Libtorch.Numbers(5 + l, batch * width, -2, 2))];
        double[][] q = [.. Enumerable.Range(0, levels).Select(l => Libtorch.Numbers(8 + l, batch * width, -2, 2))];
        // What is under sg(·) stays where it was while the other side moves.
        double[][] rHeld = [.. r.Select(values => (double[])values.Clone())], qHeld = [.. q.Select(values => (double[])values.Clone())];
        double Mse(double[] a, double[] b) => a.Zip(b, (x, y) => (x - y) * (x - y)).Average();
        double Loss() => Enumerable.Range(0, levels).Average(l => Mse(rHeld[l], q[l]) + (commitment * Mse(r[l], qHeld[l])));
        using DisposeScope scope = NewDisposeScope();
        Tensor[] residuals = [.. r.Select(values => Leaf(values, batch, width))], codewords = [.. q.Select(values => Leaf(values, batch, width))];
        Tensor loss = ResidualLoss.Of([.. residuals.Zip(codewords)], commitment);
        loss.backward();
        Assert.Equal(Loss(), loss.ToDouble(), 1e-12);
        for (int l = 0; l < levels; l++)
        {
            Libtorch.Near(Differences.Of(r[l], Loss), Libtorch.Values(residuals[l].grad!), Bounds.Difference, $"residual {l}");
            Libtorch.Near(Differences.Of(q[l], Loss), Libtorch.Values(codewords[l].grad!), Bounds.Difference, $"codeword {l}");
        }
    }

    private static Tensor Leaf(double[] values, int rows, int columns)
    {
        Tensor leaf = tensor(values, [rows, columns], float64);
        leaf.requires_grad = true;
        return leaf;
    }

    private static double Value(double[] s, double[] t, int batch, double[] bandwidths, bool average, ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        return MmdLoss.Of(tensor(s, [batch, s.Length / batch], type), tensor(t, [batch, t.Length / batch], type), bandwidths, average).ToDouble();
    }

    /// <summary>Pairs of all 2B points, differences and not products; the mean distance is given where it is held.</summary>
    private static double Mmd(double[] s, double[] t, int batch, double[] bandwidths, bool average, double? held)
    {
        double mean = held ?? MeanDistance(s, t, batch);
        double K(double[] a, int i, double[] b, int j) => bandwidths.Sum(alpha => Math.Exp(-Distance(a, i, b, j, batch) / (2 * alpha * mean))) / (average ? bandwidths.Length : 1);
        double sources = 0, targets = 0, cross = 0;
        for (int i = 0; i < batch; i++)
        {
            for (int j = 0; j < batch; j++)
            {
                if (i != j)
                {
                    sources += K(s, i, s, j);
                    targets += K(t, i, t, j);
                }
                cross += K(s, i, t, j);
            }
        }
        double pairs = batch * (batch - 1.0);
        return (sources / pairs) + (targets / pairs) - (2 * cross / ((double)batch * batch)) + (2 / (batch - 1.0));
    }

    private static double MeanDistance(double[] s, double[] t, int batch)
    {
        double sum = 0;
        for (int i = 0; i < 2 * batch; i++)
        {
            for (int j = 0; j < 2 * batch; j++)
                sum += Distance(i < batch ? s : t, i % batch, j < batch ? s : t, j % batch, batch);
        }
        return sum / (4.0 * batch * batch);
    }

    private static double Distance(double[] a, int i, double[] b, int j, int batch)
    {
        int dimension = a.Length / batch;
        double sum = 0;
        for (int c = 0; c < dimension; c++)
            sum += Math.Pow(a[(i * dimension) + c] - b[(j * dimension) + c], 2);
        return sum;
    }

    private static double InfoNce(double[] q, double[] p, int batch, double temperature)
    {
        int width = q.Length / batch;
        double Dot(double[] a, int i, double[] b, int j) => Enumerable.Range(0, width).Sum(c => a[(i * width) + c] * b[(j * width) + c]);
        double Cosine(int i, int j) => Dot(q, i, p, j) / Math.Sqrt(Dot(q, i, q, i) * Dot(p, j, p, j));
        return Enumerable.Range(0, batch).Average(i => -Math.Log(Math.Exp(Cosine(i, i) / temperature) / Enumerable.Range(0, batch).Sum(j => Math.Exp(Cosine(i, j) / temperature))));
    }
}
