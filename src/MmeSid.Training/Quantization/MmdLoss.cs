using MmeSid.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Squared maximum mean discrepancy between a batch of reconstructions S = s_1 … s_B and the batch T = t_1 … t_B that they reconstruct, as MME-SID computes it
/// (L_recon of arXiv 2509.02017, in the form of its released code, which is that of tllib):
/// <code>
///   k_α(x, y) = exp(−‖x − y‖² / (2 α m)),   m = 1/(2B)² Σ_{x,y ∈ S‖T} ‖x − y‖²   (pairs of a point with itself included; m is a constant to the gradient)
///   k = Σ_α k_α, or its mean over the list of α;  the paper has the one α = ½
///   MMD = 1/(B(B−1)) Σ_{i≠j} k(s_i, s_j) + 1/(B(B−1)) Σ_{i≠j} k(t_i, t_j) − 2/B² Σ_{i,j} k(s_i, t_j) + 2/(B−1)
/// </code>
/// The last term is a constant that keeps the loss positive; it is added once, whatever the list of α.
/// <para>
/// How it is computed. Distances do not change when all points are shifted, so they are centred first; then Σ x = 0 and <c>m = 2·mean ‖x‖²</c>, without a pass
/// over pairs. With x̃ = x/√(α₁ m) and h = −½‖x̃‖² the exponent of the first kernel is <c>[x̃, h, 1]·[ỹ, 1, h]</c>, one product of [B, d+2] and [d+2, 2B],
/// and the other kernels' exponents are multiples of it. The gradient is
/// </para>
/// <code>
///   ∂MMD/∂s_i = 1/√(α₁m) Σ_α α₁/α Σ_x v_x k_α(s_i, x) (x̃ − s̃_i),   v = 2/(B(B−1)) for x ∈ S, −2/B² for x ∈ T
/// </code>
/// (the 2 because s_i stands on both sides of the symmetric sum over S), so that the product of the kernel matrix with <c>[v x̃, 1_S, 1_T]</c> holds both the
/// gradient and the sums of the value. The kernel matrix is [B, 2B]; that among the targets is needed for the value alone, a block of rows at a time and from
/// the diagonal on; about 9·B²·d flop; nothing of [2B, 2B, d] exists, and nothing is kept for the backward pass but the [B, d] gradient.
/// </summary>
public static class MmdLoss
{
    private const long kRowsPerBlock = 256;

    /// <summary>α of the paper.</summary>
    public static IReadOnlyList<double> PaperBandwidths { get; } = [0.5];

    /// <summary>The discrepancy, a scalar that is differentiable with respect to the reconstruction.</summary>
    /// <param name="reconstruction">S, [B, d], B ≥ 2.</param>
    /// <param name="target">T, [B, d], a constant.</param>
    /// <param name="bandwidths">The list of α, each positive and finite; null for the paper's.</param>
    /// <param name="average">Whether kernels are averaged over the list instead of summed.</param>
    /// <exception cref="ArgumentException">Shapes, B, or an α do not fit, or the target wants a gradient.</exception>
    public static Tensor Of(Tensor reconstruction, Tensor target, IReadOnlyList<double>? bandwidths = null, bool average = false)
    {
        ArgumentNullException.ThrowIfNull(reconstruction);
        ArgumentNullException.ThrowIfNull(target);
        bandwidths ??= PaperBandwidths;
        Check(reconstruction, target, bandwidths);
        using DisposeScope scope = NewDisposeScope();
        (Tensor value, Tensor gradient) = Differentiate(reconstruction.detach(), target, bandwidths, average);
        return KnownGradient.At(value, reconstruction, gradient).MoveToOuterDisposeScope();
    }

    /// <summary>Refuses a list of α that is empty or holds what is not positive and finite.</summary>
    /// <exception cref="ArgumentException">Which α.</exception>
    public static void RequireBandwidths(IReadOnlyList<double> bandwidths)
    {
        ArgumentNullException.ThrowIfNull(bandwidths);
        if (bandwidths.Count == 0)
            throw new ArgumentException("there is no MMD bandwidth, expected at least one");
        foreach (double bandwidth in bandwidths)
        {
            if (!double.IsFinite(bandwidth) || bandwidth <= 0)
                throw new ArgumentException(FormattableString.Invariant($"an MMD bandwidth is {bandwidth}, expected a positive number"));
        }
    }

