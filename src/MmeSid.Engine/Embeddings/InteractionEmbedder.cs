namespace MmeSid.Engine.Embeddings;

/// <summary>Options of <see cref="InteractionEmbedder"/>.</summary>
public sealed record InteractionOptions
{
    /// <summary>d, at most the number of items.</summary>
    public int Dimension { get; init; } = 64;

    /// <summary>Last events of each user that are not looked at. 2 keeps test and validation out of the embeddings; 0 uses everything.</summary>
    public int Holdout { get; init; } = 2;

    /// <summary>Events at most this far apart in a user's sequence occur together; 0: all of the user's.</summary>
    public int Window { get; init; } = 5;

    /// <summary>Exponent α of the context counts, 0 &lt; α ≤ 1; below 1 it tempers the pull towards rare items.</summary>
    public double ContextSmoothing { get; init; } = 0.75;

    /// <summary>Items without a co-occurrence.</summary>
    public EmptyItems Empty { get; init; } = EmptyItems.Zero;

    /// <summary>Seed of the randomized decomposition.</summary>
    public ulong Seed { get; init; }

    /// <summary>Threads; 0: all cores. Changes no value.</summary>
    public int Threads { get; init; }
}

/// <summary>
/// Collaborative embeddings: co-occurrence → positive pointwise mutual information → truncated SVD, rows U_d·Σ_d^½.
/// <para>
/// C[a, b] counts pairs of events of the items a ≠ b that lie within the window in a user's sequence, in both directions.
/// <c>PPMI[a, b] = max(0, ln( C[a,b]·Σ_c C[c]^α / (C[a]·C[b]^α) ))</c> with C[a] = Σ_b C[a, b] (Levy, Goldberg and Dagan, 2015).
/// </para>
/// Deterministic for a seed, whatever the number of threads. Rows are the items of the whole file, those seen only in held-out events
/// included: these have no co-occurrence, and <see cref="InteractionOptions.Empty"/> says what becomes of them.
/// </summary>
public static class InteractionEmbedder
{
    private const int kItemsPerBlock = 64;

    /// <summary>Embeds the items of the sequences.</summary>
    /// <exception cref="InvalidDataException">There are fewer items with a co-occurrence than dimensions; or an item has none under <see cref="EmptyItems.Refuse"/>.</exception>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public static EmbeddingResult Embed(InteractionSequences sequences, InteractionOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        options ??= new InteractionOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Dimension, 1, "dimension");
        ArgumentOutOfRangeException.ThrowIfNegative(options.Holdout, "holdout");
        ArgumentOutOfRangeException.ThrowIfNegative(options.Window, "window");
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, "threads");
        if (!(options.ContextSmoothing is > 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(options), $"context smoothing is {options.ContextSmoothing}, expected more than 0 and at most 1");
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Threads == 0 ? Environment.ProcessorCount : options.Threads, CancellationToken = cancellation };

        (int[] Columns, float[] Values)[] counts = CountPairs(sequences, options, parallel);
        var totals = new double[counts.Length];
        for (int item = 0; item < counts.Length; item++)
        {
            foreach (float count in counts[item].Values)
                totals[item] += count;
        }
        double[] contexts = [.. totals.Select(total => total > 0 ? Math.Pow(total, options.ContextSmoothing) : 0)];
        double contextSum = contexts.Sum();
        var rows = new List<(int[] Columns, float[] Values)>(counts.Length);
        for (int item = 0; item < counts.Length; item++)
            rows.Add(Information(counts[item], totals[item], contexts, contextSum));
        int known = rows.Count(row => row.Columns.Length > 0);
        if (known < options.Dimension)
            throw new InvalidDataException($"{known} items with co-occurrences (of {rows.Count}) cannot be embedded in {options.Dimension} dimensions, expected at least as many");
        return Factorization.Embed(rows, sequences.Items, rows.Count, options.Dimension, power: 0.5, options.Empty, "no neighbour in any sequence", new RandomSource(options.Seed), options.Threads, cancellation);
    }

    /// <summary>C by rows: each item's own events are visited in the order of the file, and their neighbours counted.</summary>
    private static (int[] Columns, float[] Values)[] CountPairs(InteractionSequences sequences, InteractionOptions options, ParallelOptions parallel)
    {
        int itemCount = checked((int)sequences.Items.Count);
        (int User, int Position)[][] places = PlacesOfItems(sequences, options.Holdout, itemCount);
        var rows = new (int[] Columns, float[] Values)[itemCount];
        Parallel.For(0, (itemCount + kItemsPerBlock - 1) / kItemsPerBlock, parallel, () => (Counts: new long[itemCount], Touched: new List<int>()), (block, _, scratch) =>
        {
            for (int item = block * kItemsPerBlock; item < Math.Min(itemCount, (block + 1) * kItemsPerBlock); item++)
            {
                foreach ((int user, int position) in places[item])
                {
                    ReadOnlySpan<int> events = sequences[user][..^options.Holdout];
                    int first = options.Window == 0 ? 0 : Math.Max(0, position - options.Window);
                    int end = options.Window == 0 ? events.Length : (int)Math.Min(events.Length, (long)position + options.Window + 1);
                    foreach (int neighbour in events[first..end])
                    {
                        if (neighbour == item)
                            continue;
                        if (scratch.Counts[neighbour]++ == 0)
                            scratch.Touched.Add(neighbour);
                    }
                }
                scratch.Touched.Sort();
                rows[item] = ([.. scratch.Touched], [.. scratch.Touched.Select(neighbour => (float)scratch.Counts[neighbour])]);
                foreach (int neighbour in scratch.Touched)
                    scratch.Counts[neighbour] = 0;
                scratch.Touched.Clear();
            }
            return scratch;
        }, _ => { });
        return rows;
    }

    private static (int User, int Position)[][] PlacesOfItems(InteractionSequences sequences, int holdout, int itemCount)
    {
        var counts = new int[itemCount];
        for (int user = 0; user < sequences.Users.Count; user++)
        {
            foreach (int item in Kept(sequences[user], holdout))
                counts[item]++;
        }
        (int User, int Position)[][] places = Array.ConvertAll(counts, count => new (int, int)[count]);
        Array.Clear(counts);
        for (int user = 0; user < sequences.Users.Count; user++)
        {
            ReadOnlySpan<int> events = Kept(sequences[user], holdout);
            for (int position = 0; position < events.Length; position++)
                places[events[position]][counts[events[position]]++] = (user, position);
        }
        return places;
    }

    private static ReadOnlySpan<int> Kept(ReadOnlySpan<int> events, int holdout) => events[..Math.Max(0, events.Length - holdout)];

    private static (int[] Columns, float[] Values) Information((int[] Columns, float[] Values) counts, double total, double[] contexts, double contextSum)
    {
        var columns = new List<int>(counts.Columns.Length);
        var values = new List<float>(counts.Columns.Length);
        for (int i = 0; i < counts.Columns.Length; i++)
        {
            double information = Math.Log(counts.Values[i] * contextSum / (total * contexts[counts.Columns[i]]));
            if (information > 0)
            {
                columns.Add(counts.Columns[i]);
                values.Add((float)information);
            }
        }
        return ([.. columns], [.. values]);
    }
}
