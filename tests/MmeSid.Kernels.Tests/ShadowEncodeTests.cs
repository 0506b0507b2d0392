using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Tests;

/// <summary>Codes of <c>simd</c> from shadows: every screen, both formats, and rows that lie where their shadow says another code.</summary>
public sealed class ShadowEncodeTests
{
    public static TheoryData<SimdScreen, ShadowFormat> All() =>
        [.. from screen in Enum.GetValues<SimdScreen>() from format in Enum.GetValues<ShadowFormat>() select new TheoryDataRow<SimdScreen, ShadowFormat>(screen, format)];

    [Theory, MemberData(nameof(All))]
    public void Every_kind_of_rows_gets_the_oracles_codes(SimdScreen screen, ShadowFormat format)
    {
        foreach (PlanKind kind in Enum.GetValues<PlanKind>())
        {
            foreach (Cases.EncodeData data in Enum.GetValues<Cases.EncodeData>())
            {
                // Wider than the prefix; the plan without tables has float32 alone.
                foreach (EncodeOptions options in (EncodeOptions[])[new(), new() { TableBytes = 0 }])
                {
                    Cases.EncodeCase encodeCase = new(kind, data, 150, 97, [300, 90, 20]);
                    float[] rows = encodeCase.Values();
                    (ushort[] codes, int[] read, EncodeReport report) = Encode(new SimdBackend(2, screen), encodeCase.Plan(), rows, format, options);

                    Assert.True(Oracle(encodeCase.Plan(), rows).AsSpan().SequenceEqual(codes), $"{encodeCase}, tables of at most {options.TableBytes} bytes");
                    Assert.Equal(codes.Length, report.Decisions);
                    Assert.Equal(read.Length, report.Rechecked);
                    Assert.Equal(read.Distinct(), read);
                }
            }
        }
    }

    [Theory, MemberData(nameof(All))]
    public void Rows_on_the_wrong_side_of_their_shadow_keep_their_codes(SimdScreen screen, ShadowFormat format)
    {
        // 97 dimensions are more than a prefix.
        foreach ((PlanKind kind, Cases.EncodeData data, int d) in from d in (int[])[8, 97]
                                                                 from pair in new[] { (PlanKind.Residual, Cases.EncodeData.LaterNearTies), (PlanKind.Residual, Cases.EncodeData.NearTies), (PlanKind.PrefixSemantic, Cases.EncodeData.NearTies) }
                                                                 select (pair.Item1, pair.Item2, d))
        {
            const int n = 1000;
            Cases.EncodeCase pattern = new(kind, data, n, d, [12, 12]);
            float[] rows = pattern.Values();
            // Steps of every size that a shadow rounds away, to either side of the border.
            int bits = format == ShadowFormat.Float16 ? 12 : 8;
            for (int i = 0; i < rows.Length; i++)
                rows[i] += MathF.ScaleB(rows[i], -bits - i % 9) * (i % 2 == 0 ? 1 : -1);
            EncodePlan plan = pattern.Plan();
            ushort[] expected = Oracle(plan, rows), ofShadow = Oracle(plan, Narrow.ShadowValues(Narrow.Shadow(rows, d, format), d, format));
            Assert.InRange(expected.Zip(ofShadow).Count(pair => pair.First != pair.Second), n / 20, n);

            Assert.Equal(expected, Encode(new SimdBackend(2, screen), plan, rows, format).Codes);
        }
    }

    /// <summary>Two codewords on a line leave no room between the bound and what a shadow can do.</summary>
    [Theory, MemberData(nameof(All))]
    public void A_row_as_far_from_its_shadow_as_can_be_keeps_its_code(SimdScreen screen, ShadowFormat format)
    {
        if (format == ShadowFormat.Float16)
        {
            foreach (float value in (float[])[1, 1.9990234f, -5.5f, 1024, 65504, MathF.ScaleB(1, -14), MathF.ScaleB(3, -24), 0])
            {
                float unit = (float)Half.BitIncrement((Half)Math.Abs(value)) is var next && float.IsInfinity(next) ? 32 : next - Math.Abs(value), sign = value < 0 ? -1 : 1;
                // The border is hardly nearer to the value than the row, which is hardly nearer than the next value.
                float border = value + sign * unit / 2 * (1 - 1f / 512), row = value + sign * unit / 2 * (1 - 1f / 1024);
                Check([border - 4 * unit, border + 4 * unit], [row], [value]);
            }
            return;
        }
        // The first value makes the step; the second loses up to half of it.
        foreach (float step in (float[])[1, 0.125f, MathF.ScaleB(1, -60), MathF.ScaleB(1, 60)])
        {
            foreach (float lost in (float[])[0.49f, 0.1f, -0.3f, -0.499f])
            {
                float border = 5 * step + lost * step * (1 - 1f / 256);
                Check([127 * step, border - 4 * step, 127 * step, border + 4 * step], [127 * step, 5 * step + lost * step], [127 * step, 5 * step]);
            }
        }

        void Check(float[] codewords, float[] row, float[] shadow)
        {
            EncodePlan plan = new(PlanKind.Residual, row.Length, [codewords]);
            Assert.Equal(shadow, Narrow.ShadowValues(Narrow.Shadow(row, row.Length, format), row.Length, format));
            Assert.NotEqual(Oracle(plan, row), Oracle(plan, shadow));

            Assert.Equal(Oracle(plan, row), Encode(new SimdBackend(1, screen), plan, row, format).Codes);
        }
    }

