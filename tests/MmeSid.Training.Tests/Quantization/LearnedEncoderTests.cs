using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;
using MmeSid.Training.Quantization;

namespace MmeSid.Training.Tests.Quantization;

/// <summary>Codes of raw rows through a network, against plain loops in float64.</summary>
public sealed class LearnedEncoderTests
{
    private const int kInputs = 37, kWidth = 19, kRows = 613;

    public LearnedEncoderTests() => Libtorch.Require();

    private static float[] Floats(int seed, int count, double scale = 1) => [.. Libtorch.Numbers(seed, count, -scale, scale).Select(value => (float)value)];

    private static LinearLayer Layer(int inputs, int outputs, int seed) => new(inputs, outputs, Floats(seed, inputs * outputs, 2 / Math.Sqrt(inputs)), Floats(seed + 1000, outputs, 0.3));

    private static EncoderNetwork Network(QuantizerKind kind, InputFusion fusion)
    {
        int inputs = fusion == InputFusion.None ? kInputs : 23;
        LinearLayer[] projections = fusion switch
        {
            InputFusion.None => [],
            InputFusion.Mean => [Layer(30, 23, 31), Layer(kInputs - 30, 23, 32)],
            _ => [Layer(kInputs, 23, 33)],
        };
        double[]? weights = fusion == InputFusion.Mean ? [2, 0.5] : null;
        if (kind != QuantizerKind.Hvq)
            return new EncoderNetwork(EncoderKind.Mlp, [[Layer(inputs, 65, 1), Layer(65, 29, 2), Layer(29, kWidth, 3)]], null, fusion, projections, weights);
        return new EncoderNetwork(EncoderKind.Hierarchical, [[Layer(inputs, 31, 4), Layer(31, inputs, 5)], [Layer(inputs, inputs, 6)], [Layer(inputs, 7, 7), Layer(7, inputs, 8)]], null, fusion, projections, weights);
    }

    private static Quantizer QuantizerOf(QuantizerKind kind, int width) => new(kind, width, [Floats(11, 16 * width), Floats(12, 9 * width, 0.5), Floats(13, 5 * width, 0.25)]);

    /// <summary>
    /// Values with a bound of their float32 error. A sum of n products and a bias, added in float32 in any order with or without fused multiply-adds, errs by at
    /// most γ_{n+1}·(|W|·|x̂| + |b|), γ_k = k·u/(1 − k·u), u = 2⁻²⁴ (Higham, Accuracy and Stability, 3.1); an error e of x adds |W|·e; ReLU does not enlarge it.
    /// </summary>
    private readonly record struct Bounded(double[] Values, double[] Errors)
    {
        public double Norm => Math.Sqrt(Errors.Sum(error => error * error));

        private static double Gamma(int roundings) => roundings * Math.ScaleB(1, -24) / (1 - roundings * Math.ScaleB(1, -24));

        public Bounded Linear(LinearLayer layer)
        {
            var values = new double[layer.Outputs];
            var errors = new double[layer.Outputs];
            for (int i = 0; i < layer.Outputs; i++)
            {
                double size = Math.Abs(layer.Bias[i]);
                values[i] = layer.Bias[i];
                for (int j = 0; j < layer.Inputs; j++)
                {
                    double weight = layer.Weight[i * layer.Inputs + j];
                    values[i] += weight * Values[j];
                    errors[i] += Math.Abs(weight) * Errors[j];
                    size += Math.Abs(weight) * (Math.Abs(Values[j]) + Errors[j]);
                }
                errors[i] += Gamma(layer.Inputs + 1) * size;
            }
            return new Bounded(values, errors);
        }

        public Bounded Mlp(IReadOnlyList<LinearLayer> layers)
        {
            Bounded x = this;
            for (int i = 0; i < layers.Count; i++)
            {
                x = x.Linear(layers[i]);
                if (i < layers.Count - 1)
                    x = x with { Values = [.. x.Values.Select(value => Math.Max(0, value))] };
            }
            return x;
        }

        /// <summary>Three more roundings: of the share, of the product with it, and of the sum.</summary>
        public static Bounded Mean(Bounded[] parts, double[] shares) => new(
            [.. Enumerable.Range(0, parts[0].Values.Length).Select(i => parts.Zip(shares).Sum(part => part.First.Values[i] * part.Second))],
            [.. Enumerable.Range(0, parts[0].Values.Length).Select(i => parts.Zip(shares).Sum(part =>
                part.Second * (part.First.Errors[i] + Gamma(3) * (Math.Abs(part.First.Values[i]) + part.First.Errors[i]))))]);
    }

