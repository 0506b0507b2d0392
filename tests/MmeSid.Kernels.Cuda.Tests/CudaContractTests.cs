using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Cuda.Tests;

// The contract of every backend, once per screen and once as the backend chooses.

public sealed class CudaEncodeTests() : EncodeContract(Backends.Cuda());

public sealed class CudaFloat32EncodeTests() : EncodeContract(Backends.Cuda(ScreenKind.Float32));

public sealed class CudaInt8EncodeTests() : EncodeContract(Backends.Cuda(ScreenKind.Int8));

public sealed class CudaAccumulateTests() : AccumulateContract(Backends.Cuda());

public sealed class CudaMmdSumsTests() : MmdSumsContract(Backends.Cuda());

public sealed class CudaSinkhornAssignTests() : SinkhornAssignContract(Backends.Cuda());

public sealed class CudaTopInnerProductsTests() : TopInnerProductsContract(Backends.Cuda());

/// <summary>Lists so short that thresholds decide in every case.</summary>
public sealed class CudaShortListTopInnerProductsTests() : TopInnerProductsContract(Backends.Cuda(topListEntries: 1));

public sealed class CudaRecomputedSinkhornAssignTests() : SinkhornAssignContract(Backends.Cuda(sinkhornKeptBytes: 0));

internal static class Backends
{
    /// <summary>A backend on the first device, or the reason to skip.</summary>
    public static CudaBackend Cuda(ScreenKind? screen = null, int topListEntries = 1024, long topBatchBytes = 256L << 20, long topListBytes = 128L << 20, long sinkhornKeptBytes = long.MaxValue)
    {
        SoftCuda.Require();
        return new CudaBackend(0, 2, screen) { TopListEntries = topListEntries, TopBatchBytes = topBatchBytes, TopListBytes = topListBytes, SinkhornKeptBytes = sinkhornKeptBytes };
    }
}
