using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// The loss of a residual quantizer's codes (L_rq of arXiv 2509.02017), MSE being the mean over the B rows and w columns:
/// <code>
///   L_rq = 1/L Σ_l [ MSE(sg(r_l), q_l) + μ MSE(r_l, sg(q_l)) ]
/// </code>
/// The first term moves codewords to the residuals they stand for, the second commits the encoder to its codewords.
/// </summary>
public static class ResidualLoss
{
    /// <summary>The loss, a scalar.</summary>
    /// <param name="levels">r_l and q_l, each [B, w]; at least one level.</param>
    /// <param name="commitment">μ.</param>
    public static Tensor Of(IReadOnlyList<(Tensor Residual, Tensor Codeword)> levels, double commitment)
    {
        ArgumentNullException.ThrowIfNull(levels);
        if (levels.Count == 0)
            throw new ArgumentException("there is no level, expected at least one", nameof(levels));
        using DisposeScope scope = NewDisposeScope();
        Tensor? sum = null;
        foreach ((Tensor residual, Tensor codeword) in levels)
        {
            Tensor level = nn.functional.mse_loss(codeword, residual.detach());
            if (commitment != 0)
                level += nn.functional.mse_loss(residual, codeword.detach()) * commitment;
            sum = sum is null ? level : sum + level;
        }
        return (sum! / levels.Count).MoveToOuterDisposeScope();
    }
}
