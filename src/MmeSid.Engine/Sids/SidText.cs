using System.Globalization;
using System.Text;

namespace MmeSid.Engine.Sids;

/// <summary>SIDs as text: tokens as LC-Rec and LETTER write them (<c>&lt;a_12&gt;&lt;b_3&gt;</c>) and plain numbers (<c>12-3</c>).</summary>
public static class SidText
{
    /// <summary>Token of one code: <c>&lt;a_12&gt;</c> for code 12 of level 0. After z come aa, ab, ….</summary>
    public static string Token(int level, ushort code) => $"<{LevelName(level)}_{code}>";

    /// <summary>Letters of a level: a … z, aa, ab, ….</summary>
    public static string LevelName(int level)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(level);
        string name = "";
        for (int rest = level + 1; rest > 0; rest = (rest - 1) / 26)
            name = (char)('a' + ((rest - 1) % 26)) + name;
        return name;
    }

    /// <summary>All tokens of a SID in one string: <c>&lt;a_12&gt;&lt;b_3&gt;&lt;c_0&gt;</c>.</summary>
    public static string Tokens(ReadOnlySpan<ushort> sid)
    {
        var text = new StringBuilder();
        for (int level = 0; level < sid.Length; level++)
            text.Append(Token(level, sid[level]));
        return text.ToString();
    }

    /// <summary>The codes joined by hyphens: <c>12-3-0</c>.</summary>
    public static string Numbers(ReadOnlySpan<ushort> sid)
    {
        var text = new StringBuilder();
        for (int level = 0; level < sid.Length; level++)
            text.Append(level == 0 ? "" : "-").Append(sid[level]);
        return text.ToString();
    }

    /// <summary>Reads a SID or a prefix of one: tokens (<c>&lt;a_12&gt;&lt;b_3&gt;</c>), or numbers separated by hyphens, commas or blanks.</summary>
    /// <exception cref="ArgumentException">The text is neither; the message names the part that does not fit.</exception>
    public static ushort[] Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var codes = new List<ushort>();
        foreach (string part in text.Split(['-', ',', ' ', '>'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            ReadOnlySpan<char> number = part;
            string prefix = $"<{LevelName(codes.Count)}_";
            if (number.StartsWith(prefix, StringComparison.Ordinal))
                number = number[prefix.Length..];
            if (!ushort.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out ushort code))
                throw new ArgumentException($"'{text}' is no SID: found '{part}' at level {codes.Count}, expected a code 0 … 65535 or {prefix}0>", nameof(text));
            codes.Add(code);
        }
        return codes.Count == 0 ? throw new ArgumentException($"'{text}' is no SID: it has no codes", nameof(text)) : [.. codes];
    }
}
