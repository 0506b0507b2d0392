using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>
/// The parts of the integer screens: exact products, a rotation that is one, integers that lose what is measured; and rows that lie as far on the wrong
/// side as their bound allows, so that a margin that loses a term, or a tenth of itself, gives a wrong code.
/// </summary>
public sealed unsafe class IntegerScreenTests
{
    private const int kDimension = 64;

    [Theory, InlineData(true, "native"), InlineData(false, "native"), InlineData(true, "narrow"), InlineData(false, "narrow"), InlineData(false, "wide")]
    public void Integer_products_are_exact(bool isInt8, string instructions)
    {
        IntegerFormat format = isInt8 ? IntegerFormat.Int8 : IntegerFormat.Int16;
        Assert.SkipUnless(instructions switch { "native" => VnniLibrary.IsPresent, "narrow" => IntegerProduct.HasNarrow, _ => IntegerProduct.HasWideInt16 }, "this processor, or this build, has no such instructions");
        foreach (int words in isInt8 ? (int[])[1, 2, 7, 32, 48] : [1, 2, 7, 32])
        {
            const int kPanels = 4, kStride = kPanels * IntegerProduct.kCodesPerPanel;
            var random = new Random(words);
            int perWord = IntegerProduct.ValuesPerWord(format), values = words * perWord;
            // Rows s8 or s16; codewords u8 or s16; both reach their ends.
            int[][] rows = Values(Product.kRowsPerTile, isInt8 ? -127 : -5000, isInt8 ? 127 : 5000), codewords = Values(kStride, isInt8 ? 1 : -5000, isInt8 ? 255 : 5000);
            using RowMatrix tile = new(words, Product.kRowsPerTile), panels = new(kPanels * words, IntegerProduct.kCodesPerPanel), products = new(Product.kRowsPerTile, kStride);
            fixed (float* tileStart = tile.Rows(0, words), panelStart = panels.Rows(0, kPanels * words), productStart = products.Rows(0, Product.kRowsPerTile))
            {
                int* tileWords = (int*)tileStart, panelWords = (int*)panelStart, results = (int*)productStart;
                for (int i = 0; i < values; i++)
                {
                    for (int r = 0; r < rows.Length; r++)
                        Put(tileWords + i / perWord * Product.kRowsPerTile + r, i % perWord, rows[r][i]);
                    for (int c = 0; c < codewords.Length; c++)
                        Put(panelWords + (c / IntegerProduct.kCodesPerPanel * words + i / perWord) * IntegerProduct.kCodesPerPanel + c % IntegerProduct.kCodesPerPanel, i % perWord, codewords[c][i]);
                }
                switch (isInt8, instructions)
                {
                    case (true, "native"): VnniLibrary.Int8Tiles(tileWords, panelWords, words, kPanels, results, kStride); break;
                    case (false, "native"): VnniLibrary.Int16Tiles(tileWords, panelWords, words, kPanels, results, kStride); break;
                    case (true, _): IntegerProduct.NarrowTiles<IntegerProduct.Int8Words>(tileWords, panelWords, words, kPanels, results, kStride); break;
                    case (false, "narrow"): IntegerProduct.NarrowTiles<IntegerProduct.Int16Words>(tileWords, panelWords, words, kPanels, results, kStride); break;
                    case (false, _): IntegerProduct.WideInt16Tiles(tileWords, panelWords, words, kPanels, results, kStride); break;
                }
                for (int r = 0; r < rows.Length; r++)
                {
                    for (int c = 0; c < codewords.Length; c++)
                        Assert.Equal(rows[r].Zip(codewords[c], (a, b) => a * b).Sum(), results[r * kStride + c]);
                }
            }

            if (isInt8 && words % 16 == 0)
                Assert.Equal(rows[0].Zip(codewords[1], (a, b) => a * b).Sum(), Dot8(rows[0], codewords[1]));

            int Dot8(int[] row, int[] codeword)
            {
                sbyte[] left = [.. row.Select(value => (sbyte)value)];
                byte[] right = [.. codeword.Select(value => (byte)value)];
                fixed (sbyte* x = left)
                fixed (byte* w = right)
                    return IntegerProduct.Dot8((int*)x, (int*)w, words);
            }

            int[][] Values(int count, int low, int high) => [.. Enumerable.Range(0, count).Select(i => Enumerable.Range(0, values).Select(_ => i == 0 ? low : i == 1 ? high : random.Next(low, high + 1)).ToArray())];

            void Put(int* word, int place, int value)
            {
                if (isInt8)
                    ((byte*)word)[place] = (byte)value;
                else
                    ((short*)word)[place] = (short)value;
            }
        }
    }

