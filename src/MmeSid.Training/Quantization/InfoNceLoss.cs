using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Alignment of two modalities' embeddings of the same items by in-batch contrast, one direction (L_align of arXiv 2509.02017, where the queries are
/// collaborative and τ = 0.1):
/// <code>
///   InfoNCE(q, p) = −1/B Σ_i log( exp(cos(q_i, p_i)/τ) / Σ_j exp(cos(q_i, p_j)/τ) )
/// </code>
/// </summary>
public static class InfoNceLoss
{
    /// <summary>The loss, a scalar, between 0 and log B + 2/τ.</summary>
    /// <param name="queries">q, [B, w].</param>
    /// <param name="positives">p, [B, w]: row i belongs to query i, every other row is a negative of it. A row of zeros has cosine 0 to everything.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <exception cref="ArgumentException">Shapes differ or τ is not positive.</exception>
    public static Tensor Of(Tensor queries, Tensor positives, double temperature = 0.1)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(positives);
        if (queries.ndim != 2 || !queries.shape.SequenceEqual(positives.shape))
            throw new ArgumentException($"InfoNCE between [{string.Join(", ", queries.shape)}] and [{string.Join(", ", positives.shape)}], expected two batches of one shape [B, w]");
        if (!(temperature > 0) || double.IsInfinity(temperature))
            throw new ArgumentException(FormattableString.Invariant($"the temperature is {temperature}, expected a positive number"));
        using DisposeScope scope = NewDisposeScope();
        Tensor left = nn.functional.normalize(queries, dim: 1) / temperature;
        Tensor right = nn.functional.normalize(positives, dim: 1);
        Tensor labels = arange(queries.shape[0], int64, queries.device);
        return nn.functional.cross_entropy(left.mm(right.t()), labels).MoveToOuterDisposeScope();
    }
}
