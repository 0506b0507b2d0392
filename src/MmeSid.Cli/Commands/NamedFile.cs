using System.Text.RegularExpressions;

namespace MmeSid.Cli.Commands;

/// <summary>A value <c>name=file</c> of the command line.</summary>
/// <param name="Name">What the file is.</param>
/// <param name="File">Its path, which may hold further equals signs.</param>
internal readonly partial record struct NamedFile(string Name, string File)
{
    /// <summary>Reads one.</summary>
    /// <param name="option">For messages.</param>
    /// <param name="text">The value.</param>
    /// <exception cref="ArgumentException">The text has no name, no file or no equals sign.</exception>
    public static NamedFile Parse(string option, string text)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals >= 1 && equals < text.Length - 1 ? new(text[..equals], text[(equals + 1)..])
            : throw new ArgumentException($"{option} is '{text}', expected name=file such as text=items.npy");
    }

    /// <summary>Reads values that name modalities, each once.</summary>
    /// <param name="option">For messages.</param>
    /// <param name="texts">The values.</param>
    /// <exception cref="ArgumentException">A text is not <c>name=file</c>, a name is none of a modality, or two are the same.</exception>
    public static NamedFile[] ParseModalities(string option, IEnumerable<string> texts) => RequireModalities(option, [.. texts.Select(text => Parse(option, text))]);

    /// <summary>Refuses what names no modality, or one twice.</summary>
    /// <param name="option">For messages.</param>
    /// <param name="named">The values.</param>
    /// <exception cref="ArgumentException">A name is none of a modality, or two are the same.</exception>
    public static NamedFile[] RequireModalities(string option, NamedFile[] named)
    {
        foreach ((string name, string file) in named)
        {
            if (!ModalityName().IsMatch(name))
                throw new ArgumentException($"{option} is '{name}={file}': '{name}' is no name of a modality, expected letters, digits, - and _");
        }
        return named.GroupBy(file => file.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice
            ? throw new ArgumentException($"{option} names two modalities {twice.Key}, expected a name of its own for each")
            : named;
    }

    // It becomes the name of a folder.
    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    private static partial Regex ModalityName();
}
