namespace MmeSid.Bench;

/// <summary>One command of an experiment, as a user types it.</summary>
/// <param name="Name">Of its result; the file or folder that it makes has the same, under <c>$WORK</c>.</param>
/// <param name="Command">A line for the shell. <c>$DATA</c> is the folder of the real data, <c>$WORK</c> that of results; it names every stage that it needs by <c>$WORK/name</c>.</param>
internal sealed record Stage(string Name, string Command)
{
    /// <summary>Where stages read what others made.</summary>
    public const string Work = "$WORK";

    /// <summary>Where stages read the real data.</summary>
    public const string Data = "$DATA";

    /// <summary>A stage that prints figures of a model.</summary>
    /// <param name="model">Name of the stage that made it.</param>
    /// <param name="sequences">What it is tested on.</param>
    /// <param name="generates">Whether it generates SIDs, so that attention can be fast.</param>
    /// <param name="against">Name of a stage that made another model, which it is held against; null where there is none.</param>
    public static Stage Evaluate(string model, string sequences, bool generates = false, string? against = null) =>
        new($"{model}.test", $"mmesid evaluate --model {Work}/{model}{(against is null ? "" : $" --against {Work}/{against}")} --sequences {sequences}{(generates ? " --attention fast" : "")}");

    /// <summary>Whether it prints an object of figures (<c>--json</c>).</summary>
    public bool HasFigures => Command.StartsWith("mmesid ", StringComparison.Ordinal);

    /// <summary>Whether it reads what a stage made.</summary>
    public bool Needs(Stage other) => this != other && Words.Any(word => word == $"{Work}/{other.Name}" || word.EndsWith($"={Work}/{other.Name}", StringComparison.Ordinal)
        || word.Contains($"{Work}/{other.Name}/", StringComparison.Ordinal));

    private string[] Words => Command.Split(' ');
}
