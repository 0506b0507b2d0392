namespace MmeSid.Kernels.Scalar;

/// <summary>
/// The oracle: every operation as plain float64 loops on one thread, with exact arithmetic where float64 cannot decide.
/// Slow on purpose; every other backend is tested against it.
/// </summary>
public sealed partial class ScalarBackend : IBackend
{
    /// <inheritdoc/>
    public string Name => "scalar";

    /// <inheritdoc/>
    public string Device => "float64 loops, 1 thread";

    /// <inheritdoc/>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null) => new ScalarEncoder(plan, (options ?? new()).Beam);
}
