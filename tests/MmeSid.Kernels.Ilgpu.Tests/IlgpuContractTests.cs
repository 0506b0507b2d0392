using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Ilgpu.Tests;

// The contract of every backend, on ILGPU's CPU simulator and on a GPU where there is one.

public sealed class SimulatedEncodeTests() : EncodeContract(Backends.Simulator);

public sealed class SimulatedAccumulateTests() : AccumulateContract(Backends.Simulator);

public sealed class SimulatedMmdSumsTests() : MmdSumsContract(Backends.Simulator);

public sealed class SimulatedTopInnerProductsTests() : TopInnerProductsContract(Backends.Simulator);

public sealed class GpuEncodeTests() : EncodeContract(Backends.Gpu());

public sealed class GpuAccumulateTests() : AccumulateContract(Backends.Gpu());

public sealed class GpuMmdSumsTests() : MmdSumsContract(Backends.Gpu());

public sealed class GpuTopInnerProductsTests() : TopInnerProductsContract(Backends.Gpu());

internal static class Backends
{
    public static IlgpuBackend Simulator { get; } = new(IlgpuDevice.Simulator, 2);

    /// <summary>A backend on the first GPU, or the reason to skip.</summary>
    public static IlgpuBackend Gpu()
    {
        Assert.SkipUnless(IlgpuBackend.UnavailableReason is null, $"{IlgpuBackend.UnavailableReason}");
        return new IlgpuBackend();
    }
}
