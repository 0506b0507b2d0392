using MmeSid.Kernels.Tests;

namespace MmeSid.Kernels.Cuda.Tests;

// The contract of every backend, once per screen and once as the backend chooses.

public sealed class CudaEncodeTests() : EncodeContract(Backends.Cuda());

public sealed class CudaFloat32EncodeTests() : EncodeContract(Backends.Cuda("screen_float32"));

public sealed class CudaInt8EncodeTests() : EncodeContract(Backends.Cuda("screen_int8_128x128"));

public sealed class CudaTallFloat16EncodeTests() : EncodeContract(Backends.Cuda("screen_float16_256x128"));

public sealed class CudaSharedOperandFloat16EncodeTests() : EncodeContract(Backends.Cuda("screen_float16_128x256", shareOperand: true));

public sealed class CudaSharedOperandInt8EncodeTests() : EncodeContract(Backends.Cuda("screen_int8_256x128", shareOperand: true));

public sealed class CudaHopperFloat16EncodeTests() : EncodeContract(Backends.Cuda("screen_hopper_float16"));

public sealed class CudaHopperInt8EncodeTests() : EncodeContract(Backends.Cuda("screen_hopper_int8", shareOperand: true));

/// <summary>Every call on two devices.</summary>
public sealed class CudaTwoGpusEncodeTests() : EncodeContract(Backends.CudaOnTwo(screen: "screen_float32"));

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
    public static CudaBackend Cuda(string? screen = null, bool shareOperand = false, int topListEntries = 1024, long topBatchBytes = 256L << 20, long topListBytes = 128L << 20, long sinkhornKeptBytes = long.MaxValue)
    {
        SoftCuda.Require();
        return new CudaBackend([0], 2, Screening(screen, shareOperand)) { TopListEntries = topListEntries, TopBatchBytes = topBatchBytes, TopListBytes = topListBytes, SinkhornKeptBytes = sinkhornKeptBytes };
    }

    /// <summary>A backend on two devices that splits every call, or the reason to skip.</summary>
    public static CudaBackend CudaOnTwo(int leastPartRows = 1, string? screen = null)
    {
        SoftCuda.Require();
        Assert.SkipUnless(CudaDevice.Count > 1, "there is one GPU only");
        return new CudaBackend([0, 1], 2, Screening(screen, shareOperand: false)) { LeastPartRows = leastPartRows };
    }

    private static Screening? Screening(string? screen, bool shareOperand) => screen is null ? null : new Screening(Screen.Named(screen), shareOperand);
}
