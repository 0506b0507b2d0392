using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Mini-batch k-means (Sculley 2010): a batch is gathered, searched, and its centroids move by (S_k − n_k c_k) / N_k.</summary>
/// <param name="rows">The rows.</param>
/// <param name="options">Validated options.</param>
/// <param name="backend">Where search and sums run.</param>
/// <param name="visited">Told how many rows have been searched, batch by batch.</param>
internal sealed class MiniBatches(RowColumns rows, KMeansOptions options, IBackend backend, Action<long> visited)
{
    /// <summary>One pass over all rows in random order.</summary>
    /// <param name="centroids">[K, d], moved.</param>
    /// <param name="codes">[n], written over.</param>
    /// <param name="seen">[K] N_k, added to.</param>
    /// <param name="counts">[K], added to.</param>
    /// <param name="random">Of the order.</param>
    /// <param name="search">Added to.</param>
    /// <param name="cancellation">Looked at before each batch.</param>
    /// <returns>Σ‖x − c‖² of each row and its centroid when it was visited.</returns>
    public double Visit(
        float[] centroids, ushort[] codes, long[] seen, long[] counts, RandomSource random, ref EncodeReport search, CancellationToken cancellation)
    {
        int width = rows.Width, batchRows = (int)Math.Min(Math.Min(options.MiniBatch, codes.Length), int.MaxValue / width);
        var permutation = new RowPermutation(codes.Length, random);
        using var batch = new RowMatrix(batchRows, width);
        var found = new ushort[batchRows];
        var errors = new float[batchRows];
        var sums = new double[centroids.Length];
        var batchCounts = new long[options.Codes];
        double objective = 0;
        for (int first = 0; first < codes.Length; first += batchRows)
        {
            cancellation.ThrowIfCancellationRequested();
            int start = first, count = Math.Min(batchRows, codes.Length - first);
            RowColumns.ForBlocks(count, options.Threads, (_, blockFirst, blockCount) =>
            {
                for (long i = blockFirst; i < blockFirst + blockCount; i++)
                    rows.Row(permutation[start + i]).CopyTo(batch.Rows(i, 1));
            });
            RowView view = batch.View(0, count);
            using (IEncoder encoder = backend.CreateEncoder(new EncodePlan(PlanKind.Residual, width, [centroids])))
                search += encoder.Encode(view, found.AsSpan(0, count), errors.AsSpan(0, count));
            Array.Clear(sums);
            Array.Clear(batchCounts);
            backend.Accumulate(view, found.AsSpan(0, count), options.Codes, sums, batchCounts);
            for (int i = 0; i < count; i++)
            {
                objective += errors[i];
                codes[permutation[start + i]] = found[i];
            }
            for (int k = 0; k < batchCounts.Length; k++)
            {
                if (batchCounts[k] == 0)
                    continue;
                counts[k] += batchCounts[k];
                seen[k] += batchCounts[k];
                for (int j = 0; j < width; j++)
                {
                    double centroid = centroids[k * width + j];
                    centroids[k * width + j] = (float)(centroid + (sums[k * width + j] - batchCounts[k] * centroid) / seen[k]);
                }
            }
            visited(count);
        }
        return objective;
    }
}
