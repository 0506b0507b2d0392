namespace MmeSid.Engine.Generation;

/// <summary>
/// Sequences that a model has read so far: a cache of keys and values, shared by all of them. Every sequence starts empty, and each decoded entry
/// takes the next position of its sequence. Several prompts live side by side as sequences; beams share a prompt through <see cref="Copy"/>, which costs no cells.
/// For one thread at a time.
/// </summary>
public interface ILanguageModelContext : IDisposable
{
    /// <summary>The model.</summary>
    ILanguageModel Model { get; }

    /// <summary>Cells of the cache.</summary>
    int Capacity { get; }

    /// <summary>Most entries of a batch.</summary>
    int BatchSize { get; }

    /// <summary>Number of sequences.</summary>
    int Sequences { get; }

    /// <summary>Entries of a sequence: the position that its next one takes.</summary>
    /// <exception cref="ArgumentException">There is no such sequence.</exception>
    int Length(int sequence);

    /// <summary>
    /// Runs a batch and appends its entries to their sequences, in order: all of them or, when it fails, none. An entry sees the earlier entries of its own sequence.
    /// </summary>
    /// <param name="batch">1 to <see cref="BatchSize"/> entries, tokens or vectors of the model's dimension.</param>
    /// <param name="outputs">
    /// What to keep of the entries marked as outputs, until the next call. Hidden states cost most when, in a sequence, an output is followed by an entry that is none.
    /// </param>
    /// <exception cref="ArgumentException">A token, a sequence, the dimension or the number of entries is out of range.</exception>
    /// <exception cref="Kernels.NativeException">Status 1: the cache has too few free cells. Others: the computation failed.</exception>
    void Decode(LanguageModelBatch batch, LanguageModelOutputs outputs = LanguageModelOutputs.Logits);

    /// <summary>Copies the logits of an entry of the last batch.</summary>
    /// <param name="entry">Its place in the batch; it was marked as an output.</param>
    /// <param name="destination">V values.</param>
    /// <exception cref="ArgumentException">The entry was no output, or the destination has another length.</exception>
    void ReadLogits(int entry, Span<float> destination);

    /// <summary>Copies the hidden state of an entry of the last batch, which kept hidden states.</summary>
    /// <param name="entry">Its place in the batch; it was marked as an output.</param>
    /// <param name="destination">H values.</param>
    /// <exception cref="ArgumentException">The entry was no output, hidden states were not kept, or the destination has another length.</exception>
    void ReadHiddenState(int entry, Span<float> destination);

    /// <summary>Empties all sequences.</summary>
    void Clear();

    /// <summary>Makes a sequence the same as another by sharing its cells; what it held before is removed.</summary>
    /// <exception cref="ArgumentException">There is no such sequence.</exception>
    void Copy(int from, int to);

    /// <summary>Removes the entries of a sequence from a position on; all of them without one. Cells that nobody shares become free.</summary>
    /// <exception cref="ArgumentException">There is no such sequence, or the position is beyond its end.</exception>
    void Remove(int sequence, int from = 0);

    /// <summary>Attaches these adapters in place of those attached before; none detaches all. What the cache holds is not computed again.</summary>
    /// <param name="adapters">Of this context's model, loaded before the context was created, each with the scale s.</param>
    /// <exception cref="ArgumentException">One is of another model or loaded later, twice in the list, or has a scale that is not finite.</exception>
    void Attach(params ReadOnlySpan<(ILanguageModelAdapter Adapter, float Scale)> adapters);
}
