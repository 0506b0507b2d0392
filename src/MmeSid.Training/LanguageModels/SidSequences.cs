using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// User sequences as rows of a bundle, split leave-one-out: the last two events of a user are never trained on. The split is that of all events; items that the bundle has not
/// are left out of histories afterwards.
/// </summary>
public sealed class SidSequences
{
    private readonly LeaveOneOut _split;
    private readonly int[] _rows;

    /// <summary>Finds the items of the sequences in the bundle.</summary>
    /// <param name="sequences">Each user's events.</param>
    /// <param name="bundle">With their SIDs.</param>
    /// <param name="skipUnknown">Whether items that the bundle has not are left out instead of refused.</param>
    /// <exception cref="InvalidDataException">Items are not in the bundle: how many, and one of them.</exception>
    public SidSequences(InteractionSequences sequences, SidBundle bundle, bool skipUnknown)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(bundle);
        (Bundle, Vocabulary, _split, UserCount) = (bundle, SidVocabulary.Of(bundle), new LeaveOneOut(sequences), sequences.Users.Count);
        _rows = new int[sequences.Items.Count];
        string? unknown = null;
        for (int item = 0; item < _rows.Length; item++)
        {
            string id = sequences.Items[item];
            if (bundle.Items.TryFind(id, out long row))
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
                $"{UnknownItems:N0} of the {_rows.Length:N0} items of the sequences are not in the bundle {bundle.Folder}, the first is '{unknown}': train a bundle of all items{(skipUnknown ? "" : ", or leave these out with --unknown-items skip")}"));
        }
    }

    /// <summary>Whose SIDs.</summary>
    public SidBundle Bundle { get; }

    /// <summary>Their codes.</summary>
    public SidVocabulary Vocabulary { get; }

    /// <summary>Number of users.</summary>
    public int UserCount { get; }

    /// <summary>Items of the sequences that the bundle has not.</summary>
    public int UnknownItems { get; }

    /// <summary>Users with a validation item that the bundle has, and an item before it.</summary>
    public IEnumerable<int> Validated => _split.Evaluated.Where(user => _rows[_split.Validation(user).Target] >= 0 && Training(user).Length > 0);

    /// <summary>The items of a user that are trained on, oldest first, as rows of the bundle.</summary>
    public int[] Training(int user) => Known(_split.Training(user));

    /// <summary>Those items and the validation item behind them.</summary>
    public int[] WithValidation(int user) => [.. Training(user), _rows[_split.Validation(user).Target]];

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
