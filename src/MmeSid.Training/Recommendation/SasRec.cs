using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Recommendation;

/// <summary>
/// SASRec (Kang and McAuley 2018, arXiv 1808.09781): a causal transformer over a user's items. Items and positions are embedded and added; each block is
/// self-attention and a feed-forward part with GELU, a residual and a layer norm after each (the form that published re-measurements train). The score of
/// an item is the inner product of the last hidden state with the item's embedding: input and output share one table.
/// <code>
/// x = Dropout(LN(E[items] + P[0 … T−1]))        each block: x = LN(x + Dropout(Attention(x)));  x = LN(x + Dropout(FFN(x)))
/// score_i = h · E_i
/// </code>
/// Sequences are padded behind their end: under the causal mask no event sees what follows it, so padding needs no mask of its own.
/// </summary>
public sealed class SasRec : nn.Module<Tensor, Tensor>
{
    private readonly Embedding items, positions;
    private readonly LayerNorm norm;
    private readonly Dropout dropout;
    private readonly ModuleList<Block> blocks;

    /// <summary>Random weights, N(0, 0.02²), from libtorch's generator.</summary>
    /// <param name="itemCount">Items, n ≥ 1.</param>
    /// <param name="options">Shape.</param>
    public SasRec(long itemCount, SasRecOptions options)
        : base(nameof(SasRec))
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(itemCount, 1);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        items = nn.Embedding(itemCount, options.Dimension);
        positions = nn.Embedding(options.Length, options.Dimension);
        norm = nn.LayerNorm(options.Dimension);
        dropout = nn.Dropout(options.Dropout);
        blocks = nn.ModuleList([.. Enumerable.Range(0, options.Blocks).Select(_ => new Block(options))]);
        RegisterComponents();
        using IDisposable frozen = no_grad();
        foreach ((string name, Parameter parameter) in named_parameters())
        {
            if (parameter.dim() > 1)
                _ = nn.init.normal_(parameter, 0, 0.02);
            else if (name.EndsWith("bias", StringComparison.Ordinal))
                _ = nn.init.zeros_(parameter);
        }
    }

    /// <summary>The item embeddings, [n, d].</summary>
    public Parameter ItemEmbeddings => items.weight!;

    /// <summary>Hidden states.</summary>
    /// <param name="input">[B, T] int64 item rows, oldest first, padded behind the end with any item; T ≤ <see cref="SasRecOptions.Length"/>.</param>
    /// <returns>[B, T, d]; at each position what the events up to it say of the next one.</returns>
    public override Tensor forward(Tensor input)
    {
        long length = input.shape[1];
        Tensor x = dropout.call(norm.call(items.call(input) + positions.weight!.narrow(0, 0, length)));
        // 0 where a position may look, −∞ where it may not.
        Tensor mask = full([length, length], float.NegativeInfinity, device: x.device).triu(1);
        foreach (Block block in blocks)
            x = block.call(x, mask);
        return x;
    }

    /// <summary>Attention and feed-forward part.</summary>
    private sealed class Block : nn.Module<Tensor, Tensor, Tensor>
    {
        private readonly int _heads;
        private readonly Linear queryKeyValue, output, expand, contract;
        private readonly LayerNorm attentionNorm, forwardNorm;
        private readonly Dropout dropout;

        public Block(SasRecOptions options)
            : base(nameof(Block))
        {
            _heads = options.Heads;
            queryKeyValue = nn.Linear(options.Dimension, 3 * options.Dimension);
            output = nn.Linear(options.Dimension, options.Dimension);
            expand = nn.Linear(options.Dimension, options.FeedForward);
            contract = nn.Linear(options.FeedForward, options.Dimension);
            attentionNorm = nn.LayerNorm(options.Dimension);
            forwardNorm = nn.LayerNorm(options.Dimension);
            dropout = nn.Dropout(options.Dropout);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x, Tensor mask)
        {
            x = attentionNorm.call(x + dropout.call(output.call(Attend(x, mask))));
            return forwardNorm.call(x + dropout.call(contract.call(expand.call(x).gelu())));
        }

        private Tensor Attend(Tensor x, Tensor mask)
        {
            (long batch, long length, long dimension) = (x.shape[0], x.shape[1], x.shape[2]);
            Tensor[] parts = queryKeyValue.call(x).view(batch, length, 3, _heads, dimension / _heads).permute(2, 0, 3, 1, 4).unbind(0);
            Tensor scores = parts[0].matmul(parts[1].transpose(-2, -1)) / Math.Sqrt(dimension / _heads) + mask;
            return dropout.call(scores.softmax(-1)).matmul(parts[2]).transpose(1, 2).reshape(batch, length, dimension);
        }
    }
}
