using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// A matrix product without bias and its gradient: y = x Wᵀ,  ∂L/∂x = g W,  ∂L/∂W = gᵀ x. W is trained, or frozen in the blocks of a file, which are widened for each of the two
/// products and forgotten; low-rank updates add to either.
/// </summary>
internal sealed class Projection : nn.Module
{
    private readonly Parameter? weight;
    private readonly ModuleList<LowRankUpdate> updates = nn.ModuleList<LowRankUpdate>();
    private readonly QuantizedMatrix? _frozen;

    /// <summary>A trained W of zeros.</summary>
    /// <param name="outputs">Rows of W.</param>
    /// <param name="inputs">Columns of W.</param>
    public Projection(long outputs, long inputs)
        : base(nameof(Projection))
    {
        weight = new Parameter(zeros(outputs, inputs).DetachFromDisposeScope());
        RegisterComponents();
    }

    /// <summary>A frozen W.</summary>
    /// <param name="frozen">W.</param>
    /// <param name="updates">What is trained instead.</param>
    public Projection(QuantizedMatrix frozen, IEnumerable<LowRankUpdate> updates)
        : base(nameof(Projection))
    {
        _frozen = frozen;
        this.updates = nn.ModuleList([.. updates]);
        RegisterComponents();
    }

    /// <summary>The trained W, [outputs, inputs].</summary>
    /// <exception cref="InvalidOperationException">W is frozen.</exception>
    public Parameter Weight => weight ?? throw new InvalidOperationException("the weight is frozen");

    /// <summary>The type that factors are rounded to for the three products with W; null leaves them as they are. Results, W and its gradient keep their own.</summary>
    public ScalarType? Precision { get; set; }

    /// <summary>The updates, each of some rows of y.</summary>
    public IReadOnlyList<LowRankUpdate> Updates => updates;

    /// <summary>y, [N, outputs], of x, [N, inputs].</summary>
    /// <param name="x">Rows.</param>
    /// <param name="training">What updates drop of their input; null where nothing is dropped.</param>
    /// <param name="kept">What the gradients of the updates need.</param>
    public Tensor Forward(Tensor x, DropoutMasks? training, out IReadOnlyList<LowRankUpdate.Saved> kept)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor y = Product(x, Matrix(x).t());
        var saved = new List<LowRankUpdate.Saved>(updates.Count);
        foreach (LowRankUpdate update in updates)
        {
            saved.Add(update.Forward(x, y, training));
            scope.MoveToOuter(saved[^1].Tensors);
        }
        kept = saved;
        return y.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of x, [N, inputs].</summary>
    /// <param name="gradient">[N, outputs] of y.</param>
    /// <param name="x">[N, inputs] of <see cref="Forward"/>.</param>
    /// <param name="kept">Of <see cref="Forward"/>.</param>
    /// <param name="gradients">Takes those of what is trained.</param>
    public Tensor Backward(Tensor gradient, Tensor x, IReadOnlyList<LowRankUpdate.Saved> kept, Gradients gradients)
    {
        using DisposeScope scope = NewDisposeScope();
        if (weight is not null)
            gradients.Add(weight, Product(gradient.t(), x));
        Tensor result = Product(gradient, Matrix(x));
        for (int i = 0; i < kept.Count; i++)
            updates[i].Backward(gradient, x, kept[i], result, gradients);
        return result.MoveToOuterDisposeScope();
    }

    private Tensor Matrix(Tensor x) => weight is null ? _frozen!.Dequantize(Precision ?? x.dtype, x.device) : weight;

    private Tensor Product(Tensor left, Tensor right) => Precision is { } type ? left.to(type).mm(right.to(type)).to(left.dtype) : left.mm(right);
}
