namespace MmeSid.Engine.Sids;

/// <summary>Lexicographic order of SIDs.</summary>
internal static class SidOrder
{
    /// <summary>
    /// Rows in lexicographic order of their SIDs, rows with equal SIDs in row order. A stable counting sort per level, last level
    /// first: O(L·(n + K)) time, 8·n bytes at the peak, half of them the result.
    /// </summary>
    /// <param name="sids">n SIDs, n &lt; 2³¹.</param>
    public static int[] Sort(SidTable sids)
    {
        int count = checked((int)sids.Count), levels = sids.Levels;
        ReadOnlySpan<ushort> codes = sids.Codes;
        var order = new int[count];
        for (int i = 0; i < count; i++)
            order[i] = i;
        if (count < 2)
            return order;
        var scratch = new int[count];
        var starts = new int[ushort.MaxValue + 1];
        for (int level = levels - 1; level >= 0; level--)
        {
            Array.Clear(starts);
            int largest = 0;
            for (int i = level; i < codes.Length; i += levels)
            {
                starts[codes[i]]++;
                largest = Math.Max(largest, codes[i]);
            }
            int sum = 0;
            for (int code = 0; code <= largest; code++)
                (starts[code], sum) = (sum, sum + starts[code]);
            foreach (int row in order)
                scratch[starts[codes[row * levels + level]]++] = row;
            (order, scratch) = (scratch, order);
        }
        return order;
    }
}