    private static Bounded Fused(EncoderNetwork network, ReadOnlySpan<float> row)
    {
        double[] values = [.. row.ToArray().Select(value => (double)value)];
        if (network.Projections.Count == 0)
            return new Bounded(values, new double[values.Length]);
        var parts = new Bounded[network.Projections.Count];
        int start = 0;
        for (int part = 0; part < parts.Length; part++)
        {
            int length = network.Projections[part].Inputs;
            parts[part] = new Bounded(values[start..(start + length)], new double[length]).Linear(network.Projections[part]);
            start += length;
        }
        IReadOnlyList<double> weights = network.Description.FusionWeights;
        return parts.Length == 1 ? parts[0] : Bounded.Mean(parts, [.. weights.Select(weight => weight / weights.Sum())]);
    }

    /// <summary>The nearest codeword and how much farther the second is, as distances.</summary>
    private static (int Code, double Gap) Nearest(double[] z, Quantizer quantizer, int level)
    {
        (double Distance, int Code)[] order = [.. Enumerable.Range(0, quantizer.CodeCount(level)).Select(code =>
        {
            double sum = 0;
            ReadOnlySpan<float> codeword = quantizer.Codeword(level, code);
            for (int j = 0; j < z.Length; j++)
                sum += (z[j] - codeword[j]) * (z[j] - codeword[j]);
            return (Math.Sqrt(sum), code);
        }).Order()];
        return (order[0].Code, order[1].Distance - order[0].Distance);
    }

    [Theory]
    [InlineData(InputFusion.None)]
    [InlineData(InputFusion.Mean)]
    [InlineData(InputFusion.Concat)]
    public void CodesAreThoseOfTheNetworkInFloat64(InputFusion fusion)
    {
        EncoderNetwork network = Network(QuantizerKind.RqVae, fusion);
        Quantizer quantizer = QuantizerOf(QuantizerKind.RqVae, kWidth);
        using var encoder = new LearnedEncoder(quantizer, network, new SimdBackend(2));
        float[] rows = Floats(21, kRows * kInputs), encoded = new float[kRows * kWidth], errors = new float[kRows];
        var codes = new ushort[kRows * 3];
        encoder.EncodeRows(new RowView(rows, kInputs), encoded);
        EncodeReport report = encoder.Encode(new RowView(rows, kInputs), codes, errors);
        Assert.Equal(kRows * 3, report.Decisions);
        int separated = 0;
        for (int row = 0; row < kRows; row++)
        {
            Bounded z = Fused(network, rows.AsSpan(row * kInputs, kInputs)).Mlp(network.Networks[0]);
            for (int j = 0; j < kWidth; j++)
                Assert.InRange(encoded[row * kWidth + j], z.Values[j] - z.Errors[j], z.Values[j] + z.Errors[j]);
            double[] residual = [.. z.Values];
            bool sure = true;
            for (int level = 0; level < 3; level++)
            {
                // A distance moves by at most the norm of the error, so two of them by twice that.
                (int code, double gap) = Nearest(residual, quantizer, level);
                sure &= gap > 2 * z.Norm;
                if (!sure)
                    break;
                Assert.Equal(code, codes[row * 3 + level]);
                for (int j = 0; j < kWidth; j++)
                    residual[j] -= quantizer.Codeword(level, code)[j];
            }
            if (!sure)
                continue;
            separated++;
            double norm = Math.Sqrt(residual.Sum(value => value * value));
            double low = Math.Max(0, norm - z.Norm), high = norm + z.Norm;
            Assert.InRange(errors[row], low * low * (1 - 1e-6), high * high * (1 + 1e-6));
        }
        // The bound is that of the worst case; enough rows lie clear of it.
        Assert.InRange(separated, kRows / 2, kRows);
    }

