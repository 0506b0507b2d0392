using MmeSid.Engine.Generation;

namespace MmeSid.Llama;

/// <summary>
/// The number of entries of each sequence, kept beside llama.cpp's own, and with it everything that must hold before a batch crosses: llama.cpp ends
/// the process over some of it, and answers the rest with a bare status.
/// </summary>
internal sealed class SequenceLengths(ILanguageModel model, int sequences, int batchSize)
{
    private readonly int[] _lengths = new int[sequences];

    public int this[int sequence]
    {
        get
        {
            Check(sequence);
            return _lengths[sequence];
        }
    }

    public void Check(int sequence)
    {
        if ((uint)sequence >= (uint)_lengths.Length)
            throw new ArgumentOutOfRangeException(nameof(sequence), $"sequence {sequence} does not exist, the context has 0 to {_lengths.Length - 1}");
    }

    public void CheckStart(int sequence, int from)
    {
        Check(sequence);
        if (from < 0 || from > _lengths[sequence])
            throw new ArgumentOutOfRangeException(nameof(from), $"sequence {sequence} has {_lengths[sequence]} entries, none from {from} on");
    }

    public void Check(LanguageModelBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.Count == 0 || batch.Count > batchSize)
            throw new ArgumentException($"the batch has {batch.Count} entries, expected 1 to {batchSize}", nameof(batch));
        if (batch.Dimension != 0 && batch.Dimension != model.EmbeddingDimension)
            throw new ArgumentException($"the batch has vectors of {batch.Dimension} values, the model {model.EmbeddingDimension}", nameof(batch));
        foreach (int token in batch.Tokens)
        {
            if ((uint)token >= (uint)model.VocabularySize)
                throw new ArgumentException($"token {token} does not exist, the model has 0 to {model.VocabularySize - 1}", nameof(batch));
        }
        foreach (int sequence in batch.Sequences)
            Check(sequence);
    }

    /// <summary>
    /// The order in which entries are given to llama.cpp for hidden states: it computes outputs for every entry of a call that keeps them, so that
    /// entries without outputs go first in a call of their own. One call where an output has such an entry behind it.
    /// </summary>
    /// <returns>The places of the entries of each call; the last call has all outputs.</returns>
    public static int[][] Calls(LanguageModelBatch batch, LanguageModelOutputs outputs)
    {
        int[] all = [.. Enumerable.Range(0, batch.Count)];
        if (outputs == LanguageModelOutputs.Logits)
            return [all];
        int[] silent = [.. all.Where(entry => !batch.Outputs[entry])], heard = [.. all.Where(entry => batch.Outputs[entry])];
        if (silent.Length == 0 || heard.Length == 0)
            return [all];
        var done = new HashSet<int>();
        foreach (int entry in all)
        {
            if (batch.Outputs[entry])
                done.Add(batch.Sequences[entry]);
            else if (done.Contains(batch.Sequences[entry]))
                return [all];
        }
        return [silent, heard];
    }

    /// <summary>The position that the next entry of a sequence takes; the sequence grows by it.</summary>
    public int Append(int sequence) => _lengths[sequence]++;

    public int[] Snapshot() => [.. _lengths];

    public void Restore(int[] snapshot) => snapshot.CopyTo(_lengths, 0);

    public void Set(int sequence, int length) => _lengths[sequence] = length;

    public void Clear() => Array.Clear(_lengths);
}
