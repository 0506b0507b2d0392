using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Optimization;

/// <summary>
/// Cross-entropy over a large catalogue straight from hidden states, without the [P, n] array of scores: rows go through in blocks, each of which gives its part of
/// the loss and of both gradients while its scores are still in the cache.
/// <code>
/// loss = −1/P Σ_p log softmax(h_p Eᵀ)[t_p]        ∂/∂h = (softmax(h Eᵀ) − onehot(t)) E / P,   ∂/∂E = (softmax(h Eᵀ) − onehot(t))ᵀ h / P
/// </code>
/// Both gradients are known when the value is (<see cref="KnownGradient"/>).
/// </summary>
public static class LinearCrossEntropy
{
    private const long kScoresPerBlock = 1 << 22;

    /// <summary>The mean over the rows. Deterministic; of rows and weights that are float64 in that precision.</summary>
    /// <param name="hidden">[P, d], P ≥ 1.</param>
    /// <param name="weights">[n, d], a row per class.</param>
    /// <param name="targets">[P] int64, below n.</param>
    /// <returns>A scalar that can be differentiated once by <paramref name="hidden"/> and <paramref name="weights"/>.</returns>
    public static Tensor Mean(Tensor hidden, Tensor weights, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        ArgumentNullException.ThrowIfNull(weights);
        ArgumentNullException.ThrowIfNull(targets);
        using DisposeScope scope = NewDisposeScope();
        (Tensor loss, Tensor hiddenGradient, Tensor weightGradient) = Sum(hidden, weights, targets);
        return (KnownGradient.At(loss, [(hidden, hiddenGradient), (weights, weightGradient)]) / hidden.shape[0]).MoveToOuterDisposeScope();
    }

    /// <summary>The sum over the rows and its gradients, without a graph.</summary>
    /// <param name="hidden">[P, d], P ≥ 1.</param>
    /// <param name="weights">[n, d], a row per class.</param>
    /// <param name="targets">[P] int64, below n.</param>
    /// <returns>A scalar, [P, d] and [n, d].</returns>
    public static (Tensor Loss, Tensor HiddenGradient, Tensor WeightGradient) Sum(Tensor hidden, Tensor weights, Tensor targets)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        ArgumentNullException.ThrowIfNull(weights);
        ArgumentNullException.ThrowIfNull(targets);
        long rows = hidden.shape[0], classes = weights.shape[0];
        if (targets.shape is not [var count] || count != rows)
            throw new ArgumentException($"{rows} rows have [{string.Join(", ", targets.shape)}] targets, expected [{rows}]", nameof(targets));
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        Tensor h = hidden.detach(), e = weights.detach();
        Tensor loss = zeros([], dtype: h.dtype, device: h.device), hiddenGradient = empty_like(h), weightGradient = zeros_like(e);
        long block = Math.Clamp(kScoresPerBlock / classes, 1, rows);
        for (long first = 0; first < rows; first += block)
        {
            using DisposeScope inner = NewDisposeScope();
            long taken = Math.Min(block, rows - first);
            Tensor part = h.narrow(0, first, taken), target = targets.narrow(0, first, taken).unsqueeze(1);
            Tensor logs = part.mm(e.t()).log_softmax(1);
            loss.sub_(logs.gather(1, target).sum());
            Tensor difference = logs.exp();
            difference.scatter_add_(1, target, full([taken, 1], -1, dtype: h.dtype, device: h.device));
            hiddenGradient.narrow(0, first, taken).copy_(difference.mm(e));
            weightGradient.add_(difference.t().mm(part));
        }
        return (loss.MoveToOuterDisposeScope(), hiddenGradient.MoveToOuterDisposeScope(), weightGradient.MoveToOuterDisposeScope());
    }
}