    [Theory, InlineData(1), InlineData(64), InlineData(200), InlineData(384), InlineData(768), InlineData(1280)]
    public void The_rotation_keeps_products_and_spreads_what_stands_in_one_place(int dimension)
    {
        var rotation = new HadamardRotation(dimension);
        var random = new Random(dimension);
        float[] left = Row(_ => random.NextSingle() - 0.5f), right = Row(_ => random.NextSingle() - 0.5f), spike = Row(i => i == dimension / 2 ? 1 : 0);
        double product = Dot(left, right), scale = Math.Sqrt(Dot(left, left) * Dot(right, right));

        foreach (float[] row in (float[][])[left, right, spike])
        {
            fixed (float* values = row)
                rotation.Apply(values);
        }

        // Twice the bound of one row's roundings.
        Assert.Equal(product, Dot(left, right), 2 * HadamardRotation.kDepth * Bounds.Float32 * scale);
        Assert.Equal(1, Dot(spike, spike), 1e-5);
        // None of the places holds more than a few times its share.
        Assert.InRange(spike.Max(MathF.Abs), 0, 4 / Math.Sqrt(Math.Min(rotation.Width, 256)));

        float[] Row(Func<int, float> value) => [.. Enumerable.Range(0, rotation.Width).Select(i => i < dimension ? value(i) : 0)];
    }

    [Theory, InlineData(false), InlineData(true)]
    public void Rounding_to_integers_loses_what_is_measured(bool isInt8)
    {
        IntegerFormat format = isInt8 ? IntegerFormat.Int8 : IntegerFormat.Int16;
        const int kWidth = 128;
        var random = new Random(1);
        float* row = stackalloc float[kWidth];
        byte* integers = stackalloc byte[kWidth * sizeof(short)];
        foreach (float scale in (float[])[1, 1e-20f, 1e-39f, 1e18f, 0])
        {
            for (int i = 0; i < kWidth; i++)
                row[i] = scale * (random.NextSingle() - 0.5f) * (i == 3 ? 30 : 1);
            float largest = new ReadOnlySpan<float>(row, kWidth).ToArray().Max(MathF.Abs);
            double norm = EncodeLevel.OperandNorm(new ReadOnlySpan<float>(row, kWidth));

            double lost = IntegerRows.Round(format, row, kWidth, largest, norm, integers, out float step, out int sum);

            double[] differences = [.. Enumerable.Range(0, kWidth).Select(i => row[i] - (double)step * Integer(i))];
            Assert.InRange(lost, Norm(differences), 1.001 * Norm(differences) + 1e-20);
            Assert.Equal(isInt8 ? Enumerable.Range(0, kWidth).Sum(Integer) : 0, sum);
            if (scale is 1 or 1e18f)
                Assert.InRange(lost, 0, step * Math.Sqrt(kWidth) / 2);

            int Integer(int i) => isInt8 ? ((sbyte*)integers)[i] : ((short*)integers)[i];
        }
    }

    /// <summary>Screens, and whether the row or the codewords are what the integers do not hold.</summary>
    public static TheoryData<SimdScreen, bool> Edges() => new() { { SimdScreen.Int8, false }, { SimdScreen.Int8, true }, { SimdScreen.Int8Prefix, false }, { SimdScreen.Int8Prefix, true }, { SimdScreen.Int16, false }, { SimdScreen.Int16, true } };