    [Theory]
    [InlineData(InputFusion.None)]
    [InlineData(InputFusion.Mean)]
    [InlineData(InputFusion.Concat)]
    public void HierarchicalCodesAreThoseOfADirectLoop(InputFusion fusion)
    {
        EncoderNetwork network = Network(QuantizerKind.Hvq, fusion);
        int width = network.CodeWidth;
        Quantizer quantizer = QuantizerOf(QuantizerKind.Hvq, width);
        using var encoder = new LearnedEncoder(quantizer, network, new SimdBackend(2));
        float[] rows = Floats(22, kRows * kInputs), fused = new float[kRows * width], errors = new float[kRows];
        var codes = new ushort[kRows * 3];
        encoder.EncodeRows(new RowView(rows, kInputs), fused);
        encoder.Encode(new RowView(rows, kInputs), codes, errors);
        int separated = 0;
        for (int row = 0; row < kRows; row++)
        {
            Bounded first = Fused(network, rows.AsSpan(row * kInputs, kInputs));
            float[] x = fused[(row * width)..((row + 1) * width)];
            for (int j = 0; j < width; j++)
                Assert.InRange(x[j], first.Values[j] - first.Errors[j], first.Values[j] + first.Errors[j]);
            for (int level = 0; level < 3; level++)
            {
                Bounded z = new Bounded([.. x.Select(value => (double)value)], new double[width]).Mlp(network.Networks[level]);
                (int nearest, double gap) = Nearest(z.Values, quantizer, level);
                int code = codes[row * 3 + level];
                if (gap > 2 * z.Norm)
                {
                    separated++;
                    Assert.Equal(nearest, code);
                }
                for (int j = 0; j < width; j++)
                    x[j] -= quantizer.Codeword(level, code)[j];
            }
            Assert.Equal((float)x.Sum(value => (double)value * value), errors[row]);
        }
        Assert.InRange(separated, 3 * kRows * 9 / 10, 3 * kRows);
    }

    [Theory]
    [InlineData(QuantizerKind.RqVae, InputFusion.None)]
    [InlineData(QuantizerKind.MmRqVae, InputFusion.Mean)]
    [InlineData(QuantizerKind.Hvq, InputFusion.Concat)]
    [InlineData(QuantizerKind.Hvq, InputFusion.None)]
    public void BatchesThreadsAndBackendChangeNothing(QuantizerKind kind, InputFusion fusion)
    {
        EncoderNetwork network = Network(kind, fusion);
        int width = network.CodeWidth;
        Quantizer quantizer = QuantizerOf(kind, width);
        float[] rows = Floats(23, kRows * kInputs), expectedRows = new float[kRows * width], expectedErrors = new float[kRows];
        var expectedCodes = new ushort[kRows * 3];
        using (var encoder = new LearnedEncoder(quantizer, network, new SimdBackend(1), threads: 1))
        {
            encoder.EncodeRows(new RowView(rows, kInputs), expectedRows);
            encoder.Encode(new RowView(rows, kInputs), expectedCodes, expectedErrors);
        }
        foreach ((int batch, int threads, IBackend backend) in ((int, int, IBackend)[])[(1, 1, new SimdBackend(1)), (7, 2, new SimdBackend(2)), (255, 1, new ScalarBackend()), (256, 2, new SimdBackend(2)), (257, 3, new SimdBackend(2)), (kRows, 2, new ScalarBackend())])
        {
            using var encoder = new LearnedEncoder(quantizer, network, backend, threads: threads);
            float[] encoded = new float[kRows * width], errors = new float[kRows];
            var codes = new ushort[kRows * 3];
            for (int first = 0; first < kRows; first += batch)
            {
                int count = Math.Min(batch, kRows - first);
                var part = new RowView(rows.AsSpan(first * kInputs, count * kInputs), kInputs);
                encoder.EncodeRows(part, encoded.AsSpan(first * width, count * width));
                encoder.Encode(part, codes.AsSpan(first * 3, count * 3), errors.AsSpan(first, count));
            }
            Assert.Equal(expectedRows, encoded);
            Assert.Equal(expectedCodes, codes);
            Assert.Equal(expectedErrors, errors);
        }
        using var shared = new LearnedEncoder(quantizer, network, new SimdBackend(2));
        Parallel.For(0, 4, _ =>
        {
            var codes = new ushort[kRows * 3];
            shared.Encode(new RowView(rows, kInputs), codes);
            Assert.Equal(expectedCodes, codes);
        });
    }

