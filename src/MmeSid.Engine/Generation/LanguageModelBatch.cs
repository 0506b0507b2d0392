using System.Runtime.InteropServices;

namespace MmeSid.Engine.Generation;

/// <summary>Entries for one <see cref="ILanguageModelContext.Decode"/>: tokens, or vectors that take the place of token embeddings, not both. Reused by <see cref="Clear"/>.</summary>
public sealed class LanguageModelBatch
{
    private readonly List<int> _tokens = [];
    private readonly List<float> _vectors = [];
    private readonly List<int> _sequences = [];
    private readonly List<bool> _outputs = [];

    /// <summary>Number of entries.</summary>
    public int Count => _sequences.Count;

    /// <summary>Values per vector; 0 where the entries are tokens.</summary>
    public int Dimension { get; private set; }

    /// <summary>Tokens of the entries; empty where they are vectors.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_tokens);

    /// <summary>The vectors, one after the other; empty where the entries are tokens.</summary>
    public ReadOnlySpan<float> Vectors => CollectionsMarshal.AsSpan(_vectors);

    /// <summary>Sequence of each entry.</summary>
    public ReadOnlySpan<int> Sequences => CollectionsMarshal.AsSpan(_sequences);

    /// <summary>Whether the results of each entry are wanted.</summary>
    public ReadOnlySpan<bool> Outputs => CollectionsMarshal.AsSpan(_outputs);

    /// <summary>Removes all entries.</summary>
    public void Clear()
    {
        _tokens.Clear();
        _vectors.Clear();
        _sequences.Clear();
        _outputs.Clear();
        Dimension = 0;
    }

    /// <summary>Appends a token.</summary>
    /// <returns>Its place in the batch.</returns>
    /// <exception cref="ArgumentException">The batch holds vectors.</exception>
    public int Add(int token, int sequence, bool output = false)
    {
        if (Dimension != 0)
            throw new ArgumentException("a batch holds tokens or vectors, not both: this one holds vectors", nameof(token));
        _tokens.Add(token);
        return AddEntry(sequence, output);
    }

    /// <summary>Appends tokens, the last of which may be an output.</summary>
    /// <returns>The place of the last one in the batch.</returns>
    /// <exception cref="ArgumentException">There is none, or the batch holds vectors.</exception>
    public int AddText(ReadOnlySpan<int> tokens, int sequence, bool outputLast = false)
    {
        if (tokens.IsEmpty)
            throw new ArgumentException("no tokens", nameof(tokens));
        int place = 0;
        for (int i = 0; i < tokens.Length; i++)
            place = Add(tokens[i], sequence, outputLast && i == tokens.Length - 1);
        return place;
    }

    /// <summary>Appends a vector, copied.</summary>
    /// <returns>Its place in the batch.</returns>
    /// <exception cref="ArgumentException">The batch holds tokens, or vectors of another length.</exception>
    public int Add(ReadOnlySpan<float> vector, int sequence, bool output = false)
    {
        if (_tokens.Count > 0)
            throw new ArgumentException("a batch holds tokens or vectors, not both: this one holds tokens", nameof(vector));
        if (vector.IsEmpty || (Dimension != 0 && vector.Length != Dimension))
            throw new ArgumentException($"the vector has {vector.Length} values, expected {(Dimension == 0 ? "some" : Dimension)}", nameof(vector));
        Dimension = vector.Length;
        _vectors.AddRange(vector);
        return AddEntry(sequence, output);
    }

    private int AddEntry(int sequence, bool output)
    {
        _sequences.Add(sequence);
        _outputs.Add(output);
        return Count - 1;
    }
}
