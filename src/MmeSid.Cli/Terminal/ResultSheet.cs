using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MmeSid.Cli.Terminal;

/// <summary>
/// What a command found, in the order it was found: named values and tables. People get aligned text, machines one JSON object with the
/// same names (<c>snake_case</c>; text shows them with spaces).
/// </summary>
internal sealed class ResultSheet
{
    private static readonly JsonSerializerOptions s_json = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly List<(string Name, JsonNode? Value, bool IsBlock, Action<TextWriter, int> Text)> _entries = [];
    private int _labelWidth;

    /// <summary>Adds a value.</summary>
    /// <param name="name">Its name, <c>snake_case</c>.</param>
    /// <param name="value">For machines, unrounded.</param>
    /// <param name="text">For people, with its unit; null formats the value.</param>
    /// <param name="label">What people see as its name; null takes the name.</param>
    public void Value(string name, JsonNode? value, string? text = null, string? label = null)
    {
        label ??= name.Replace('_', ' ');
        _labelWidth = Math.Max(_labelWidth, label.Length);
        string shown = text ?? Show(value);
        _entries.Add((name, Finite(value), false, (writer, width) => writer.WriteLine($"{label.PadRight(width)}  {shown}")));
    }

    /// <summary>Adds a table: text columns left, numbers right. A column that has nothing to show in any row is left out of the text.</summary>
    /// <param name="name">Its name, <c>snake_case</c>.</param>
    /// <param name="columns">Names of the columns, <c>snake_case</c>.</param>
    /// <param name="rows">One value per column; the text of a cell may differ from its value.</param>
    /// <param name="caption">A line above it for people, or null.</param>
    public void Table(string name, IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<Cell>> rows, string? caption = null)
    {
        IReadOnlyList<Cell>[] cells = [.. rows];
        var array = new JsonArray();
        foreach (IReadOnlyList<Cell> row in cells)
        {
            var item = new JsonObject();
            for (int c = 0; c < columns.Count; c++)
                item[columns[c]] = Finite(row[c].Value?.DeepClone());
            array.Add(item);
        }
        _entries.Add((name, array, true, (writer, _) =>
        {
            if (caption is not null)
                writer.WriteLine(caption);
            int[] shown = [.. Enumerable.Range(0, columns.Count).Where(c => cells.Any(row => row[c] != Cell.None))];
            string[] heads = [.. shown.Select(c => columns[c].Replace('_', ' '))];
            int[] widths = [.. shown.Select((c, i) => Math.Max(heads[i].Length, cells.Max(row => row[c].Text.Length)))];
            bool[] numbers = [.. shown.Select(c => cells.All(row => row[c].IsNumber))];
            WriteRow(writer, heads, widths, numbers);
            foreach (IReadOnlyList<Cell> row in cells)
                WriteRow(writer, [.. shown.Select(c => row[c].Text)], widths, numbers);
        }));
    }

    /// <summary>Adds lines for people only.</summary>
    public void Text(string lines) => _entries.Add(("", null, true, (writer, _) => writer.WriteLine(lines)));

    /// <summary>Writes everything; nothing at all where a command found nothing to sum up.</summary>
    public void Write(TextWriter writer, bool json)
    {
        if (json && _entries.Count > 0)
        {
            var whole = new JsonObject();
            foreach ((string name, JsonNode? value, _, _) in _entries)
            {
                if (name.Length > 0)
                    whole[name] = value;
            }
            writer.WriteLine(whole.ToJsonString(s_json));
        }
        else
        {
            bool apart = false;
            foreach ((_, _, bool isBlock, Action<TextWriter, int> text) in _entries)
            {
                if (apart || (isBlock && _entries[0].Text != text))
                    writer.WriteLine();
                text(writer, _labelWidth);
                apart = isBlock;
            }
        }
        writer.Flush();
    }

    /// <summary>A number for people: thousands separated, four digits after the point at most.</summary>
    public static string Number(double value) => Math.Abs(value) is >= 1000 or 0
        ? (value + 0.0).ToString("N0", CultureInfo.InvariantCulture)
        : (value is > -0.00005 and < 0 ? 0 : value).ToString("0.####", CultureInfo.InvariantCulture);

    /// <summary>A rate with a decimal prefix.</summary>
    public static string PerSecond(double value, string unit)
    {
        string[] prefixes = ["", "k", "M", "G", "T", "P"];
        int prefix = Math.Clamp((int)Math.Floor(Math.Log10(Math.Max(1, value)) / 3), 0, prefixes.Length - 1);
        return string.Create(CultureInfo.InvariantCulture, $"{value / Math.Pow(1000, prefix):F1} {prefixes[prefix]}{unit}/s");
    }

    /// <summary>A share as per cent.</summary>
    public static string Percent(double share) => (share * 100).ToString(share is > 0 and < 0.0001 ? "0.######" : "0.##", CultureInfo.InvariantCulture) + " %";

    /// <summary>A duration.</summary>
    public static string Seconds(double seconds) => seconds switch
    {
        < 1 => $"{seconds * 1000:0} ms",
        < 100 => $"{seconds:0.0} s",
        _ => TimeSpan.FromSeconds(Math.Round(seconds)).ToString("c"),
    };

    /// <summary>JSON has no infinity and no NaN: null stands for them.</summary>
    private static JsonNode? Finite(JsonNode? value) => value is JsonValue scalar && scalar.TryGetValue(out double number) && !double.IsFinite(number) ? null : value;

    private static string Show(JsonNode? value) => value switch
    {
        null => "–",
        JsonArray array => string.Join(' ', array.Select(Show)),
        JsonValue scalar when scalar.TryGetValue(out long whole) => whole.ToString("N0", CultureInfo.InvariantCulture),
        JsonValue scalar when scalar.TryGetValue(out int whole) => whole.ToString("N0", CultureInfo.InvariantCulture),
        JsonValue scalar when scalar.TryGetValue(out double number) => Number(number),
        _ => value.ToString(),
    };

    private static void WriteRow(TextWriter writer, string[] texts, int[] widths, bool[] numbers) =>
        writer.WriteLine(string.Join("  ", texts.Select((text, c) => numbers[c] ? text.PadLeft(widths[c]) : text.PadRight(widths[c]))).TrimEnd());

    /// <summary>One cell of a table.</summary>
    internal readonly record struct Cell(JsonNode? Value, string Text, bool IsNumber)
    {
        public static implicit operator Cell(string text) => new(JsonValue.Create(text), text, false);

        public static implicit operator Cell(long number) => new(number, Show(number), true);

        public static implicit operator Cell(double number) => new(number, Number(number), true);

        /// <summary>A share, shown as per cent.</summary>
        public static Cell Share(double share) => new(share, Percent(share), true);

        /// <summary>Nothing to show.</summary>
        public static Cell None => new(null, "–", true);
    }
}
