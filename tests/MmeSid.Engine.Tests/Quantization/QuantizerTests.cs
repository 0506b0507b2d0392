using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests.Quantization;

public sealed class QuantizerTests
{
    private static readonly IBackend s_backend = new SimdBackend(2);

    [Fact]
    public void NamesGoBothWays()
    {
        Assert.Equal(["vq", "pq", "opq", "rq-kmeans", "psrq", "rq-vae", "mm-rq-vae", "hvq"], QuantizerName.All);
        Assert.All(Enum.GetValues<QuantizerKind>(), kind => Assert.Equal(kind, QuantizerName.Parse(QuantizerName.Of(kind))));
        Assert.Contains("rq-kmeans, psrq, rq-vae, mm-rq-vae, hvq", Assert.Throws<ArgumentException>(() => QuantizerName.Parse("RQ")).Message);
        Assert.Throws<ArgumentException>(() => QuantizerName.Of((QuantizerKind)9));
    }

    [Fact]
    public void ReconstructsResidualHalves()
    {
        var quantizer = new Quantizer(QuantizerKind.Psrq, 2, [[1, 2, 3, 4], [10, 20, 99, 99, 30, 40, 99, 99]]);
        var rows = new float[4];
        quantizer.Reconstruct([0, 1, 1, 0], rows);
        Assert.Equal([31, 42, 13, 24], rows);
        Assert.Equal(2, quantizer.CodewordWidth(0));
        Assert.Equal(4, quantizer.CodewordWidth(1));
        Assert.Equal([30, 40], quantizer.Codeword(1, 1).ToArray());
        Assert.Equal([10, 20, 99, 99, 30, 40, 99, 99], quantizer.Codebook(1));
    }

    [Fact]
    public void ReconstructsSubspacesAndTurnsBack()
    {
        // y = (x1, x2, x3, x0)
        float[] rotation = [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0];
        var quantizer = new Quantizer(QuantizerKind.Opq, 4, [[1, 2, 3, 4], [5, 6, 7, 8, 9, 10]], rotation);
        var rows = new float[4];
        quantizer.Reconstruct([1, 2], rows);
        Assert.Equal([10, 3, 4, 9], rows);
        Assert.Equal(rotation, quantizer.Rotation);
        var plain = new Quantizer(QuantizerKind.Pq, 4, [[1, 2, 3, 4], [5, 6, 7, 8, 9, 10]]);
        plain.Reconstruct([1, 2], rows);
        Assert.Equal([3, 4, 9, 10], rows);
        Assert.Null(plain.Rotation);
        Assert.Equal(3, plain.CodeCount(1));
    }

    [Fact]
    public void ShapesThatDoNotFitAreRefused()
    {
        Refused("at least one codebook", () => new Quantizer(QuantizerKind.Vq, 2, []));
        Refused("one codebook, got 2", () => new Quantizer(QuantizerKind.Vq, 2, [[1, 2], [1, 2]]));
        Refused("cannot be cut into 2", () => new Quantizer(QuantizerKind.Pq, 3, [[1, 2], [1, 2]]));
        Refused("opq needs a rotation", () => new Quantizer(QuantizerKind.Opq, 2, [[1], [1]]));
        Refused("takes no rotation", () => new Quantizer(QuantizerKind.Pq, 2, [[1], [1]], new float[4]));
        Refused("3 values, expected 2 × 2", () => new Quantizer(QuantizerKind.Opq, 2, [[1], [1]], new float[3]));
        Refused("row 1, column 0 is NaN", () => new Quantizer(QuantizerKind.Opq, 2, [[1], [1]], [1, 0, float.NaN, 1]));
        Refused("sub-space 1", () => new Quantizer(QuantizerKind.Pq, 4, [[1, 2], [1, 2, 3]]));
        Refused("dimension is 0", () => new Quantizer(QuantizerKind.Vq, 0, [[1]]));
        var quantizer = new Quantizer(QuantizerKind.Pq, 2, [[1, 2], [1, 2, 3]]);
        Refused("row 0, level 0 has code 2, expected less than 2", () => Reconstructed([2, 2]));
        Refused("whole rows of 2", () => Reconstructed([1]));
        Refused("beam is 0", () => quantizer.CreateEncoder(s_backend, beam: 0));

        float[] Reconstructed(ushort[] codes)
        {
            var rows = new float[2];
            quantizer.Reconstruct(codes, rows);
            return rows;
        }

        static void Refused(string message, Func<object> action) => Assert.Contains(message, Assert.Throws<ArgumentException>(() => action()).Message);
    }

