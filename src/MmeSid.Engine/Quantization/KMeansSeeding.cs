using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>First centroids of k-means, and new places for codes that died.</summary>
internal sealed class KMeansSeeding(RowColumns rows, int threads, CancellationToken cancellation, long sampledValues = KMeansSeeding.kSampledValues)
{
    /// <summary>Rows · K · d that k-means++ visits per candidate where that many rows exist: a few hundredths of a second.</summary>
    public const long kSampledValues = 1L << 31;

    private const int kSampleRowsPerCode = 16;
    private const int kCandidateSamples = 4;
    private const int kShareOfIteration = 8;
    private const long kValuesWorthThreads = 1L << 17;

    /// <summary>K centroids, [K, width]. Rows with fewer distinct values than K leave copies of code 0, which a tie never chooses.</summary>
    public float[] Choose(KMeansInitialization initialization, int codes, RandomSource random) => initialization switch
    {
        KMeansInitialization.KMeansPlusPlus => PlusPlus(codes, random),
        KMeansInitialization.Random => DistinctRows(codes, random),
        _ => throw new ArgumentException($"{(int)initialization} is no k-means initialization"),
    };

    /// <summary>
    /// Rows drawn with probability proportional to their squared distance to their centroid, for codes without rows; fewer than asked for where
    /// too few different rows have an error.
    /// </summary>
    public List<long> DrawBadlyServed(int wanted, float[] centroids, ushort[] codes, RandomSource random)
    {
        int width = rows.Width;
        double[] points = Array.ConvertAll(centroids, value => (double)value);
        var blockSums = new double[(rows.Count + RowColumns.kRowsPerBlock - 1) / RowColumns.kRowsPerBlock];
        RowColumns.ForBlocks(rows.Count, threads, (b, first, count) =>
        {
            double sum = 0;
            for (long row = first; row < first + count; row++)
                sum += Error(row);
            blockSums[b] = sum;
        });
        double total = 0;
        foreach (double sum in blockSums)
            total += sum;
        var drawn = new List<long>();
        var distinct = new HashSet<long>(new RowColumns.RowEquality(rows));
        const int kTriesPerCode = 8;
        for (long tries = (long)wanted * kTriesPerCode; drawn.Count < wanted && tries > 0 && total > 0; tries--)
        {
            double target = random.NextDouble() * total;
            int block = 0;
            while (block < blockSums.Length - 1 && target >= blockSums[block])
                target -= blockSums[block++];
            long chosen = -1;
            long end = Math.Min(rows.Count, ((long)block + 1) * RowColumns.kRowsPerBlock);
            for (long row = (long)block * RowColumns.kRowsPerBlock; row < end && (chosen < 0 || target >= 0); row++)
            {
                double error = Error(row);
                if (error > 0)
                    chosen = row;
                target -= error;
            }
            if (chosen >= 0 && distinct.Add(chosen))
                drawn.Add(chosen);
        }
        return drawn;

        double Error(long row) => SquaredDistance.Between(rows.Row(row), points.AsSpan(codes[row] * width, width));
    }

    // Greedy k-means++ (Arthur & Vassilvitskii 2007): of several rows drawn by squared distance, the one that leaves the smallest total becomes a centroid.
    private float[] PlusPlus(int codes, RandomSource random)
    {
        int width = rows.Width;
        double valuesPerRow = (double)codes * width;
        long sampleRows = (long)Math.Min(rows.Count, Math.Max((double)kSampleRowsPerCode * codes, sampledValues / valuesPerRow));
        double affordable = Math.Max(kCandidateSamples * (double)sampledValues, rows.Count * valuesPerRow / kShareOfIteration);
        int candidates = (int)Math.Clamp(affordable / (sampleRows * valuesPerRow), 1, 2 + Math.Floor(Math.Log(codes)));
        using RowMatrix? sampleMatrix = sampleRows == rows.Count ? null : new RowMatrix(sampleRows, width);
        RowColumns sample = rows;
        if (sampleMatrix is not null)
        {
            long position = 0;
            foreach (long row in RowSample.Draw(rows.Count, sampleRows, random))
                rows.Row(row).CopyTo(sampleMatrix.Rows(position++, 1));
            sample = new RowColumns(sampleMatrix);
        }

        var centroids = new float[(long)codes * width];
        var nearest = new double[sampleRows];
        Array.Fill(nearest, double.PositiveInfinity);
        var cumulative = new double[sampleRows];
        var distances = new double[candidates][];
        for (int c = 0; c < candidates; c++)
            distances[c] = new double[sampleRows];
        long[] drawn = [random.NextLong(sampleRows)];
        for (int code = 0; code < codes; code++)
        {
            cancellation.ThrowIfCancellationRequested();
            int best = Measure(sample, drawn, nearest, distances);
            sample.Row(drawn[best]).CopyTo(centroids.AsSpan(code * width, width));
            double total = 0;
            for (long row = 0; row < sampleRows; row++)
            {
                nearest[row] = distances[best][row];
                cumulative[row] = total += nearest[row];
            }
            if (code + 1 == codes)
                break;
            if (total == 0)
            {
                // Every sampled row is a centroid already: the rest comes from the whole table.
                FillDistinct(centroids, code + 1, codes, random);
                break;
            }
            drawn = new long[candidates];
            for (int c = 0; c < candidates; c++)
                drawn[c] = Draw(cumulative, random.NextDouble() * total);
        }
        return centroids;
    }

