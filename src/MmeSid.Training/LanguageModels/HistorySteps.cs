using MmeSid.Engine;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Histories in steps of about as many predicted items. Histories are shuffled by the seed and the epoch, then ordered by length, so that a step's sequences are alike and pack without
/// gaps; the steps are shuffled in turn. As lengths do not change, every epoch has the same number of steps.
/// </summary>
internal sealed class HistorySteps
{
    private readonly IReadOnlyList<int[]> _histories;
    private readonly Func<int[], int> _predicted;
    private readonly int _items;
    private readonly ulong _seed;
    private int _epoch = -1;
    private int[][] _steps = [];

    /// <param name="histories">Rows of a catalogue, oldest first.</param>
    /// <param name="predicted">Items of a history that are predicted; of histories of one length the same.</param>
    /// <param name="items">Predicted items of a step; one history may have more.</param>
    /// <param name="seed">Of the shuffles.</param>
    /// <exception cref="ArgumentException">There is no history.</exception>
    public HistorySteps(IReadOnlyList<int[]> histories, Func<int[], int> predicted, int items, ulong seed)
    {
        (_histories, _predicted, _items, _seed) = (histories, predicted, items, seed);
        if (histories.Count == 0)
            throw new ArgumentException("no user has two events left to train on: the last two of a sequence of three or more are held out, expected sequences of two events, or of four or more");
        Count = Shuffle(new RandomSource(seed)).Length;
    }

    /// <summary>Steps of an epoch.</summary>
    public int Count { get; }

    /// <summary>Items that are predicted in an epoch.</summary>
    public long Items => _histories.Sum(history => (long)_predicted(history));

    /// <summary>The histories of a step; the same for the same seed, epoch and step.</summary>
    public IReadOnlyList<int[]> this[int epoch, int step]
    {
        get
        {
            if (epoch != _epoch)
                (_epoch, _steps) = (epoch, Shuffle(new RandomSource(_seed).Split((ulong)epoch)));
            return [.. _steps[step].Select(place => _histories[place])];
        }
    }

    /// <summary>The training parts of users who have two events or more, the last of them.</summary>
    /// <param name="sequences">The users.</param>
    /// <param name="length">Most items of a history; the item behind it comes with it.</param>
    public static IReadOnlyList<int[]> Training(ItemSequences sequences, int length) =>
        [.. Enumerable.Range(0, sequences.UserCount).Select(sequences.Training).Where(history => history.Length >= 2).Select(history => Last(history, length))];

    /// <summary>The last items of a history and the one behind it.</summary>
    public static int[] Last(int[] history, int length) => history[^Math.Min(history.Length, length + 1)..];

    /// <summary>Takes histories in their order until their items fill a step.</summary>
    public static IEnumerable<int[]> InSteps(IEnumerable<int> histories, Func<int, int> itemsOf, int items)
    {
        var step = new List<int>();
        int taken = 0;
        foreach (int history in histories)
        {
            int count = itemsOf(history);
            if (step.Count > 0 && taken + count > items)
            {
                yield return [.. step];
                step.Clear();
                taken = 0;
            }
            step.Add(history);
            taken += count;
        }
        if (step.Count > 0)
            yield return [.. step];
    }

    private int[][] Shuffle(RandomSource random)
    {
        int[] places = [.. Enumerable.Range(0, _histories.Count)];
        random.Shuffle<int>(places);
        int[][] steps = [.. InSteps(places.OrderBy(place => _histories[place].Length), place => _predicted(_histories[place]), _items)];
        random.Shuffle<int[]>(steps);
        return steps;
    }
}
