using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Evaluation;

/// <summary>Purity of one level.</summary>
/// <param name="Share">Mean over queries of the share of the query's k nearest items that have its code at this level.</param>
/// <param name="StandardError">Of that mean, as a sample of the pool (finite-population corrected); 0 when every pool item was a query.</param>
/// <param name="Baseline">The share when the codes are dealt out at random: Σ c_k(c_k − 1) / (m(m − 1)) over the pool's m items, exact.</param>
public sealed record LevelPurity(double Share, double StandardError, double Baseline);

/// <summary>
/// Whether neighbours in the original space have the same code, level by level. The k nearest by Euclidean distance among a pool of items,
/// the query left out, ties to the smaller row; exact (float64) inside the pool.
/// </summary>
/// <param name="Levels">One entry per level.</param>
/// <param name="Neighbours">k.</param>
/// <param name="Queries">Queries drawn from the pool.</param>
/// <param name="Pool">Items that were searched: all, or a uniform sample (neighbours are then farther than in the whole table).</param>
/// <param name="Items">Items of the table.</param>
public sealed record NeighbourPurity(IReadOnlyList<LevelPurity> Levels, int Neighbours, int Queries, int Pool, long Items)
{
    // The kernel ranks by ⟨x − m, q − m⟩ − ‖x − m‖²/2, whose last part is rounded to float32; the true k nearest are sought among this many more.
    private const int kSpareCandidates = 16;
    private const int kQueriesPerBlock = 256;

    /// <summary>Measures codes against their rows.</summary>
    /// <param name="rows">[n, d], n ≥ 2, the original space.</param>
    /// <param name="sids">[n, L].</param>
    /// <param name="options">k, sizes of the samples, seed.</param>
    /// <param name="backend">For the search.</param>
    /// <exception cref="ArgumentException">Fewer than two rows, or shapes that do not fit.</exception>
    public static NeighbourPurity Measure(EmbeddingTable rows, SidTable sids, AgreementOptions options, IBackend backend)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(sids);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(backend);
        if (rows.Count < 2 || rows.Count != sids.Count)
            throw new ArgumentException($"{rows.Count} rows and {sids.Count} SIDs, expected as many of each and at least 2", nameof(rows));
        var random = new RandomSource(options.Seed);
        long[] pool = [.. RowSample.Draw(rows.Count, options.MaximumPool, random.Split(0))];
        int[] queries = [.. RowSample.Draw(pool.Length, options.MaximumQueries, random.Split(1)).Select(row => (int)row)];
        int neighbours = Math.Min(options.Neighbours, pool.Length - 1);
        using RowMatrix original = Gather(rows, pool);
        int[] nearest = Nearest(original, queries, neighbours, backend, options.Threads);

        var levels = new LevelPurity[sids.Levels];
        for (int level = 0; level < levels.Length; level++)
        {
            int index = level;
            ushort[] codes = Array.ConvertAll(pool, row => sids[row][index]);
            var shares = new double[queries.Length];
            for (int q = 0; q < shares.Length; q++)
            {
                int same = new ArraySegment<int>(nearest, q * neighbours, neighbours).Count(row => codes[row] == codes[queries[q]]);
                shares[q] = (double)same / neighbours;
            }
            double m = pool.Length, mean = shares.Average();
            double variance = shares.Length < 2 ? 0 : shares.Sum(share => (share - mean) * (share - mean)) / (shares.Length - 1.0);
            double error = Math.Sqrt(variance / shares.Length * (1 - shares.Length / m));
            double pairs = codes.GroupBy(code => code).Sum(group => (double)group.Count() * (group.Count() - 1));
            levels[level] = new LevelPurity(mean, error, pairs / (m * (m - 1)));
        }
        return new NeighbourPurity(levels, neighbours, queries.Length, pool.Length, rows.Count);
    }

    private static RowMatrix Gather(EmbeddingTable table, long[] rows)
    {
        var matrix = new RowMatrix(rows.Length, table.Dimension);
        for (int i = 0; i < rows.Length; i++)
            table.Read(rows[i], 1, matrix.Rows(i, 1));
        return matrix;
    }

    // ‖x − q‖² = ‖q − m‖² − 2(⟨x − m, q − m⟩ − ‖x − m‖²/2): the nearest rows have the largest product of [x − m, −‖x − m‖²/2] and [q − m, 1].
    private static int[] Nearest(RowMatrix rows, int[] queries, int neighbours, IBackend backend, int threads)
    {
        int d = rows.Dimension, count = (int)rows.Count;
        var mean = new double[d];
        for (int i = 0; i < count; i++)
        {
            Span<float> row = rows.Rows(i, 1);
            for (int j = 0; j < d; j++)
                mean[j] += (double)row[j] / count;
        }
        using var items = new RowMatrix(count, d + 1);
        for (int i = 0; i < count; i++)
        {
            Span<float> row = rows.Rows(i, 1), item = items.Rows(i, 1);
            double norm = 0;
            for (int j = 0; j < d; j++)
            {
                item[j] = (float)(row[j] - mean[j]);
                norm += (double)item[j] * item[j];
            }
            item[d] = (float)(-norm / 2);
        }

        int candidates = Math.Min(count, neighbours + 1 + kSpareCandidates);
        var nearest = new int[queries.Length * neighbours];
        // Every block of queries meets all items.
        using IPreparedItems prepared = backend.PrepareItems(items);
        using var block = new RowMatrix(Math.Min(kQueriesPerBlock, queries.Length), d + 1);
        var indices = new int[block.Count * candidates];
        var scores = new float[indices.Length];
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = threads > 0 ? threads : Environment.ProcessorCount };
        for (int first = 0; first < queries.Length; first += kQueriesPerBlock)
        {
            int size = Math.Min(kQueriesPerBlock, queries.Length - first);
            for (int q = 0; q < size; q++)
            {
                items.Rows(queries[first + q], 1).CopyTo(block.Rows(q, 1));
                block.Rows(q, 1)[d] = 1;
            }
            prepared.TopInnerProducts(block.View(0, size), candidates, indices.AsSpan(0, size * candidates), scores.AsSpan(0, size * candidates));
            Parallel.For(0, size, parallel, q =>
            {
                int query = queries[first + q];
                (double Distance, int Row)[] found = [.. indices.AsSpan(q * candidates, candidates).ToArray()
                    .Where(row => row != query).Select(row => (SquaredDistance(rows, row, query), row)).Order()];
                for (int i = 0; i < neighbours; i++)
                    nearest[(first + q) * neighbours + i] = found[i].Row;
            });
        }
        return nearest;
    }

    private static double SquaredDistance(RowMatrix rows, int left, int right)
    {
        Span<float> a = rows.Rows(left, 1), b = rows.Rows(right, 1);
        double sum = 0;
        for (int j = 0; j < a.Length; j++)
            sum += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
        return sum;
    }
}
