using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests.Quantization;

public sealed class QuantizerTrainerTests
{
    private static readonly IBackend s_backend = new SimdBackend(2);

    public static TheoryData<TrainingOptions> EveryKind => new(
        new TrainingOptions { Kind = QuantizerKind.Vq, Levels = 1, Codes = [19], Iterations = 5 },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 3, Codes = [16, 9, 5], Iterations = 5 },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 2, Codes = [8], Iterations = 4, MiniBatch = 100 },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 2, Codes = [8], Iterations = 3, BalancedClusters = true, MinimumClusterSize = 10 },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 2, Codes = [8], Iterations = 3, SinkhornLastLevel = new SinkhornOptions { Iterations = 10 } },
        new TrainingOptions { Kind = QuantizerKind.RqKMeans, Levels = 3, Codes = [8], Iterations = 4, Beam = 4 },
        new TrainingOptions { Kind = QuantizerKind.Psrq, Levels = 3, Codes = [13], Iterations = 5 },
        new TrainingOptions { Kind = QuantizerKind.Psrq, Levels = 3, Codes = [8], Iterations = 4, Beam = 3 },
        new TrainingOptions { Kind = QuantizerKind.Pq, Levels = 3, Codes = [7, 8, 9], Iterations = 5, Initialization = KMeansInitialization.Random },
        new TrainingOptions { Kind = QuantizerKind.Opq, Levels = 2, Codes = [11], Iterations = 4, RotationIterations = 4 });

    [Theory]
    [MemberData(nameof(EveryKind))]
    public void SameBitsForAnyThreads(TrainingOptions options)
    {
        using RowMatrix rows = TestRows.Clustered(611, 6, 12, seed: 3, mean: 2);
        TrainingResult one = TestRows.Train(rows, options with { Threads = 1, Tolerance = 0 }, new SimdBackend(1));
        TrainingResult three = TestRows.Train(rows, options with { Threads = 3, Tolerance = 0 }, new SimdBackend(3));
        AssertSame(one, three);
        TrainingResult other = TestRows.Train(rows, options with { Seed = 99, Tolerance = 0 }, s_backend);
        Assert.NotEqual(one.Quantizer.Codebook(0), other.Quantizer.Codebook(0));
        Assert.Equal(options.Levels, one.LevelErrors.Count);
        Assert.Equal(611, one.TrainedRows);
        for (int level = 0; level < options.Levels; level++)
            Assert.Equal(options.CodesOf(level), one.Quantizer.CodeCount(level));
    }

    [Theory]
    [MemberData(nameof(EveryKind))]
    public void ReportedErrorIsThatOfTheFinalCodesOrWorse(TrainingOptions options)
    {
        using RowMatrix rows = TestRows.Clustered(611, 6, 12, seed: 3, mean: 2);
        TrainingResult result = TestRows.Train(rows, options with { Tolerance = 0, Iterations = 40 }, s_backend);
        double error = MeanError(result.Quantizer, rows, options.Beam);
        double spread = 0;
        float[] values = TestRows.Values(rows);
        for (int j = 0; j < 6; j++)
        {
            double mean = Enumerable.Range(0, 611).Average(i => (double)values[i * 6 + j]);
            spread += Enumerable.Range(0, 611).Average(i => (values[i * 6 + j] - mean) * (values[i * 6 + j] - mean));
        }
        Assert.True(error < spread / 2, $"error {error}, variance {spread}");
        // PSRQ's objective counts both halves, so it bounds the error of the residual half.
        Assert.True(error <= result.MeanSquaredError * (1 + 1e-6), $"error {error}, reported {result.MeanSquaredError}");
    }

    [Theory]
    [InlineData(QuantizerKind.RqKMeans)]
    [InlineData(QuantizerKind.Psrq)]
    public void FewerLevelsAreAPrefixAndMoreLevelsErrLess(QuantizerKind kind)
    {
        using RowMatrix rows = TestRows.Clustered(807, 7, 20, seed: 13);
        var options = new TrainingOptions { Kind = kind, Codes = [11], Iterations = 6, Seed = 5 };
        double previous = double.PositiveInfinity;
        Quantizer full = TestRows.Train(rows, options with { Levels = 4 }, s_backend).Quantizer;
        for (int levels = 1; levels <= 4; levels++)
        {
            Quantizer quantizer = TestRows.Train(rows, options with { Levels = levels }, s_backend).Quantizer;
            for (int level = 0; level < levels; level++)
                Assert.Equal(full.Codebook(level), quantizer.Codebook(level));
            double error = MeanError(quantizer, rows);
            Assert.True(error < previous, $"{levels} levels: {error} after {previous}");
            previous = error;
        }
    }

    [Fact]
    public void PsrqIsKMeansOnResidualAndPrefixByPlainLoops()
    {
        const int kCount = 301, kDimension = 5, kCodes = 6, kLevels = 3;
        using RowMatrix rows = TestRows.Clustered(kCount, kDimension, 10, seed: 17);
        // Run to the end, so that every codeword is the mean of the rows that choose it.
        Quantizer quantizer = TestRows.Train(
            rows, new TrainingOptions { Kind = QuantizerKind.Psrq, Levels = kLevels, Codes = [kCodes], Iterations = 300, Tolerance = 0 }, s_backend).Quantizer;
        var codes = new ushort[kCount * kLevels];
        using (IQuantizerEncoder encoder = quantizer.CreateEncoder(s_backend))
            encoder.Encode(rows.View(0, kCount), codes);

        var residuals = Array.ConvertAll(TestRows.Values(rows), value => (double)value);
        var prefixes = new double[kCount * kDimension];
        for (int level = 0; level < kLevels; level++)
        {
            int width = level == 0 ? kDimension : 2 * kDimension;
            var sums = new double[kCodes, width];
            var counts = new int[kCodes];
            var chosen = new int[kCount];
            for (int i = 0; i < kCount; i++)
            {
                double best = double.PositiveInfinity;
                for (int k = 0; k < kCodes; k++)
                {
                    double distance = 0;
                    for (int j = 0; j < width; j++)
                    {
                        double difference = Joined(i, j) - quantizer.Codewords(level)[k * width + j];
                        distance += difference * difference;
                    }
                    if (distance < best)
                        (best, chosen[i]) = (distance, k);
                }
                Assert.Equal(chosen[i], codes[i * kLevels + level]);
                counts[chosen[i]]++;
                for (int j = 0; j < width; j++)
                    sums[chosen[i], j] += Joined(i, j);
            }
            for (int k = 0; k < kCodes; k++)
            {
                for (int j = 0; j < width; j++)
                    Assert.Equal(sums[k, j] / counts[k], quantizer.Codewords(level)[k * width + j], 1e-5);
            }
            for (int i = 0; i < kCount; i++)
            {
                for (int j = 0; j < kDimension; j++)
                {
                    double codeword = quantizer.Codewords(level)[chosen[i] * width + j];
                    residuals[i * kDimension + j] -= codeword;
                    prefixes[i * kDimension + j] += codeword;
                }
            }
        }

        double Joined(int row, int column) => column < kDimension ? residuals[row * kDimension + column] : prefixes[row * kDimension + column - kDimension];
    }

    [Fact]
    public void UnderABeamLevelsLearnFromTheBeamsResiduals()
    {
        const int kCount = 400, kDimension = 4, kCodes = 6, kBeam = 5;
        using RowMatrix rows = TestRows.Clustered(kCount, kDimension, 10, seed: 19);
        var options = new TrainingOptions { Levels = 3, Codes = [kCodes], Iterations = 300, Tolerance = 0, Beam = kBeam };
        Quantizer quantizer = TestRows.Train(rows, options, s_backend).Quantizer;
        var prefix = new Quantizer(QuantizerKind.RqKMeans, kDimension, [quantizer.Codebook(0), quantizer.Codebook(1)]);
        ushort[] codes = Codes(prefix, rows, kBeam);
        Assert.NotEqual(codes, Codes(prefix, rows));
        var reconstructed = new float[kCount * kDimension];
        prefix.Reconstruct(codes, reconstructed);
        float[] residuals = TestRows.Values(rows);
        for (int i = 0; i < residuals.Length; i++)
            residuals[i] -= reconstructed[i];
        var sums = new double[kCodes * kDimension];
        var counts = new int[kCodes];
        for (int i = 0; i < kCount; i++)
        {
            float[] residual = residuals[(i * kDimension)..((i + 1) * kDimension)];
            int nearest = Enumerable.Range(0, kCodes).MinBy(k => TestRows.SquaredError(residual, quantizer.Codeword(2, k)));
            counts[nearest]++;
            for (int j = 0; j < kDimension; j++)
                sums[nearest * kDimension + j] += residual[j];
        }
        for (int i = 0; i < sums.Length; i++)
            Assert.Equal(sums[i] / counts[i / kDimension], quantizer.Codewords(2)[i], 1e-5);
    }

    [Fact]
    public void OpqTurnsCorrelatedColumnsApart()
    {
        // Two large independent values, both spread over columns 0–3, and little in columns 4–7: cut in halves, pq wastes half its codes.
        var random = new RandomSource(5);
        using var rows = new RowMatrix(1500, 8);
        for (int i = 0; i < 1500; i++)
        {
            double first = 5 * random.NextGaussian(), second = 5 * random.NextGaussian();
            for (int j = 0; j < 8; j++)
                rows.Rows(i, 1)[j] = (float)((j < 4 ? first + (j % 2 == 0 ? second : -second) : 0) + 0.3 * random.NextGaussian());
        }
        var options = new TrainingOptions { Kind = QuantizerKind.Pq, Levels = 2, Codes = [16], Iterations = 15 };
        double pq = MeanError(TestRows.Train(rows, options, s_backend).Quantizer, rows);
        foreach (bool randomRotation in new[] { false, true })
        {
            TrainingResult result = TestRows.Train(rows, options with { Kind = QuantizerKind.Opq, RandomRotation = randomRotation }, s_backend);
            float[] rotation = result.Quantizer.Rotation!;
            for (int i = 0; i < 8; i++)
            {
                for (int k = 0; k < 8; k++)
                    Assert.Equal(i == k ? 1 : 0, Enumerable.Range(0, 8).Sum(j => (double)rotation[i * 8 + j] * rotation[k * 8 + j]), 1e-6);
            }
            double opq = MeanError(result.Quantizer, rows);
            Assert.True(opq < 0.5 * pq, $"opq {opq}, pq {pq}, random start {randomRotation}");
            TrainingIteration[] rounds = [.. result.Iterations.Where(iteration => iteration.Level == -1)];
            Assert.Equal(16, rounds.Length);
            for (int i = 1; i < rounds.Length; i++)
                Assert.True(rounds[i].MeanSquaredError <= rounds[i - 1].MeanSquaredError * (1 + 1e-6), $"round {i + 1}");
        }
    }

    [Theory]
    [MemberData(nameof(EveryKind))]
    public void AStoppedRunGoesOnToTheSameBytes(TrainingOptions options)
    {
        using RowMatrix rows = TestRows.Clustered(611, 6, 12, seed: 3, mean: 2);
        options = options with { Tolerance = 0 };
        TrainingResult whole = TestRows.Train(rows, options, s_backend);
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string path = Path.Combine(folder, "checkpoint");
            using EmbeddingTable table = TestRows.Table(TestRows.Copy(rows));
            TrainingResult? resumed = null;
            int stops = 0;
            while (resumed is null)
            {
                using var source = new CancellationTokenSource();
                int left = 2;
                var progress = new Immediate<TrainingProgress>(value =>
                {
                    if (value.Finished is not null && --left == 0)
                        source.Cancel();
                });
                try
                {
                    resumed = QuantizerTrainer.Train(table, options with { CheckpointPath = path, CheckpointInterval = stops % 2 == 0 ? TimeSpan.Zero : TimeSpan.FromDays(1) }, s_backend, progress, source.Token);
                }
                catch (OperationCanceledException)
                {
                    stops++;
                }
                Assert.InRange(stops, 0, 60);
            }
            Assert.True(stops > 0);
            AssertSame(whole, resumed);
            // The file of a finished run gives its result at once.
            AssertSame(whole, QuantizerTrainer.Train(table, options with { CheckpointPath = path }, s_backend, cancellation: TestContext.Current.CancellationToken));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>The folder goes away under way: the result comes all the same, and the trouble is told.</summary>
    [Fact]
    public void ACheckpointThatCannotBeWrittenCostsNoResult()
    {
        using RowMatrix rows = TestRows.Clustered(200, 3, 5, seed: 1);
        var options = new TrainingOptions { Levels = 2, Codes = [8], CheckpointInterval = TimeSpan.Zero };
        TrainingResult whole = TestRows.Train(rows, options, s_backend);
        string folder = Directory.CreateTempSubdirectory().FullName;
        options = options with { CheckpointPath = Path.Combine(folder, "checkpoint") };
        var problems = new List<string>();
        var progress = new Immediate<TrainingProgress>(value =>
        {
            if (value.Problem is not null)
                problems.Add(value.Problem);
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        });
        using EmbeddingTable table = TestRows.Table(TestRows.Copy(rows));
        AssertSame(whole, QuantizerTrainer.Train(table, options, s_backend, progress, TestContext.Current.CancellationToken));
        Assert.NotEmpty(problems);
        Assert.All(problems, problem => Assert.Contains(folder, problem));
        Assert.Contains(folder, Assert.Throws<DirectoryNotFoundException>(() => TestRows.Train(rows, options, s_backend)).Message);
    }

    [Fact]
    public void ForeignAndDamagedCheckpointsAreRefused()
    {
        using RowMatrix rows = TestRows.Clustered(200, 3, 5, seed: 1);
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string path = Path.Combine(folder, "checkpoint");
            var options = new TrainingOptions { Levels = 2, Codes = [8], CheckpointPath = path };
            TestRows.Train(rows, options, s_backend);
            TestRows.Train(rows, options with { Threads = 1 }, s_backend);
            Refused("another run", options with { Seed = 1 }, rows);
            Refused("another run", options with { Iterations = 7 }, rows);
            Refused("another run", options with { WarmStart = TestRows.Train(rows, options with { CheckpointPath = null }, s_backend).Quantizer }, rows);
            using RowMatrix others = TestRows.Clustered(200, 3, 5, seed: 2);
            Refused("another run", options, others);
            byte[] bytes = File.ReadAllBytes(path);
            for (int length = 0; length < bytes.Length; length += Math.Max(1, bytes.Length / 9))
            {
                File.WriteAllBytes(path, bytes[..length]);
                Refused("checkpoint", options, rows);
            }
            bytes[bytes.Length / 2] ^= 1;
            File.WriteAllBytes(path, bytes);
            Refused("damaged", options, rows);
            Assert.Single(Directory.GetFiles(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        void Refused(string message, TrainingOptions options, RowMatrix table)
        {
            string text = Assert.Throws<InvalidDataException>(() => TestRows.Train(table, options, s_backend)).Message;
            Assert.Contains(message, text);
            Assert.StartsWith(options.CheckpointPath!, text);
        }
    }

    [Fact]
    public void WarmStartMovesLittle()
    {
        using RowMatrix rows = TestRows.Clustered(3000, 5, 12, seed: 8, distance: 8);
        var options = new TrainingOptions { Levels = 2, Codes = [12], Tolerance = 0, Iterations = 100 };
        Quantizer first = TestRows.Train(rows, options, s_backend).Quantizer;
        TrainingResult second = TestRows.Train(rows, options with { WarmStart = first, Seed = 3 }, s_backend);
        Assert.True(second.Iterations.Count <= 6);
        (long moved, _) = CodeComparison.CountMoved(Codes(first, rows), Codes(second.Quantizer, rows), 2);
        Assert.InRange(moved, 0, 60);

        Refused("rq-kmeans, expected psrq", options with { Kind = QuantizerKind.Psrq });
        Refused("2 levels, expected 3", options with { Levels = 3 });
        Refused("12 codes, expected 13", options with { Codes = [12, 13] });
        using RowMatrix wide = TestRows.Clustered(100, 6, 12, seed: 8);
        Assert.Contains("dimension 5, the rows have 6",
            Assert.Throws<ArgumentException>(() => TestRows.Train(wide, options with { WarmStart = first }, s_backend)).Message);

        void Refused(string message, TrainingOptions other) => Assert.Contains(message,
            Assert.Throws<ArgumentException>(() => TestRows.Train(rows, other with { WarmStart = first }, s_backend)).Message);
    }

    [Fact]
    public void ASampleIsDrawnBySeed()
    {
        using RowMatrix rows = TestRows.Clustered(5000, 4, 12, seed: 8, distance: 8);
        var options = new TrainingOptions { Kind = QuantizerKind.Psrq, Levels = 2, Codes = [12], TrainRows = 1000, Iterations = 6 };
        TrainingResult first = TestRows.Train(rows, options, s_backend);
        Assert.Equal(1000, first.TrainedRows);
        Assert.Equal(5000, first.TableRows);
        AssertSame(first, TestRows.Train(rows, options, new SimdBackend(1)));
        double all = MeanError(TestRows.Train(rows, options with { TrainRows = null }, s_backend).Quantizer, rows);
        Assert.InRange(MeanError(first.Quantizer, rows), 0, 1.3 * all);
        // psrq holds two halves of 4 values and 4 bytes of codes a row.
        Assert.Equal(500, TestRows.Train(rows, options with { TrainRows = null, TrainingBytes = 500 * 36 }, s_backend).TrainedRows);
    }

    [Fact]
    public void LaterLevelsMayHaveFewerDifferentResidualsThanCodes()
    {
        // 20 different rows in 16 clusters leave few residuals; the surplus codes stay unused.
        using RowMatrix some = TestRows.Clustered(20, 3, 20, seed: 4);
        using var rows = new RowMatrix(60, 3);
        for (int i = 0; i < 60; i++)
            some.Rows(i % 20, 1).CopyTo(rows.Rows(i, 1));
        foreach ((QuantizerKind kind, int codes) in new[] { (QuantizerKind.RqKMeans, 16), (QuantizerKind.RqKMeans, 20), (QuantizerKind.Psrq, 20) })
        {
            TrainingResult result = TestRows.Train(rows, new TrainingOptions { Kind = kind, Levels = 3, Codes = [codes], Tolerance = 0 }, s_backend);
            Assert.Equal(0, MeanError(result.Quantizer, rows), 1e-10);
        }
    }

    [Fact]
    public void BadInputIsRefused()
    {
        using RowMatrix rows = TestRows.Clustered(40, 6, 4, seed: 1);
        var options = new TrainingOptions { Levels = 2, Codes = [8] };
        Refused<ArgumentException>("number of codes is 1", options with { Codes = [1] });
        Refused<ArgumentException>("number of codes is 65537", options with { Codes = [8, 65_537] });
        Refused<ArgumentException>("3 numbers of codes for 2 levels", options with { Codes = [8, 8, 8] });
        Refused<ArgumentException>("levels is 0", options with { Levels = 0 });
        Refused<ArgumentException>("vq has 1 level", options with { Kind = QuantizerKind.Vq });
        Refused<ArgumentException>("dimension 6 cannot be cut into 4", options with { Kind = QuantizerKind.Pq, Levels = 4 });
        Refused<ArgumentException>("iterations is 0", options with { Iterations = 0 });
        Refused<ArgumentException>("beam is 0", options with { Beam = 0 });
        Refused<ArgumentException>("training rows is 0", options with { TrainRows = 0 });
        Refused<ArgumentException>("exclude each other", options with { MiniBatch = 5, BalancedClusters = true });
        Refused<ArgumentException>("at least 6 rows need 48 rows, there are 40", options with { MinimumClusterSize = 6 });
        Refused<InvalidDataException>("test table: the table has 40 different rows, fewer than the 41 codes", options with { Codes = [8, 41] });
        Refused<InvalidDataException>("the 7 rows drawn for training contain 7 different rows", options with { TrainRows = 7 });
        rows.Rows(31, 1)[2] = float.NaN;
        Refused<InvalidDataException>("31", options);
        using EmbeddingTable empty = TestRows.Table(new RowMatrix(0, 6));
        Assert.Contains("test table: has no rows", Assert.Throws<InvalidDataException>(
            () => QuantizerTrainer.Train(empty, options, s_backend, cancellation: TestContext.Current.CancellationToken)).Message);

        void Refused<T>(string message, TrainingOptions bad)
            where T : Exception => Assert.Contains(message, Assert.Throws<T>(() => TestRows.Train(rows, bad, s_backend)).Message);
    }

    [Fact]
    public void ProgressCountsUpToTheTotal()
    {
        using RowMatrix rows = TestRows.Clustered(500, 6, 4, seed: 1);
        foreach (QuantizerKind kind in new[] { QuantizerKind.RqKMeans, QuantizerKind.Opq })
        {
            var seen = new List<TrainingProgress>();
            using EmbeddingTable table = TestRows.Table(TestRows.Copy(rows));
            TrainingResult result = QuantizerTrainer.Train(
                table, new TrainingOptions { Kind = kind, Levels = 2, Codes = [8] }, s_backend, new Immediate<TrainingProgress>(seen.Add), TestContext.Current.CancellationToken);
            Assert.Equal(result.Iterations, seen.Where(value => value.Finished is not null).Select(value => value.Finished!));
            List<TrainingProgress> counted = seen.FindAll(value => value.Stage != TrainingStage.Read);
            for (int i = 1; i < counted.Count; i++)
                Assert.InRange(counted[i].RowsDone, counted[i - 1].RowsDone, counted[i].RowsTotal);
        }
    }

    [Fact]
    public void PermutationsAndSamplesAreComplete() => Prop.ForAll(
        (from count in Gen.Choose(1, 700) from size in Gen.Choose(0, 800) from seed in Gen.Choose(0, 1000) select (count, size, seed)).ToArbitrary(),
        sample =>
        {
            var permutation = new RowPermutation(sample.count, new RandomSource((ulong)sample.seed));
            bool complete = Enumerable.Range(0, sample.count).Select(i => permutation[i]).Order().SequenceEqual(Enumerable.Range(0, sample.count).Select(i => (long)i));
            long[] drawn = [.. RowSample.Draw(sample.count, sample.size, new RandomSource((ulong)sample.seed))];
            return complete && drawn.Length == Math.Min(sample.count, sample.size) && drawn.Distinct().Order().SequenceEqual(drawn)
                && drawn.All(row => row >= 0 && row < sample.count);
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void TrainingNeverRaisesTheObjective() => Prop.ForAll(
        (from count in Gen.Choose(30, 200)
         from dimension in Gen.Choose(1, 9)
         from codes in Gen.Choose(2, 20)
         from seed in Gen.Choose(0, 10_000)
         from kind in Gen.Elements(QuantizerKind.Vq, QuantizerKind.RqKMeans, QuantizerKind.Psrq)
         select (count, dimension, codes, seed, kind)).ToArbitrary(),
        sample =>
        {
            using RowMatrix rows = TestRows.Clustered(sample.count, sample.dimension, 7, (ulong)sample.seed);
            var options = new TrainingOptions
            {
                Kind = sample.kind, Levels = sample.kind == QuantizerKind.Vq ? 1 : 2, Codes = [sample.codes], Seed = (ulong)sample.seed, Tolerance = 0, Iterations = 8,
            };
            TrainingResult result = TestRows.Train(rows, options, s_backend);
            double scale = result.Iterations.Max(iteration => iteration.MeanSquaredError);
            return result.Iterations.Zip(result.Iterations.Skip(1))
                .All(pair => pair.First.Level != pair.Second.Level || pair.Second.MeanSquaredError <= pair.First.MeanSquaredError + 1e-9 * scale);
        }).QuickCheckThrowOnFailure();

    private static ushort[] Codes(Quantizer quantizer, RowMatrix rows, int beam = 1)
    {
        var codes = new ushort[rows.Count * quantizer.Levels];
        using IQuantizerEncoder encoder = quantizer.CreateEncoder(s_backend, beam);
        encoder.Encode(rows.View(0, (int)rows.Count), codes);
        return codes;
    }

    private static double MeanError(Quantizer quantizer, RowMatrix rows, int beam = 1)
    {
        var codes = new ushort[rows.Count * quantizer.Levels];
        var errors = new float[rows.Count];
        using (IQuantizerEncoder encoder = quantizer.CreateEncoder(s_backend, beam))
            encoder.Encode(rows.View(0, (int)rows.Count), codes, errors);
        var reconstructed = new float[rows.Count * rows.Dimension];
        quantizer.Reconstruct(codes, reconstructed);
        double error = TestRows.SquaredError(TestRows.Values(rows), reconstructed) / rows.Count;
        Assert.Equal(errors.Average(value => (double)value), error, 1e-4 * error + 1e-9);
        return error;
    }

    private static void AssertSame(TrainingResult expected, TrainingResult actual)
    {
        Assert.Equal(expected.Quantizer.Levels, actual.Quantizer.Levels);
        for (int level = 0; level < expected.Quantizer.Levels; level++)
            Assert.Equal(expected.Quantizer.Codebook(level), actual.Quantizer.Codebook(level));
        Assert.Equal(expected.Quantizer.Rotation, actual.Quantizer.Rotation);
        Assert.Equal(expected.Iterations.Select(iteration => iteration with { Seconds = 0 }), actual.Iterations.Select(iteration => iteration with { Seconds = 0 }));
    }
}
