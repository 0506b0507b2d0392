using MmeSid.Engine;

namespace MmeSid.Training.LanguageModels;

/// <summary>Sequences of one step: the begin vector, then every code but the last, each of which says something of the code that follows it.</summary>
/// <param name="Places">Where the sequences lie.</param>
/// <param name="Inputs">[N] row of the vocabulary at each place; the begin vector where there is no sequence.</param>
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
    public static SidBatch Of(SidSequences sequences, IReadOnlyList<int[]> histories, bool lastOnly = false)
    {
        SidVocabulary vocabulary = sequences.Vocabulary;
        int levels = vocabulary.Levels;
        PackedSequences places = PackedSequences.Pack([.. histories.Select(history => history.Length * levels)]);
        var inputs = new long[places.Places];
        Array.Fill(inputs, vocabulary.Tokens);
        int predicted = lastOnly ? histories.Count : histories.Sum(history => history.Length);
        long[][] predicting = [.. Enumerable.Range(0, levels).Select(_ => new long[predicted])], targets = [.. Enumerable.Range(0, levels).Select(_ => new long[predicted])];
        int next = 0;
        for (int sequence = 0; sequence < histories.Count; sequence++)
        {
            int[] history = histories[sequence];
            for (int i = 0; i < history.Length; i++)
            {
                ReadOnlySpan<ushort> sid = sequences.Bundle.Sids[history[i]];
                bool wanted = !lastOnly || i == history.Length - 1;
                for (int level = 0; level < levels; level++)
                {
                    int place = places.Starts[sequence] + (i * levels) + level;
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

/// <summary>
/// Users in steps of about as many items. Users are shuffled by the seed and the epoch, then ordered by length, so that a step's sequences are alike and pack without gaps; the steps
/// are shuffled in turn. As lengths do not change, every epoch has the same number of steps.
/// </summary>
internal sealed class SidBatches
{
    private readonly SidSequences _sequences;
    private readonly IReadOnlyList<int[]> _histories;
    private readonly int _items;
    private readonly ulong _seed;
    private int _epoch = -1;
    private int[][] _steps = [];

    /// <param name="sequences">Whose training parts.</param>
    /// <param name="length">Most items of a history; the item behind it is predicted too.</param>
    /// <param name="items">Items of a step; one user may have more.</param>
    /// <param name="seed">Of the shuffles.</param>
    /// <exception cref="ArgumentException">No user has anything to train on.</exception>
    public SidBatches(SidSequences sequences, int length, int items, ulong seed)
    {
        (_sequences, _items, _seed) = (sequences, items, seed);
        _histories = [.. Enumerable.Range(0, sequences.UserCount).Select(sequences.Training).Where(history => history.Length >= 2).Select(history => history[^Math.Min(history.Length, length + 1)..])];
        if (_histories.Count == 0)
            throw new ArgumentException("no user has two events left to train on: the last two of a sequence of three or more are held out, expected sequences of two events, or of four or more");
        Count = Shuffle(new RandomSource(seed)).Length;
    }

    /// <summary>Steps of an epoch.</summary>
    public int Count { get; }

    /// <summary>Items that are predicted in an epoch.</summary>
    public long Items => _histories.Sum(history => (long)history.Length);

    /// <summary>The sequences of a step; the same for the same seed, epoch and step.</summary>
    public SidBatch this[int epoch, int step]
    {
        get
        {
            if (epoch != _epoch)
                (_epoch, _steps) = (epoch, Shuffle(new RandomSource(_seed).Split((ulong)epoch)));
            return SidBatch.Of(_sequences, [.. _steps[step].Select(user => _histories[user])]);
        }
    }

    private int[][] Shuffle(RandomSource random)
    {
        int[] users = [.. Enumerable.Range(0, _histories.Count)];
        random.Shuffle<int>(users);
        int[][] steps = [.. InSteps(users.OrderBy(user => _histories[user].Length), user => _histories[user].Length, _items)];
        random.Shuffle<int[]>(steps);
        return steps;
    }

    /// <summary>Takes users in their order until their items fill a step.</summary>
    public static IEnumerable<int[]> InSteps(IEnumerable<int> users, Func<int, int> lengthOf, int items)
    {
        var step = new List<int>();
        int taken = 0;
        foreach (int user in users)
        {
            int length = lengthOf(user);
            if (step.Count > 0 && taken + length > items)
            {
                yield return [.. step];
                step.Clear();
                taken = 0;
            }
            step.Add(user);
            taken += length;
        }
        if (step.Count > 0)
            yield return [.. step];
    }
}
