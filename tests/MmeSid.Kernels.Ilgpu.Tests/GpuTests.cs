using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Ilgpu.Tests;

// The contract of every backend on a GPU, where there is one.

public sealed class GpuEncodeTests() : EncodeContract(Gpu.Backend());

public sealed class GpuAccumulateTests() : AccumulateContract(Gpu.Backend());

public sealed class GpuMmdSumsTests() : MmdSumsContract(Gpu.Backend());

public sealed class GpuTopInnerProductsTests() : TopInnerProductsContract(Gpu.Backend());

internal static class Gpu
{
    /// <summary>A backend on the first GPU, or the reason to skip.</summary>
    public static IlgpuBackend Backend()
    {
        Assert.SkipUnless(IlgpuBackend.UnavailableReason is null, $"{IlgpuBackend.UnavailableReason}");
        return new IlgpuBackend();
    }
}