    [Theory, MemberData(nameof(Edges))]
    public void Rows_on_the_edge_of_the_bound_keep_their_codes(SimdScreen screen, bool ofCodewords)
    {
        IntegerFormat format = screen == SimdScreen.Int16 ? IntegerFormat.Int16 : IntegerFormat.Int8;
        Assert.SkipUnless(IntegerProduct.IsSupported(format), "this processor has no instructions for this format");
        // A prefix leaves both codewords open; the integers of all dimensions decide then.
        int dimension = screen == SimdScreen.Int8Prefix ? 2 * kDimension : kDimension, ones = dimension - 1;
        // Everything is laid out as the integers see it, and rotated back.
        double[][] rotation = Rotation(dimension, screen != SimdScreen.Int16);
        double share = 0;
        var rows = new List<float>();
        var codewords = new List<float>();
        // Codewords w and −w, so that their mean is 0 and their scores ∓ 2 x·w. What is lost stands in the direction of the other operand, all of it: x·w = x̂·ŵ + lost.
        // x̂·ŵ takes back the share of the lost that is at hand: the integers say −w, the numbers w.
        const int kSteps = 64;
        double[] flat = [.. Enumerable.Range(0, dimension).Select(i => i == 0 ? 0.0 : 1)];
        if (!ofCodewords)
            codewords.AddRange([.. Back(flat, 1), .. Back(flat, -1)]);
        for (int i = 0; i < kSteps; i++)
        {
            share = 0.3 + 0.65 * i / kSteps;
            // Integers 0 and −1 whose sum is −share · Σ lost; the first place makes the step 1.
            double[] rounded = [IntegerRows.Largest(format), .. Enumerable.Range(0, ones).Select(j => j < share * 0.49 * ones ? -1.0 : 0)];
            double[] row = [.. rounded.Select((value, j) => j == 0 ? value : value + 0.49)];
            if (ofCodewords)
                codewords.AddRange([.. Back(row, 1), .. Back(row, -1)]);
            else
                rows.AddRange(Back(row, 1));
        }
        if (ofCodewords)
            rows.AddRange(Back(flat, 1));
        int plans = ofCodewords ? kSteps : 1, perPlan = 2 * dimension;
        for (int p = 0; p < plans; p++)
        {
            var plan = new EncodePlan(PlanKind.Residual, dimension, [codewords.GetRange(p * perPlan, perPlan).ToArray()]);
            ushort[] expected = Encode(new ScalarBackend(), plan, [.. rows]);
            Assert.All(expected, code => Assert.Equal(0, code));
            Assert.Equal(expected, Encode(new SimdBackend(1, screen), plan, [.. rows]));
        }

        float[] Back(double[] values, double sign) => [.. Enumerable.Range(0, dimension).Select(i => (float)(sign * Enumerable.Range(0, dimension).Sum(j => rotation[i][j] * values[j])))];
    }

    [Fact]
    public void What_lies_outside_of_the_prefix_keeps_its_codes()
    {
        Assert.SkipUnless(IntegerProduct.IsSupported(IntegerFormat.Int8), "this processor has no instructions for this format");
        // Large codewords take the first 64 dimensions for the basis. Two small ones, w and c·e_0 − w, differ outside of it, where the row is w, too; inside, the row says
        // the second by a share of what lies outside.
        const int d = 128, inside = 64;
        const float c = 0.5f;
        float[] w = [.. Enumerable.Range(0, d).Select(i => i < inside ? 0 : 1f / 8)];
        var codewords = new List<float>([.. w, .. w.Select((value, i) => (i == 0 ? c : 0) - value)]);
        for (int i = 0; i < inside; i++)
        {
            codewords.AddRange(Enumerable.Range(0, d).Select(j => j == i ? -10f : 0));
            if (i > 0)
                codewords.AddRange(Enumerable.Range(0, d).Select(j => j == i ? 10f : 0));
        }
        var plan = new EncodePlan(PlanKind.Residual, d, [[.. codewords]]);
        var rows = new List<float>();
        for (float share = 0.3f; share < 0.95f; share += 0.01f)
            rows.AddRange(w.Select((value, i) => i == 0 ? (4 * share + c * c) / (2 * c) : value));

        ushort[] expected = Encode(new ScalarBackend(), plan, [.. rows]);

        Assert.All(expected, code => Assert.Equal(0, code));
        Assert.Equal(expected, Encode(new SimdBackend(1, SimdScreen.Int8Prefix), plan, [.. rows]));
    }

