namespace MmeSid.Cli.Commands;

/// <summary>A value <c>name=file</c> of the command line.</summary>
/// <param name="Name">What the file is.</param>
/// <param name="File">Its path, which may hold further equals signs.</param>
internal readonly record struct NamedFile(string Name, string File)
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
}
