using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>What every backend's encoder must do: the oracle's codes and errors, bit for bit, on every case.</summary>
public abstract class EncodeContract(IBackend backend)
{
    private readonly ScalarBackend _oracle = new();

    public static TheoryData<string> CaseNames() => [.. Cases.EncodeTests.Select(encodeCase => encodeCase.ToString())];

    [Theory, MemberData(nameof(CaseNames))]
    public void Codes_and_errors_equal_the_oracles(string name)
    {
        Cases.EncodeCase encodeCase = Case(name);
        float[] rows = encodeCase.Values();
        (ushort[] codes, float[] errors) = Encode(_oracle, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension));

        (ushort[] actualCodes, float[] actualErrors) = Encode(backend, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension));

        Assert.Equal(codes, actualCodes);
        Assert.Equal(errors, actualErrors);
    }

    // Only PSRQ has tables to do without.
    public static TheoryData<string> CaseNamesWithTables() => [.. Cases.EncodeTests.Where(encodeCase => encodeCase.Kind == PlanKind.PrefixSemantic).Select(encodeCase => encodeCase.ToString())];

    [Theory, MemberData(nameof(CaseNamesWithTables))]
    public void The_wide_form_without_tables_gives_the_same_codes(string name)
    {
        Cases.EncodeCase encodeCase = Case(name);
        float[] rows = encodeCase.Values();
        (ushort[] codes, _) = Encode(_oracle, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension));

        (ushort[] actual, _) = Encode(backend, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension), new EncodeOptions { TableBytes = 0 });

        Assert.Equal(codes, actual);
    }

    [Theory, InlineData(2), InlineData(5), InlineData(70)]
    public void Beams_equal_the_oracles_with_tables_and_without(int beam)
    {
        foreach (Cases.EncodeCase encodeCase in Cases.EncodeTests.Where(encodeCase => encodeCase.Rows <= 100 && encodeCase.Dimension <= 31 && encodeCase.Codes.Max() <= 100))
        {
            float[] rows = encodeCase.Values();
            (ushort[] codes, float[] errors) = Encode(_oracle, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension), new EncodeOptions { Beam = beam });

            foreach (EncodeOptions options in (EncodeOptions[])[new() { Beam = beam }, new() { Beam = beam, TableBytes = 0 }])
            {
                (ushort[] actualCodes, float[] actualErrors) = Encode(backend, encodeCase.Plan(), new RowView(rows, encodeCase.Dimension), options);

                Assert.True(codes.AsSpan().SequenceEqual(actualCodes), $"beam {beam}, tables of at most {options.TableBytes} bytes: {encodeCase}");
                Assert.True(errors.AsSpan().SequenceEqual(actualErrors), $"beam {beam}, tables of at most {options.TableBytes} bytes: {encodeCase}");
            }
        }
    }

    [Fact]
    public void A_wider_beam_never_makes_the_mean_error_larger()
    {
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, 100, 12, [16, 16, 16]);
        float[] rows = encodeCase.Values();
        double last = double.PositiveInfinity;
        foreach (int beam in (int[])[1, 4, 16, 300])
        {
            (_, float[] errors) = Encode(backend, encodeCase.Plan(), new RowView(rows, 12), new EncodeOptions { Beam = beam });
            double error = errors.Sum(value => (double)value);
            Assert.True(error <= last, $"beam {beam} has error {error}, a narrower one {last}");
            last = error;
        }
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void A_huge_level_before_a_small_one_is_decided_too(int beam)
    {
        // The prefix's distance is 1e76, far beyond float32, while the second level's own scores are small numbers.
        EncodePlan plan = new(PlanKind.Residual, 2, [[1e38f, 0, -1e38f, 0], [0, 1, 0, 2, 0, 3]]);
        float[] rows = [0, 0, 0, 2.5f, 1e38f, 1, -3e38f, -3e38f, 1, 2];
        (ushort[] codes, float[] errors) = Encode(_oracle, plan, new RowView(rows, 2), new EncodeOptions { Beam = beam });

        (ushort[] actualCodes, float[] actualErrors) = Encode(backend, plan, new RowView(rows, 2), new EncodeOptions { Beam = beam });

        Assert.Equal(codes, actualCodes);
        Assert.Equal(errors, actualErrors);
    }

    [Fact]
    public void The_rounding_of_a_centred_first_codeword_decides_nothing()
    {
        // The mean of the first codebook is −1 − 2⁻²³: both codewords lose half a unit when it is subtracted, and residuals are a few units.
        const float unit = 1f / (1 << 22);
        EncodePlan plan = new(PlanKind.Residual, 1, [[1, -(3 + unit)], [-98.99f * unit, 101.01f * unit]]);
        float[] rows = [1 + unit, 1, 1 + 2 * unit, -3, -(3 + unit), -(3 + 2 * unit)];
        Assert.Equal(Encode(new ScalarBackend(), plan, new RowView(rows, 1)).Codes, Encode(backend, plan, new RowView(rows, 1)).Codes);
    }

    [Fact]
    public void A_residual_that_float64_rounds_decides_nothing_among_many_codes()
    {
        // Of x − c₁ − c₂ float64 keeps −2⁻¹⁰, the nearest codeword but for the 2⁻¹⁴ that it lost.
        float near = -MathF.ScaleB(1, -10), nearest = near - MathF.ScaleB(1, -14), large = MathF.ScaleB(1, 40);
        EncodePlan plan = new(PlanKind.Residual, 1, [[-nearest], [large], [near, nearest, .. Enumerable.Range(1, 15).Select(i => (float)i)]]);
        float[] rows = [large];
        Assert.Equal(Encode(new ScalarBackend(), plan, new RowView(rows, 1)).Codes, Encode(backend, plan, new RowView(rows, 1)).Codes);
    }

    [Fact]
    public void Equal_distances_whose_float64_sums_differ_go_to_the_smaller_code()
    {
        // Every codeword holds the values of the first in another order, and every row is one value throughout.
        const int d = 37, codeCount = 7, n = 20;
        float[] values = Cases.Bell(3, d), rows = new float[n * d];
        float[] codewords = [.. Enumerable.Range(0, codeCount * d).Select(i => values[(i + 5 * (i / d)) % d])];
        for (int i = 0; i < n; i++)
            rows.AsSpan(i * d, d).Fill((i - 7) / 3f);
        (ushort[] codes, _) = Encode(backend, new EncodePlan(PlanKind.Residual, d, [codewords]), new RowView(rows, d));
        Assert.Equal(new ushort[n], codes);
    }

    [Fact]
    public void Batches_and_strides_change_nothing()
    {
        Cases.EncodeCase encodeCase = new(PlanKind.PrefixSemantic, Cases.EncodeData.LargeMean, 1013, 23, [70, 40, 9]);
        float[] rows = encodeCase.Values();
        EncodePlan plan = encodeCase.Plan();
        (ushort[] whole, float[] wholeErrors) = Encode(backend, plan, new RowView(rows, 23));

        const int stride = 31, offset = 5;
        float[] table = new float[1013 * stride];
        for (int i = 0; i < 1013; i++)
            rows.AsSpan(i * 23, 23).CopyTo(table.AsSpan(i * stride + offset));
        ushort[] parts = new ushort[whole.Length];
        float[] partErrors = new float[1013];
        using IEncoder encoder = backend.CreateEncoder(plan);
        for (int start = 0, size = 1; start < 1013; start += size, size = Math.Min(size * 3, 1013 - start))
            encoder.Encode(new RowView(table.AsSpan(start * stride + offset), size, 23, stride), parts.AsSpan(start * 3, size * 3), partErrors.AsSpan(start, size));

        Assert.Equal(whole, parts);
        Assert.Equal(wholeErrors, partErrors);
    }

    [Theory]
    [InlineData(NarrowElement.Float16, 1)]
    [InlineData(NarrowElement.BFloat16, 1)]
    [InlineData(NarrowElement.Float16, 2)]
    public void Rows_of_16_bits_get_what_their_float32_values_get(NarrowElement element, int beam)
    {
        foreach (Cases.EncodeCase encodeCase in Cases.EncodeTests.Where(encodeCase => encodeCase.Rows <= 130 && encodeCase.Dimension <= 66 && encodeCase.Codes.Max() <= 100))
        {
            ushort[] bits = Narrow.Of(encodeCase.Values(), element);
            float[] wide = Narrow.Values(bits, element);
            EncodePlan plan = encodeCase.Plan();
            (ushort[] codes, float[] errors) = Encode(_oracle, plan, new RowView(wide, plan.Dimension), new() { Beam = beam });

            ushort[] actual = new ushort[codes.Length];
            float[] actualErrors = new float[errors.Length];
            using IEncoder encoder = backend.CreateEncoder(plan, new() { Beam = beam });
            EncodeReport report = encoder.Encode(new NarrowRows(bits, plan.Dimension, element), actual, actualErrors);

            Assert.Equal(codes.Length, report.Decisions);
            Assert.True(codes.AsSpan().SequenceEqual(actual), $"{encodeCase}");
            Assert.True(errors.AsSpan().SequenceEqual(actualErrors), $"{encodeCase}");
        }
    }

    [Theory]
    [InlineData(ShadowFormat.Float16, 1)]
    [InlineData(ShadowFormat.Float16, 2)]
    [InlineData(ShadowFormat.Int8, 1)]
    [InlineData(ShadowFormat.Int8, 2)]
    public void Codes_from_a_shadow_are_those_of_the_rows(ShadowFormat format, int beam)
    {
        foreach (Cases.EncodeCase encodeCase in Cases.EncodeTests.Where(encodeCase => encodeCase.Rows <= 130 && encodeCase.Dimension <= 66 && encodeCase.Codes.Max() <= 100))
        {
            float[] rows = encodeCase.Values();
            int d = encodeCase.Dimension;
            EncodePlan plan = encodeCase.Plan();
            (ushort[] codes, _) = Encode(_oracle, plan, new RowView(rows, d), new() { Beam = beam });

            var actual = new Guarded<ushort>(codes.Length, 0xBEEF);
            using IEncoder encoder = backend.CreateEncoder(plan, new() { Beam = beam });
            EncodeReport report = encoder.EncodeShadow(new ShadowRows(Narrow.Shadow(rows, d, format), d, format), (row, to) => rows.AsSpan(row * d, d).CopyTo(to), actual.Span);

            Assert.Equal(codes.Length, report.Decisions);
            Assert.True(codes.AsSpan().SequenceEqual(actual.Check()), $"{encodeCase}");
        }
    }

    [Fact]
    public void A_value_of_16_bits_that_is_not_finite_is_named()
    {
        using IEncoder encoder = backend.CreateEncoder(new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, 500, 6, [9, 9]).Plan());
        foreach ((NarrowElement element, ushort value, string text) in new[] { (NarrowElement.Float16, (ushort)0x7E00, "NaN"), (NarrowElement.Float16, (ushort)0xFC00, "-"), (NarrowElement.BFloat16, (ushort)0xFF80, "-") })
        {
            ushort[] bits = Narrow.Of(Cases.Bell(1, 500 * 6), element);
            bits[321 * 6 + 4] = bits[400 * 6] = value;
            var error = Assert.Throws<ArgumentException>(() => encoder.Encode(new NarrowRows(bits, 6, element), new ushort[1000]));
            Assert.StartsWith("row 321, column 4", error.Message, StringComparison.Ordinal);
            Assert.Contains(text, error.Message, StringComparison.Ordinal);
        }
        Assert.Contains("dimension 6, the rows have 5", Assert.Throws<ArgumentException>(() => encoder.Encode(new NarrowRows(new ushort[10], 5, NarrowElement.Float16), new ushort[4])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Fewer_levels_give_the_same_first_codes()
    {
        Cases.EncodeCase encodeCase = new(PlanKind.PrefixSemantic, Cases.EncodeData.Bell, 211, 18, [50, 40, 30]);
        float[] rows = encodeCase.Values();
        EncodePlan plan = encodeCase.Plan();
        EncodePlan shorter = new(plan.Kind, plan.Dimension, [plan.Codebook(0).ToArray(), plan.Codebook(1).ToArray()]);
        (ushort[] all, _) = Encode(backend, plan, new RowView(rows, 18));
        (ushort[] two, _) = Encode(backend, shorter, new RowView(rows, 18));
        for (int i = 0; i < 211; i++)
            Assert.Equal(all.AsSpan(i * 3, 2), two.AsSpan(i * 2, 2));
    }

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.NegativeInfinity, "-")]
    public void A_value_that_is_not_finite_is_named(float value, string text)
    {
        float[] rows = Cases.Bell(1, 500 * 6);
        rows[321 * 6 + 4] = value;
        rows[400 * 6] = value;
        using IEncoder encoder = backend.CreateEncoder(new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, 500, 6, [9, 9]).Plan());
        var error = Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(rows, 6), new ushort[1000]));
        Assert.StartsWith("row 321, column 4", error.Message, StringComparison.Ordinal);
        Assert.Contains(text, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Lengths_that_do_not_fit_are_refused_with_both_numbers()
    {
        using IEncoder encoder = backend.CreateEncoder(new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, 5, 6, [9, 9]).Plan());
        Assert.Contains("dimension 6, the rows have 5", Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(new float[10], 5), new ushort[4])).Message, StringComparison.Ordinal);
        Assert.Contains("need 4 codes, the span has 5", Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(new float[12], 6), new ushort[5])).Message, StringComparison.Ordinal);
        Assert.Contains("need 2 squared errors, the span has 1", Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(new float[12], 6), new ushort[4], new float[1])).Message, StringComparison.Ordinal);
    }

    protected static (ushort[] Codes, float[] Errors) Encode(IBackend backend, EncodePlan plan, RowView rows, EncodeOptions? options = null)
    {
        var codes = new Guarded<ushort>(rows.Count * plan.Levels, 0xBEEF);
        var errors = new Guarded<float>(rows.Count, -3.25f);
        using IEncoder encoder = backend.CreateEncoder(plan, options);
        EncodeReport report = encoder.Encode(rows, codes.Span, errors.Span);
        Assert.Equal((long)rows.Count * plan.Levels, report.Decisions);
        return (codes.Check(), errors.Check());
    }

    private static Cases.EncodeCase Case(string name) => Cases.EncodeTests.First(encodeCase => encodeCase.ToString() == name);
}

