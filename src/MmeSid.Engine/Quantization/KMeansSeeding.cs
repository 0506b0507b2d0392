using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>First centroids of k-means, and new places for codes that died: the random numbers, and what is distinct. Distances are <see cref="ILloyd"/>'s.</summary>
internal sealed class KMeansSeeding(RowColumns rows, ILloyd lloyd, CancellationToken cancellation, long sampledValues = KMeansSeeding.kSampledValues)
{
    /// <summary>Rows · K · d that k-means++ visits per candidate where that many rows exist: a few hundredths of a second.</summary>
    public const long kSampledValues = 1L << 31;

    private const int kSampleRowsPerCode = 16;
    private const int kCandidateSamples = 4;
    private const int kShareOfIteration = 8;

    /// <summary>K rows. Where fewer than K are distinct the others are copies of the first, which a tie never chooses.</summary>
    public int[] Choose(KMeansInitialization initialization, int codes, RandomSource random)
    {
        var seeds = new int[codes];
        int found = initialization switch
        {
            KMeansInitialization.KMeansPlusPlus => PlusPlus(seeds, random),
            KMeansInitialization.Random => 0,
            _ => throw new ArgumentException($"{(int)initialization} is no k-means initialization"),
        };
        FillDistinct(seeds, found, random);
        return seeds;
    }

    /// <summary>
    /// Rows drawn with probability proportional to their squared distance to their centroid, for codes without rows; fewer than asked for where
    /// too few different rows have an error.
    /// </summary>
    public int[] DrawBadlyServed(int wanted, RandomSource random)
    {
        double total = lloyd.MeasureErrors();
        var drawn = new List<int>();
        var distinct = new HashSet<long>(new RowColumns.RowEquality(rows));
        const int kTriesPerCode = 8;
        for (long tries = (long)wanted * kTriesPerCode; drawn.Count < wanted && tries > 0 && total > 0;)
        {
            double[] uniform = Uniform((int)Math.Min(wanted - drawn.Count, tries), random);
            var places = new int[uniform.Length];
            lloyd.Draw(uniform, places);
            drawn.AddRange(places.Where(row => row >= 0 && distinct.Add(row)));
            tries -= uniform.Length;
        }
        return [.. drawn];
    }

    // Returns how many were found before every sampled row was a centroid.
    private int PlusPlus(int[] seeds, RandomSource random)
    {
        double valuesPerRow = (double)seeds.Length * rows.Width;
        int sampleRows = (int)Math.Min(rows.Count, Math.Max((double)kSampleRowsPerCode * seeds.Length, sampledValues / valuesPerRow));
        double affordable = Math.Max(kCandidateSamples * (double)sampledValues, rows.Count * valuesPerRow / kShareOfIteration);
        int candidates = (int)Math.Clamp(affordable / (sampleRows * valuesPerRow), 1, 2 + Math.Floor(Math.Log(seeds.Length)));
        int[] sample = sampleRows == rows.Count ? [] : [.. RowSample.Draw(rows.Count, sampleRows, random).Select(row => (int)row)];
        int first = (int)random.NextLong(sampleRows);
        return lloyd.SeedPlusPlus(sample, first, candidates, Uniform((seeds.Length - 1) * candidates, random), seeds, cancellation);
    }

    private static double[] Uniform(int count, RandomSource random)
    {
        var uniform = new double[count];
        for (int i = 0; i < count; i++)
            uniform[i] = random.NextDouble();
        return uniform;
    }

    // Rows of the whole table, in random order, whose values no seed has.
    private void FillDistinct(int[] seeds, int filled, RandomSource random)
    {
        if (filled == seeds.Length)
            return;
        var permutation = new RowPermutation(rows.Count, random);
        var seen = new HashSet<long>(new RowColumns.RowEquality(rows));
        for (int seed = 0; seed < filled; seed++)
            seen.Add(seeds[seed]);
        for (long position = 0; position < rows.Count && filled < seeds.Length; position++)
        {
            cancellation.ThrowIfCancellationRequested();
            long row = permutation[position];
            if (seen.Add(row))
                seeds[filled++] = (int)row;
        }
        seeds.AsSpan(filled).Fill(seeds[0]);
    }
}
