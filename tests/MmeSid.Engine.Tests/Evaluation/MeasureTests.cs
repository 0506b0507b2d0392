using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Engine.Tests.Sids;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests.Evaluation;

public sealed class MeasureTests
{
    [Fact]
    public void CodeUseOfHandComputedCounts()
    {
        // Shares ½, ¼, ¼ and an unused code: H = 1.5 bits; Gini (−3·0 −1·1 + 1·1 + 3·2)/(4·4).
        var use = CodeUse.Measure(new SidTable(2, [0, 9, 3, 9, 0, 9, 1, 9]), 0, 4);
        Assert.Equal((4, 3, 2L), (use.Codes, use.Used, use.Largest));
        Assert.Equal(1.5, use.Entropy, 1e-15);
        Assert.Equal(Math.Pow(2, 1.5), use.Perplexity, 1e-12);
        Assert.Equal(6.0 / 16, use.Gini, 1e-15);
        Assert.Equal(0, CodeUse.Of([5, 5, 5]).Gini, 1e-15);
        Assert.Equal(3, CodeUse.Of([5, 5, 5]).Perplexity, 1e-12);
        Assert.Equal(2.0 / 3, CodeUse.Of([0, 7, 0]).Gini, 1e-15);
        Assert.Equal(new CodeUse(2, 0, 0, 1, 0, 0), CodeUse.Of([0, 0]));
        Assert.Throws<ArgumentException>(() => CodeUse.Measure(new SidTable(1, [0, 4]), 0, 4));
    }

    [Fact]
    public void CollisionsAreCounted()
    {
        var rate = CollisionRate.Measure(new SidTable(2, [1, 2, 1, 3, 1, 2, 0, 0, 1, 2, 0, 0, 9, 9]));
        Assert.Equal(new CollisionRate(7, 4, 3, 5), rate);
        Assert.Equal(1 - 4.0 / 7, rate.Rate, 1e-15);
        Assert.Equal(0, CollisionRate.Measure(new SidTable(3, [])).Rate);
    }

    [Theory]
    [InlineData("letter.npy", 0.0011)]
    [InlineData("collisiongenrec_quasid_native.npy", 0.0031)]
    [InlineData("iba_rqvae.npy", 0.0193)]
    [InlineData("collisiongenrec_rqvae_native.npy", 0.0497)]
    [InlineData("collisiongenrec_rkmeans_native.npy", 0.1301)]
    public void PublishedSidsHaveTheirKnownCollisionRates(string file, double rate)
    {
        var report = HealthReport.Measure(SidTable.ReadNpy(SharedData.Require($"amazon-beauty/published-sids/{file}")));
        Assert.Equal(12_101, report.Items);
        Assert.Equal(4, report.CodeUse.Count);
        Assert.Equal(rate, report.Collisions.Rate, 5e-5);
    }

    [Fact]
    public void BeautySpectrumIsTheKnownOne()
    {
        using var table = EmbeddingTable.Open([SharedData.Require("amazon-beauty/collaborative_sasrec64.npy")], new EmbeddingOptions { SkipRows = 1 });
        var spectrum = Spectrum.Measure(table);
        Assert.Equal(12_101, spectrum.Rows);
        Assert.Equal(61.4, spectrum.EffectiveRank, 0.05);
        Assert.Equal(29.7, spectrum.InformationAbundance, 0.05);
    }

