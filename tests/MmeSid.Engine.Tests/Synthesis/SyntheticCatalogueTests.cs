using System.Runtime.InteropServices;
using System.Security.Cryptography;
using MmeSid.Engine.Synthesis;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Synthesis;

public sealed class SyntheticCatalogueTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(97)]
    public void AnyBlockHasTheSameRows(int dimension)
    {
        var catalogue = new SyntheticCatalogue(new SyntheticOptions { Items = 211, Dimension = dimension, Branching = [3, 2], Seed = 5 });
        var whole = new float[211 * dimension];
        catalogue.Read(0, 211, whole);
        foreach ((int first, int rows) in ((int, int)[])[(0, 1), (1, 0), (13, 17), (210, 1), (0, 211)])
        {
            var part = new float[rows * dimension];
            catalogue.Read(first, rows, part);
            Assert.Equal(whole[(first * dimension)..((first + rows) * dimension)], part);
        }
        foreach (int threads in (int[])[1, 3])
        {
            using RowMatrix matrix = catalogue.ToRows(threads, TestContext.Current.CancellationToken);
            Assert.Equal(whole, matrix.Rows(0, 211).ToArray());
        }
        Assert.All(whole, value => Assert.True(float.IsFinite(value)));
    }

    /// <summary>The bytes are the same on every machine and for every vector width: this is what the benchmarks of all machines run on.</summary>
    [Fact]
    public void BytesAreFixed()
    {
        var catalogue = new SyntheticCatalogue(new SyntheticOptions { Items = 100, Dimension = 48 });
        var rows = new float[100 * 48];
        catalogue.Read(0, 100, rows);
        Assert.Equal("60e02b32e14da182", Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<float>(rows)))[..16]);
    }

    /// <summary>E‖x‖² = 1, the mean has its length, and the noise its spectrum: tr Σ² of the noise is that of σ_i ∝ i^−p, whatever the basis.</summary>
    [Fact]
    public void MomentsAreThoseOfTheDefinition()
    {
        const int n = 20_000, d = 24;
        const double p = 0.5;
        var options = new SyntheticOptions { Items = n, Dimension = d, Branching = [1], SpectrumExponent = p, Noise = 2, MeanNorm = 1.5 };
        var catalogue = new SyntheticCatalogue(options);
        var rows = new float[n * d];
        catalogue.Read(0, n, rows);
        var mean = new double[d];
        for (int i = 0; i < rows.Length; i++)
            mean[i % d] += rows[i] / (double)n;
        var covariance = new double[d, d];
        for (int i = 0; i < n; i++)
        {
            for (int a = 0; a < d; a++)
            {
                for (int b = 0; b < d; b++)
                    covariance[a, b] += (rows[i * d + a] - mean[a]) * (rows[i * d + b] - mean[b]) / n;
            }
        }
        double scale = 1.5 * 1.5 + 1 + 2 * 2;
        double trace = Enumerable.Range(0, d).Sum(a => covariance[a, a]);
        double squares = covariance.Cast<double>().Sum(value => value * value);
        double[] spectrum = [.. Enumerable.Range(1, d).Select(i => Math.Pow(i, -2 * p))];
        double expected = spectrum.Sum(value => value * value) / Math.Pow(spectrum.Sum(), 2);
        Assert.Equal(4 / scale, trace, 0.02);
        Assert.Equal(expected, squares / (trace * trace), 0.01);
        double largestColumn = Enumerable.Range(0, d).Max(a => covariance[a, a]);
        Assert.True(largestColumn < 0.5 * trace * spectrum[0] / spectrum.Sum(), "one column carries a principal axis alone");
    }

    [Fact]
    public void RowsLieAroundTheirLeaf()
    {
        var catalogue = new SyntheticCatalogue(new SyntheticOptions { Items = 600, Dimension = 32, Branching = [4, 3], Noise = 0.3 });
        var rows = new float[600 * 32];
        catalogue.Read(0, 600, rows);
        double same = 0, other = 0;
        int sames = 0, others = 0;
        for (int i = 0; i < 600; i++)
        {
            for (int j = 0; j < i; j++)
            {
                double distance = 0;
                for (int k = 0; k < 32; k++)
                    distance += Math.Pow(rows[i * 32 + k] - rows[j * 32 + k], 2);
                if (catalogue.Leaf(i) == catalogue.Leaf(j))
                    (same, sames) = (same + distance, sames + 1);
                else
                    (other, others) = (other + distance, others + 1);
            }
        }
        Assert.True(same / sames < 0.3 * other / others, $"{same / sames:F3} inside leaves, {other / others:F3} between");
    }

    [Fact]
    public void HierarchyIsSkewedAndViewsAgreeAsAsked()
    {
        var hierarchy = new SyntheticHierarchy([5, 4], skew: 1);
        var counts = new int[5];
        int agreed = 0, broad = 0;
        for (long row = 0; row < 20_000; row++)
        {
            int leaf = hierarchy.Leaf(row), view = hierarchy.Leaf(row, view: 3, agreement: 0.7);
            counts[hierarchy.Node(leaf, 0)]++;
            agreed += leaf == view ? 1 : 0;
            broad += hierarchy.Node(leaf, 0) == hierarchy.Node(view, 0) ? 1 : 0;
        }
        double harmonic = 1 + 1 / 2.0 + 1 / 3.0 + 1 / 4.0 + 1 / 5.0;
        for (int node = 0; node < 5; node++)
            Assert.Equal(1.0 / (node + 1) / harmonic, counts[node] / 20_000.0, 0.015);
        Assert.Equal(20_000, broad);
        Assert.Equal(0.7 + 0.3 / 4, agreed / 20_000.0, 0.015);
    }

    [Fact]
    public void QuantilesAreNormal()
    {
        var values = new float[400_001];
        NormalQuantiles.Fill(new RandomSource(3), values);
        double mean = values.Average(value => (double)value), variance = values.Average(value => (double)value * value);
        double fourth = values.Average(value => Math.Pow(value, 4));
        Assert.Equal(0, mean, 0.006);
        Assert.Equal(1, variance, 0.01);
        Assert.Equal(3, fourth, 0.06);
        Assert.InRange(values.Max(), 3.4f, 4f);
        Assert.Equal(0.158655, values.Count(value => value > 1) / (double)values.Length, 0.002);
    }

    [Fact]
    public void BadParametersAreNamed()
    {
        var good = new SyntheticOptions { Items = 3, Dimension = 2 };
        Assert.Contains("items is -1", Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good with { Items = -1 })).Message, StringComparison.Ordinal);
        Assert.Contains("dimension is 0", Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good with { Dimension = 0 })).Message, StringComparison.Ordinal);
        Assert.Contains("noise is NaN", Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good with { Noise = double.NaN })).Message, StringComparison.Ordinal);
        Assert.Contains("agreement is 2", Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good with { Agreement = 2 })).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new SyntheticHierarchy([]));
        Assert.Throws<ArgumentException>(() => new SyntheticHierarchy([4, 0]));
        Assert.Throws<ArgumentException>(() => new SyntheticHierarchy([1 << 13, 1 << 13]));
        Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good).Read(2, 2, new float[4]));
        Assert.Throws<ArgumentException>(() => new SyntheticCatalogue(good).Read(0, 2, new float[3]));
    }
}
