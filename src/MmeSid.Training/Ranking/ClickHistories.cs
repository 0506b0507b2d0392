using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Ranking;

/// <summary>Users' clicks as rows of a catalogue, without those that it does not know.</summary>
internal sealed class ClickHistories
{
    private readonly int[][] _rows;
    // How many of a user's first clicks are known, where not all are; null where all are.
    private readonly int[]?[] _known;

    public ClickHistories(ClickLog log, RankerCatalogue catalogue)
    {
        ArgumentNullException.ThrowIfNull(log);
        int users = log.Clicks.Users.Count;
        (_rows, _known) = (new int[users][], new int[]?[users]);
        for (int user = 0; user < users; user++)
        {
            int[] rows = [.. log.Clicks[user].ToArray().Select(item => catalogue.Rows[item])];
            _rows[user] = rows;
            if (!rows.Contains(-1))
                continue;
            var counts = new int[rows.Length + 1];
            for (int i = 0; i < rows.Length; i++)
                counts[i + 1] = counts[i] + (rows[i] < 0 ? 0 : 1);
            (_rows[user], _known[user]) = ([.. rows.Where(row => row >= 0)], counts);
        }
    }

    /// <summary>What the user of a sample clicked before it, oldest first.</summary>
    public ReadOnlyMemory<int> Of(ClickSample sample) => _rows[sample.User].AsMemory(0, _known[sample.User]?[sample.Seen] ?? sample.Seen);
}