    [Fact]
    public void SpectrumOfAKnownProduct()
    {
        // Orthogonal columns of lengths 5, 4, 3, 0 turned into each other by no rotation: singular values are the lengths.
        const int n = 37, d = 4;
        var rows = new float[n * d];
        double[] lengths = [3, 5, 0, 4];
        for (int i = 0; i < n - 1; i++)
        {
            for (int j = 0; j < d; j++)
                rows[i * d + j] = i / 9 == j ? (float)(lengths[j] / 3) : 0;
        }
        using EmbeddingTable table = SidCases.Table(rows, d);
        var spectrum = Spectrum.Measure(table);
        Assert.Equal([5.0, 4, 3, 0], spectrum.SingularValues.Select(value => Math.Round(value, 6)));
        Assert.Equal(12.0 / 5, spectrum.InformationAbundance, 1e-6);
        double entropy = -(5.0 / 12 * Math.Log(5.0 / 12) + 4.0 / 12 * Math.Log(4.0 / 12) + 3.0 / 12 * Math.Log(3.0 / 12));
        Assert.Equal(Math.Exp(entropy), spectrum.EffectiveRank, 1e-5);
        Assert.Equal(7, Spectrum.Measure(table, maximumRows: 7, seed: 3).Rows);
        using EmbeddingTable zeros = SidCases.Table(new float[6], 3);
        Assert.Equal((0, 0), (Spectrum.Measure(zeros).EffectiveRank, Spectrum.Measure(zeros).InformationAbundance));
        using EmbeddingTable empty = SidCases.Table([], 3);
        Assert.Throws<ArgumentException>(() => Spectrum.Measure(empty));
    }

    [Fact]
    public void SpectrumIsTheSameForAnyThreads()
    {
        using EmbeddingTable table = SidCases.Table(SidCases.Gaussians(301 * 37, 1), 37);
        Assert.Equal(Spectrum.Measure(table, threads: 1).SingularValues, Spectrum.Measure(table, threads: 3).SingularValues);
    }

    [Fact]
    public void ReconstructionErrorEqualsThePlainLoop()
    {
        const int d = 7, n = 53;
        Quantizer quantizer = SidCases.Quantizer(QuantizerKind.Psrq, d, [5, 3], 1);
        float[] rows = [.. SidCases.Gaussians(n * d, 2).Select(value => value + 100)];
        SidTable codes = SidCases.Random(n, 2, 3, 3);
        var reconstruction = new float[n * d];
        quantizer.Reconstruct(codes.Codes, reconstruction);
        double error = rows.Zip(reconstruction, (x, y) => ((double)x - y) * ((double)x - y)).Sum() / n;
        double variance = Enumerable.Range(0, d).Sum(j =>
        {
            double[] column = [.. Enumerable.Range(0, n).Select(i => (double)rows[i * d + j])];
            return column.Sum(value => Math.Pow(value - column.Average(), 2)) / n;
        });
        using EmbeddingTable table = SidCases.Table(rows, d);
        var measured = ReconstructionError.Measure(table, quantizer, codes);
        Assert.Equal(error, measured.MeanSquared, error * 1e-12);
        Assert.Equal(variance, measured.Variance, variance * 1e-11);
        Assert.Equal(error / variance, measured.Relative, error / variance * 1e-11);
        Assert.Throws<ArgumentException>(() => ReconstructionError.Measure(table, quantizer, codes.Select([0])));
    }

    [Fact]
    public void KendallTauOfHandComputedOrders()
    {
        // Distances to the target at 0: original 1 < 2 < 3, other 1 < 3 < 2: one of three pairs is discordant, τ = ⅓; the second user's pair is tied.
        using EmbeddingTable original = SidCases.Table([0, 1, 2, 3, 5], 1);
        using EmbeddingTable other = SidCases.Table([0, 1, 3, 2, -1], 1);
        var users = new UserHistory[] { new([1, 2, 3, 1], 0), new([1, 4], 0), new([2, 2], 0), new([], 1) };
        var tau = KendallTau.Measure(original, other, users);
        Assert.Equal(2, tau.Users);
        Assert.Equal((1.0 / 3 + 0) / 2, tau.Mean, 1e-15);
        Assert.Equal(1.0 / 6, tau.StandardError, 1e-15);
        Assert.Equal(new KendallTau(1, 0, 1), KendallTau.Measure(original, original, [users[0]]));
        Assert.Equal(new KendallTau(0, 0, 0), KendallTau.Measure(original, other, [users[3]]));
        // Codewords equal to the rows keep every order.
        var quantizer = new Quantizer(QuantizerKind.Vq, 1, [[0f, 1f, 2f, 3f, 5f]]);
        Assert.Equal(1, KendallTau.Measure(original, quantizer, new SidTable(1, [0, 1, 2, 3, 4]), [users[0]]).Mean);
    }

