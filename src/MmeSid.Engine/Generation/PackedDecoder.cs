namespace MmeSid.Engine.Generation;

/// <summary>
/// Packs entries of many sequences into as few calls of <see cref="ILanguageModelContext.Decode"/> as fit, in the order in which they were added, and hands out the hidden state of each entry that was
/// marked. A batch goes when it is full, when vectors follow tokens or tokens vectors, and when asked.
/// </summary>
internal sealed class PackedDecoder
{
    /// <summary>Mark of an entry whose hidden state nobody wants.</summary>
    public const int kSilent = -1;

    private readonly ILanguageModelContext _context;
    private readonly Action<int, ReadOnlySpan<float>> _output;
    private readonly LanguageModelBatch _batch = new();
    private readonly List<(int Entry, int Mark)> _marked = [];
    private readonly float[] _hidden;

    /// <summary>Packs for a context.</summary>
    /// <param name="context">Used, not owned.</param>
    /// <param name="output">Takes the mark of an entry, at least 0, and its hidden state [H], valid during the call.</param>
    public PackedDecoder(ILanguageModelContext context, Action<int, ReadOnlySpan<float>> output)
    {
        (_context, _output) = (context, output);
        _hidden = new float[context.Model.EmbeddingDimension];
    }

    /// <summary>Adds a vector, copied.</summary>
    public void Add(ReadOnlySpan<float> vector, int sequence, int mark = kSilent)
    {
        MakeRoom(forVector: true);
        Mark(_batch.Add(vector, sequence, mark != kSilent), mark);
    }

    /// <summary>Adds tokens, of which the last one may be marked.</summary>
    public void Add(ReadOnlySpan<int> tokens, int sequence, int mark = kSilent)
    {
        for (int i = 0; i < tokens.Length; i++)
        {
            int own = i == tokens.Length - 1 ? mark : kSilent;
            MakeRoom(forVector: false);
            Mark(_batch.Add(tokens[i], sequence, own != kSilent), own);
        }
    }

    /// <summary>Decodes what was added and not decoded yet.</summary>
    public void Flush()
    {
        if (_batch.Count == 0)
            return;
        try
        {
            // Hidden states are computed for a whole call: where nobody wants one, none is.
            _context.Decode(_batch, _marked.Count > 0 ? LanguageModelOutputs.LogitsAndHiddenStates : LanguageModelOutputs.Logits);
            foreach ((int entry, int mark) in _marked)
            {
                _context.ReadHiddenState(entry, _hidden);
                _output(mark, _hidden);
            }
        }
        finally
        {
            _batch.Clear();
            _marked.Clear();
        }
    }

    private void MakeRoom(bool forVector)
    {
        if (_batch.Count == _context.BatchSize || (_batch.Count > 0 && (_batch.Dimension != 0) != forVector))
            Flush();
    }

    private void Mark(int entry, int mark)
    {
        if (mark != kSilent)
            _marked.Add((entry, mark));
    }
}
