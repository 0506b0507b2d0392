namespace MmeSid.Engine.Generation;

/// <summary>
/// A language model that runs tokens, or vectors in place of token embeddings, and gives logits and hidden states. Its weights are never changed.
/// Tokenizing and loading are thread-safe; each <see cref="ILanguageModelContext"/> belongs to one thread at a time. Contexts and adapters keep the
/// model's memory until they are disposed of themselves.
/// </summary>
public interface ILanguageModel : IDisposable
{
    /// <summary>Family by the file's metadata, such as <c>llama</c>.</summary>
    string Architecture { get; }

    /// <summary>H: values of an embedding and of a hidden state.</summary>
    int EmbeddingDimension { get; }

    /// <summary>V: tokens, numbered from 0.</summary>
    int VocabularySize { get; }

    /// <summary>Longest sequence of the model's training.</summary>
    int TrainedContext { get; }

    /// <summary>Transformer layers.</summary>
    int Layers { get; }

    /// <summary>Token that starts a text, or null where the tokenizer has none.</summary>
    int? BeginToken { get; }

    /// <summary>Token that ends a text, or null where the tokenizer has none.</summary>
    int? EndToken { get; }

    /// <summary>The tokens of a text.</summary>
    /// <param name="text">Any text; halves of surrogate pairs that stand alone count as U+FFFD.</param>
    /// <param name="addSpecial">Whether the tokens that the model expects around a text (such as <see cref="BeginToken"/>) are added.</param>
    /// <param name="parseSpecial">Whether names of special tokens in the text stand for these tokens; never so for text from outside.</param>
    int[] Tokenize(string text, bool addSpecial, bool parseSpecial);

    /// <summary>The text of tokens; special tokens appear by name where asked for, else not at all.</summary>
    /// <exception cref="ArgumentException">A token is not in 0 … V − 1.</exception>
    string Detokenize(ReadOnlySpan<int> tokens, bool special = false);

    /// <summary>Loads a LoRA adapter (GGUF) for contexts that are created later. It lives as long as the model.</summary>
    /// <exception cref="InvalidDataException">The file is none, or made for another model.</exception>
    ILanguageModelAdapter LoadAdapter(string path);

    /// <summary>Makes a context.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="Kernels.NativeException">There is not enough memory.</exception>
    ILanguageModelContext CreateContext(LanguageModelContextOptions? options = null);
}

/// <summary>A loaded LoRA adapter: W x becomes W x + s · (α/r) · B A x for the weights that it holds.</summary>
public interface ILanguageModelAdapter
{
    /// <summary>File that it came from.</summary>
    string Path { get; }
}

/// <summary>Options of <see cref="ILanguageModel.CreateContext"/>.</summary>
public sealed record LanguageModelContextOptions
{
    /// <summary>Cells of the cache that all sequences share: a token takes one, whatever the number of sequences that share it. Rounded up to a multiple of 256.</summary>
    public int Capacity { get; init; } = 4096;

    /// <summary>Most entries that one <see cref="ILanguageModelContext.Decode"/> takes; never more than the capacity.</summary>
    public int BatchSize { get; init; } = 512;

    /// <summary>Sequences, numbered from 0; 1 to 256.</summary>
    public int Sequences { get; init; } = 1;

    /// <summary>
    /// Whether attention passes over the cells that an entry does not see, where the device can (flash attention), instead of multiplying and masking them: worth it where many sequences share a cache. It rounds
    /// queries to half precision, about 3e-4 of the largest logit.
    /// </summary>
    public bool SkipsUnseen { get; init; }

    /// <summary>Threads; 0: all cores. The native threads spin while they wait: on a shared machine 1 is often fastest.</summary>
    public int Threads { get; init; }
}

/// <summary>What <see cref="ILanguageModelContext.Decode"/> keeps of the entries that are outputs.</summary>
public enum LanguageModelOutputs
{
    /// <summary>Logits.</summary>
    Logits,

    /// <summary>Logits, and the hidden state after the final norm: logits = output matrix · hidden state.</summary>
    LogitsAndHiddenStates,
}
