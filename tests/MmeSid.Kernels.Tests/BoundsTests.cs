using System.Numerics;
using System.Numerics.Tensors;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>
/// The bounds that proofs rely on, against what the arithmetic really does: never exceeded, on inputs made to be bad; and nearly reached by
/// inputs made for it, so that a bound that loses a factor of two, or a term, fails here. One term no input can show: the rounding of a
/// centred codeword, which the products' bound covers by counting one rounding more than there is.
/// </summary>
public sealed unsafe class BoundsTests
{
    // Float64 evaluates what float32 is compared with; its own error is below a billionth of the bounds.
    private const double kReferenceSlack = 1 + 1e-6;

    // Squares of float32's smallest value, and of float64's roundings of them, have a place.
    private const int kFixedPlaces = 400;

    public static TheoryData<PlanKind, string, string> Screens()
    {
        var data = new TheoryData<PlanKind, string, string>();
        foreach (string values in Values.Keys)
        {
            data.Add(PlanKind.Residual, nameof(EncodeForm.Residual), values);
            data.Add(PlanKind.Residual, nameof(EncodeForm.Tables), values);
            data.Add(PlanKind.PrefixSemantic, nameof(EncodeForm.Residual), values);
            data.Add(PlanKind.PrefixSemantic, nameof(EncodeForm.Wide), values);
            data.Add(PlanKind.PrefixSemantic, nameof(EncodeForm.Tables), values);
        }
        return data;
    }

    /// <summary>Kinds of values that attack the bounds from different sides.</summary>
    private static Dictionary<string, Func<Source, int, float>> Values { get; } = new()
    {
        ["bell"] = (random, _) => (float)random.NextGaussian(),
        ["positive"] = (random, _) => (float)Math.Abs(random.NextGaussian()),
        ["large mean"] = (random, _) => 1000 + (float)random.NextGaussian(),
        ["alternating"] = (random, i) => (i % 2 == 0 ? 1 : -1) * (1 + (float)random.NextDouble() / 1000),
        ["steps of scale"] = (random, i) => MathF.ScaleB((float)random.NextGaussian(), -(i % 20)),
        ["one large"] = (random, i) => i == 0 ? 1e6f : (float)random.NextGaussian(),
        ["tiny"] = (random, _) => (float)random.NextGaussian() * 1e-21f,
        ["denormal"] = (random, _) => (float)random.NextGaussian() * 1e-39f,
        ["large"] = (random, _) => (float)random.NextGaussian() * 1e16f,
    };

    [Theory, MemberData(nameof(Screens))]
    public void No_score_is_further_off_than_the_bound_says(PlanKind kind, string form, string values)
    {
        foreach (int dimension in (int[])[1, 2, 7, 96, 257, 1031])
        {
            var random = new Source((ulong)dimension);
            EncodePlan plan = Plan(kind, dimension, [5, 4, 6], random, Values[values]);
            for (int sample = 0; sample < 8; sample++)
            {
                float[] row = [.. Enumerable.Range(0, dimension).Select(i => Values[values](random, i))];
                ushort[] path = [(ushort)random.NextInt(5), (ushort)random.NextInt(4)];
                for (int level = 0; level < plan.Levels; level++)
                    Assert.InRange(WorstShare(plan, Enum.Parse<EncodeForm>(form), row, path[..level]), 0, kReferenceSlack);
            }
        }
    }

    [Theory, InlineData(256), InlineData(512), InlineData(1024)]
    public void Products_that_round_the_same_way_every_time_reach_the_products_bound(int depth)
    {
        // Per depth block: 1, then products of just over half a unit in the last place of 1, each of which rounds up.
        float[] row = new float[depth], codeword = new float[depth];
        for (int i = 0; i < depth; i++)
        {
            row[i] = i % Product.kDepthPerBlock == 0 ? 1 : MathF.ScaleB(1, -12);
            codeword[i] = i % Product.kDepthPerBlock == 0 ? 1 : MathF.ScaleB(1 + MathF.ScaleB(1, -10), -12);
        }

        double error = Math.Abs(Multiply(row, codeword) - Dot(row, codeword));

        Assert.InRange(error / (Bounds.Product(depth) * Norm(row) * Norm(codeword)), 0.97, 1);
    }

    [Fact]
    public void A_screen_reaches_more_than_half_of_its_bound()
    {
        // The row above as a residual: the products' term is nearly all of the bound.
        const int depth = Product.kDepthPerBlock;
        float[] row = new float[depth], codebook = new float[2 * depth];
        for (int i = 0; i < depth; i++)
        {
            row[i] = i == 0 ? 1 : MathF.ScaleB(1, -12);
            codebook[i] = i == 0 ? 1 : MathF.ScaleB(1 + MathF.ScaleB(1, -10), -12);
            codebook[depth + i] = -codebook[i];
        }

        Assert.InRange(WorstShare(new EncodePlan(PlanKind.Residual, depth, [codebook]), EncodeForm.Residual, row, []), 0.9, kReferenceSlack);
    }

