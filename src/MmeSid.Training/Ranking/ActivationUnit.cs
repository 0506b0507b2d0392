using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>
/// How much an item of the history counts for a target, and the sum of the history by these weights (MCCA's FFN(e ⊕ q): DIN's activation unit, without a softmax and without its product of both):
/// <code>
/// w_j = v · ReLU(W [e_j ; q] + b) + c        h = Σ_j w_j e_j        W: [H, 2d'], v: [H]
/// </code>
/// An empty history sums to zero.
/// </summary>
internal sealed class ActivationUnit : nn.Module
{
    private readonly Linear hidden, output;

    /// <summary>Draws the weights from libtorch's generator.</summary>
    /// <param name="dimension">d'.</param>
    /// <param name="width">H.</param>
    public ActivationUnit(int dimension, int width)
        : base(nameof(ActivationUnit))
    {
        hidden = nn.Linear(2 * dimension, width);
        output = nn.Linear(width, 1);
        RegisterComponents();
    }

    /// <summary>W and b.</summary>
    public Linear Hidden => hidden;

    /// <summary>v and c.</summary>
    public Linear Output => output;

    /// <summary>h of each sample, [B, d'], by the formula.</summary>
    /// <param name="history">[P, d'], e_j.</param>
    /// <param name="queries">[B, d'], q.</param>
    /// <param name="owners">[P] int64, the sample of each e_j.</param>
    public Tensor Sum(Tensor history, Tensor queries, Tensor owners)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor weights = output.call(hidden.call(cat([history, queries.index_select(0, owners)], 1)).relu());
        return zeros(queries.shape[0], queries.shape[1], queries.dtype, queries.device).index_add(0, owners, weights * history, 1).MoveToOuterDisposeScope();
    }
}
