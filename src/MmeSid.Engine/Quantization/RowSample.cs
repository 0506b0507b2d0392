namespace MmeSid.Engine.Quantization;

/// <summary>Uniform samples of rows without replacement, in ascending order, one pass and no memory (Knuth's selection sampling, algorithm 3.4.2 S).</summary>
internal static class RowSample
{
    /// <summary>Draws <paramref name="size"/> of <paramref name="count"/> rows; all of them, without a random number, when size ≥ count.</summary>
    public static IEnumerable<long> Draw(long count, long size, RandomSource random)
    {
        long wanted = Math.Min(size, count);
        for (long row = 0; wanted > 0; row++)
        {
            long left = count - row;
            if (wanted == left || random.NextDouble() * left < wanted)
            {
                wanted--;
                yield return row;
            }
        }
    }
}