    [Fact]
    public void MutualInformationOfSmallCases()
    {
        Assert.Equal(1, MutualInformation.Measure([0, 0, 1, 1], [7, 7, 3, 3]).Adjusted, 1e-12);
        // E[I] = ⅓ ln 2 by counting, I = 0, H = ln 2: −½.
        Assert.Equal(-0.5, MutualInformation.Measure([0, 0, 1, 1], [0, 1, 0, 1]).Adjusted, 1e-12);
        Assert.Equal(0, MutualInformation.Measure([0, 0, 0, 0], [0, 1, 0, 1]).Adjusted, 1e-12);
        Assert.Equal(1, MutualInformation.Measure([5, 5], [0, 0]).Adjusted);
        Assert.Equal(1, MutualInformation.Measure([5], [0]).Normalized);
        Assert.Throws<ArgumentException>(() => MutualInformation.Measure([], []));
        Assert.Throws<ArgumentException>(() => MutualInformation.Measure([1], [1, 2]));
    }

    [Theory]
    [InlineData(new ushort[] { 0, 0, 0, 1, 1, 2, 2 }, new ushort[] { 0, 1, 1, 1, 2, 2, 0 })]
    [InlineData(new ushort[] { 0, 1, 2, 3, 4, 5, 6 }, new ushort[] { 0, 0, 1, 1, 2, 2, 3 })]
    [InlineData(new ushort[] { 0, 0, 0, 0, 0, 0, 1 }, new ushort[] { 1, 1, 1, 1, 1, 0, 0 })]
    public void ExpectedMutualInformationIsTheMeanOverAllOrders(ushort[] first, ushort[] second)
    {
        var orders = new List<double>();
        Permute(second, 0, order => orders.Add(PlainMutual(first, order)));
        Assert.Equal(5040, orders.Count);
        var information = MutualInformation.Measure(first, second);
        Assert.Equal(orders.Average(), information.Expected, 1e-12);
        Assert.Equal(PlainMutual(first, second), information.Mutual, 1e-12);
    }

    private static double PlainMutual(ushort[] first, ushort[] second)
    {
        double n = first.Length, sum = 0;
        for (int i = 0; i < 7; i++)
        {
            for (int j = 0; j < 7; j++)
            {
                double both = 0, left = 0, right = 0;
                for (int k = 0; k < first.Length; k++)
                {
                    both += first[k] == i && second[k] == j ? 1 : 0;
                    left += first[k] == i ? 1 : 0;
                    right += second[k] == j ? 1 : 0;
                }
                sum += both == 0 ? 0 : both / n * Math.Log(n * both / (left * right));
            }
        }
        return sum;
    }

    private static void Permute(ushort[] values, int from, Action<ushort[]> visit)
    {
        if (from == values.Length)
            visit(values);
        for (int i = from; i < values.Length; i++)
        {
            (values[from], values[i]) = (values[i], values[from]);
            Permute(values, from + 1, visit);
            (values[from], values[i]) = (values[i], values[from]);
        }
    }

    [Fact]
    public void ChanceLiftsNormalizedButNotAdjustedInformation()
    {
        // The case that DESIGN.md names: random labels, K 256, n 1,425: plain NMI is .67.
        SidTable labels = SidCases.Random(1_425, 2, 256, 4);
        var information = MutualInformation.Measure(labels.Level(0), labels.Level(1));
        Assert.Equal(0.67, information.Normalized, 0.01);
        Assert.Equal(0, information.Adjusted, 0.01);
    }

