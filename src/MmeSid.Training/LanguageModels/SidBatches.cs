namespace MmeSid.Training.LanguageModels;

/// <summary>Sequences of one step: the tokens of the prefix, the begin vector, then every code but the last, each of which says something of the code that follows it.</summary>
/// <param name="Places">Where the sequences lie.</param>
/// <param name="Inputs">[N] row of the vocabulary at each place, those of the prefix's tokens behind the begin vector; the begin vector where there is no sequence.</param>
/// <param name="Predicting">For each level, the places whose hidden states score its codes.</param>
/// <param name="Targets">For each level, the code that follows each of those places.</param>
internal sealed record SidBatch(PackedSequences Places, long[] Inputs, IReadOnlyList<long[]> Predicting, IReadOnlyList<long[]> Targets)
{
    /// <summary>Items that are predicted, one code of each level for each.</summary>
    public int Items => Targets[0].Length;

    /// <summary>Puts histories together.</summary>
    /// <param name="sequences">Whose items.</param>
    /// <param name="histories">Rows of the bundle, oldest first; at least one each.</param>
    /// <param name="lastOnly">Whether only the last item of each is predicted.</param>
    /// <param name="prefix">Tokens before each.</param>
    public static SidBatch Of(SidSequences sequences, IReadOnlyList<int[]> histories, bool lastOnly = false, int prefix = 0)
    {
        SidVocabulary vocabulary = sequences.Vocabulary;
        int levels = vocabulary.Levels;
        PackedSequences places = PackedSequences.Pack([.. histories.Select(history => prefix + (history.Length * levels))]);
        var inputs = new long[places.Places];
        Array.Fill(inputs, vocabulary.Tokens);
        int predicted = lastOnly ? histories.Count : histories.Sum(history => history.Length);
        long[][] predicting = [.. Enumerable.Range(0, levels).Select(_ => new long[predicted])], targets = [.. Enumerable.Range(0, levels).Select(_ => new long[predicted])];
        int next = 0;
        for (int sequence = 0; sequence < histories.Count; sequence++)
        {
            int[] history = histories[sequence];
            int begin = places.Starts[sequence] + prefix;
            for (int token = 0; token < prefix; token++)
                inputs[places.Starts[sequence] + token] = vocabulary.Tokens + 1 + token;
            for (int i = 0; i < history.Length; i++)
            {
                ReadOnlySpan<ushort> sid = sequences.Bundle.Sids[history[i]];
                bool wanted = !lastOnly || i == history.Length - 1;
                for (int level = 0; level < levels; level++)
                {
                    int place = begin + (i * levels) + level;
                    if (i < history.Length - 1 || level < levels - 1)
                        inputs[place + 1] = vocabulary.Row(level, sid[level]);
                    if (wanted)
                        (predicting[level][next], targets[level][next]) = (place, sid[level]);
                }
                if (wanted)
                    next++;
            }
        }
        return new SidBatch(places, inputs, predicting, targets);
    }
}

/// <summary>The steps of an epoch (<see cref="HistorySteps"/>): the last length + 1 items of a user's training part are predicted.</summary>
internal sealed class SidBatches
{
    private readonly SidSequences _sequences;
    private readonly HistorySteps _steps;
    private readonly int _prefix;

    /// <param name="sequences">Whose training parts.</param>
    /// <param name="length">Most items of a history; the item behind it is predicted too.</param>
    /// <param name="items">Items of a step; one user may have more.</param>
    /// <param name="seed">Of the shuffles.</param>
    /// <param name="prefix">Tokens before the begin vector.</param>
    /// <exception cref="ArgumentException">No user has anything to train on.</exception>
    public SidBatches(SidSequences sequences, int length, int items, ulong seed, int prefix = 0) =>
        (_sequences, _steps, _prefix) = (sequences, new HistorySteps(HistorySteps.Training(sequences, length), history => history.Length, items, seed), prefix);

    /// <summary>Steps of an epoch.</summary>
    public int Count => _steps.Count;

    /// <summary>Items that are predicted in an epoch.</summary>
    public long Items => _steps.Items;

    /// <summary>The sequences of a step; the same for the same seed, epoch and step.</summary>
    public SidBatch this[int epoch, int step] => SidBatch.Of(_sequences, _steps[epoch, step], prefix: _prefix);
}
