using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// A language model on semantic IDs: a sequence is a begin vector and, for each item, a vector per code of its SID, oldest item first. The hidden state behind an entry scores the
/// codes of the level that comes next:
/// <code>
/// P(k | what came before) = softmax_k(head_l[k] · h)        over the K_l codes of level l
/// </code>
/// </summary>
public sealed class SidLlama : nn.Module
{
    private readonly Llama transformer;
    private readonly Embedding embeddings;
    private readonly Parameter? head;
    private readonly Tensor? prefix;

    /// <summary>A transformer and the given vectors.</summary>
    /// <param name="vocabulary">Codes of the levels.</param>
    /// <param name="transformer">Taken over.</param>
    /// <param name="vectors">[T + 1, H] row-major: first values of the input vectors and, where they are not tied, of the head.</param>
    /// <param name="tied">Whether codes are scored by their input vectors.</param>
    /// <param name="prompt">Tokens before every sequence; null for none.</param>
    /// <param name="headVectors">[T + 1, H] row-major, the last row unused: first values of a head that is not tied; null takes those of the input vectors.</param>
    /// <exception cref="ArgumentException">The prompt has tokens behind the sequence, which is where codes are scored.</exception>
    public SidLlama(SidVocabulary vocabulary, Llama transformer, float[] vectors, bool tied, LlamaPrompt? prompt = null, float[]? headVectors = null)
        : base(nameof(SidLlama))
    {
        ArgumentNullException.ThrowIfNull(vocabulary);
        ArgumentNullException.ThrowIfNull(transformer);
        ArgumentNullException.ThrowIfNull(vectors);
        Vocabulary = vocabulary;
        this.transformer = transformer;
        int dimension = transformer.Shape.Dimension;
        if (prompt is { Suffix: > 0 })
            throw new ArgumentException($"the prompt has {prompt.Suffix} tokens behind the history, expected none", nameof(prompt));
        PrefixLength = prompt?.Count ?? 0;
        embeddings = nn.Embedding(vocabulary.Tokens + 1, dimension);
        using (DisposeScope scope = NewDisposeScope())
        using (no_grad())
        {
            embeddings.weight!.copy_(tensor(vectors, [vocabulary.Tokens + 1, dimension]));
            Tensor start = headVectors is null ? embeddings.weight!.detach() : tensor(headVectors, [vocabulary.Tokens + 1, dimension]);
            head = tied ? null : new Parameter(start.narrow(0, 0, vocabulary.Tokens).clone().DetachFromDisposeScope());
        }
        if (PrefixLength > 0)
        {
            prefix = tensor(prompt!.Vectors, [PrefixLength, dimension]).DetachFromDisposeScope();
            register_buffer(nameof(prefix), prefix, persistent: false);
        }
        RegisterComponents();
    }

    /// <summary>The codes.</summary>
    public SidVocabulary Vocabulary { get; }

    /// <summary>What lies between vectors and hidden states.</summary>
    public Llama Transformer => transformer;

    /// <summary>Input vectors, [T + 1, H]: those of the codes, then the begin vector.</summary>
    public Parameter Embeddings => embeddings.weight!;

    /// <summary>Tokens before every sequence.</summary>
    public int PrefixLength { get; }

    /// <summary>Whether codes are scored by their input vectors.</summary>
    public bool Tied => head is null;

    /// <summary>What scores the codes, [T, H]: rows of a parameter.</summary>
    public Tensor Head => head ?? Embeddings.narrow(0, 0, Vocabulary.Tokens);

    /// <summary>Adds the gradient of <see cref="Head"/>.</summary>
    internal void AddHeadGradient(Tensor gradient, Gradients gradients)
    {
        if (head is not null)
        {
            gradients.Add(head, gradient);
            return;
        }
        Tensor whole = zeros_like(Embeddings.detach());
        whole.narrow(0, 0, Vocabulary.Tokens).copy_(gradient);
        gradients.Add(Embeddings, whole);
    }

    /// <summary>Input vectors of rows, [N, H], with a graph behind them where gradients are on. Rows behind the begin vector are the tokens of the prefix.</summary>
    internal Tensor Embed(Tensor rows)
    {
        if (prefix is null)
            return embeddings.call(rows);
        using DisposeScope scope = NewDisposeScope();
        return cat([Embeddings, prefix], 0).index_select(0, rows).MoveToOuterDisposeScope();
    }
}