    [Fact]
    public void PurityEqualsThePlainLoop()
    {
        const int n = 131, d = 5, k = 7;
        float[] rows = [.. SidCases.Gaussians(n * d, 5).Select(value => value + 50)];
        SidTable codes = SidCases.Random(n, 2, 4, 6);
        using EmbeddingTable table = SidCases.Table(rows, d);
        var options = new AgreementOptions { Neighbours = k };
        var purity = NeighbourPurity.Measure(table, codes, options, new ScalarBackend());
        Assert.Equal((k, n, n), (purity.Neighbours, purity.Queries, purity.Pool));
        for (int level = 0; level < 2; level++)
        {
            int at = level;
            double share = Enumerable.Range(0, n).Average(q => Enumerable.Range(0, n).Where(i => i != q)
                .OrderBy(i => Enumerable.Range(0, d).Sum(j => Math.Pow((double)rows[i * d + j] - rows[q * d + j], 2))).ThenBy(i => i)
                .Take(k).Count(i => codes[i][at] == codes[q][at]) / (double)k);
            double baseline = Enumerable.Range(0, n).Average(q => Enumerable.Range(0, n).Count(i => i != q && codes[i][at] == codes[q][at]) / (n - 1.0));
            Assert.Equal(share, purity.Levels[level].Share, 1e-12);
            Assert.Equal(baseline, purity.Levels[level].Baseline, 1e-12);
            Assert.Equal(0, purity.Levels[level].StandardError, 1e-12);
        }
        var sampled = NeighbourPurity.Measure(table, codes, options with { MaximumPool = 100, MaximumQueries = 30 }, new ScalarBackend());
        Assert.Equal((30, 100), (sampled.Queries, sampled.Pool));
        Assert.True(sampled.Levels[0].StandardError > 0);
    }

    [Fact]
    public void PurityWithFewOrEqualRows()
    {
        using EmbeddingTable two = SidCases.Table([1, 2, 1, 2], 2);
        var purity = NeighbourPurity.Measure(two, new SidTable(1, [3, 3]), new AgreementOptions(), new ScalarBackend());
        Assert.Equal(1, purity.Neighbours);
        Assert.Equal(new LevelPurity(1, 0, 1), purity.Levels[0]);
        using EmbeddingTable one = SidCases.Table([1, 2], 2);
        Assert.Throws<ArgumentException>(() => NeighbourPurity.Measure(one, new SidTable(1, [3]), new AgreementOptions(), new ScalarBackend()));
        var agreement = SpaceAgreement.Measure(two, new SidTable(1, [3, 3]), new AgreementOptions(), new ScalarBackend(), TestContext.Current.CancellationToken);
        Assert.Equal(1, agreement.Clusters);
    }

    [Fact]
    public void AgreementSeesClustersAndNotChance()
    {
        // Eight clusters far apart; level 0 is the cluster, level 1 random.
        const int n = 401, d = 3;
        var random = new RandomSource(8);
        float[] rows = SidCases.Gaussians(n * d, 9);
        var codes = new ushort[2 * n];
        for (int i = 0; i < n; i++)
        {
            int cluster = i % 8;
            for (int j = 0; j < d; j++)
                rows[i * d + j] += 100 * ((cluster >> j) & 1);
            codes[2 * i] = (ushort)cluster;
            codes[2 * i + 1] = (ushort)random.NextInt(8);
        }
        using EmbeddingTable table = SidCases.Table(rows, d);
        var agreement = SpaceAgreement.Measure(table, new SidTable(2, codes), new AgreementOptions { Clusters = 8, Seed = 1 }, new SimdBackend(), TestContext.Current.CancellationToken);
        Assert.Equal((8, n), (agreement.Clusters, agreement.Rows));
        Assert.True(agreement.Levels[0].AdjustedMutualInformation > 0.9);
        Assert.Equal(1, agreement.Levels[0].Purity.Share);
        Assert.Equal(0, agreement.Levels[1].AdjustedMutualInformation, 0.02);
        foreach (LevelAgreement level in agreement.Levels)
        {
            Assert.Equal(0, level.RandomBaseline, 0.02);
            Assert.Equal(0.125, level.Purity.Baseline, 0.01);
        }
    }