    [Fact]
    public void What_a_row_loses_far_from_its_residual_is_counted()
    {
        // x is 1e5 times its residual: the rounding of x − m outweighs all that comes after it.
        const int dimension = 64;
        var random = new Source(1);
        double worst = 0;
        for (int sample = 0; sample < 200; sample++)
        {
            float[] first = [.. Enumerable.Range(0, 3 * dimension).Select(_ => (float)random.NextGaussian())];
            float[] second = [.. Enumerable.Range(0, 3 * dimension).Select(_ => 1e-5f * (float)random.NextGaussian())];
            float[] row = [.. Enumerable.Range(0, dimension).Select(i => first[i] + 1e-5f * (float)random.NextGaussian())];
            worst = Math.Max(worst, WorstShare(new EncodePlan(PlanKind.Residual, dimension, [first, second]), EncodeForm.Residual, row, [0]));
        }

        Assert.InRange(worst, 0.05, kReferenceSlack);
    }

    [Fact]
    public void Small_dimensions_come_near_the_screens_bound_as_well()
    {
        // Here the roundings of the operands, of the bias and of the score weigh as much as those of the products.
        double worst = 0;
        for (ulong seed = 0; seed < 3000; seed++)
        {
            var random = new Source(seed);
            int level = random.NextInt(2);
            EncodePlan plan = Plan(PlanKind.Residual, 1, [2, 2], random, (source, _) => 1 + (float)source.NextDouble());
            float[] row = [1 + (float)random.NextDouble()];
            worst = Math.Max(worst, WorstShare(plan, EncodeForm.Residual, row, level == 0 ? [] : [(ushort)random.NextInt(2)]));
        }

        Assert.InRange(worst, 0.35, kReferenceSlack);
    }

    [Theory, InlineData(1), InlineData(5), InlineData(64), InlineData(1023)]
    public void Float64_distances_stay_within_their_bound(int dimension)
    {
        foreach (Func<Source, int, float> values in Values.Values)
        {
            var random = new Source((ulong)dimension);
            EncodePlan plan = Plan(PlanKind.Residual, dimension, [3, 3, 3], random, values);
            float[] row = [.. Enumerable.Range(0, dimension).Select(i => values(random, i))];

            Assert.InRange(ShareOfDistanceBound(plan, row, [1, 2, 0]), 0, 1);
        }
    }

    [Fact]
    public void What_a_float64_residual_loses_on_its_way_is_counted()
    {
        // x − c_1 loses the last places of c_1 beside those of x; c_2 takes the large part away again.
        float[] row = [1e12f, -1e12f], small = [1.0000001f, 0.7654321f], large = [1e12f, -1e12f];
        var plan = new EncodePlan(PlanKind.Residual, 2, [small, large]);

        Assert.InRange(ShareOfDistanceBound(plan, row, [0, 0]), 0.01, 1);
    }

    [Fact]
    public void The_roundings_of_a_long_float64_sum_are_counted()
    {
        // Eight ones, one per partial sum, then squares of just over half a unit in the last place of 1.
        float[] row = [.. Enumerable.Range(0, 4096).Select(i => i < 8 ? 1 : MathF.ScaleB(1.4143f, -27))];
        var plan = new EncodePlan(PlanKind.Residual, row.Length, [new float[row.Length]]);

        Assert.InRange(ShareOfDistanceBound(plan, row, [0]), 0.1, 1);
    }

    private static double ShareOfDistanceBound(EncodePlan plan, float[] row, ushort[] path)
    {
        float[][] codewords = [.. path.Select((code, level) => plan.Codeword(level, code).ToArray())];
        double distance = new Recheck(plan, Recheck.LargestNorms(plan)).SquaredError(row, path);
        double bound = Bounds.SquaredDistance(plan.Dimension, plan.Levels, Norm(row) + codewords.Sum(codeword => Norm(codeword)), distance);
        return ExactError(distance, [row, .. codewords]) / bound;
    }

