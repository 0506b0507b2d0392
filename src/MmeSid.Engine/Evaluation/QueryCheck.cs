namespace MmeSid.Engine.Evaluation;

/// <summary>What must hold of queries, whoever answers them.</summary>
internal static class QueryCheck
{
    /// <summary>Refuses empty histories and rows that are no items.</summary>
    /// <exception cref="ArgumentException">Which query, and what was expected.</exception>
    public static void Validate(IReadOnlyList<NextItemQuery> queries, int count, long items)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        for (int i = 0; i < queries.Count; i++)
        {
            Validate(queries[i].History, i, items);
            Rows(queries[i].LeftOut, i, items);
        }
    }

    /// <summary>Refuses an empty history and rows that are no items.</summary>
    /// <exception cref="ArgumentException">Which history, and what was expected.</exception>
    public static void Validate(int[] history, int number, long items)
    {
        if (history.Length == 0)
            throw new ArgumentException($"history {number} is empty, expected at least one item");
        Rows(history, number, items);
    }

    private static void Rows(int[] rows, int number, long items)
    {
        foreach (int row in rows)
        {
            if (row < 0 || row >= items)
                throw new ArgumentException($"query {number} names item row {row}, the model has rows 0 to {items - 1}");
        }
    }
}
