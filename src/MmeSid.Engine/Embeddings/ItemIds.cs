using System.Collections;
using System.Globalization;
using System.Text;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// The ids of a table's rows, each unique. Immutable and thread-safe. Sequential ids (row i is item i + first) take no memory;
/// ids that are texts are compared byte by byte.
/// </summary>
public sealed class ItemIds : IReadOnlyCollection<string>
{
    private readonly string[]? _names;
    private readonly long _first;
    private readonly Lazy<Dictionary<string, int>>? _rows;

    private ItemIds(string[]? names, long count, long first)
    {
        _names = names;
        Count = count;
        _first = first;
        if (names is not null)
            _rows = new Lazy<Dictionary<string, int>>(() => IndexRows(names));
    }

    /// <summary>Number of rows.</summary>
    public long Count { get; }

    int IReadOnlyCollection<string>.Count => checked((int)Count);

    /// <summary>Whether row i is simply item i + <see cref="First"/>.</summary>
    public bool IsSequential => _names is null;

    /// <summary>Id of the first row when <see cref="IsSequential"/>.</summary>
    public long First => _first;

    /// <summary>Id of a row.</summary>
    public string this[long row]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(row);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Count);
            return _names is null ? (_first + row).ToString(CultureInfo.InvariantCulture) : _names[row];
        }
    }

    /// <summary>Row i is item i + <paramref name="first"/>: the numbering of sequence files, which start at 1.</summary>
    public static ItemIds Sequential(long count, long first = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        return new ItemIds(null, count, first);
    }

    /// <summary>Row i is item <c>ids[i]</c>. Ids that happen to be sequential numbers are kept as such.</summary>
    /// <exception cref="ArgumentException">An id is empty, holds a line break, or occurs twice (both rows named).</exception>
    public static ItemIds FromStrings(IEnumerable<string> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        return Create([.. ids], (row, message) => new ArgumentException($"row {row}: {message}", nameof(ids)), "row", 0);
    }

    /// <summary>Reads ids, one per line; the last line may lack its end.</summary>
    /// <exception cref="InvalidDataException">A line is empty or an id occurs twice; lines are named, counted from 1.</exception>
    public static ItemIds ReadFile(string path)
    {
        var encoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
        try
        {
            return Create([.. File.ReadLines(path, encoding)], (row, message) => new InvalidDataException($"{path}: line {row + 1}: {message}"), "line", 1);
        }
        catch (DecoderFallbackException exception)
        {
            throw new InvalidDataException($"{path}: is no UTF-8 text", exception);
        }
    }

    /// <summary>Writes ids, one per line, as <see cref="ReadFile"/> reads them.</summary>
    public void Write(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var writer = new StreamWriter(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), 1 << 16, leaveOpen: true) { NewLine = "\n" };
        for (long row = 0; row < Count; row++)
            writer.WriteLine(this[row]);
    }

    /// <summary>Finds the row of an id.</summary>
    public bool TryFind(string id, out long row)
    {
        ArgumentNullException.ThrowIfNull(id);
        if (_rows is null)
        {
            bool canonical = id.Length is > 0 and < 20 && (id[0] != '0' || id.Length == 1) && id.All(char.IsAsciiDigit);
            if (canonical && long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number >= _first && number - _first < Count)
            {
                row = number - _first;
                return true;
            }
            row = -1;
            return false;
        }
        bool found = _rows.Value.TryGetValue(id, out int index);
        row = found ? index : -1;
        return found;
    }

    /// <summary>Whether both name the same items in the same order.</summary>
    public bool SameAs(ItemIds other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (ReferenceEquals(this, other))
            return true;
        if (Count != other.Count)
            return false;
        if (IsSequential && other.IsSequential)
            return Count == 0 || First == other.First;
        for (long row = 0; row < Count; row++)
        {
            if (this[row] != other[row])
                return false;
        }
        return true;
    }

    /// <inheritdoc/>
    public IEnumerator<string> GetEnumerator()
    {
        for (long row = 0; row < Count; row++)
            yield return this[row];
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Checks ids and wraps them; <paramref name="error"/> makes the exception from row and message.</summary>
    internal static ItemIds Create(string[] names, Func<int, string, Exception> error, string unit, int firstNumber)
    {
        var rows = new Dictionary<string, int>(names.Length, StringComparer.Ordinal);
        for (int row = 0; row < names.Length; row++)
        {
            string name = names[row];
            if (string.IsNullOrEmpty(name))
                throw error(row, "the item id is empty");
            if (name.AsSpan().IndexOfAny('\n', '\r') >= 0)
                throw error(row, "the item id holds a line break");
            if (!rows.TryAdd(name, row))
                throw error(row, $"item id '{name}' was already given in {unit} {rows[name] + firstNumber}; ids must be unique");
        }
        return SequentialStart(names) is { } first ? new ItemIds(null, names.Length, first) : new ItemIds(names, names.Length, 0);
    }

    private static Dictionary<string, int> IndexRows(string[] names)
    {
        var rows = new Dictionary<string, int>(names.Length, StringComparer.Ordinal);
        for (int row = 0; row < names.Length; row++)
            rows.Add(names[row], row);
        return rows;
    }

    private static long? SequentialStart(string[] names)
    {
        if (names.Length == 0)
            return 1;
        if (!long.TryParse(names[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first) || first > long.MaxValue - names.Length)
            return null;
        Span<char> digits = stackalloc char[20];
        for (int row = 0; row < names.Length; row++)
        {
            (first + row).TryFormat(digits, out int length, provider: CultureInfo.InvariantCulture);
            if (!names[row].AsSpan().SequenceEqual(digits[..length]))
                return null;
        }
        return first;
    }
}
