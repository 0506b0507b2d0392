using System.Runtime.InteropServices;
using MmeSid.Engine;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>Where codewords start.</summary>
public enum CodebookInitialization
{
    /// <summary>k-means whose clusters are bounded in size as <see cref="ClusterSizes.ForRows"/> says (MME-SID).</summary>
    ConstrainedKMeans,

    /// <summary>k-means without bounds.</summary>
    KMeans,

    /// <summary>Uniform within ±1/K.</summary>
    Random,
}

/// <summary>
/// First codewords, level by level from all encoded rows, before the first step: the best of several runs of k-means by mean squared error. The same rows and
/// seed give the same bytes, whatever the backend's threads.
/// </summary>
public sealed class CodebookStart
{
    /// <summary>How codewords are found.</summary>
    public CodebookInitialization Initialization { get; init; }

    /// <summary>Most iterations of k-means; the paper has 10.</summary>
    public int Iterations { get; init; } = 10;

    /// <summary>Runs of k-means per level, of which the best counts; the paper has 10.</summary>
    public int Restarts { get; init; } = 1;

    /// <summary>Seed of the runs.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Threads of k-means outside the backend, 0 for all cores. Changes no result.</summary>
    public int Threads { get; init; }

    /// <summary>Where the searches run.</summary>
    public required IBackend Backend { get; init; }

    /// <summary>Told, in words, what is clustered; null for nobody.</summary>
    public IProgress<string>? Progress { get; init; }

    /// <summary>Looked at about every second.</summary>
    public CancellationToken Cancellation { get; init; }

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        if (Iterations < 1)
            throw new ArgumentException($"the iterations of the first k-means are {Iterations}, expected at least 1");
        if (Restarts < 1)
            throw new ArgumentException($"the runs of the first k-means are {Restarts}, expected at least 1");
        if (Threads < 0)
            throw new ArgumentException($"threads is {Threads}, expected at least 0");
    }

    /// <summary>Sets the codewords of a level.</summary>
    /// <param name="codebook">The level.</param>
    /// <param name="rows">[n, w] that it will quantize.</param>
    /// <param name="level">Number of the level, a part of the seed.</param>
    /// <param name="what">For progress and messages.</param>
    /// <exception cref="ArgumentException">There are fewer different rows than codes.</exception>
    internal void Set(Codebook codebook, Tensor rows, int level, string what)
    {
        if (Initialization == CodebookInitialization.Random)
            return;
        using RowMatrix matrix = Matrix(rows);
        RandomSource seeds = new RandomSource(Seed).Split((ulong)level);
        KMeansResult? best = null;
        for (int run = 0; run < Restarts; run++)
        {
            Progress?.Report(Restarts > 1 ? $"{what}, run {run + 1} of {Restarts}" : what);
            var options = new KMeansOptions
            {
                Codes = codebook.CodeCount,
                Iterations = Iterations,
                Seed = seeds.Split((ulong)run).NextUInt64(),
                Sizes = Initialization == CodebookInitialization.ConstrainedKMeans ? ClusterSizes.ForRows(matrix.Count, codebook.CodeCount) : null,
                Threads = Threads,
            };
            KMeansResult result;
            try
            {
                result = KMeans.Train(matrix, options, Backend, cancellation: Cancellation);
            }
            catch (ArgumentException problem)
            {
                throw new ArgumentException($"the first codewords, {what}: {problem.Message}", problem);
            }
            if (best is null || result.Iterations[^1].MeanSquaredError < best.Iterations[^1].MeanSquaredError)
                best = result;
        }
        using DisposeScope scope = NewDisposeScope();
        codebook.Set(tensor(best!.Centroids, [codebook.CodeCount, matrix.Dimension]).to(rows.device));
    }

    private static RowMatrix Matrix(Tensor rows)
    {
        var matrix = new RowMatrix(rows.shape[0], (int)rows.shape[1]);
        int block = Math.Max(1, (1 << 24) / matrix.Dimension);
        for (long first = 0; first < matrix.Count; first += block)
        {
            using DisposeScope scope = NewDisposeScope();
            int count = (int)Math.Min(block, matrix.Count - first);
            MemoryMarshal.Cast<byte, float>(rows.narrow(0, first, count).cpu().contiguous().bytes).CopyTo(matrix.Rows(first, count));
        }
        return matrix;
    }
}
