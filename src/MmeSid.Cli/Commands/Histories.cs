using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Cli.Commands;

/// <summary>Histories that recommendations are made for, as rows of a model.</summary>
/// <param name="Users">Id of each user; null where a history came without one.</param>
/// <param name="Rows">Item rows of each user, oldest first, at least one.</param>
/// <param name="Unknown">Items that the model lacks and that were skipped.</param>
internal sealed record Histories(IReadOnlyList<string?> Users, IReadOnlyList<int[]> Rows, long Unknown)
{
    /// <summary>One history as text: item ids separated by blanks.</summary>
    /// <exception cref="InvalidDataException">It is empty, or holds an unknown item that is not to be skipped.</exception>
    public static Histories Of(string ids, ItemIds items, bool skipUnknown) =>
        Of([null], [Ids(ids)], items, skipUnknown);

    /// <summary>Every user of a sequence file.</summary>
    /// <exception cref="InvalidDataException">A history is empty, or holds an unknown item that is not to be skipped; the user is named.</exception>
    public static Histories Of(InteractionSequences sequences, ItemIds items, bool skipUnknown) =>
        Of(sequences.Users, Enumerable.Range(0, sequences.Users.Count).Select(user => Ids(sequences, user)), items, skipUnknown);

    /// <summary>The item ids of a text, separated by blanks.</summary>
    public static IReadOnlyList<string> Ids(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The item ids of a user of sequences.</summary>
    public static IReadOnlyList<string> Ids(InteractionSequences sequences, int user) => [.. sequences[user].ToArray().Select(item => sequences.Items[item])];

    /// <summary>What messages about a user's history begin with.</summary>
    public static string WhereOf(string? user) => user is null ? "" : $"user '{OneLine.Of(user)}': ";

    private static Histories Of(IReadOnlyList<string?> users, IEnumerable<IReadOnlyList<string>> histories, ItemIds items, bool skipUnknown)
    {
        var rows = new List<int[]>();
        var known = new KnownItems(items, skipUnknown);
        foreach (IReadOnlyList<string> history in histories)
        {
            string where = WhereOf(users[rows.Count]);
            if (history.Count == 0)
                throw new InvalidDataException($"{where}the history is empty, expected at least one item");
            int[] own = known.Find(where, history);
            rows.Add(own.Length > 0 ? own : throw new InvalidDataException($"{where}none of the {history.Count} items of the history is known to the model"));
        }
        return new Histories(users, rows, known.Skipped);
    }

    /// <summary>Says what was left out of the histories.</summary>
    public void Report(CommandRun run, int maximumHistory) => Report(run, Unknown, Rows.Count(history => history.Length > maximumHistory), Rows.Count, maximumHistory);

    /// <summary>Says what was left out of histories.</summary>
    /// <param name="run">Where.</param>
    /// <param name="unknown">Items that were skipped.</param>
    /// <param name="cut">Histories that are too long.</param>
    /// <param name="count">Histories.</param>
    /// <param name="maximumHistory">What the model looks at.</param>
    public static void Report(CommandRun run, long unknown, long cut, long count, int maximumHistory)
    {
        if (unknown > 0)
            run.Progress.Note($"{unknown} events of items that the model does not know were skipped");
        if (cut > 0)
            run.Progress.Note($"{cut} of {count} histories are longer than the {maximumHistory} items that the model looks at: their oldest items were dropped");
    }
}
