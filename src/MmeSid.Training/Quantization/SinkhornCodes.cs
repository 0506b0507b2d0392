using System.Runtime.InteropServices;
using MmeSid.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Codes of a batch that use every code about equally: the plan between n rows and K codes with uniform margins that is cheapest but for an entropy term ε
/// (LETTER, MME-SID: ε = 0.003, 50 iterations), argmax per row. The iteration is that of <see cref="IBackend.SinkhornAssign"/>, in float64:
/// <code>
///   C = distances scaled to [−1, 1];  A = exp(−(C − min_k C)/ε);  v = 1;  T times: u = 1/(n·A v), v = 1/(K·Aᵀ u);  code_i = argmax_k A[i, k] v[k]
/// </code>
/// Subtracting a row's least cost only rescales u, and keeps A within (0, 1]: with C in [−1, 1] its least value is e^(−667) at ε = 0.003, which float64 holds.
/// <para>
/// Reading A is what an iteration costs. In a processor's memory <see cref="HostScaling"/> reads it once an iteration; a plan beyond <c>kOnePassBytes</c>, or
/// on a device, takes libtorch's products, which read it twice and use all threads.
/// </para>
/// </summary>
public static class SinkhornCodes
{
    // About what one core reads as fast as several would.
    private const long kOnePassBytes = 8L << 20;

    /// <summary>The codes, int64 [n].</summary>
    /// <param name="distances">[n, K] squared distances.</param>
    /// <param name="options">ε, T; without scaling, distances over ε may not span more than about 600.</param>
    public static Tensor Of(Tensor distances, SinkhornOptions options)
    {
        ArgumentNullException.ThrowIfNull(distances);
        ArgumentNullException.ThrowIfNull(options);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        long rows = distances.shape[0], codes = distances.shape[1];
        Tensor cost = distances.detach().to(float64);
        Tensor exponents = cost.amin([1], true) - cost;
        double half = (cost.max() - cost.min()).ToDouble() / 2;
        double unit = options.ScaleDistances ? (half > 0 ? half : 1) : 1;
        Tensor affinity = exponents.div_(unit * options.Epsilon).exp_();
        bool onePass = distances.device_type == DeviceType.CPU && rows * codes * sizeof(double) <= kOnePassBytes;
        return (onePass ? InOnePass(affinity, options.Iterations) : InProducts(affinity, options.Iterations)).MoveToOuterDisposeScope();
    }

    /// <summary>The codes from A, [n, K], contiguous; it is overwritten.</summary>
    internal static Tensor InProducts(Tensor affinity, int iterations)
    {
        Tensor transposed = affinity.t(), v = ones(affinity.shape[1], float64, affinity.device);
        for (int i = 0; i < iterations; i++)
        {
            using DisposeScope iteration = NewDisposeScope();
            Tensor u = affinity.mv(v).mul_(affinity.shape[0]).reciprocal_();
            v.copy_(transposed.mv(u).mul_(affinity.shape[1]).reciprocal_());
        }
        return affinity.mul_(v).argmax(1);
    }

    /// <summary>The same by one thread in a processor's memory.</summary>
    internal static Tensor InOnePass(Tensor affinity, int iterations)
    {
        int rows = checked((int)affinity.shape[0]), codes = checked((int)affinity.shape[1]);
        return tensor(HostScaling.Codes(MemoryMarshal.Cast<byte, double>(affinity.bytes), rows, codes, iterations), int64);
    }
}