    [Theory]
    [InlineData(QuantizerKind.Pq, 1)]
    [InlineData(QuantizerKind.Pq, 3)]
    [InlineData(QuantizerKind.Opq, 1)]
    [InlineData(QuantizerKind.Opq, 3)]
    public void ProductCodesAreThoseOfPlainLoops(QuantizerKind kind, int subspaces)
    {
        const int kDimension = 9, kCodes = 7, kCount = 8300;
        using RowMatrix rows = TestRows.Clustered(kCount, kDimension, 11, seed: 5, mean: 3);
        int width = kDimension / subspaces;
        var random = new RandomSource(3);
        var codebooks = new float[subspaces][];
        for (int s = 0; s < subspaces; s++)
            codebooks[s] = Enumerable.Range(0, kCodes * width).Select(_ => (float)(4 * random.NextGaussian())).ToArray();
        float[]? rotation = kind == QuantizerKind.Opq
            ? Enumerable.Range(0, kDimension * kDimension).Select(_ => (float)(0.4 * random.NextGaussian())).ToArray()
            : null;
        var quantizer = new Quantizer(kind, kDimension, codebooks, rotation);

        var codes = new ushort[kCount * subspaces];
        var errors = new float[kCount];
        using (IQuantizerEncoder encoder = quantizer.CreateEncoder(s_backend, threads: 2))
            encoder.Encode(rows.View(0, kCount), codes, errors);

        var expected = new ushort[kCount * subspaces];
        for (int i = 0; i < kCount; i++)
        {
            ReadOnlySpan<float> x = rows.Rows(i, 1);
            var y = new float[kDimension];
            for (int j = 0; j < kDimension; j++)
            {
                double sum = 0;
                for (int k = 0; k < kDimension; k++)
                    sum += rotation is null ? (k == j ? x[k] : 0) : (double)rotation[j * kDimension + k] * x[k];
                y[j] = (float)sum;
            }
            double total = 0;
            for (int s = 0; s < subspaces; s++)
            {
                double best = double.PositiveInfinity;
                for (int k = 0; k < kCodes; k++)
                {
                    double distance = TestRows.SquaredError(y.AsSpan(s * width, width), codebooks[s].AsSpan(k * width, width));
                    if (distance < best)
                        (best, expected[i * subspaces + s]) = (distance, (ushort)k);
                }
                total += best;
            }
            Assert.Equal(total, errors[i], total * 1e-6);
        }
        Assert.Equal(expected, codes);
    }

    [Fact]
    public void BadRowsAreNamedInTheWholeRow()
    {
        var quantizer = new Quantizer(QuantizerKind.Pq, 4, [[1, 2], [1, 2, 3, 4]]);
        Assert.ThrowsAny<ArgumentException>(() => quantizer.CodeCount(2));
        var pq = new Quantizer(QuantizerKind.Pq, 4, [[1, 2, 3, 4], [1, 2, 3, 4]]);
        using IQuantizerEncoder encoder = pq.CreateEncoder(s_backend);
        Refused("row 1, column 2 is NaN", [0, 0, 0, 0, 0, 0, float.NaN, 0], 4, 4, 2);
        Refused("rows have 2", [0, 0], 2, 2, 1);
        Refused("need 2 codes, the span has 3", [0, 0, 0, 0], 4, 3, 1);
        Refused("the span has 2", [0, 0, 0, 0], 4, 2, 2);

        void Refused(string message, float[] values, int dimension, int codes, int errors) => Assert.Contains(message,
            Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(values, dimension), new ushort[codes], new float[errors])).Message);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(5, 7)]
    [InlineData(24, 64)]
    [InlineData(25, 65)]
    [InlineData(50, 131)]
    public void RotationIsTheRoundedFloat64Product(int dimension, int count)
    {
        var random = new RandomSource(11);
        float[] matrix = Enumerable.Range(0, dimension * dimension).Select(_ => (float)random.NextGaussian()).ToArray();
        float[] values = Enumerable.Range(0, count * (dimension + 2)).Select(_ => (float)random.NextGaussian()).ToArray();
        const float kGuard = -77;
        var turned = new float[count * dimension + 8];
        turned.AsSpan().Fill(kGuard);
        var view = new RowView(values, count, dimension, dimension + 2);
        new RowRotation(matrix, dimension, 3).Apply(view, turned.AsSpan(0, count * dimension));
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < dimension; j++)
            {
                double sum = 0;
                for (int k = 0; k < dimension; k++)
                    sum += (double)matrix[j * dimension + k] * view[i][k];
                Assert.Equal((float)sum, turned[i * dimension + j]);
            }
        }
        Assert.All(turned[^8..], value => Assert.Equal(kGuard, value));
    }

    [Fact]
    public void RotationThatOverflowsIsRefused()
    {
        var rotation = new RowRotation([2, 0, 0, 1], 2, 1);
        Assert.Contains("row 6 overflows", Assert.ThrowsAny<ArgumentException>(() => rotation.Apply(new RowView([1, 1, 3e38f, 1], 2), new float[4], 5)).Message);
    }

    [Fact]
    public void MovedCodesAreCounted()
    {
        ushort[] left = [.. Enumerable.Range(0, 99).Select(i => (ushort)i)];
        ushort[] right = [.. left];
        right[0] = right[1] = right[50] = right[98] = 1234;
        Assert.Equal(4, CodeComparison.CountDifferent(left, right));
        (long rows, IReadOnlyList<long> levels) = CodeComparison.CountMoved(left, right, 3);
        Assert.Equal(3, rows);
        Assert.Equal([1, 1, 2], levels);
        Assert.Throws<ArgumentException>(() => CodeComparison.CountDifferent(left, right.AsSpan(1)));
        Assert.Throws<ArgumentException>(() => CodeComparison.CountMoved(left, right, 2));
    }

    [Fact]
    public void BeamNeverWorsensTheTotalError()
    {
        using RowMatrix rows = TestRows.Clustered(700, 6, 9, seed: 2);
        Quantizer quantizer = TestRows.Train(rows, new TrainingOptions { Levels = 3, Codes = [12], Iterations = 5 }, s_backend).Quantizer;
        double greedy = Error(1), wide = Error(8);
        Assert.True(wide < greedy, $"beam 8 {wide}, greedy {greedy}");

        double Error(int beam)
        {
            var codes = new ushort[700 * 3];
            var errors = new float[700];
            using IQuantizerEncoder encoder = quantizer.CreateEncoder(new ScalarBackend(), beam);
            encoder.Encode(rows.View(0, 700), codes, errors);
            return errors.Sum(error => (double)error);
        }
    }
}
