namespace MmeSid.Training.Ranking;

/// <summary>
/// Samples of one step, histories behind each other without padding. Items are numbered inside the batch, each once, so that what depends on an item alone is computed once for it.
/// </summary>
public sealed class RankerBatch
{
    private RankerBatch(int[] items, int[] targets, int[] history, int[] starts) => (Items, Targets, History, Starts) = (items, targets, history, starts);

    /// <summary>[m] rows of the catalogue, each once.</summary>
    public int[] Items { get; }

    /// <summary>[B] places in <see cref="Items"/>.</summary>
    public int[] Targets { get; }

    /// <summary>[P] places in <see cref="Items"/> of all histories, oldest first.</summary>
    public int[] History { get; }

    /// <summary>[B + 1] where in <see cref="History"/> each sample's begins; the last is P.</summary>
    public int[] Starts { get; }

    /// <summary>B.</summary>
    public int Count => Targets.Length;

    /// <summary>Lays samples out.</summary>
    /// <param name="samples">History (catalogue rows, oldest first, may be empty) and target of each.</param>
    /// <param name="length">Last items of a history that are taken.</param>
    public static RankerBatch Of(IReadOnlyList<(ReadOnlyMemory<int> History, int Target)> samples, int length)
    {
        ArgumentNullException.ThrowIfNull(samples);
        var places = new Dictionary<int, int>();
        var items = new List<int>();
        var targets = new int[samples.Count];
        var starts = new int[samples.Count + 1];
        for (int i = 0; i < samples.Count; i++)
            starts[i + 1] = starts[i] + Math.Min(length, samples[i].History.Length);
        var history = new int[starts[^1]];
        for (int i = 0; i < samples.Count; i++)
        {
            targets[i] = PlaceOf(samples[i].Target);
            ReadOnlySpan<int> own = samples[i].History.Span[^(starts[i + 1] - starts[i])..];
            for (int j = 0; j < own.Length; j++)
                history[starts[i] + j] = PlaceOf(own[j]);
        }
        return new RankerBatch([.. items], targets, history, starts);

        int PlaceOf(int item)
        {
            if (!places.TryGetValue(item, out int place))
            {
                places.Add(item, place = items.Count);
                items.Add(item);
            }
            return place;
        }
    }
}
