using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>First centroids of k-means, and new places for codes that died.</summary>
internal sealed class KMeansSeeding(RowColumns rows, int threads, CancellationToken cancellation, long exactValues = KMeansSeeding.kExactValues)
{
    /// <summary>Most n·K·d that k-means++ visits over all rows instead of a sample: a few tenths of a second.</summary>
    public const long kExactValues = 1L << 32;

    private const int kSampleRowsPerCode = 8;
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

    private float[] PlusPlus(int codes, RandomSource random)
    {
        int width = rows.Width;
        long sampleRows = Math.Min(rows.Count, Math.Max((long)kSampleRowsPerCode * codes, exactValues / ((long)codes * width)));
        using var sampleMatrix = sampleRows == rows.Count ? null : new RowMatrix(sampleRows, width);
        RowColumns sample = rows;
        if (sampleMatrix is not null)
        {
            long position = 0;
            foreach (long row in RowSample.Draw(rows.Count, sampleRows, random))
                rows.Row(row).CopyTo(sampleMatrix.Rows(position++, 1));
            sample = new RowColumns(sampleMatrix);
        }

        var centroids = new float[(long)codes * width];
        var point = new double[width];
        var nearest = new double[sampleRows];
        Array.Fill(nearest, double.PositiveInfinity);
        long chosen = random.NextLong(sampleRows);
        for (int code = 0; code < codes; code++)
        {
            cancellation.ThrowIfCancellationRequested();
            Span<float> centroid = centroids.AsSpan(code * width, width);
            sample.Row(chosen).CopyTo(centroid);
            for (int j = 0; j < width; j++)
                point[j] = centroid[j];
            int useThreads = sampleRows * width < kValuesWorthThreads ? 1 : threads;
            double total = RowColumns.SumBlocks(sampleRows, useThreads, (first, count) =>
            {
                double sum = 0;
                for (long row = first; row < first + count; row++)
                {
                    double distance = SquaredDistance.Between(sample.Row(row), point);
                    if (distance < nearest[row])
                        nearest[row] = distance;
                    sum += nearest[row];
                }
                return sum;
            });
            if (code + 1 == codes)
                break;
            if (total == 0)
            {
                // Every sampled row is a centroid already: the rest comes from the whole table.
                FillDistinct(centroids, code + 1, codes, random);
                break;
            }
            chosen = Draw(nearest, random.NextDouble() * total);
        }
        return centroids;
    }

    // Rounding may leave a rest of the target after the last row; then the last row with a weight is meant.
    private static long Draw(double[] weights, double target)
    {
        long chosen = -1;
        for (long row = 0; row < weights.LongLength; row++)
        {
            if (weights[row] > 0)
            {
                chosen = row;
                target -= weights[row];
                if (target < 0)
                    break;
            }
        }
        return chosen;
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
