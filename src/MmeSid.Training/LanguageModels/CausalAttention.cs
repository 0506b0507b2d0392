using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Causal attention of packed sequences with rotary positions, and its gradient. Groups of queries share a head of keys and values, so that all queries of a group are rows of
/// one product:
/// <code>
/// P = softmax(q kᵀ/√s + mask),  o = P v
/// ∂v = Pᵀ ∂o,  ∂P = ∂o vᵀ,  ∂S = P ∘ (∂P − rowsum(P ∘ ∂P)),  ∂q = ∂S k/√s,  ∂k = ∂Sᵀ q/√s
/// </code>
/// </summary>
internal sealed class CausalAttention
{
    private readonly LlamaShape _shape;
    private readonly RotaryTable _rotary;
    private readonly PackedSequences _places;
    private readonly Tensor _mask, _rotations, _back;
    private readonly double _scale;

    /// <summary>Prepares what all layers of a step share.</summary>
    /// <param name="shape">Of the model.</param>
    /// <param name="places">Of the step's sequences.</param>
    /// <param name="type">Of the values.</param>
    /// <param name="device">Theirs.</param>
    public CausalAttention(LlamaShape shape, PackedSequences places, ScalarType type, Device device)
    {
        (_shape, _places, _rotary, _scale) = (shape, places, new RotaryTable(shape), 1 / Math.Sqrt(shape.HeadSize));
        _mask = places.Mask(type, device);
        _rotations = _rotary.At(places.Positions, type, device);
        // Queries and keys both owe the factor of the scores to their gradients.
        _back = _rotary.At(places.Positions, type, device, back: true, _scale);
    }

    private int QueryWidth => _shape.Heads * _shape.HeadSize;

    private int KeyWidth => _shape.KeyHeads * _shape.HeadSize;

    /// <summary>Attends.</summary>
    /// <param name="projected">[N, (h + 2·h_k)·s]: queries, keys and values side by side; changed.</param>
    /// <returns>o, [N, h·s], and what <see cref="Backward"/> needs.</returns>
    public (Tensor Output, Saved Saved) Forward(Tensor projected)
    {
        using DisposeScope scope = NewDisposeScope();
        _rotary.Rotate(projected.narrow(1, 0, QueryWidth + KeyWidth), _rotations);
        Tensor queries = Grouped(projected.narrow(1, 0, QueryWidth)), keys = Grouped(projected.narrow(1, QueryWidth, KeyWidth)), values = Grouped(projected.narrow(1, QueryWidth + KeyWidth, KeyWidth));
        Tensor scores = queries.bmm(keys.transpose(1, 2));
        Tensor probabilities = _mask.add(scores.view(_places.Rows, _shape.KeyHeads, -1, _places.RowLength, _places.RowLength), _scale).softmax(-1).view(scores.shape);
        Tensor output = empty(_places.Places, QueryWidth, dtype: projected.dtype, device: projected.device);
        Ungroup(probabilities.bmm(values), output);
        foreach (Tensor kept in (Tensor[])[queries, keys, values, probabilities])
            kept.MoveToOuterDisposeScope();
        return (output.MoveToOuterDisposeScope(), new Saved(queries, keys, values, probabilities));
    }

    /// <summary>The gradient of <c>projected</c> before it was rotated, [N, (h + 2·h_k)·s].</summary>
    /// <param name="gradient">[N, h·s] of o.</param>
    /// <param name="saved">Of <see cref="Forward"/>.</param>
    public Tensor Backward(Tensor gradient, Saved saved)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor output = Grouped(gradient);
        Tensor probabilities = output.bmm(saved.Values.transpose(1, 2)).mul_(saved.Probabilities);
        Tensor scores = probabilities.addcmul_(saved.Probabilities, probabilities.sum(-1, keepdim: true), -1);
        Tensor result = empty(_places.Places, QueryWidth + (2 * KeyWidth), dtype: gradient.dtype, device: gradient.device);
        Ungroup(scores.bmm(saved.Keys), result.narrow(1, 0, QueryWidth));
        Ungroup(scores.transpose(1, 2).bmm(saved.Queries), result.narrow(1, QueryWidth, KeyWidth));
        Ungroup(saved.Probabilities.transpose(1, 2).bmm(output), result.narrow(1, QueryWidth + KeyWidth, KeyWidth));
        _rotary.Rotate(result.narrow(1, 0, QueryWidth + KeyWidth), _back);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>[N, heads·s] as [rows · h_k, (heads/h_k)·R, s].</summary>
    private Tensor Grouped(Tensor heads) => heads.view(_places.Rows, _places.RowLength, _shape.KeyHeads, -1, _shape.HeadSize).permute(0, 2, 3, 1, 4)
        .reshape(_places.Rows * _shape.KeyHeads, -1, _shape.HeadSize);

    /// <summary>The way back.</summary>
    private void Ungroup(Tensor groups, Tensor heads) => heads.view(_places.Rows, _places.RowLength, _shape.KeyHeads, -1, _shape.HeadSize)
        .copy_(groups.view(_places.Rows, _shape.KeyHeads, -1, _places.RowLength, _shape.HeadSize).permute(0, 3, 1, 2, 4));

    /// <summary>What the gradient needs: queries [rows·h_k, g·R, s], keys and values [rows·h_k, R, s], probabilities P [rows·h_k, g·R, R].</summary>
    public sealed record Saved(Tensor Queries, Tensor Keys, Tensor Values, Tensor Probabilities);
}
