using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;

namespace MmeSid.Cli.Terminal;

/// <summary>Command lines that cannot be understood: what is wrong, where help is, exit status 2.</summary>
internal static partial class UsageErrors
{
    private const int kUsage = 2;

    /// <summary>How arguments are read: a leading @ is part of a file name, not a response file.</summary>
    public static ParserConfiguration Parsing { get; } = new() { ResponseFileTokenReplacer = null };

    /// <summary>Prints what is wrong and returns the exit status; null where nothing is.</summary>
    public static int? Report(RootCommand root, string[] args)
    {
        ParseResult parsed = root.Parse(args, Parsing);
        if (parsed.Errors.Count == 0 || parsed.Action is System.CommandLine.Help.HelpAction)
            return null;
        foreach (string message in parsed.Errors.Select(Plain).Distinct())
            Console.Error.WriteLine($"mmesid: {message}");
        Console.Error.WriteLine($"mmesid: see '{Path(parsed.CommandResult)} --help'");
        return kUsage;
    }

    private static string Path(CommandResult command) =>
        command.Parent is CommandResult parent ? $"{Path(parent)} {command.Command.Name}" : "mmesid";

    /// <summary>The parser names .NET types where people know numbers, and leaves out which option it speaks of.</summary>
    private static string Plain(ParseError error)
    {
        string message = TypeName().Replace(Whitespace().Replace(error.Message, " "), match => match.Groups[1].Value switch
        {
            "Int32" or "Int64" => "a whole number",
            "UInt64" => "a whole number of at least 0",
            "Double" => "a number",
            "Boolean" => "true or false",
            string other => other,
        });
        string? option = (error.SymbolResult as OptionResult ?? error.SymbolResult?.Parent as OptionResult)?.Option.Name;
        return option is null || message.Contains(option, StringComparison.Ordinal) ? message : $"{option}: {message}";
    }

    [GeneratedRegex(@"expected type 'System\.(\w+)'")]
    private static partial Regex TypeName();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Whitespace();
}
