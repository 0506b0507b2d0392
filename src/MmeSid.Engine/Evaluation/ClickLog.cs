using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Evaluation;

/// <summary>
/// What users clicked, in the order of time, and what they were shown and did not click, where that is known. The split is that of <see cref="LeaveOneOut"/> over the clicks: the last
/// click of a user is the test, the last but one the validation. An item that was passed over belongs with the click that comes after it, behind the last click with the test; users with fewer
/// than three clicks train whole.
/// </summary>
public sealed class ClickLog
{
    private static readonly string[] s_columns = ["user", "item", "label"];

    private readonly ClickSample[][]? _passed;

    private ClickLog(InteractionSequences clicks, ClickSample[][]? passed)
    {
        (Clicks, _passed, Split) = (clicks, passed, new LeaveOneOut(clicks));
    }

    /// <summary>Each user's clicks, oldest first; its items are all that occur, clicked or not.</summary>
    public InteractionSequences Clicks { get; }

    /// <summary>The split of the clicks.</summary>
    public LeaveOneOut Split { get; }

    /// <summary>Whether the log says what was not clicked; otherwise such items are sampled.</summary>
    public bool HasPassed => _passed is not null;

    /// <summary>Sequences as clicks; what was not clicked is not known.</summary>
    public static ClickLog Of(InteractionSequences sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        return new ClickLog(sequences, passed: null);
    }

    /// <summary>
    /// Reads a table with the columns <c>user</c>, <c>item</c> and <c>label</c> (0 or 1), each user's lines in the order of time; lines of users may be mixed. <c>.tsv</c> or comma-separated.
    /// </summary>
    /// <exception cref="InvalidDataException">A column is missing, an item is no number ≥ 1, a label is neither 0 nor 1, a user is empty or holds control characters (line named), or one of the labels never occurs.</exception>
    public static ClickLog ReadFile(string path)
    {
        using var text = new DelimitedText(path);
        int[] columns = [.. s_columns.Select(name => text.Columns.Contains(name)
            ? text.IndexOf(name) : throw new InvalidDataException($"{path}: has no column '{name}', expected user, item and label; it has {string.Join(", ", text.Columns)}"))];
        var users = new OrderedDictionary<string, List<(long Item, bool IsClicked)>>(StringComparer.Ordinal);
        while (text.Read())
        {
            (string user, string item, string label) = (text[columns[0]], text[columns[1]], text[columns[2]]);
            if (user.Length == 0)
                throw new InvalidDataException($"{text.Place}: the user is empty");
            // Ids are written to lines and between tabs.
            if (user.Any(char.IsControl))
                throw new InvalidDataException($"{text.Place}: user '{OneLine.Of(user)}' holds a tab, a line break or another control character");
            if (!long.TryParse(item, NumberStyles.None, CultureInfo.InvariantCulture, out long number) || number < 1)
                throw new InvalidDataException($"{text.Place}: item '{OneLine.Of(item)}' is no number from 1 up");
            if (label is not ("0" or "1"))
                throw new InvalidDataException($"{text.Place}: label '{OneLine.Of(label)}' is neither 0 nor 1");
            if (!users.TryGetValue(user, out List<(long, bool)>? lines))
                users.Add(user, lines = []);
            lines.Add((number, label == "1"));
        }
        if (Lacks(true) || Lacks(false))
            throw new InvalidDataException($"{path}: all {users.Values.Sum(lines => lines.Count)} lines have one label, expected lines of both");
        InteractionSequences clicks = InteractionSequences.Of(
            [.. users.Keys], [.. users.Values.Select(lines => (IReadOnlyList<long>)[.. lines.Where(line => line.IsClicked).Select(line => line.Item)])], users.Values.SelectMany(lines => lines).Select(line => line.Item));
        var passed = new ClickSample[users.Count][];
        for (int user = 0; user < passed.Length; user++)
        {
            int seen = 0;
            var own = new List<ClickSample>();
            foreach ((long item, bool isClicked) in users.GetAt(user).Value)
            {
                if (isClicked)
                    seen++;
                else
                    own.Add(new ClickSample(user, seen, clicks.RowOf(item), false));
            }
            passed[user] = [.. own];
        }
        return new ClickLog(clicks, passed);

        bool Lacks(bool isClicked) => !users.Values.Any(lines => lines.Exists(line => line.IsClicked == isClicked));
    }

    /// <summary>How often each item was clicked in the training parts, [items].</summary>
    public long[] TrainingClicks()
    {
        var counts = new long[Clicks.Items.Count];
        for (int user = 0; user < Clicks.Users.Count; user++)
        {
            foreach (int item in Split.Training(user))
                counts[item]++;
        }
        return counts;
    }

    /// <summary>What a user clicked in the training part, the first click with an empty history.</summary>
    public IEnumerable<ClickSample> TrainingClicksOf(int user)
    {
        int count = Split.Training(user).Length;
        for (int seen = 0; seen < count; seen++)
            yield return new ClickSample(user, seen, Clicks[user][seen], true);
    }

    /// <summary>What a user passed over in the training part; nothing where that is not known.</summary>
    public IEnumerable<ClickSample> TrainingPassedOf(int user) => PassedOf(user, part: null);

    /// <summary>The held-out click of a user who has one (<see cref="LeaveOneOut.Evaluated"/>), with the clicks before it as history.</summary>
    public ClickSample HeldOutClickOf(int user, HeldOut which)
    {
        int seen = Clicks[user].Length - (which == HeldOut.Test ? 1 : 2);
        return new ClickSample(user, seen, Clicks[user][seen], true);
    }

    /// <summary>What the user passed over before the held-out click; nothing where that is not known.</summary>
    public IEnumerable<ClickSample> HeldOutPassedOf(int user, HeldOut which) => PassedOf(user, which);

    // Null for the training part.
    private IEnumerable<ClickSample> PassedOf(int user, HeldOut? part)
    {
        if (_passed is null)
            return [];
        int clicks = Clicks[user].Length;
        return _passed[user].Where(sample => part == (clicks < LeaveOneOut.LeastEvents || sample.Seen < clicks - 2 ? null : sample.Seen == clicks - 2 ? HeldOut.Validation : HeldOut.Test));
    }
}
