using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Factorization;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// The d largest singular triplets of a sparse matrix, A ≈ U Σ Vᵀ, by randomized subspace iteration (Halko, Martinsson and Tropp, 2011):
/// a Gaussian start, power iterations with an orthonormal basis after each product, then the eigenvectors of the small Gram matrix.
/// Deterministic for a seed, whatever the number of threads.
/// </summary>
internal static class TruncatedSvd
{
    /// <summary>Extra dimensions of the subspace, at least.</summary>
    private const int kOversampling = 16;

    private const int kPowerIterations = 3;

    /// <summary>A column whose part outside the columns before it is smaller than this (squared, relative) is linearly dependent on them.</summary>
    private const double kDependent = 1e-12;

    /// <summary>Computes U_d Σ_d^power as float32 rows.</summary>
    /// <param name="a">[n, m].</param>
    /// <param name="dimension">d; columns beyond the rank of A are zero.</param>
    /// <param name="power">1 for latent semantic analysis, ½ for word-vector use.</param>
    /// <param name="random">Start of the iteration.</param>
    /// <param name="threads">0: all cores.</param>
    /// <param name="cancellation">Asked between products.</param>
    /// <returns>[n, d] rows and the d singular values, largest first.</returns>
    public static (RowMatrix Rows, double[] SingularValues) Compute(SparseRows a, int dimension, double power, RandomSource random, int threads, CancellationToken cancellation)
    {
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = threads == 0 ? Environment.ProcessorCount : threads, CancellationToken = cancellation };
        int width = (dimension + kOversampling + TallMatrix.ColumnsPerTile - 1) / TallMatrix.ColumnsPerTile * TallMatrix.ColumnsPerTile;
        SparseRows transposed = a.Transpose();
        using var left = new TallMatrix(a.RowCount, width);
        using var right = new TallMatrix(a.ColumnCount, width);
        for (long row = 0; row < right.Rows; row++)
        {
            foreach (ref double value in right.Row(row))
                value = random.NextGaussian();
        }
        left.SetProduct(a, right, parallel);
        for (int iteration = 0; iteration < kPowerIterations; iteration++)
        {
            Orthonormalize(left, parallel);
            right.SetProduct(transposed, left, parallel);
            Orthonormalize(right, parallel);
            left.SetProduct(a, right, parallel);
        }
        // One pass leaves an error that grows with the squared condition number; the second brings it to rounding.
        Orthonormalize(left, parallel);
        Orthonormalize(left, parallel);
        right.SetProduct(transposed, left, parallel);

        // With B = QᵀA: B Bᵀ = W Σ² Wᵀ, so A ≈ Q B = (Q W) Σ Vᵀ.
        (double[] singularValues, TallMatrix mixing) = SmallFactors(right, dimension, power, parallel);
        using (mixing)
        using (var result = new TallMatrix(a.RowCount, width))
        {
            result.SetProduct(left, mixing, upperTriangular: false, parallel);
            var rows = new RowMatrix(a.RowCount, dimension);
            for (long row = 0; row < a.RowCount; row++)
            {
                Span<float> target = rows.Rows(row, 1);
                ReadOnlySpan<double> source = result.Row(row);
                for (int column = 0; column < dimension; column++)
                    target[column] = (float)source[column];
            }
            return (rows, singularValues);
        }
    }

    /// <summary>Eigenvectors of BBᵀ, largest first, each scaled by σ^power and signed so that its largest entry is positive.</summary>
    private static (double[] SingularValues, TallMatrix Mixing) SmallFactors(TallMatrix right, int dimension, double power, ParallelOptions parallel)
    {
        int width = right.Columns;
        using TallMatrix gram = right.Gram(parallel);
        Evd<double> eigen = Matrix<double>.Build.Dense(width, width, (i, j) => gram.Row(i)[j]).Evd(Symmetricity.Symmetric);
        var singularValues = new double[dimension];
        var mixing = new TallMatrix(width, width);
        double largest = Math.Sqrt(Math.Max(0, eigen.EigenValues[width - 1].Real));
        for (int column = 0; column < dimension; column++)
        {
            int source = width - 1 - column;
            double sigma = Math.Sqrt(Math.Max(0, eigen.EigenValues[source].Real));
            // Below this, a value is rounding of the Gram matrix, and its vector has no direction of its own.
            if (sigma <= 1e-7 * largest)
                break;
            singularValues[column] = sigma;
            Vector<double> vector = eigen.EigenVectors.Column(source);
            double scale = Math.Pow(sigma, power) * (vector[vector.AbsoluteMaximumIndex()] < 0 ? -1 : 1);
            for (int i = 0; i < width; i++)
                mixing.Row(i)[column] = scale * vector[i];
        }
        return (singularValues, mixing);
    }

    /// <summary>
    /// Y becomes Y·R⁻¹ with RᵀR = YᵀY (Cholesky QR). Columns that depend on those before them become zero, so that any rank is handled.
    /// </summary>
    private static unsafe void Orthonormalize(TallMatrix y, ParallelOptions parallel)
    {
        int width = y.Columns;
        using TallMatrix r = y.Gram(parallel);
        var dependent = new bool[width];
        double[] diagonal = [.. Enumerable.Range(0, width).Select(i => r.Row(i)[i])];
        for (int k = 0; k < width; k++)
        {
            double* pivotRow = r.Values + (long)k * width;
            if (!(pivotRow[k] > kDependent * diagonal[k]))
            {
                dependent[k] = true;
                new Span<double>(pivotRow + k, width - k).Clear();
                pivotRow[k] = 1;
                continue;
            }
            double root = Math.Sqrt(pivotRow[k]);
            for (int j = k; j < width; j++)
                pivotRow[j] /= root;
            for (int i = k + 1; i < width; i++)
                TallMatrix.AddScaled(-pivotRow[i], pivotRow + i, r.Values + (long)i * width + i, width - i);
        }
        using var inverse = new TallMatrix(width, width);
        for (int i = width - 1; i >= 0; i--)
        {
            double* row = inverse.Values + (long)i * width;
            double* factors = r.Values + (long)i * width;
            row[i] = 1;
            for (int k = i + 1; k < width; k++)
                TallMatrix.AddScaled(-factors[k], inverse.Values + (long)k * width + k, row + k, width - k);
            for (int j = i; j < width; j++)
                row[j] /= factors[i];
        }
        for (int i = 0; i < width; i++)
        {
            for (int j = i; j < width; j++)
            {
                if (dependent[j])
                    inverse.Row(i)[j] = 0;
            }
        }
        using var copy = new TallMatrix(y.Rows, width);
        Buffer.MemoryCopy(y.Values, copy.Values, y.Rows * width * sizeof(double), y.Rows * width * sizeof(double));
        y.SetProduct(copy, inverse, upperTriangular: true, parallel);
    }
}
