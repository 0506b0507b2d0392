namespace MmeSid.Engine.Files;

/// <summary>Texts out of files, in messages: names there may hold anything, a message is one line.</summary>
public static class OneLine
{
    private const int kMostLetters = 400;

    /// <summary>The text with '?' for control characters, cut where it is very long.</summary>
    public static string Of(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string start = text.Length <= kMostLetters ? text : text[..kMostLetters] + "…";
        return string.Concat(start.Select(letter => char.IsControl(letter) || char.IsSurrogate(letter) ? '?' : letter));
    }
}
