using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Ranking;

/// <summary>The items that a ranker knows, and where those of a log are among them.</summary>
public sealed class RankerCatalogue
{
    private RankerCatalogue(ItemIds items, int[] rows) => (Items, Rows) = (items, rows);

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Row of each item of the log; −1 where the ranker does not know it.</summary>
    public IReadOnlyList<int> Rows { get; }

    /// <summary>
    /// What a ranker is trained for: the items of the first bundle, or of the log where there is none. Where items may go without codes, those of the other bundles and of the log join them; otherwise all of these must
    /// be among them, and the other bundles may have no others.
    /// </summary>
    /// <param name="log">Clicks.</param>
    /// <param name="sources">Sets of codes.</param>
    /// <param name="allowUncoded">Whether items may go without codes.</param>
    /// <exception cref="InvalidDataException">Bundles are of different items, or lack items of the log.</exception>
    public static RankerCatalogue Of(ClickLog log, IReadOnlyList<CodeSource> sources, bool allowUncoded)
    {
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(sources);
        ItemIds own = log.Clicks.Items;
        if (sources.Count == 0)
            return new RankerCatalogue(own, [.. Enumerable.Range(0, (int)own.Count)]);
        ItemIds items = sources[0].Bundle.Items;
        if (allowUncoded)
            items = ItemIds.FromStrings(sources.SelectMany(source => source.Bundle.Items).Concat(own).Distinct(StringComparer.Ordinal));
        foreach (CodeSource source in sources.Skip(1))
        {
            if (!allowUncoded && source.Bundle.Items.FirstOrDefault(item => !items.TryFind(item, out _)) is { } other)
                throw new InvalidDataException($"{source.Bundle.Folder}: has item '{other}', which {sources[0].Bundle.Folder} has not: all sets of codes must be of the same items, or items go without codes (--uncoded zero)");
        }
        return Of(items, log, [.. sources.Select(source => source.Bundle.Folder)]);
    }

    /// <summary>Finds the items of a log among those of a ranker, whether it knows them or not.</summary>
    public static RankerCatalogue Of(ItemIds items, ClickLog log)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(log);
        return new RankerCatalogue(items, [.. log.Clicks.Items.Select(id => items.TryFind(id, out long row) ? (int)row : -1)]);
    }

    private static RankerCatalogue Of(ItemIds items, ClickLog log, string[] holders)
    {
        RankerCatalogue found = Of(items, log);
        int unknown = found.Rows.Count(row => row < 0);
        return unknown == 0 ? found : throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture,
            $"{unknown:N0} of the {found.Rows.Count:N0} items of the clicks are not in {holders[0]}, the first is '{log.Clicks.Items[found.Rows.ToList().IndexOf(-1)]}': all of them must have codes, or items go without codes (--uncoded zero)"));
    }
}
