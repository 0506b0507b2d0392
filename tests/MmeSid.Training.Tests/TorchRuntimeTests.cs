using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Training.Tests;

/// <summary>What is loaded, and that it runs at the speed of this machine.</summary>
public sealed class TorchRuntimeTests
{
    public TorchRuntimeTests() => Libtorch.Require();

    [Fact]
    public void ThreadsAreThoseThatWereAskedFor()
    {
        TorchRuntime.Start(2);
        Assert.Equal(2, get_num_threads());
        TorchRuntime.Start(0);
        Assert.Equal(Environment.ProcessorCount, get_num_threads());
        Assert.Throws<ArgumentOutOfRangeException>(() => TorchRuntime.Start(-1));
    }

    [Fact]
    public void VersionAndDevicesAreKnown()
    {
        Assert.Matches(@"^\d+\.\d+", TorchRuntime.Version);
        Assert.Equal(TorchRuntime.CudaDevices > 0, TryInitializeDeviceType(DeviceType.CUDA));
    }

    [Fact]
    public unsafe void OpenBlasUsesTheInstructionsOfTheProcessor()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the loaded libraries are read from /proc");
        using (NewDisposeScope())
            ones(8, 8).mm(ones(8, 8));
        string[] loaded = [.. File.ReadLines("/proc/self/maps").Select(line => line[(line.LastIndexOf(' ') + 1)..]).Where(path => Path.GetFileName(path).StartsWith("libopenblas", StringComparison.Ordinal)).Distinct()];
        Assert.SkipWhen(loaded.Length == 0, "this libtorch multiplies without OpenBLAS");
        string library = Assert.Single(loaded);
        nint openBlas = NativeLibrary.Load(library);
        // 2: OpenMP, whose threads libtorch shares.
        Assert.Equal(2, ((delegate* unmanaged<int>)NativeLibrary.GetExport(openBlas, "openblas_get_parallel"))());
        Assert.SkipUnless(Avx512BW.IsSupported, "the processor has no AVX-512");
        Assert.SkipWhen(Environment.GetEnvironmentVariable("OPENBLAS_CORETYPE") is { Length: > 0 }, "OPENBLAS_CORETYPE is set, which stays");
        string core = Marshal.PtrToStringUTF8(((delegate* unmanaged<nint>)NativeLibrary.GetExport(openBlas, "openblas_get_corename"))())!;
        Assert.Contains(core, (string[])["SkylakeX", "Cooperlake", "SapphireRapids", "Zen"]);
    }
}