    [Theory, InlineData(70, 64), InlineData(400, 128)]
    public void A_basis_keeps_what_its_bounds_say(int dimension, int width)
    {
        Assert.SkipUnless(IntegerProduct.IsSupported(IntegerFormat.Int16), "this processor, or this build, has no such instructions");
        const int kRows = 30;
        var random = new Random(dimension);
        var plan = new EncodePlan(PlanKind.Residual, dimension, [Values(300)]);
        var rotation = new HadamardRotation(dimension);
        using var basis = new PrefixBasis(plan, new float[dimension], rotation, width, threads: 1);
        int wide = rotation.Width;
        float[] directions = basis.Rows.ToArray(), values = new float[kRows * wide];
        for (int i = 0; i < kRows; i++)
        {
            Values(1).CopyTo(values.AsSpan(i * wide));
            fixed (float* row = values)
                rotation.Apply(row + i * wide);
        }
        double[][] gram = [.. Enumerable.Range(0, width).Select(i => Enumerable.Range(0, width).Select(j => Dot(Direction(i), Direction(j)) - (i == j ? 1 : 0)).ToArray())];
        double[] vector = [.. Enumerable.Range(0, width).Select(_ => random.NextDouble())];
        for (int i = 0; i < 50; i++)
        {
            double[] product = [.. gram.Select(row => row.Zip(vector, (a, b) => a * b).Sum())];
            vector = [.. product.Select(value => value / Norm(product))];
        }
        double deviation = Norm([.. gram.Select(row => row.Zip(vector, (a, b) => a * b).Sum())]);
        var prefixes = new float[kRows * width];
        int[] integers = new int[Product.kRowsPerTile * wide], transposed = new int[Product.kRowsPerTile * wide], products = new int[Product.kRowsPerTile * width];
        fixed (float* rows = values, to = prefixes)
        fixed (int* a = integers, b = transposed, c = products)
        {
            var operands = new IntegerOperands(rows, wide, wide, new double[kRows], new double[kRows]);
            var projected = new IntegerOperands(to, width, width, new double[kRows], new double[kRows]);
            for (int i = 0; i < kRows; i++)
                operands.Measure(i);

            basis.Project(operands, kRows, projected, a, b, c);

            Assert.InRange(basis.Deviation, deviation, 1e-3);
            for (int i = 0; i < kRows; i++)
            {
                float[] row = values[(i * wide)..((i + 1) * wide)];
                double[] inside = [.. Enumerable.Range(0, width).Select(k => Dot(Direction(k), row))];
                double[] outside = [.. row.Select((value, j) => value - Enumerable.Range(0, width).Sum(k => inside[k] * directions[k * wide + j]))];
                double bound = basis.Outside(EncodeLevel.OperandNorm(row), 0, Norm(inside), 0);
                // No more than the slack of norms above what it is.
                Assert.InRange(Norm(outside), 0.95 * bound, bound);
                double lost = Norm([.. inside.Select((value, k) => value - prefixes[i * width + k])]);
                Assert.InRange(lost, 0.05 * projected.Errors[i], projected.Errors[i]);
            }
        }

        float[] Direction(int index) => directions[(index * wide)..((index + 1) * wide)];

        float[] Values(int count) => [.. Enumerable.Range(0, count * dimension).Select(i => (random.NextSingle() - 0.5f) / (1 + i % dimension / 20))];
    }

    [Fact]
    public void Directions_far_from_orthonormal_are_counted()
    {
        Assert.SkipUnless(IntegerProduct.IsSupported(IntegerFormat.Int16), "this processor, or this build, has no such instructions");
        // A twentieth too long, all of them: P Pᵀ = 1.1025 I. Codewords, all of one norm, lie along them; so do rows, but for a part.
        const int d = 128, width = 64, count = 20;
        const float length = 1.05f;
        var random = new Random(1);
        var rotation = new HadamardRotation(d);
        using var basis = new PrefixBasis([.. Enumerable.Range(0, width * d).Select(i => i / d == i % d ? length : 0)], width, rotation, threads: 1);
        float[][] codewords = [.. Enumerable.Range(0, count).Select(_ => Values(0))], rows = [.. codewords, .. Enumerable.Range(0, count).Select(_ => Values(0.3f))];
        var screen = new ScreenLevel(new EncodePlan(PlanKind.Residual, d, [[.. codewords.SelectMany(values => values)]]), 0, new float[d], EncodeForm.Residual, threads: 1, PackedCodewords.kCodesMultiple);
        using var level = new IntegerLevel(screen, IntegerFormat.Int8, rotation, basis, threads: 1);
        double worst = 0;
        foreach (float[] row in rows)
        {
            double inside = Math.Sqrt(Dot(row[..width], row[..width])), outside = Math.Sqrt(Dot(row[width..], row[width..])), bound = basis.Outside(Math.Sqrt(Dot(row, row)), 0, length * inside, 0);
            Assert.InRange(outside, 0, bound);
            for (int k = 0; k < count; k++)
            {
                // What the products of P x and P w say, and what x and w do.
                double error = Math.Abs(length * length * Dot(row[..width], codewords[k][..width]) - Dot(row, codewords[k]));
                worst = Math.Max(worst, error / (level.DeviationError(length * inside) + bound * level.Outside[k]));
            }
        }

        Assert.Equal(length * length - 1, basis.Deviation, 1e-3);
        Assert.InRange(worst, 0.7, 1);

        float[] Values(float across)
        {
            float[] values = [.. Enumerable.Range(0, d).Select(i => (random.NextSingle() - 0.5f) * (i < width ? 1 : across))];
            return [.. values.Select(value => value / (float)Math.Sqrt(Dot(values, values)))];
        }
    }

