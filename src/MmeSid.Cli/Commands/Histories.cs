using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;

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
        Of([null], [ids.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)], items, skipUnknown);

    /// <summary>Every user of a sequence file.</summary>
    /// <exception cref="InvalidDataException">A history is empty, or holds an unknown item that is not to be skipped; the user is named.</exception>
    public static Histories Of(InteractionSequences sequences, ItemIds items, bool skipUnknown) =>
        Of(sequences.Users, Enumerable.Range(0, sequences.Users.Count).Select(user => (IReadOnlyList<string>)[.. sequences[user].ToArray().Select(item => sequences.Items[item])]), items, skipUnknown);

    private static Histories Of(IReadOnlyList<string?> users, IEnumerable<IReadOnlyList<string>> histories, ItemIds items, bool skipUnknown)
    {
        var rows = new List<int[]>();
        long unknown = 0;
        foreach (IReadOnlyList<string> history in histories)
        {
            string who = users[rows.Count] is { } user ? $"user '{user}': " : "";
            if (history.Count == 0)
                throw new InvalidDataException($"{who}the history is empty, expected at least one item");
            var known = new List<int>(history.Count);
            foreach (string id in history)
            {
                if (items.TryFind(id, out long row))
                    known.Add((int)row);
                else if (skipUnknown)
                    unknown++;
                else
                    throw new InvalidDataException($"{who}item '{id}' is none of the {items.Count} that the model knows; --unknown skip goes on without it");
            }
            if (known.Count == 0)
                throw new InvalidDataException($"{who}none of the {history.Count} items of the history is known to the model");
            rows.Add([.. known]);
        }
        return new Histories(users, rows, unknown);
    }

    /// <summary>Says what was left out of the histories.</summary>
    public void Report(CommandRun run, int maximumHistory)
    {
        if (Unknown > 0)
            run.Progress.Note($"{Unknown} events of items that the model does not know were skipped");
        int cut = Rows.Count(history => history.Length > maximumHistory);
        if (cut > 0)
            run.Progress.Note($"{cut} of {Rows.Count} histories are longer than the {maximumHistory} items that the model looks at: their oldest items were dropped");
    }
}
