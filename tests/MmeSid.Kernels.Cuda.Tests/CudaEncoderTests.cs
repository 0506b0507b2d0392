using System.Runtime.InteropServices;
using MmeSid.Bench;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>What only a device can do: choose a screen, split rows into batches, fail.</summary>
public sealed class CudaEncoderTests
{
    private static readonly Cases.EncodeCase s_case = new(PlanKind.PrefixSemantic, Cases.EncodeData.Bell, 700, 40, [64, 48, 32]);

    [Fact]
    public void Many_batches_and_the_measured_choice_of_screens_change_nothing()
    {
        CudaBackend backend = Backends.Cuda();
        Cases.EncodeCase many = s_case with { Rows = 3000 };
        float[] rows = many.Values();
        ushort[] expected = new ushort[3000 * 3], actual = new ushort[3000 * 3];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(many.Plan());
        oracle.Encode(new RowView(rows, 40), expected);
        using IEncoder encoder = backend.CreateEncoder(many.Plan());
        for (int round = 0; round < 2; round++)
        {
            Array.Clear(actual);
            encoder.Encode(new RowView(rows, 40), actual);
            Assert.Equal(expected, actual);
        }
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Batches_of_16_bits_follow_batches_of_float32_from_pinned_memory_and_not(bool pinned)
    {
        Cases.EncodeCase many = s_case with { Rows = 3000 };
        using var matrix = new RowMatrix(3000, 40);
        many.Values().CopyTo(matrix.Rows(0, 3000));
        ushort[] expected = new ushort[3000 * 3], actual = new ushort[3000 * 3];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(many.Plan());
        using IEncoder encoder = Backends.Cuda("screen_float16_128x128").CreateEncoder(many.Plan());
        Assert.True(encoder.TakesNarrowRows);
        using IDisposable? pin = pinned ? encoder.Pin(matrix) : null;
        oracle.Encode(matrix.View(0, 3000), expected);
        encoder.Encode(matrix.View(0, 3000), actual);
        Assert.Equal(expected, actual);

        // In the place of half the rows.
        ushort[] bits = Narrow.Of(many.Values(), NarrowElement.Float16);
        Span<ushort> place = MemoryMarshal.Cast<float, ushort>(matrix.Rows(0, 1500));
        bits.CopyTo(place);
        var narrow = new NarrowRows(place, 40, NarrowElement.Float16);
        oracle.Encode(narrow, expected);
        EncodeReport report = encoder.Encode(narrow, actual);
        Assert.Equal(expected, actual);
        Assert.InRange(report.RecheckedShare, 0, 0.1);
    }

    /// <summary>Rows as near as can be to half-way between two codewords on the wrong side of their own shadow, at the first or the second level.</summary>
    [Theory]
    [InlineData(PlanKind.Residual, Cases.EncodeData.LaterNearTies)]
    [InlineData(PlanKind.Residual, Cases.EncodeData.NearTies)]
    [InlineData(PlanKind.PrefixSemantic, Cases.EncodeData.NearTies)]
    public void A_shadow_on_the_wrong_side_of_a_border_is_left_to_the_host(PlanKind kind, Cases.EncodeData data)
    {
        const int n = 2000, d = 8;
        Cases.EncodeCase pattern = new(kind, data, n, d, [12, 12]);
        float[] rows = pattern.Values();
        // Steps of every size that float16 rounds away, to either side of the border.
        for (int i = 0; i < rows.Length; i++)
            rows[i] += MathF.ScaleB(rows[i], -12 - i % 9) * (i % 2 == 0 ? 1 : -1);
        EncodePlan plan = pattern.Plan();
        byte[] shadow = Narrow.Shadow(rows, d, ShadowFormat.Float16);
        ushort[] expected = new ushort[n * 2], ofShadow = new ushort[n * 2], actual = new ushort[n * 2];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
        oracle.Encode(new RowView(rows, d), expected);
        oracle.Encode(new RowView(Narrow.ShadowValues(shadow, d, ShadowFormat.Float16), d), ofShadow);
        Assert.InRange(expected.Zip(ofShadow).Count(pair => pair.First != pair.Second), n / 20, n);
        foreach ((ScreenKind screen, bool shareOperand) in Screens.Kinds.SelectMany(each => ((bool[])[false, true]).Select(share => (each, share))))
        {
            using IEncoder encoder = Backends.Cuda(Screen.Default(screen).Name, shareOperand).CreateEncoder(plan);
            encoder.EncodeShadow(new ShadowRows(shadow, d, ShadowFormat.Float16), (row, to) => rows.AsSpan(row * d, d).CopyTo(to), actual);
            Assert.Equal(expected, actual);
        }
    }

    /// <summary>One dimension and two codewords leave no room between the bound and what a shadow can do.</summary>
    [Fact]
    public void A_shadow_half_a_unit_from_its_row_reaches_the_bound()
    {
        foreach (float value in (float[])[1, 1.9990234f, -5.5f, 1024, 65504, MathF.ScaleB(1, -14), MathF.ScaleB(3, -24), 0])
        {
            float unit = (float)Half.BitIncrement((Half)Math.Abs(value)) is var next && float.IsInfinity(next) ? 32 : next - Math.Abs(value), sign = value < 0 ? -1 : 1;
            // The border is hardly nearer to the value than the row, which is hardly nearer than the next value.
            float border = value + sign * unit / 2 * (1 - 1f / 512), row = value + sign * unit / 2 * (1 - 1f / 1024);
            EncodePlan plan = new(PlanKind.Residual, 1, [[border - 4 * unit, border + 4 * unit]]);
            byte[] shadow = Narrow.Shadow([row], 1, ShadowFormat.Float16);
            ushort[] expected = new ushort[1], actual = new ushort[1];
            Assert.Equal(value, Narrow.ShadowValues(shadow, 1, ShadowFormat.Float16)[0]);
            using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
            oracle.Encode(new RowView([row], 1), expected);
            Assert.Equal(sign > 0 ? 1 : 0, expected[0]);
            foreach (ScreenKind kind in Screens.Kinds)
            {
                using IEncoder encoder = Backends.Cuda(Screen.Default(kind).Name).CreateEncoder(plan);
                encoder.EncodeShadow(new ShadowRows(shadow, 1, ShadowFormat.Float16), (_, to) => to[0] = row, actual);
                Assert.Equal(expected, actual);
            }
        }
    }

    [Fact]
    public void Most_random_rows_are_proven_from_their_shadow()
    {
        float[] rows = s_case.Values();
        int read = 0;
        using IEncoder encoder = Backends.Cuda("screen_float16_128x128").CreateEncoder(s_case.Plan());
        Assert.True(encoder.TakesShadows(ShadowFormat.Float16));
        Assert.False(encoder.TakesShadows(ShadowFormat.Int8));
        encoder.EncodeShadow(new ShadowRows(Narrow.Shadow(rows, 40, ShadowFormat.Float16), 40, ShadowFormat.Float16), (row, to) =>
        {
            Interlocked.Increment(ref read);
            rows.AsSpan(row * 40, 40).CopyTo(to);
        }, new ushort[700 * 3]);
        Assert.InRange(read, 1, 70);
    }

    [Fact]
    public void Random_rows_are_proven_by_float32_and_mostly_by_fp16()
    {
        Assert.True(Share("screen_float32") < 0.01, "float32 must prove random rows");
        Assert.True(Share("screen_float16_128x128") < 0.1, "fp16 must prove most random rows");

        static double Share(string screen)
        {
            using IEncoder encoder = Backends.Cuda(screen).CreateEncoder(s_case.Plan());
            return encoder.Encode(new RowView(s_case.Values(), 40), new ushort[700 * 3]).RecheckedShare;
        }
    }

    [Theory]
    [InlineData("cuMemAlloc_v2", 1, 2, typeof(BackendUnavailableException))]
    [InlineData("cuMemAlloc_v2", 9, 2, typeof(BackendUnavailableException))]
    [InlineData("cuMemHostAlloc", 2, 2, typeof(BackendUnavailableException))]
    [InlineData("cuLaunchKernel", 1, 701, typeof(NativeException))]
    [InlineData("cuLaunchKernel", 4, 719, typeof(NativeException))]
    [InlineData("cuStreamSynchronize", 1, 719, typeof(NativeException))]
    [InlineData("cuMemcpyHtoDAsync_v2", 3, 700, typeof(NativeException))]
    [InlineData("cuMemcpyDtoHAsync_v2", 1, 999, typeof(NativeException))]
    public void An_error_of_the_driver_is_reported_with_its_text_and_nothing_leaks(string function, int call, int status, Type expected)
    {
        CudaBackend backend = Backends.Cuda("screen_float16_128x128");
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda fails on demand");
        Encode(backend);
        long[] before = SoftCuda.Live();
        SoftCuda.Fail(function, call, status);
        try
        {
            Exception error = Assert.Throws(expected, () => Encode(backend));
            Assert.Contains("CUDA", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            SoftCuda.Reset();
        }
        Assert.Equal(before, SoftCuda.Live());
        Encode(backend);
    }

    [Fact]
    public void Every_level_of_a_shared_operand_has_a_margin_of_its_own()
    {
        // Small codewords, then large ones that differ by less than fp16 or int8 can tell.
        const int n = 200, d = 24, codeCount = 16;
        float[] small = Cases.Bell(1, codeCount * d), large = Cases.Bell(2, codeCount * d), common = Cases.Bell(3, d), rows = Cases.Bell(4, n * d);
        for (int i = 0; i < small.Length; i++)
            (small[i], large[i]) = (small[i] / 100, common[i % d] * 10 + large[i] / 1000);
        EncodePlan plan = new(PlanKind.Residual, d, [small, large]);
        ushort[] expected = new ushort[n * 2], actual = new ushort[n * 2];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
        oracle.Encode(new RowView(rows, d), expected);
        foreach (ScreenKind kind in Screens.Kinds)
        {
            using IEncoder encoder = Backends.Cuda(Screen.Default(kind).Name, shareOperand: true).CreateEncoder(plan);
            encoder.Encode(new RowView(rows, d), actual);
            Assert.Equal(expected, actual);
        }
    }

    [Fact]
    public void The_tensor_cores_keep_half_of_their_bound()
    {
        SoftCuda.Require();
        Assert.InRange(TensorCoreProbe.WorstError(CudaDevice.Open()), 1e-6, 0.5);
    }

    [Fact]
    public void Warp_groups_of_hopper_keep_half_of_it_too()
    {
        SoftCuda.Require();
        Assert.SkipUnless(CudaDevice.Open() is { CapabilityMajor: 9, CapabilityMinor: 0 }, "no GPU of compute capability 9.0");
        Assert.InRange(TensorCoreProbe.WorstErrorOfGroups(CudaDevice.Open()), 1e-6, 0.5);
    }

    [Theory]
    [InlineData(Cases.EncodeData.NearTies, 700)]
    // More batches than slots, the last of them not whole, with rows in each that the oracle decides.
    [InlineData(Cases.EncodeData.Integers, 5003)]
    public void Rows_on_the_device_get_the_same_codes_and_centroids(Cases.EncodeData data, int n)
    {
        CudaBackend backend = Backends.Cuda();
        Cases.EncodeCase single = new(PlanKind.Residual, data, n, 21, [33]);
        float[] rows = single.Values(), codewords = single.Plan().Codebook(0).ToArray();
        (ushort[] expected, float[] expectedCentroids, int empty) = Step(rows, codewords, 21);

        using IHeldRows held = backend.Hold(n, 21)!;
        held.Append(new RowView(rows, 21).Slice(0, 300));
        held.Append(new RowView(rows, 21).Slice(300, n - 300));
        held.Centre();
        held.Start(codewords, []);
        LloydStep step = held.Step(TestContext.Current.CancellationToken);

        AssertHolds(held, expected, expectedCentroids);
        Assert.Equal((expected.Count(code => code != 0), empty), (step.Moved, step.EmptyCodes));
        Assert.Equal(n, step.Search.Decisions);
    }

    // One iteration by the oracle: codes, centroids, codes without rows.
    private static (ushort[] Codes, float[] Centroids, int Empty) Step(float[] rows, float[] codewords, int d)
    {
        ushort[] codes = new ushort[rows.Length / d];
        double[] sums = new double[codewords.Length];
        long[] counts = new long[codewords.Length / d];
        using (IEncoder oracle = new ScalarBackend().CreateEncoder(new EncodePlan(PlanKind.Residual, d, [codewords])))
            oracle.Encode(new RowView(rows, d), codes);
        new ScalarBackend().Accumulate(new RowView(rows, d), codes, counts.Length, sums, counts);
        return (codes, [.. codewords.Select((value, i) => counts[i / d] > 0 ? (float)(sums[i] / counts[i / d]) : value)], counts.Count(count => count == 0));
    }

    private static void AssertHolds(IHeldRows held, ushort[] codes, float[] centroids)
    {
        ushort[] actual = new ushort[codes.Length];
        float[] moved = new float[centroids.Length];
        held.ReadCodes(actual);
        held.ReadCentroids(moved);
        Assert.Equal(codes, actual);
        Assert.Equal(centroids, moved);
    }

    [Theory]
    [InlineData("screen_float32")]
    [InlineData("screen_float16_128x128")]
    [InlineData("screen_int8_128x128")]
    public void A_codebook_in_the_place_of_another_leaves_nothing_of_it(string screen)
    {
        const int n = 700, d = 21;
        float[] rows = new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.NearTies, n, d, [33]).Values();
        using IHeldRows held = Backends.Cuda(screen).Hold(n, d)!;
        held.Append(new RowView(rows, d));
        held.Centre();
        foreach ((int codes, float scale) in ((int, float)[])[(33, 1), (33, 0.25f), (33, 40), (33, 0), (150, 1), (20, 1)])
        {
            float[] codewords = [.. new Cases.EncodeCase(PlanKind.Residual, Cases.EncodeData.NearTies, n, d, [codes]).Plan().Codebook(0).ToArray().Select(value => value * scale)];
            (ushort[] expected, float[] centroids, _) = Step(rows, codewords, d);
            held.Start(codewords, []);
            held.Step(TestContext.Current.CancellationToken);
            AssertHolds(held, expected, centroids);
            codewords[^1] = float.NaN;
            held.Start(codewords, []);
            Assert.Throws<ArgumentException>(() => held.Step(TestContext.Current.CancellationToken));
        }
    }

    [Fact]
    public void A_call_takes_memory_for_its_own_rows_and_a_larger_one_gets_more()
    {
        CudaBackend backend = Backends.Cuda("screen_float16_128x128");
        Cases.EncodeCase many = s_case with { Rows = 1000 };
        float[] rows = many.Values();
        ushort[] expected = new ushort[1000 * 3], actual = new ushort[1000 * 3];
        using (IEncoder oracle = new ScalarBackend().CreateEncoder(many.Plan()))
            oracle.Encode(new RowView(rows, 40), expected);
        using IEncoder encoder = backend.CreateEncoder(many.Plan());
        // Operands of the screen, which the first call uploads.
        encoder.Encode(new RowView(rows.AsSpan(0, 40), 40), new ushort[3]);
        long few = Taken(10), batch = Taken(1000), fewAgain = Taken(10);
        Assert.Equal(0, few);
        Assert.InRange(batch, 1, long.MaxValue);
        Assert.Equal(0, fewAgain);

        long Taken(int count)
        {
            long free = backend.Gpu.FreeBytes;
            encoder.Encode(new RowView(rows.AsSpan(0, count * 40), 40), actual.AsSpan(0, count * 3));
            Assert.Equal(expected.AsSpan(0, count * 3), actual.AsSpan(0, count * 3));
            return free - backend.Gpu.FreeBytes;
        }
    }

    private static void Encode(CudaBackend backend)
    {
        using IEncoder encoder = backend.CreateEncoder(s_case.Plan());
        encoder.Encode(new RowView(s_case.Values(), 40), new ushort[700 * 3]);
    }
}