    [Fact]
    public void A_basis_of_few_codewords_is_orthonormal_too()
    {
        Assert.SkipUnless(IntegerProduct.IsSupported(IntegerFormat.Int16), "this processor, or this build, has no such instructions");
        const int d = 128;
        // All of them on one line.
        var plan = new EncodePlan(PlanKind.Residual, d, [[.. Enumerable.Range(0, 5 * d).Select(i => (float)(i / d * (i % d)))]]);
        using var basis = new PrefixBasis(plan, new float[d], new HadamardRotation(d), 64, threads: 1);

        Assert.InRange(basis.Deviation, 0, 1e-3);
    }

    [Fact]
    public void A_screen_is_chosen_over_several_calls_and_changes_no_code()
    {
        const int d = 64, perCall = 9_999, calls = 8;
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, perCall * calls, d, [256]);
        float[] values = encodeCase.Values();
        using IEncoder float32 = new SimdBackend(2, SimdScreen.Float32).CreateEncoder(encodeCase.Plan()), encoder = new SimdBackend(2).CreateEncoder(encodeCase.Plan());
        ushort[] expected = new ushort[perCall * calls], codes = new ushort[perCall * calls];
        float32.Encode(new RowView(values, d), expected);

        for (int call = 0; call < calls; call++)
            encoder.Encode(new RowView(values.AsSpan(call * perCall * d, perCall * d), d), codes.AsSpan(call * perCall, perCall));

        Assert.Equal(expected, codes);
        Assert.StartsWith("float32", float32.Screen, StringComparison.Ordinal);
        Assert.NotEmpty(encoder.Screen);

        using IEncoder next = new SimdBackend(2).CreateEncoder(encodeCase.Plan(), new EncodeOptions { ChoiceOf = encoder });
        Assert.Equal(encoder.Screen, next.Screen);
        next.Encode(new RowView(values, d), codes);
        Assert.Equal(expected, codes);
    }

    [Fact]
    public void Encoders_take_more_threads_than_any_machine_here_has()
    {
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, 2_000, 32, [16, 16]);
        float[] values = encodeCase.Values();
        ushort[] expected = Encode(new ScalarBackend(), encodeCase.Plan(), values);

        foreach (SimdScreen screen in (SimdScreen[])[SimdScreen.Fastest, SimdScreen.Float32])
            Assert.Equal(expected, Encode(new SimdBackend(200, screen), encodeCase.Plan(), values));
    }

    [Fact]
    public void A_row_that_is_not_finite_is_named_while_screens_are_tried()
    {
        const int d = 64, count = 60_000, bad = 9_000;
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, count, d, [256]);
        float[] values = encodeCase.Values();
        values[bad * d + 3] = float.NaN;
        using IEncoder encoder = new SimdBackend(2).CreateEncoder(encodeCase.Plan());

        string message = Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(values, d), new ushort[count])).Message;

        Assert.StartsWith($"row {bad}, column 3 is NaN", message, StringComparison.Ordinal);
    }

    // [i][j]: place j of unit vector i after the rotation, so that R x = Σ_i x_i rotation[i] and Rᵀ y = rotation · y.
    internal static double[][] Rotation(int dimension, bool isRotated = true)
    {
        var hadamard = new HadamardRotation(dimension);
        return [.. Enumerable.Range(0, dimension).Select(i =>
        {
            float[] unit = new float[dimension];
            unit[i] = 1;
            fixed (float* values = unit)
            {
                if (isRotated)
                    hadamard.Apply(values);
            }
            return unit.Select(value => (double)value).ToArray();
        })];
    }

    private static ushort[] Encode(IBackend backend, EncodePlan plan, float[] rows)
    {
        using IEncoder encoder = backend.CreateEncoder(plan);
        ushort[] codes = new ushort[rows.Length / plan.Dimension * plan.Levels];
        encoder.Encode(new RowView(rows, plan.Dimension), codes);
        return codes;
    }

    private static double Dot(float[] left, float[] right) => left.Zip(right, (a, b) => (double)a * b).Sum();

    private static double Norm(double[] values) => Math.Sqrt(values.Sum(value => value * value));
}
