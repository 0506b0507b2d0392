using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// User sequences as rows of a catalogue, split leave-one-out: the last two events of a user are never trained on. The split is that of all events; items that the catalogue has
/// not are left out of histories afterwards.
/// </summary>
public class ItemSequences
{
    private readonly LeaveOneOut _split;
    private readonly int[] _rows;

    /// <summary>Finds the items of the sequences in the catalogue.</summary>
    /// <param name="sequences">Each user's events.</param>
    /// <param name="items">The catalogue by row.</param>
    /// <param name="holder">What has these items, for messages.</param>
    /// <param name="skipUnknown">Whether items that the catalogue has not are left out instead of refused.</param>
    /// <exception cref="InvalidDataException">Items are not in the catalogue: how many, and one of them.</exception>
    public ItemSequences(InteractionSequences sequences, ItemIds items, string holder, bool skipUnknown)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(items);
        (Items, _split, UserCount) = (items, new LeaveOneOut(sequences), sequences.Users.Count);
        _rows = new int[sequences.Items.Count];
        string? unknown = null;
        for (int item = 0; item < _rows.Length; item++)
        {
            string id = sequences.Items[item];
            if (items.TryFind(id, out long row))
            {
                _rows[item] = (int)row;
                continue;
            }
            _rows[item] = -1;
            UnknownItems++;
            unknown ??= id;
        }
        if (unknown is not null && (!skipUnknown || UnknownItems == _rows.Length))
        {
            throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture,
                $"{UnknownItems:N0} of the {_rows.Length:N0} items of the sequences are not in {holder}, the first is '{unknown}': all of them have to be there{(skipUnknown ? "" : ", or are left out with --unknown-items skip")}"));
        }
    }

    /// <summary>The catalogue.</summary>
    public ItemIds Items { get; }

    /// <summary>Number of users.</summary>
    public int UserCount { get; }

    /// <summary>Items of the sequences that the catalogue has not.</summary>
    public int UnknownItems { get; }

    /// <summary>Users with a validation item that the catalogue has, and an item before it.</summary>
    public IEnumerable<int> Validated => _split.Evaluated.Where(user => _rows[_split.Validation(user).Target] >= 0 && Training(user).Length > 0);

    /// <summary>The items of a user that are trained on, oldest first, as rows of the catalogue.</summary>
    public int[] Training(int user) => Known(_split.Training(user));

    /// <summary>Those items and the validation item behind them.</summary>
    public int[] WithValidation(int user) => [.. Training(user), _rows[_split.Validation(user).Target]];

    /// <summary>How often each item occurs in the training parts, [n].</summary>
    public long[] Frequencies()
    {
        var counts = new long[Items.Count];
        for (int user = 0; user < UserCount; user++)
        {
            foreach (int row in Training(user))
                counts[row]++;
        }
        return counts;
    }

    /// <summary>Users who judge an epoch: all of <see cref="Validated"/>, or so many of them drawn at random.</summary>
    /// <param name="most">Users; 0 takes all.</param>
    /// <param name="random">Draws them.</param>
    internal int[] DrawValidated(int most, Engine.RandomSource random)
    {
        int[] users = [.. Validated];
        if (most == 0 || users.Length <= most)
            return users;
        random.Shuffle<int>(users);
        return users[..most];
    }

    private int[] Known(ReadOnlySpan<int> items)
    {
        var known = new List<int>(items.Length);
        foreach (int item in items)
        {
            if (_rows[item] >= 0)
                known.Add(_rows[item]);
        }
        return [.. known];
    }
}
