using System.Globalization;

namespace MmeSid.Cli.Commands;

/// <summary>Options as texts by name, in order: what a bundle or a model says of how it was made.</summary>
internal sealed class OptionTexts
{
    private readonly OrderedDictionary<string, string> _texts = [];

    /// <summary>Every option so far.</summary>
    public IReadOnlyDictionary<string, string> All => _texts;

    /// <summary>Adds one; numbers as .NET reads them back, bit for bit.</summary>
    public OptionTexts Add(string name, IConvertible value)
    {
        _texts.Add(name, value.ToString(CultureInfo.InvariantCulture));
        return this;
    }

    /// <summary>Adds those of another list.</summary>
    public OptionTexts Add(OptionTexts others)
    {
        foreach ((string name, string text) in others._texts)
            _texts.Add(name, text);
        return this;
    }

    /// <summary>One line per option.</summary>
    public override string ToString() => string.Join('\n', _texts.Select(option => $"{option.Key}={option.Value}"));
}