public sealed class ScalarEncodeTests() : EncodeContract(new ScalarBackend());

public sealed class Int8EncodeTests() : EncodeContract(new SimdBackend(2, SimdScreen.Int8));

public sealed class Int8PrefixEncodeTests() : EncodeContract(new SimdBackend(2, SimdScreen.Int8Prefix))
{
    public static TheoryData<PlanKind, Cases.EncodeData> Wide() => [.. from kind in Enum.GetValues<PlanKind>() from data in Enum.GetValues<Cases.EncodeData>() select new TheoryDataRow<PlanKind, Cases.EncodeData>(kind, data)];

    [Theory, MemberData(nameof(Wide))]
    public void Rows_wider_than_the_prefix_get_the_oracles_codes(PlanKind kind, Cases.EncodeData data)
    {
        Cases.EncodeCase encodeCase = new(kind, data, 150, 97, [300, 90, 20]);
        float[] rows = encodeCase.Values();

        Assert.Equal(Encode(new ScalarBackend(), encodeCase.Plan(), new RowView(rows, 97)).Codes, Encode(new SimdBackend(1, SimdScreen.Int8Prefix), encodeCase.Plan(), new RowView(rows, 97)).Codes);
    }
}

public sealed class Int16EncodeTests() : EncodeContract(new SimdBackend(2, SimdScreen.Int16));

