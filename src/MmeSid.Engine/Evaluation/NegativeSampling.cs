namespace MmeSid.Engine.Evaluation;

/// <summary>How items that a user did not click are drawn where the data does not say.</summary>
public enum NegativeItems
{
    /// <summary>Every item alike.</summary>
    Uniform,

    /// <summary>In proportion to the clicks in training, so that an item is shown as often as it is liked: an item that was never clicked there is never drawn.</summary>
    Popularity,
}

/// <summary>Draws items that a user did not click. Thread-safe.</summary>
public sealed class NegativeSampling
{
    // Draws that may hit what is excluded before all that is left is counted out instead.
    private const int kTries = 64;

    private readonly ClickLog _log;
    private readonly int[] _drawable;
    private readonly long[] _ends;

    /// <summary>Prepares the draws.</summary>
    /// <param name="log">Whose items.</param>
    /// <param name="items">By what weight.</param>
    /// <exception cref="ArgumentException">The log says itself what was not clicked.</exception>
    public NegativeSampling(ClickLog log, NegativeItems items)
    {
        ArgumentNullException.ThrowIfNull(log);
        if (log.HasPassed)
            throw new ArgumentException("the samples say what was not clicked: nothing is drawn", nameof(log));
        _log = log;
        long[] clicks = log.TrainingClicks();
        _drawable = [.. Enumerable.Range(0, clicks.Length).Where(item => items == NegativeItems.Uniform || clicks[item] > 0)];
        _ends = new long[_drawable.Length];
        long end = 0;
        for (int i = 0; i < _drawable.Length; i++)
            _ends[i] = end += items == NegativeItems.Uniform ? 1 : clicks[_drawable[i]];
    }

    /// <summary>Items that can be drawn.</summary>
    public IReadOnlyList<int> Drawable => _drawable;

    /// <summary>Whether anything is left to draw.</summary>
    /// <param name="excluded">Items that are not drawn, ascending, each at least once.</param>
    public bool CanDraw(ReadOnlySpan<int> excluded)
    {
        // Fewer are excluded than can be drawn, or one that can is not among them.
        if (excluded.Length < _drawable.Length)
            return true;
        foreach (int item in _drawable)
        {
            if (excluded.BinarySearch(item) < 0)
                return true;
        }
        return false;
    }

    /// <summary>Draws items for a user, repetitions allowed.</summary>
    /// <param name="user">For messages.</param>
    /// <param name="excluded">Items that are not drawn, ascending, each at least once.</param>
    /// <param name="random">The draws.</param>
    /// <param name="items">Written over.</param>
    /// <exception cref="InvalidDataException">The user took everything there is: <see cref="CanDraw"/> is false.</exception>
    public void Draw(int user, ReadOnlySpan<int> excluded, RandomSource random, Span<int> items)
    {
        ArgumentNullException.ThrowIfNull(random);
        for (int i = 0; i < items.Length; i++)
        {
            int tries = 0;
            do
            {
                items[i] = tries++ < kTries ? At(random.NextLong(_ends[^1])) : DrawAmongTheRest(user, excluded, random);
            }
            while (excluded.BinarySearch(items[i]) >= 0);
        }
    }

    private int At(long weight)
    {
        int place = Array.BinarySearch(_ends, weight + 1);
        return _drawable[place < 0 ? ~place : place];
    }

    private int DrawAmongTheRest(int user, ReadOnlySpan<int> excluded, RandomSource random)
    {
        var rest = new List<int>();
        long total = 0;
        for (int i = 0; i < _drawable.Length; i++)
        {
            if (excluded.BinarySearch(_drawable[i]) >= 0)
                continue;
            rest.Add(i);
            total += WeightAt(i);
        }
        if (total == 0)
            throw new InvalidDataException($"user '{_log.Clicks.Users[user]}' took all {_drawable.Length} items that can be drawn: there is none that was not clicked");
        long left = random.NextLong(total);
        int chosen = 0;
        while ((left -= WeightAt(rest[chosen])) >= 0)
            chosen++;
        return _drawable[rest[chosen]];
    }

    private long WeightAt(int place) => _ends[place] - (place == 0 ? 0 : _ends[place - 1]);
}