    // distances[c][i] = min(nearest[i], ‖x_i − candidate c‖²); returns the candidate with the smallest sum, ties to the first.
    private int Measure(RowColumns sample, long[] drawn, double[] nearest, double[][] distances)
    {
        int width = sample.Width;
        var points = new double[drawn.Length * width];
        for (int c = 0; c < drawn.Length; c++)
        {
            ReadOnlySpan<float> row = sample.Row(drawn[c]);
            for (int j = 0; j < width; j++)
                points[c * width + j] = row[j];
        }
        int useThreads = sample.Count * points.Length < kValuesWorthThreads ? 1 : threads;
        var sums = new double[(sample.Count + RowColumns.kRowsPerBlock - 1) / RowColumns.kRowsPerBlock, drawn.Length];
        RowColumns.ForBlocks(sample.Count, useThreads, (b, first, count) =>
        {
            Span<double> blockSums = stackalloc double[drawn.Length];
            for (long row = first; row < first + count; row++)
            {
                ReadOnlySpan<float> x = sample.Row(row);
                for (int c = 0; c < drawn.Length; c++)
                {
                    double distance = Math.Min(nearest[row], SquaredDistance.Between(x, points.AsSpan(c * width, width)));
                    distances[c][row] = distance;
                    blockSums[c] += distance;
                }
            }
            for (int c = 0; c < drawn.Length; c++)
                sums[b, c] = blockSums[c];
        });
        int best = 0;
        double bestSum = double.PositiveInfinity;
        for (int c = 0; c < drawn.Length; c++)
        {
            double sum = 0;
            for (int b = 0; b < sums.GetLength(0); b++)
                sum += sums[b, c];
            if (sum < bestSum)
                (best, bestSum) = (c, sum);
        }
        return best;
    }

    // The first row whose running total exceeds the target; rounding may leave none, then the last row with a weight is meant.
    private static long Draw(double[] cumulative, double target)
    {
        long low = 0, high = cumulative.LongLength - 1;
        while (low < high)
        {
            long middle = (low + high) / 2;
            if (cumulative[middle] > target)
                high = middle;
            else
                low = middle + 1;
        }
        while (low > 0 && cumulative[low] == cumulative[low - 1])
            low--;
        return low;
    }

    private float[] DistinctRows(int codes, RandomSource random)
    {
        var centroids = new float[(long)codes * rows.Width];
        FillDistinct(centroids, 0, codes, random);
        return centroids;
    }

    private void FillDistinct(float[] centroids, int filled, int codes, RandomSource random)
    {
        int width = rows.Width;
        var permutation = new RowPermutation(rows.Count, random);
        var seen = new HashSet<int>(new CentroidEquality(centroids, width));
        for (int code = 0; code < filled; code++)
            seen.Add(code);
        for (long position = 0; position < rows.Count && filled < codes; position++)
        {
            cancellation.ThrowIfCancellationRequested();
            rows.Row(permutation[position]).CopyTo(centroids.AsSpan(filled * width, width));
            if (seen.Add(filled))
                filled++;
        }
        for (; filled < codes; filled++)
            centroids.AsSpan(0, width).CopyTo(centroids.AsSpan(filled * width, width));
    }

    private sealed class CentroidEquality(float[] centroids, int width) : IEqualityComparer<int>
    {
        public bool Equals(int x, int y)
        {
            for (int j = 0; j < width; j++)
            {
                if (centroids[x * width + j] != centroids[y * width + j])
                    return false;
            }
            return true;
        }

        public int GetHashCode(int code)
        {
            var hash = new HashCode();
            for (int j = 0; j < width; j++)
                hash.Add(centroids[code * width + j] + 0f);
            return hash.ToHashCode();
        }
    }
}
