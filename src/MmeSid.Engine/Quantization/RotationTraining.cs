using System.Diagnostics;
using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Double;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// Learns OPQ's rotation (Ge et al. 2013, non-parametric): alternates between one k-means step per sub-space on y = R·x and the orthogonal R that brings the
/// rows closest to their codewords, <c>R = argmin Σ‖R·x − ŷ‖² = V·Uᵀ</c> for <c>Σ x·ŷᵀ = U Σ Vᵀ</c>. That matrix comes from per-code sums of x, K·d² work,
/// instead of a pass over all pairs of columns. Works on a sample of rows; the codebooks are trained on all rows afterwards, from where the alternation ended.
/// </summary>
internal sealed class RotationTraining(
    RowMatrix rows, TrainingOptions options, IBackend backend, Action<TrainingIteration?, long> report, CancellationToken cancellation)
{
    private const long kSampleRows = 1 << 16;
    private const int kAxesRowsPerColumn = 8;
    private const int kFirstSteps = 4;

    // Streams of the level seeds end at the number of levels; the rotation draws far from them.
    private readonly RandomSource _random = new RandomSource(options.Seed).Split(ulong.MaxValue);
    private readonly int _dimension = rows.Dimension;
    private readonly int _subspaces = options.Levels;
    private readonly int _width = rows.Dimension / options.Levels;

    /// <summary>Rows of the sample.</summary>
    public static long SampleRows(long rows, TrainingOptions options)
    {
        long codes = 0;
        for (int level = 0; level < options.Levels; level++)
            codes = Math.Max(codes, options.CodesOf(level));
        return Math.Min(rows, Math.Max(kSampleRows, 4 * codes));
    }

    /// <summary>Goes on from the state until all rounds are done; leaves rotation and codebooks in it.</summary>
    public void Run(TrainingState state)
    {
        if (state.RotationRounds == options.RotationIterations)
            return;
        using RowMatrix sample = DrawSample();
        using var turned = new RowMatrix(sample.Count, _dimension);
        if (state.Rotation.Length == 0)
            state.Rotation = options.WarmStart?.Rotation ?? (options.RandomRotation ? RandomOrthogonal() : PrincipalAxes(sample));
        while (state.RotationRounds < options.RotationIterations)
        {
            long start = Stopwatch.GetTimestamp();
            Rotate(sample, turned, state.Rotation);
            var product = new double[_dimension * _dimension];
            var codebooks = new List<float[]>();
            double error = 0;
            long moved = 0;
            int empty = 0;
            double rechecked = 0;
            for (int s = 0; s < _subspaces; s++)
            {
                float[]? previous = state.RotationRounds > 0 ? state.RotationCodebooks[s] : options.WarmStart?.Codebook(s);
                (KMeansState found, TrainingIteration last) = Step(new RowColumns(turned, s * _width, _width), s, previous, state.RotationRounds);
                AddProducts(sample, found, s, product);
                codebooks.Add(found.Centroids);
                error += last.MeanSquaredError;
                moved += last.Moved;
                empty += last.EmptyCodes;
                rechecked += last.RecheckedShare / _subspaces;
                report(null, sample.Count);
            }
            state.Rotation = Procrustes(product);
            state.RotationCodebooks = codebooks;
            state.RotationRounds++;
            report(new TrainingIteration(-1, state.RotationRounds, error, moved, empty, rechecked, Stopwatch.GetElapsedTime(start).TotalSeconds), 0);
        }
    }

    private (KMeansState State, TrainingIteration Last) Step(RowColumns columns, int subspace, float[]? previous, int round)
    {
        KMeansOptions kmeans = options.KMeansOf(subspace, columns.Count) with
        {
            Centroids = previous,
            MiniBatch = 0,
            Sizes = null,
            Sinkhorn = null,
            Tolerance = 0,
            // A round's own seed: its restarts must not repeat those of the round before.
            Seed = _random.Split((ulong)round).NextUInt64(),
            Iterations = round == 0 ? kFirstSteps : 1,
        };
        using var run = new KMeansRun(columns, kmeans, backend, subspace, _ => { }, cancellation);
        (KMeansState state, TrainingIteration last) = run.Step(run.Start());
        while (!state.Finished)
            (state, last) = run.Step(state);
        state.Fetch();
        return (state, last);
    }

    private RowMatrix DrawSample()
    {
        long size = SampleRows(rows.Count, options);
        var sample = new RowMatrix(size, _dimension);
        long filled = 0;
        foreach (long row in RowSample.Draw(rows.Count, size, _random.Split(ulong.MaxValue)))
            rows.Rows(row, 1).CopyTo(sample.Rows(filled++, 1));
        return sample;
    }

    private void Rotate(RowMatrix source, RowMatrix destination, float[] rotation)
    {
        const int kRowsPerCall = 8192;
        var turn = new RowRotation(rotation, _dimension, options.Threads);
        for (long first = 0; first < source.Count; first += kRowsPerCall)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(kRowsPerCall, source.Count - first);
            turn.Apply(source.View(first, count), destination.Rows(first, count), first);
        }
    }

    // product[i, s·w + j] += Σ_rows x_i·ŷ_j = Σ_k (Σ_{rows of k} x_i)·c_k[j]
    private void AddProducts(RowMatrix sample, KMeansState found, int subspace, double[] product)
    {
        int codes = found.Centroids.Length / _width;
        var sums = new double[codes * _dimension];
        var counts = new long[codes];
        int rowsPerCall = new RowColumns(sample).RowsPerCall(1);
        for (int first = 0; first < sample.Count; first += rowsPerCall)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(rowsPerCall, sample.Count - first);
            backend.Accumulate(sample.View(first, count), found.Codes.AsSpan(first, count), codes, sums, counts);
        }
        Parallel.For(0, _dimension, Threads(), i =>
        {
            Span<double> target = product.AsSpan(i * _dimension + subspace * _width, _width);
            for (int k = 0; k < codes; k++)
            {
                double sum = sums[k * _dimension + i];
                ReadOnlySpan<float> codeword = found.Centroids.AsSpan(k * _width, _width);
                for (int j = 0; j < target.Length; j++)
                    target[j] += sum * codeword[j];
            }
        });
    }

    private float[] Procrustes(double[] product)
    {
        cancellation.ThrowIfCancellationRequested();
        // Column-major storage reads the row-major product as its transpose V Σ Uᵀ, whose polar factor is V·Uᵀ = R itself.
        var transposed = new DenseMatrix(_dimension, _dimension, product);
        MathNet.Numerics.LinearAlgebra.Factorization.Svd<double> svd = transposed.Svd(computeVectors: true);
        return RowMajor(svd.U * svd.VT);
    }

    private float[] RandomOrthogonal()
    {
        RandomSource random = _random.Split(ulong.MaxValue - 1);
        var gaussian = DenseMatrix.Create(_dimension, _dimension, (_, _) => random.NextGaussian());
        return RowMajor(gaussian.QR().Q);
    }

    // The principal axes, each given to the sub-space with the smallest product of variances that still has room (Ge et al. 2013, eigenvalue allocation).
    private float[] PrincipalAxes(RowMatrix sample)
    {
        cancellation.ThrowIfCancellationRequested();
        MathNet.Numerics.LinearAlgebra.Factorization.Evd<double> evd = Covariance(sample).Evd(Symmetricity.Symmetric);
        var logs = new double[_subspaces];
        var used = new int[_subspaces];
        var rotation = new float[_dimension * _dimension];
        // Eigenvalues come in ascending order.
        for (int axis = _dimension - 1; axis >= 0; axis--)
        {
            int chosen = -1;
            for (int s = 0; s < _subspaces; s++)
            {
                if (used[s] < _width && (chosen < 0 || logs[s] < logs[chosen]))
                    chosen = s;
            }
            logs[chosen] += Math.Log(Math.Max(evd.EigenValues[axis].Real, double.Epsilon));
            int row = chosen * _width + used[chosen]++;
            for (int j = 0; j < _dimension; j++)
                rotation[row * _dimension + j] = (float)evd.EigenVectors[j, axis];
        }
        return rotation;
    }

    private DenseMatrix Covariance(RowMatrix sample)
    {
        // Axes to start from need no more rows than this.
        int count = (int)Math.Min(sample.Count, Math.Max(4096, (long)kAxesRowsPerColumn * _dimension));
        var mean = new double[_dimension];
        backend.Accumulate(sample.View(0, count), new ushort[count], 1, mean, new long[1]);
        for (int j = 0; j < _dimension; j++)
            mean[j] /= count;
        var covariance = new double[_dimension * _dimension];
        Parallel.For(0, _dimension, Threads(), i =>
        {
            Span<double> target = covariance.AsSpan(i * _dimension, _dimension);
            for (int row = 0; row < count; row++)
            {
                ReadOnlySpan<float> x = sample.Rows(row, 1);
                double value = (x[i] - mean[i]) / count;
                for (int j = 0; j < target.Length; j++)
                    target[j] += value * (x[j] - mean[j]);
            }
        });
        return new DenseMatrix(_dimension, _dimension, covariance);
    }

    private ParallelOptions Threads() => new() { MaxDegreeOfParallelism = options.Threads == 0 ? Environment.ProcessorCount : options.Threads };

    private static float[] RowMajor(Matrix<double> matrix) => Array.ConvertAll(matrix.ToRowMajorArray(), value => (float)value);
}
