using MmeSid.Bench;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>Rows split over devices: who gets what, and what happens when one of them fails.</summary>
public sealed class CudaSeveralGpusTests
{
    private static readonly Cases.EncodeCase s_case = new(PlanKind.PrefixSemantic, Cases.EncodeData.Bell, 700, 24, [32, 24]);

    [Fact]
    public void Calls_at_once_keep_all_devices_busy_and_change_nothing()
    {
        CudaBackend backend = Backends.CudaOnTwo(leastPartRows: 0);
        float[] rows = s_case.Values();
        ushort[] expected = new ushort[700 * 2];
        using (IEncoder oracle = new ScalarBackend().CreateEncoder(s_case.Plan()))
            oracle.Encode(new RowView(rows, 24), expected);
        using IEncoder encoder = backend.CreateEncoder(s_case.Plan());
        Assert.Equal(6, encoder.CallsAtOnce);
        Assert.True(encoder.TakesNarrowRows);
        AtOnce(codes => Assert.Equal(expected, codes));
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda fails on demand");
        // A call of less than a batch takes one device, the first unless that is busy.
        Assert.True(FailsWith(1, () => AtOnce(_ => { })));
        Assert.False(FailsWith(1, () => encoder.Encode(new RowView(rows, 24), new ushort[700 * 2])));

        void AtOnce(Action<ushort[]> check)
        {
            using var start = new Barrier(6);
            Task.WaitAll([.. Enumerable.Range(0, 6).Select(_ => Task.Factory.StartNew(
                () =>
                {
                    start.SignalAndWait();
                    for (int call = 0; call < 2; call++)
                    {
                        ushort[] codes = new ushort[700 * 2];
                        encoder.Encode(new RowView(rows, 24), codes);
                        check(codes);
                    }
                },
                CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))], TestContext.Current.CancellationToken);
        }

        static bool FailsWith(int device, Action action)
        {
            SoftCuda.FailOn(device, "cuLaunchKernel", 1, 1);
            try
            {
                action();
                return false;
            }
            catch (Exception error) when (error is NativeException or AggregateException)
            {
                return true;
            }
            finally
            {
                SoftCuda.Reset();
            }
        }
    }

    [Theory]
    [InlineData(0, "cuMemAlloc_v2", 1, 2, typeof(BackendUnavailableException))]
    [InlineData(1, "cuMemAlloc_v2", 1, 2, typeof(BackendUnavailableException))]
    [InlineData(1, "cuMemAlloc_v2", 20, 2, typeof(BackendUnavailableException))]
    [InlineData(1, "cuMemHostAlloc", 1, 2, typeof(BackendUnavailableException))]
    [InlineData(0, "cuLaunchKernel", 1, 701, typeof(NativeException))]
    [InlineData(1, "cuLaunchKernel", 4, 719, typeof(NativeException))]
    [InlineData(1, "cuStreamSynchronize", 1, 719, typeof(NativeException))]
    [InlineData(1, "cuMemcpyHtoDAsync_v2", 3, 700, typeof(NativeException))]
    [InlineData(0, "cuMemcpyDtoHAsync_v2", 1, 999, typeof(NativeException))]
    public void An_error_of_one_device_ends_the_call_with_its_text_and_nothing_leaks(int device, string function, int call, int status, Type expected)
    {
        CudaBackend backend = Backends.CudaOnTwo(screen: "screen_float16_128x128");
        Assert.SkipUnless(SoftCuda.IsLoaded, "only softcuda fails on demand");
        Encode(backend);
        long[] before = SoftCuda.Live();
        SoftCuda.FailOn(device, function, call, status);
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
    public void The_first_broken_row_of_all_parts_is_named()
    {
        using IEncoder encoder = Backends.CudaOnTwo().CreateEncoder(s_case.Plan());
        foreach ((int first, int second) in new[] { (10, 600), (349, 350), (350, 699) })
        {
            float[] rows = s_case.Values();
            rows[first * 24 + 5] = float.NaN;
            rows[second * 24] = float.NaN;
            var error = Assert.Throws<ArgumentException>(() => encoder.Encode(new RowView(rows, 24), new ushort[1400]));
            Assert.StartsWith($"row {first}, column 5", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void All_devices_are_taken_and_each_is_named_once()
    {
        Backends.CudaOnTwo();
        CudaBackend all = CudaBackend.OnAll(2);
        Assert.Equal(Enumerable.Range(0, CudaDevice.Count), all.Gpus.Select(gpu => gpu.Ordinal));
        Assert.Null(CudaBackend.WhyUnusable(1));
        Assert.Contains($"no GPU {CudaDevice.Count}", CudaBackend.WhyUnusable(CudaDevice.Count), StringComparison.Ordinal);
        Assert.Equal(1, new CudaBackend(1).Gpu.Ordinal);
        if (SoftCuda.IsLoaded)
            Assert.StartsWith("2 × softcuda", all.Device, StringComparison.Ordinal);
    }

    private static void Encode(CudaBackend backend)
    {
        using IEncoder encoder = backend.CreateEncoder(s_case.Plan());
        encoder.Encode(new RowView(s_case.Values(), 24), new ushort[700 * 2]);
    }
}
