namespace MmeSid.Training.LanguageModels;

/// <summary>Sequences of one step: tokens of the prefix, every item of a history but the last, tokens of the suffix.</summary>
/// <param name="Places">Where the sequences lie.</param>
/// <param name="Items">[U] the different items of the sequences, ascending.</param>
/// <param name="Inputs">[N] what stands at each place: a place among <paramref name="Items"/>, behind them the tokens; 0 where there is no sequence.</param>
/// <param name="Predicting">[P] places whose hidden states score all items.</param>
/// <param name="Targets">[P] the item that follows.</param>
internal sealed record MmeSidBatch(PackedSequences Places, long[] Items, long[] Inputs, long[] Predicting, long[] Targets)
{
    /// <summary>Puts histories together.</summary>
    /// <param name="histories">Rows of the catalogue, oldest first; at least two each, the last of which is predicted.</param>
    /// <param name="prompt">Tokens around them. Where some come behind, only the last item of each history can be predicted.</param>
    /// <param name="lastOnly">Whether only the last item of each is predicted; otherwise each but the first.</param>
    public static MmeSidBatch Of(IReadOnlyList<int[]> histories, LlamaPrompt prompt, bool lastOnly)
    {
        PackedSequences places = PackedSequences.Pack([.. histories.Select(history => prompt.Count + history.Length - 1)]);
        long[] items = [.. histories.SelectMany(history => history[..^1]).Distinct().Order()];
        Dictionary<int, int> placeOf = items.Index().ToDictionary(entry => (int)entry.Item, entry => entry.Index);
        var inputs = new long[places.Places];
        var predicting = new List<long>();
        var targets = new List<long>();
        foreach ((int sequence, int[] history) in histories.Index())
        {
            int first = places.Starts[sequence] + prompt.Prefix, behind = first + history.Length - 1;
            for (int token = 0; token < prompt.Prefix; token++)
                inputs[places.Starts[sequence] + token] = items.Length + token;
            for (int i = 0; i < history.Length - 1; i++)
                inputs[first + i] = placeOf[history[i]];
            for (int token = 0; token < prompt.Suffix; token++)
                inputs[behind + token] = items.Length + prompt.Prefix + token;
            for (int i = lastOnly || prompt.Suffix > 0 ? history.Length - 1 : 1; i < history.Length; i++)
            {
                predicting.Add(first + i - 1 + prompt.Suffix);
                targets.Add(history[i]);
            }
        }
        return new MmeSidBatch(places, items, inputs, [.. predicting], [.. targets]);
    }

    /// <summary>The histories that are trained on: whole ones, each item but the first of which is predicted at once, or, with tokens behind them, one for each predicted item.</summary>
    /// <param name="sequences">The users.</param>
    /// <param name="length">Most items before a predicted one.</param>
    /// <param name="prompt">Tokens around them.</param>
    public static IReadOnlyList<int[]> Training(ItemSequences sequences, int length, LlamaPrompt prompt)
    {
        IReadOnlyList<int[]> whole = HistorySteps.Training(sequences, length);
        return prompt.Suffix == 0 ? whole : [.. whole.SelectMany(history => Enumerable.Range(2, history.Length - 1).Select(count => history[..count]))];
    }
}