    [Fact]
    public void TablesGoThroughTheSamePipeline()
    {
        EncoderNetwork network = Network(QuantizerKind.RqVae, InputFusion.None);
        Quantizer quantizer = QuantizerOf(QuantizerKind.RqVae, kWidth);
        using var encoder = new LearnedEncoder(quantizer, network, new SimdBackend(2));
        float[] rows = Floats(24, kRows * kInputs), encoded = new float[kRows * kWidth];
        var expected = new ushort[kRows * 3];
        encoder.EncodeRows(new RowView(rows, kInputs), encoded);
        encoder.Encode(new RowView(rows, kInputs), expected);
        using EmbeddingTable table = Table(rows, kInputs), made = encoder.EncodeTable(table), spooled = made.Spool(cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(encoded, spooled.ReadAll().Rows(0, kRows).ToArray());
        var one = new float[kWidth];
        made.Read(300, 1, one);
        Assert.Equal(encoded[(300 * kWidth)..(301 * kWidth)], one);
        Assert.Equal(expected, Assign(table, encoder));
        Assert.Equal(expected, Assign(made, encoder.Search));
        Assert.Contains("rows have dimension 19, the encoder has 37", Assert.Throws<ArgumentException>(() => Assign(spooled, encoder)).Message);

        // Nothing stays behind in libtorch, and gradients are as they were.
        using (DisposeScope scope = NewDisposeScope())
        {
            encoder.Encode(new RowView(rows, kInputs), expected);
            Assert.Equal(0, scope.DisposablesCount);
        }
        Assert.True(is_grad_enabled());
    }

    [Fact]
    public void ScopesOfTheCallerDoNotEndTheEncoder()
    {
        LearnedEncoder encoder;
        using (NewDisposeScope())
            encoder = new LearnedEncoder(QuantizerOf(QuantizerKind.RqVae, kWidth), Network(QuantizerKind.RqVae, InputFusion.None), new SimdBackend(1));
        using (encoder)
            encoder.Encode(new RowView(Floats(1, kInputs), kInputs), new ushort[3]);
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        EncoderNetwork network = Network(QuantizerKind.RqVae, InputFusion.None), hierarchical = Network(QuantizerKind.Hvq, InputFusion.None);
        Quantizer quantizer = QuantizerOf(QuantizerKind.RqVae, kWidth);
        var backend = new SimdBackend(1);
        Refused("19 values, the quantizer has dimension 20", () => new LearnedEncoder(QuantizerOf(QuantizerKind.RqVae, 20), network, backend).Dispose());
        Refused("rq-kmeans takes no encoder", () => new LearnedEncoder(QuantizerOf(QuantizerKind.RqKMeans, kWidth), network, backend).Dispose());
        Refused("beam is 2, expected 1: hvq", () => new LearnedEncoder(QuantizerOf(QuantizerKind.Hvq, kInputs), hierarchical, backend, beam: 2).Dispose());
        Refused("beam is 0", () => new LearnedEncoder(quantizer, network, backend, beam: 0).Dispose());
        using var encoder = new LearnedEncoder(quantizer, network, backend);
        float[] rows = new float[300 * kInputs];
        Refused("takes rows of dimension 37, rows have 36", () => encoder.Encode(new RowView(new float[36], 36), new ushort[3]));
        Refused("need 900 codes, the span has 3", () => encoder.Encode(new RowView(rows, kInputs), new ushort[3]));
        Refused("squared errors", () => encoder.Encode(new RowView(rows, kInputs), new ushort[900], new float[2]));
        Refused("the span has 4", () => encoder.EncodeRows(new RowView(rows, kInputs), new float[4]));
        // −∞ would disappear in the ReLU.
        rows[270 * kInputs + 3] = float.NegativeInfinity;
        Refused("row 270, column 3", () => encoder.Encode(new RowView(rows, kInputs), new ushort[900]));
        Array.Fill(rows, float.MaxValue, 280 * kInputs, kInputs);
        rows[270 * kInputs + 3] = 0;
        var unfit = Assert.Throws<UnfitRowException>(() => encoder.Encode(new RowView(rows, kInputs), new ushort[900]));
        Assert.Equal((280, "overflows float32 in the encoder"), (unfit.Row, unfit.Problem));
        using EmbeddingTable table = Table(rows, kInputs), made = encoder.EncodeTable(table);
        Assert.Contains("row 280 overflows", Assert.Throws<InvalidDataException>(() => Assign(table, encoder)).Message);
        Assert.Contains("row 280 overflows", Assert.Throws<InvalidDataException>(() => made.Spool(cancellation: TestContext.Current.CancellationToken)).Message);
        encoder.Encode(new RowView([], kInputs), []);

        static void Refused(string message, Action act) => Assert.Contains(message, Assert.Throws<ArgumentException>(act).Message);
    }

    private static EmbeddingTable Table(float[] rows, int dimension)
    {
        var matrix = new RowMatrix(rows.Length / dimension, dimension);
        rows.CopyTo(matrix.Rows(0, rows.Length / dimension));
        return EmbeddingTable.FromRows(matrix, ItemIds.Sequential(rows.Length / dimension), "rows");
    }

    private static ushort[] Assign(EmbeddingTable table, IQuantizerEncoder encoder)
    {
        var all = new List<ushort>();
        AssignmentPipeline.Run(table, encoder, (_, codes, _) => all.AddRange(codes), TestContext.Current.CancellationToken);
        return [.. all];
    }
}