public sealed class SimdEncodeTests() : EncodeContract(new SimdBackend(1))
{
    [Theory, InlineData(2), InlineData(3), InlineData(7)]
    public void Threads_change_nothing(int threads)
    {
        foreach (PlanKind kind in Enum.GetValues<PlanKind>())
        {
            Cases.EncodeCase encodeCase = new(kind, Cases.EncodeData.Bell, 2503, 33, [64, 48, 32]);
            float[] rows = encodeCase.Values();
            (ushort[] codes, float[] errors) = Encode(new SimdBackend(1), encodeCase.Plan(), new RowView(rows, 33));
            (ushort[] actualCodes, float[] actualErrors) = Encode(new SimdBackend(threads), encodeCase.Plan(), new RowView(rows, 33));
            Assert.Equal(codes, actualCodes);
            Assert.Equal(errors, actualErrors);
        }
    }

    [Fact]
    public void An_encoder_cannot_be_used_after_it_was_disposed()
    {
        IEncoder encoder = new SimdBackend().CreateEncoder(new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, 5, 6, [9, 9]).Plan());
        encoder.Dispose();
        Assert.Throws<ObjectDisposedException>(() => encoder.Encode(new RowView(new float[12], 6), new ushort[4]));
    }

    [Fact]
    public void Near_ties_are_rechecked_and_clear_cases_are_not()
    {
        Assert.True(Share(Cases.EncodeData.NearTies) > 0.3, "rows half-way between codewords must be re-checked");
        Assert.True(Share(Cases.EncodeData.Bell) < 0.01, "random rows must be proven by the screen");
        Assert.True(Share(Cases.EncodeData.LargeMean) < 0.01, "a large mean must be taken out before the product");
        Assert.True(Share(Cases.EncodeData.Duplicates) < 0.01, "codewords stored twice must not tie");

        static double Share(Cases.EncodeData data)
        {
            Cases.EncodeCase encodeCase = new(PlanKind.Residual, data, 500, 32, [64]);
            using IEncoder encoder = new SimdBackend().CreateEncoder(encodeCase.Plan());
            return encoder.Encode(new RowView(encodeCase.Values(), 32), new ushort[500]).RecheckedShare;
        }
    }
}
