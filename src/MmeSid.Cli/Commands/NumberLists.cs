using System.Globalization;

namespace MmeSid.Cli.Commands;

/// <summary>Option values of the form <c>256,256,64</c>.</summary>
internal static class NumberLists
{
    /// <summary>Splits at commas.</summary>
    /// <exception cref="ArgumentException">A part is no number.</exception>
    public static IReadOnlyList<T> Parse<T>(string text, string option)
        where T : IParsable<T> => Array.ConvertAll(text.Split(','), part => T.TryParse(part.Trim(), CultureInfo.InvariantCulture, out T? value)
            ? value
            : throw new ArgumentException($"{option} is '{text}': '{part}' is no number; expected numbers separated by commas"));
}