    private static (Tensor Value, Tensor Gradient) Differentiate(Tensor source, Tensor target, IReadOnlyList<double> bandwidths, bool average)
    {
        using IDisposable constant = no_grad();
        long batch = source.shape[0], dimension = source.shape[1];
        double within = 1.0 / (batch * (batch - 1.0)), across = -2.0 / ((double)batch * batch);
        Tensor points = cat([source, target]);
        points.sub_(points.mean([0], true));
        Tensor squares = points.square().sum(1, true);
        // Points that are all equal have m = 0 and x̃ = 0: every kernel is 1.
        Tensor scale = (squares.mean() * (2 * bandwidths[0])).clamp_min(1e-30).rsqrt();
        points.mul_(scale);
        squares.mul_(scale.square().mul_(-0.5));
        Tensor one = ones_like(squares);
        Tensor right = cat([points, one, squares], 1);
        Tensor left = cat([points, squares, one], 1);
        Tensor exponents = left.narrow(0, 0, batch).mm(right.t());
        Tensor[] amongTargets = SymmetricSums(left.narrow(0, batch, batch), right.narrow(0, batch, batch), bandwidths);

        // [v x̃, 1_S, 1_T]
        Tensor columns = right;
        columns.narrow(0, 0, batch).narrow(1, 0, dimension).mul_(2 * within);
        columns.narrow(0, batch, batch).narrow(1, 0, dimension).mul_(across);
        columns.narrow(1, dimension, 2).zero_();
        columns.narrow(1, dimension, 1).narrow(0, 0, batch).fill_(1);
        columns.narrow(1, dimension + 1, 1).narrow(0, batch, batch).fill_(1);

        Tensor centre = points.narrow(0, 0, batch);
        Tensor value = zeros(1, source.dtype, source.device), gradient = zeros_like(centre);
        for (int i = 0; i < bandwidths.Count; i++)
        {
            using DisposeScope kernel = NewDisposeScope();
            double ratio = bandwidths[0] / bandwidths[i];
            Tensor sums = Kernel(exponents, ratio, i == bandwidths.Count - 1).mm(columns);
            Tensor ofSources = sums.narrow(1, dimension, 1), ofTargets = sums.narrow(1, dimension + 1, 1);
            // k(x, x) = 1 leaves the sums over i ≠ j.
            value.add_(ofSources.sum() + (amongTargets[i] - 2 * batch), within).add_(ofTargets.sum(), across);
            Tensor pull = (ofSources * (2 * within)).add_(ofTargets, across);
            gradient.add_(sums.narrow(1, 0, dimension), ratio).sub_(pull * ratio * centre);
        }
        double share = average ? 1.0 / bandwidths.Count : 1;
        return ((value * share).add_(2.0 / (batch - 1)).squeeze(), gradient.mul_(scale * share));
    }

    /// <summary>Σ_{i,j} k_α(t_i, t_j) of each α: the matrix is symmetric, so that of each block of rows what lies left of the diagonal is left out.</summary>
    private static Tensor[] SymmetricSums(Tensor left, Tensor right, IReadOnlyList<double> bandwidths)
    {
        long batch = left.shape[0];
        Tensor[] sums = [.. bandwidths.Select(_ => zeros([], left.dtype, left.device))];
        for (long first = 0; first < batch; first += kRowsPerBlock)
        {
            using DisposeScope block = NewDisposeScope();
            long rows = Math.Min(kRowsPerBlock, batch - first);
            Tensor exponents = left.narrow(0, first, rows).mm(right.narrow(0, first, batch - first).t());
            for (int i = 0; i < sums.Length; i++)
            {
                Tensor kernel = Kernel(exponents, bandwidths[0] / bandwidths[i], i == sums.Length - 1);
                sums[i].add_(kernel.narrow(1, 0, rows).sum()).add_(kernel.narrow(1, rows, batch - first - rows).sum(), 2);
            }
        }
        return sums;
    }

    /// <summary>exp(ratio · exponent), in the exponents' own memory where they are not needed again.</summary>
    private static Tensor Kernel(Tensor exponents, double ratio, bool last) => last
        ? (ratio == 1 ? exponents : exponents.mul_(ratio)).exp_()
        : (exponents * ratio).exp_();

    private static void Check(Tensor reconstruction, Tensor target, IReadOnlyList<double> bandwidths)
    {
        if (reconstruction.ndim != 2 || !reconstruction.shape.SequenceEqual(target.shape))
            throw new ArgumentException($"MMD between [{string.Join(", ", reconstruction.shape)}] and [{string.Join(", ", target.shape)}], expected two batches of one shape [B, d]");
        if (reconstruction.shape[0] < 2)
            throw new ArgumentException($"MMD of a batch of {reconstruction.shape[0]} rows, expected at least 2");
        if (target.requires_grad)
            throw new ArgumentException("the target of MMD wants a gradient; it is a constant, pass it detached");
        RequireBandwidths(bandwidths);
    }
}