    /// <summary>Largest |ŝ − s| / E over the codes of the level that follows the path.</summary>
    private static double WorstShare(EncodePlan plan, EncodeForm form, float[] row, ushort[] path)
    {
        int d = plan.Dimension, level = path.Length;
        float[] centre = SimdEncoder.Centre(plan);
        using var prepared = new EncodeLevel(plan, level, centre, form, threads: 1);

        // The operand, as the encoder forms it, with what its roundings can add up to; and the real residual.
        float[] operand = new float[prepared.Depth];
        TensorPrimitives.Subtract(row, centre, operand.AsSpan(0, d));
        double norm = EncodeLevel.OperandNorm(operand), rowError = Bounds.Float32 * norm;
        double[] residual = [.. row.Select((value, i) => (double)value - centre[i])], chosen = new double[d];
        for (int j = 0; j < level; j++)
        {
            ReadOnlySpan<float> codeword = plan.Codeword(j, path[j]);
            for (int i = 0; i < d; i++)
            {
                double centred = codeword[i] - (j == 0 ? (double)centre[i] : 0);
                residual[i] -= centred;
                chosen[i] += centred;
            }
            if (form == EncodeForm.Tables)
                continue;
            using var earlier = new EncodeLevel(plan, j, centre, form, threads: 1);
            rowError += earlier.Advance(operand, path[j], out norm);
        }

        float[] products = new float[prepared.PaddedCodes], scores = new float[prepared.PaddedCodes];
        Multiply(operand, prepared.Codewords, products);
        TableRow* tables = stackalloc TableRow[prepared.Tables];
        for (int j = 0; j < prepared.Tables; j++)
            tables[j] = prepared.TableRow(j, path[j]);
        fixed (float* from = products, to = scores)
            FloatPass.Score(from, to, 0, prepared.Biases, tables, prepared.Tables, prepared.PaddedCodes);
        double bound = prepared.ScreenError(norm, rowError);
        if (double.IsPositiveInfinity(bound))
            return 0;

        double worst = 0;
        for (int k = 0; k < prepared.CodeCount; k++)
        {
            int width = plan.CodewordWidth(level);
            ReadOnlySpan<float> codeword = plan.Codebook(level).Slice(k * width, width);
            double score = 0;
            for (int i = 0; i < codeword.Length; i++)
            {
                bool prefixHalf = i >= d;
                double value = codeword[i] - (level == 0 || prefixHalf ? (double)centre[i % d] : 0);
                score += value * value - 2 * value * (prefixHalf ? chosen[i - d] : residual[i]);
            }
            if (float.IsFinite(scores[k]))
                worst = Math.Max(worst, Math.Abs(scores[k] - score) / bound);
        }
        return worst;
    }

    private static EncodePlan Plan(PlanKind kind, int dimension, int[] codes, Source random, Func<Source, int, float> values) => new(
        kind,
        dimension,
        [.. codes.Select((count, level) => Enumerable.Range(0, count * dimension * (kind == PlanKind.PrefixSemantic && level > 0 ? 2 : 1))
            .Select(i => values(random, i % dimension) / (level + 1)).ToArray())]);

    private static float Multiply(float[] row, float[] codeword)
    {
        fixed (float* values = codeword)
        {
            using var packed = new PackedCodewords(values, codeword.Length, 1, codeword.Length);
            float[] products = new float[packed.PaddedCount];
            Multiply(row, packed, products);
            return products[0];
        }
    }

    private static void Multiply(float[] row, PackedCodewords codewords, float[] products)
    {
        int rows = Product.PaddedRows(1), stride = (codewords.Depth + 15) / 16 * 16;
        using RowMatrix operands = new(rows, stride), results = new(rows, codewords.PaddedCount);
        row.CopyTo(operands.Rows(0, 1));
        fixed (float* from = operands.Rows(0, rows), to = results.Rows(0, rows))
            Product.Multiply(from, stride, 1, codewords, 0, codewords.PaddedCount, to, codewords.PaddedCount);
        results.Rows(0, 1).CopyTo(products);
    }

    // |distance − ‖parts[0] − parts[1] − …‖²|.
    private static double ExactError(double distance, float[][] parts)
    {
        BigInteger sum = Fixed(distance) << kFixedPlaces;
        for (int i = 0; i < parts[0].Length; i++)
        {
            BigInteger difference = Fixed(parts[0][i]);
            foreach (float[] part in parts.Skip(1))
                difference -= Fixed(part[i]);
            sum -= difference * difference;
        }
        // Down to 64 leading bits, which a float64 can hold the ratio of.
        int shift = (int)Math.Max(0, (long)BigInteger.Abs(sum).GetBitLength() - 64);
        return Math.ScaleB((double)(BigInteger.Abs(sum) >> shift), shift - 2 * kFixedPlaces);
    }

    // The value in units of 2^−kFixedPlaces, exactly.
    private static BigInteger Fixed(double value)
    {
        if (value == 0)
            return 0;
        int exponent = Math.ILogB(value);
        return (BigInteger)Math.ScaleB(value, 52 - exponent) << (kFixedPlaces + exponent - 52);
    }

    private static double Dot(float[] left, float[] right) => left.Zip(right, (a, b) => (double)a * b).Sum();

    private static double Norm(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values)
            sum += (double)value * value;
        return Math.Sqrt(sum);
    }

    /// <summary>Random values of this test alone.</summary>
    private sealed class Source(ulong seed)
    {
        private readonly Random _random = new((int)seed);

        public double NextDouble() => _random.NextDouble();

        public double NextGaussian() => Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());

        public int NextInt(int exclusive) => _random.Next(exclusive);
    }
}