    /// <summary>What the shadow lost stands in the direction of the right codeword, all of it, in the dimensions that a prefix keeps.</summary>
    [Theory, MemberData(nameof(All))]
    public void A_row_that_lost_its_code_in_many_dimensions_keeps_it(SimdScreen screen, ShadowFormat format)
    {
        const int d = 128, inside = 64;
        // A last place of float16 beside 1.5; an int8 step that one value makes, where no codeword differs.
        (float around, float unit) = format == ShadowFormat.Float16 ? (1.5f, 1f / 1024) : (0, 1);
        // Two codewords on opposite sides, and far ones that make the first dimensions the prefix.
        var codewords = new List<float>([.. Codeword(_ => 1), .. Codeword(_ => -1)]);
        for (int i = 0; i < inside; i++)
            codewords.AddRange([.. Codeword(j => j == i ? 256 : 0), .. Codeword(j => j == i ? -256 : 0)]);
        var rows = new List<float>();
        var shadow = new List<float>();
        for (float share = 0.1f; share < 0.95f; share += 0.02f)
        {
            // Integers 0 and −1 say the second; 0.49 more of each says the first.
            rows.AddRange(Row(j => Integer(j, share) + 0.49f));
            shadow.AddRange(Row(j => Integer(j, share)));
        }
        EncodePlan plan = new(PlanKind.Residual, d, [[.. codewords]]);
        Assert.Equal(shadow, Narrow.ShadowValues(Narrow.Shadow([.. rows], d, format), d, format));
        Assert.All(Oracle(plan, [.. rows]), code => Assert.Equal(0, code));
        Assert.All(Oracle(plan, [.. shadow]), code => Assert.Equal(1, code));

        Assert.All(Encode(new SimdBackend(1, screen), plan, [.. rows], format).Codes, code => Assert.Equal(0, code));

        float Integer(int j, float share) => j < share * 0.49f * inside ? -1 : 0;

        IEnumerable<float> Codeword(Func<int, float> value) => Enumerable.Range(0, d).Select(j => j < inside ? around + unit * value(j) : 0);

        IEnumerable<float> Row(Func<int, float> value) => Enumerable.Range(0, d).Select(j => j < inside ? around + unit * value(j) : j == d - 1 && format == ShadowFormat.Int8 ? 127 : 0);
    }

    [Theory, MemberData(nameof(All))]
    public void Rows_are_read_where_the_shadow_proves_nothing_and_nowhere_else(SimdScreen screen, ShadowFormat format)
    {
        const int d = 64, n = 700;
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, n, d, [16, 16]);
        float[] rows = encodeCase.Values();
        // Beyond float16, and so far out that nothing is proven of an int8 row either.
        foreach (int row in (int[])[0, 333, n - 1])
            rows.AsSpan(row * d, d).Fill(format == ShadowFormat.Float16 ? 70_000 : 3.3e38f);
        (ushort[] codes, int[] read, _) = Encode(new SimdBackend(2, screen), encodeCase.Plan(), rows, format);

