using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Evaluation;

/// <summary>What a recommender returns for a user whose next item is known.</summary>
/// <param name="Place">Items before the group of that item, and the size of the group; null where it is not returned.</param>
/// <param name="Items">Ids and scores of what is returned, in that order; empty where the model knows nothing of the user.</param>
internal readonly record struct RankedTarget((int Before, int GroupSize)? Place, (string Item, double Score)[] Items);

/// <summary>The held-out event of each user, and what comes before it, in the item rows of a model.</summary>
internal sealed class HeldOutEvents
{
    private readonly InteractionSequences _sequences;
    private readonly LeaveOneOut _split;
    private readonly HeldOut _which;
    private readonly ItemIds _items;
    private readonly int[] _rows;
    private readonly bool _skipUnknown;

    /// <summary>Finds the model's row of each item.</summary>
    /// <param name="sequences">The users.</param>
    /// <param name="which">Which event is held out.</param>
    /// <param name="items">Those of the model.</param>
    /// <param name="skipUnknown">Leaves other items out of histories.</param>
    public HeldOutEvents(InteractionSequences sequences, HeldOut which, ItemIds items, bool skipUnknown)
    {
        (_sequences, _split, _which, _items, _skipUnknown) = (sequences, new LeaveOneOut(sequences), which, items, skipUnknown);
        // −1 where the model does not know an item.
        _rows = [.. sequences.Items.Select(id => items.TryFind(id, out long row) ? (int)row : -1)];
    }

    /// <summary>The users that take part, those with histories of like length together: a model that pads them pads little.</summary>
    public static IEnumerable<int[]> Batches(InteractionSequences sequences, int size) => new LeaveOneOut(sequences).Evaluated.OrderBy(user => sequences[user].Length).Chunk(size);

    /// <summary>A user's history and held-out item; null where the model does not know the item or nothing of the history.</summary>
    /// <exception cref="InvalidDataException">The model does not know an item, and none may be left out; user and item named.</exception>
    public (int[] History, int Target)? Of(int user)
    {
        (int[] history, int target) = _which == HeldOut.Test ? _split.Test(user) : _split.Validation(user);
        if (!_skipUnknown && history.Append(target).FirstOrDefault(item => _rows[item] < 0, -1) is >= 0 and int unknown)
            throw new InvalidDataException($"user '{_sequences.Users[user]}': item '{_sequences.Items[unknown]}' is none of the {_items.Count} that the model knows");
        int[] known = [.. history.Select(item => _rows[item]).Where(row => row >= 0)];
        return _rows[target] < 0 || known.Length == 0 ? null : (known, _rows[target]);
    }

    /// <summary>Asks a recommender for users; a held-out item that the history holds as well is not left out.</summary>
    public RankedTarget[] Rank(INextItemRecommender recommender, int[] users, int count)
    {
        (int[] History, int Target)?[] events = [.. users.Select(Of)];
        IReadOnlyList<RankedGroup[]> ranked = recommender.Recommend([.. events.OfType<(int[] History, int Target)>().Select(known => new NextItemQuery(known.History, [.. known.History.Where(item => item != known.Target)]))], count);
        int next = 0;
        return [.. events.Select(known => known is var (_, target) ? Ranked(ranked[next++], target) : new RankedTarget(null, []))];
    }

    private RankedTarget Ranked(RankedGroup[] groups, int target)
    {
        (int, int)? place = null;
        int before = 0;
        foreach (RankedGroup group in groups)
        {
            if (Array.IndexOf(group.Items, target) >= 0)
                place = (before, group.Items.Length);
            before += group.Items.Length;
        }
        return new(place, [.. groups.SelectMany(group => group.Items.Select(row => (_items[row], group.Score)))]);
    }
}