    [Fact]
    public void SampledAgreementIsWithinItsErrorOfTheWhole()
    {
        // Eight clusters far apart; the codes follow them for two rows out of three.
        const int n = 4000, d = 3;
        var random = new RandomSource(8);
        float[] rows = SidCases.Gaussians(n * d, 9);
        ushort[] codes = new ushort[n];
        for (int i = 0; i < n; i++)
        {
            int cluster = random.NextInt(8);
            for (int j = 0; j < d; j++)
                rows[i * d + j] += 100 * (cluster >> j & 1);
            codes[i] = (ushort)(random.NextInt(3) == 0 ? random.NextInt(8) : cluster);
        }
        using EmbeddingTable table = SidCases.Table(rows, d);
        LevelAgreement Measure(int maximumRows, ulong seed) => SpaceAgreement.Measure(
            table, new SidTable(1, codes), new AgreementOptions { Clusters = 8, MaximumRows = maximumRows, Seed = seed }, new SimdBackend(), TestContext.Current.CancellationToken).Levels[0];
        LevelAgreement whole = Measure(n, 1);
        Assert.Equal(0, whole.StandardError);
        double[] shares = [.. Enumerable.Range(0, 12).Select(seed => Measure(800, (ulong)seed)).Select(sampled => Math.Abs(sampled.AdjustedMutualInformation - whole.AdjustedMutualInformation) / sampled.StandardError)];
        Assert.InRange(shares.Max(), 0.5, 4);
        Assert.InRange(shares.Average(), 0.3, 1.6);
    }

    [Fact]
    public void ReportGathersEverything()
    {
        string folder = Directory.CreateTempSubdirectory("mmesid-health").FullName;
        try
        {
            const int n = 97, d = 6;
            Quantizer quantizer = SidCases.Quantizer(QuantizerKind.RqKMeans, d, [4, 5, 7], 3);
            float[] rows = SidCases.Gaussians(n * d, 4);
            using EmbeddingTable table = SidCases.Table(rows, d);
            SidTable codes = SidCases.Encode(quantizer, rows);
            var policy = new SettlingOptions { Policy = CollisionPolicy.Resettle };
            string path = Path.Combine(folder, "b");
            SidBundle.Write(path, new BundleContent
            {
                Quantizer = quantizer,
                Preprocessing = new Preprocessing([new TablePart(d, false, 1)]),
                Items = ItemIds.Sequential(n),
                Codes = codes,
                Sids = SidCases.Settle(codes, quantizer, table, policy).Sids,
                Collisions = CollisionPolicy.Resettle,
            }, force: false);
            var bundle = SidBundle.Open(path);
            var report = HealthReport.Measure(bundle, table, null, [new UserHistory([1, 2, 3], 4)], new AgreementOptions(), new ScalarBackend(), TestContext.Current.CancellationToken);
            Assert.Equal(0, report.Collisions.Rate);
            Assert.True(report.RawCollisions.Rate > 0);
            Assert.Equal([4, 5, 7], report.CodeUse.Select(use => use.Codes));
            Assert.True(report.Error!.MeanSquared > report.RawError!.MeanSquared);
            Assert.Equal(3, report.Agreement!.Levels.Count);
            Assert.Equal(d, report.Spectrum!.SingularValues.Count);
            Assert.Equal(1, report.Distances!.Users);
            var bare = HealthReport.Measure(bundle, null, null, null, new AgreementOptions(), new ScalarBackend(), TestContext.Current.CancellationToken);
            Assert.Null(bare.Agreement);
            using EmbeddingTable shorter = SidCases.Table(rows[..d], d);
            Assert.Throws<ArgumentException>(() => HealthReport.Measure(bundle, shorter, null, null, new AgreementOptions(), new ScalarBackend(), TestContext.Current.CancellationToken));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
