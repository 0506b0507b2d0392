using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Ilgpu.Simulated;

// The contract of every backend on ILGPU's CPU simulator. MmeSid.Kernels.Ilgpu.Tests runs these classes, each in a process of its own: a view that
// is read out of its range ends the process, a barrier that not all threads reach halts it.

public sealed class Encode() : EncodeContract(Simulator.Backend);

public sealed class Accumulate() : AccumulateContract(Simulator.Backend);

public sealed class MmdSums() : MmdSumsContract(Simulator.Backend);

public sealed class TopInnerProducts() : TopInnerProductsContract(Simulator.Backend);

internal static class Simulator
{
    public static IlgpuBackend Backend { get; } = new(IlgpuDevice.Simulator, 2);
}