        Assert.Equal(Oracle(encodeCase.Plan(), rows), codes);
        Assert.Equal([0, 333, n - 1], read.Intersect([0, 333, n - 1]).Order());
        Assert.InRange(read.Length, 4, format == ShadowFormat.Float16 ? n / 20 : n / 2);
    }

    [Fact]
    public void Threads_change_nothing()
    {
        foreach (PlanKind kind in Enum.GetValues<PlanKind>())
        {
            foreach (ShadowFormat format in Enum.GetValues<ShadowFormat>())
            {
                Cases.EncodeCase encodeCase = new(kind, Cases.EncodeData.Bell, 2503, 33, [64, 48, 32]);
                float[] rows = encodeCase.Values();
                (ushort[] codes, int[] read, EncodeReport report) = Encode(new SimdBackend(1), encodeCase.Plan(), rows, format);
                Assert.Equal(Oracle(encodeCase.Plan(), rows), codes);
                foreach (int threads in (int[])[2, 3, 7])
                {
                    (ushort[] actual, int[] actualRead, EncodeReport actualReport) = Encode(new SimdBackend(threads), encodeCase.Plan(), rows, format);
                    Assert.Equal(codes, actual);
                    Assert.Equal(read.Order(), actualRead.Order());
                    Assert.Equal(report, actualReport);
                }
            }
        }
    }

    [Theory, InlineData(ShadowFormat.Float16), InlineData(ShadowFormat.Int8)]
    public void A_screen_is_chosen_over_several_calls_and_changes_no_code(ShadowFormat format)
    {
        const int d = 64, perCall = 9_999, calls = 8;
        Cases.EncodeCase encodeCase = new(PlanKind.Residual, Cases.EncodeData.Bell, perCall * calls, d, [256]);
        float[] rows = encodeCase.Values();
        byte[] shadow = Narrow.Shadow(rows, d, format);
        int rowBytes = format.RowBytes(d);
        using IEncoder float32 = new SimdBackend(2, SimdScreen.Float32).CreateEncoder(encodeCase.Plan()), encoder = new SimdBackend(2).CreateEncoder(encodeCase.Plan());
        ushort[] expected = new ushort[perCall * calls], codes = new ushort[perCall * calls];
        float32.Encode(new RowView(rows, d), expected);

        for (int call = 0; call < calls; call++)
        {
            int first = call * perCall;
            EncodeReport report = encoder.EncodeShadow(new ShadowRows(shadow.AsSpan(first * rowBytes, perCall * rowBytes), d, format),
                (row, to) => rows.AsSpan((first + row) * d, d).CopyTo(to), codes.AsSpan(first, perCall));
            Assert.Equal(perCall, report.Decisions);
        }

        Assert.Equal(expected, codes);
        Assert.NotEmpty(encoder.Screen);
    }

    [Theory, InlineData(ShadowFormat.Float16), InlineData(ShadowFormat.Int8)]
    public void Rows_that_cannot_be_read_are_the_callers(ShadowFormat format)
    {
        const int d = 6, n = 500;
        EncodePlan plan = new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, n, d, [9, 9]).Plan();
        float[] rows = Cases.Bell(1, n * d);
        rows.AsSpan(321 * d, d).Fill(3.3e38f);
        using IEncoder encoder = new SimdBackend(2).CreateEncoder(plan);
        byte[] shadow = Narrow.Shadow(rows, d, format);

        Assert.Equal("row 321", Assert.Throws<InvalidDataException>(() => encoder.EncodeShadow(new ShadowRows(shadow, d, format),
            (row, to) => rows.AsSpan(row == 321 ? throw new InvalidDataException($"row {row}") : row * d, d).CopyTo(to), new ushort[2 * n])).Message);
        rows[321 * d + 4] = float.NaN;
        Assert.StartsWith("row 321, column 4 is NaN", Assert.Throws<ArgumentException>(() => encoder.EncodeShadow(new ShadowRows(shadow, d, format),
            (row, to) => rows.AsSpan(row * d, d).CopyTo(to), new ushort[2 * n])).Message, StringComparison.Ordinal);
        Assert.Contains("500 rows of 2 levels need 1000 codes, the span has 7", Assert.Throws<ArgumentException>(() => encoder.EncodeShadow(new ShadowRows(shadow, d, format),
            (_, _) => { }, new ushort[7])).Message, StringComparison.Ordinal);
        Assert.Contains("dimension 6, the rows have 5", Assert.Throws<ArgumentException>(() => encoder.EncodeShadow(new ShadowRows(new byte[format.RowBytes(5)], 5, format),
            (_, _) => { }, new ushort[2])).Message, StringComparison.Ordinal);
        Assert.Equal(default, encoder.EncodeShadow(new ShadowRows([], d, format), (_, _) => { }, []));
        encoder.Dispose();
        Assert.Throws<ObjectDisposedException>(() => encoder.EncodeShadow(new ShadowRows(shadow, d, format), (_, _) => { }, new ushort[2 * n]));
    }

    [Fact]
    public void Greedy_searches_take_both_formats_and_beams_read_the_rows()
    {
        EncodePlan plan = new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.Bell, 5, 6, [9, 9]).Plan();
        foreach (ShadowFormat format in Enum.GetValues<ShadowFormat>())
        {
            using IEncoder greedy = new SimdBackend().CreateEncoder(plan), beam = new SimdBackend().CreateEncoder(plan, new() { Beam = 2 }), oracle = new ScalarBackend().CreateEncoder(plan);
            Assert.True(greedy.TakesShadows(format));
            Assert.False(beam.TakesShadows(format));
            Assert.False(oracle.TakesShadows(format));
        }
    }

    private static (ushort[] Codes, int[] Read, EncodeReport Report) Encode(SimdBackend backend, EncodePlan plan, float[] rows, ShadowFormat format, EncodeOptions? options = null)
    {
        int d = plan.Dimension;
        var codes = new Guarded<ushort>(rows.Length / d * plan.Levels, 0xBEEF, 0xBEEF);
        var read = new List<int>();
        using IEncoder encoder = backend.CreateEncoder(plan, options);
        EncodeReport report = encoder.EncodeShadow(new ShadowRows(Narrow.Shadow(rows, d, format), d, format), (row, to) =>
        {
            lock (read)
                read.Add(row);
            rows.AsSpan(row * d, d).CopyTo(to);
        }, codes.Span);
        return (codes.Check(), [.. read], report);
    }

    private static ushort[] Oracle(EncodePlan plan, float[] rows)
    {
        ushort[] codes = new ushort[rows.Length / plan.Dimension * plan.Levels];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
        oracle.Encode(new RowView(rows, plan.Dimension), codes);
        return codes;
    }
}
