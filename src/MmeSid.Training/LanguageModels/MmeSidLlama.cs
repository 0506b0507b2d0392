using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// MME-SID's language model (arXiv 2509.02017): tokens of a prefix, a soft token x per item of a history, oldest first, and tokens of a suffix. The hidden state h of the last entry scores every item
/// by h · z_i (<see cref="MmeSidItems"/>).
/// </summary>
public sealed class MmeSidLlama : nn.Module
{
    private readonly Llama transformer;
    private readonly MmeSidItems items;
    private readonly Tensor? tokens;

    /// <summary>Puts a model together.</summary>
    /// <param name="transformer">Taken over.</param>
    /// <param name="items">Of its dimension; taken over.</param>
    /// <param name="prompt">Tokens around every history; null for none.</param>
    public MmeSidLlama(Llama transformer, MmeSidItems items, LlamaPrompt? prompt = null)
        : base(nameof(MmeSidLlama))
    {
        ArgumentNullException.ThrowIfNull(transformer);
        ArgumentNullException.ThrowIfNull(items);
        (this.transformer, this.items, Prompt) = (transformer, items, prompt ?? LlamaPrompt.None);
        if (items.Embeddings.shape[1] != transformer.Shape.Dimension)
            throw new ArgumentException($"items have dimension {items.Embeddings.shape[1]}, the transformer has {transformer.Shape.Dimension}", nameof(items));
        if (Prompt.Count > 0)
        {
            tokens = tensor(Prompt.Vectors, [Prompt.Count, transformer.Shape.Dimension]).DetachFromDisposeScope();
            register_buffer(nameof(tokens), tokens, persistent: false);
        }
        RegisterComponents();
    }

    /// <summary>What lies between vectors and hidden states.</summary>
    public Llama Transformer => transformer;

    /// <summary>What goes in and what scores.</summary>
    public MmeSidItems Items => items;

    /// <summary>Tokens around every history.</summary>
    public LlamaPrompt Prompt { get; }

    /// <summary>The vectors at the places of a batch, [N, H], with a graph behind them where gradients are on.</summary>
    internal Tensor Embed(MmeSidBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        Device device = items.Embeddings.device;
        Tensor vectors = items.Inputs(tensor(batch.Items, device: device));
        if (tokens is not null)
            vectors = cat([vectors, tokens], 0);
        return vectors.index_select(0, tensor(batch.Inputs, device: device)).MoveToOuterDisposeScope();
    }
}
