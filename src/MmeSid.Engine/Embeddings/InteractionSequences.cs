using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace MmeSid.Engine.Embeddings;

/// <summary>Each user's items in order of time.</summary>
public sealed class InteractionSequences
{
    private readonly long[] _starts;
    private readonly int[] _events;

    private InteractionSequences(string[] users, long[] starts, int[] events, ItemIds items)
    {
        Users = users;
        _starts = starts;
        _events = events;
        Items = items;
    }

    /// <summary>User ids, one per sequence.</summary>
    public IReadOnlyList<string> Users { get; }

    /// <summary>Every item that occurs in any event, ordered by its number.</summary>
    public ItemIds Items { get; }

    /// <summary>Number of events.</summary>
    public long EventCount => _events.Length;

    /// <summary>A user's events, oldest first, as rows of <see cref="Items"/>.</summary>
    public ReadOnlySpan<int> this[int user] => _events.AsSpan((int)_starts[user], (int)(_starts[user + 1] - _starts[user]));

    /// <summary>Makes sequences from item numbers ≥ 1.</summary>
    /// <exception cref="ArgumentException">An item number is below 1.</exception>
    public static InteractionSequences FromItems(IReadOnlyList<IReadOnlyList<long>> sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        var starts = new long[sequences.Count + 1];
        var events = new List<long>();
        for (int user = 0; user < sequences.Count; user++)
        {
            events.AddRange(sequences[user]);
            starts[user + 1] = events.Count;
        }
        if (events.Exists(item => item < 1))
            throw new ArgumentException($"item {events.Find(item => item < 1)}: item numbers start at 1", nameof(sequences));
        string[] users = [.. Enumerable.Range(1, sequences.Count).Select(user => user.ToString(CultureInfo.InvariantCulture))];
        return Number(users, starts, [.. events]);
    }

    /// <summary>Makes sequences of named users; items that occur in no event may join the others.</summary>
    /// <param name="users">Ids, each once.</param>
    /// <param name="sequences">Item numbers ≥ 1 of each, oldest first.</param>
    /// <param name="items">Numbers of all items; those of the sequences need not be among them.</param>
    internal static InteractionSequences Of(string[] users, IReadOnlyList<IReadOnlyList<long>> sequences, IEnumerable<long> items)
    {
        var starts = new long[users.Length + 1];
        for (int user = 0; user < users.Length; user++)
            starts[user + 1] = starts[user] + sequences[user].Count;
        return Number(users, starts, [.. sequences.SelectMany(sequence => sequence)], items);
    }

    /// <summary>The row of an item that there is.</summary>
    internal int RowOf(long item) => Items.TryFind(item.ToString(CultureInfo.InvariantCulture), out long row) ? (int)row : throw new ArgumentException($"there is no item {item}", nameof(item));

    /// <summary>Reads lines of the form <c>user item item …</c>, oldest event first, items numbered from 1; <c>.gz</c> is unpacked.</summary>
    /// <exception cref="InvalidDataException">A line is empty, a user occurs twice, or an item is no number ≥ 1; the line is named, counted from 1.</exception>
    public static InteractionSequences ReadFile(string path)
    {
        using FileStream file = File.OpenRead(path);
        using Stream bytes = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionMode.Decompress) : file;
        using var reader = new StreamReader(bytes, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: true, 1 << 16);
        var users = new Dictionary<string, int>(StringComparer.Ordinal);
        var starts = new List<long> { 0 };
        var events = new List<long>();
        int number = 0;
        try
        {
            while (reader.ReadLine() is { } line)
            {
                number++;
                string[] fields = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
                if (fields.Length == 0)
                    throw new InvalidDataException($"{path}: line {number}: is empty, expected a user and items");
                if (!users.TryAdd(fields[0], number))
                    throw new InvalidDataException($"{path}: line {number}: user '{fields[0]}' was already given in line {users[fields[0]]}");
                foreach (string field in fields.AsSpan(1))
                {
                    if (!long.TryParse(field, NumberStyles.None, CultureInfo.InvariantCulture, out long item) || item < 1)
                        throw new InvalidDataException($"{path}: line {number}: item '{(field.Length > 40 ? field[..40] + "…" : field)}' is no number from 1 up");
                    events.Add(item);
                }
                starts.Add(events.Count);
            }
        }
        catch (DecoderFallbackException exception)
        {
            throw new InvalidDataException($"{path}: line {number + 1}: is no UTF-8 text", exception);
        }
        return Number([.. users.Keys], [.. starts], [.. events]);
    }

    private static InteractionSequences Number(string[] users, long[] starts, long[] events, IEnumerable<long>? others = null)
    {
        long[] items = [.. events.Concat(others ?? []).Distinct().Order()];
        int[] rows = new int[events.Length];
        for (int i = 0; i < events.Length; i++)
            rows[i] = Array.BinarySearch(items, events[i]);
        return new InteractionSequences(users, starts, rows, ItemIds.FromStrings(items.Select(item => item.ToString(CultureInfo.InvariantCulture))));
    }
}
