using MathNet.Numerics.LinearAlgebra;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Embeddings;

public class TruncatedSvdTests
{
    [Theory]
    [InlineData(37, 53, 5, 1.0)]
    [InlineData(129, 67, 16, 0.5)]
    [InlineData(40, 40, 40, 1.0)]
    [InlineData(201, 90, 33, 0.0)]
    public void Agrees_with_a_dense_decomposition(int n, int m, int d, double power)
    {
        Matrix<double> dense = Decaying(n, m, seed: (ulong)(n + m));
        (RowMatrix rows, double[] singularValues) = TruncatedSvd.Compute(Sparse(dense), d, power, new RandomSource(5), 2, TestContext.Current.CancellationToken);
        using (rows)
        {
            MathNet.Numerics.LinearAlgebra.Factorization.Svd<double> expected = dense.Svd();
            for (int column = 0; column < d; column++)
            {
                Assert.Equal(expected.S[column], singularValues[column], 1e-6 * expected.S[0]);
                // A singular vector is known up to its sign.
                Vector<double> actual = Vector<double>.Build.Dense(n, row => rows.Rows(row, 1)[column]);
                Vector<double> wanted = expected.U.Column(column) * Math.Pow(expected.S[column], power);
                double difference = Math.Min((actual - wanted).L2Norm(), (actual + wanted).L2Norm());
                Assert.True(difference < 1e-4 * Math.Pow(expected.S[0], power), $"column {column}: off by {difference}");
            }
        }
    }

    [Fact]
    public void A_matrix_of_low_rank_gives_zero_columns_after_it()
    {
        Matrix<double> dense = Matrix<double>.Build.Dense(50, 30, (i, j) => i % 3 == j % 3 ? 1 + i % 3 : 0);
        (RowMatrix rows, double[] singularValues) = TruncatedSvd.Compute(Sparse(dense), 8, 1, new RandomSource(1), 1, TestContext.Current.CancellationToken);
        using (rows)
        {
            Assert.Equal(3, singularValues.Count(value => value > 0));
            for (int row = 0; row < 50; row++)
            {
                Assert.All(rows.Rows(row, 1)[3..].ToArray(), value => Assert.Equal(0, value));
                Assert.Equal(dense.Row(row).L2Norm(), Math.Sqrt(rows.Rows(row, 1).ToArray().Sum(value => (double)value * value)), 1e-5);
            }
        }
    }

    [Fact]
    public void A_matrix_of_zeros_gives_zeros()
    {
        var empty = new SparseRows(new long[21], [], [], 20);
        (RowMatrix rows, double[] singularValues) = TruncatedSvd.Compute(empty, 4, 0.5, new RandomSource(1), 1, TestContext.Current.CancellationToken);
        using (rows)
        {
            Assert.Equal(new double[4], singularValues);
            Assert.Equal(new float[80], rows.Rows(0, 20).ToArray());
        }
    }

    [Fact]
    public void Threads_change_no_bit_and_the_seed_does()
    {
        SparseRows matrix = Sparse(Decaying(301, 157, seed: 3));
        float[] one = Run(matrix, seed: 9, threads: 1);
        Assert.Equal(one, Run(matrix, seed: 9, threads: 2));
        Assert.Equal(one, Run(matrix, seed: 9, threads: 7));
        Assert.NotEqual(one, Run(matrix, seed: 10, threads: 1));
    }

    private static float[] Run(SparseRows matrix, ulong seed, int threads)
    {
        (RowMatrix rows, _) = TruncatedSvd.Compute(matrix, 21, 0.5, new RandomSource(seed), threads, TestContext.Current.CancellationToken);
        using (rows)
            return rows.Rows(0, (int)rows.Count).ToArray();
    }

    /// <summary>A third of the entries, scaled so that the iteration has converged: singular values fall by about a fifth from one to the next.</summary>
    private static Matrix<double> Decaying(int n, int m, ulong seed)
    {
        var random = new RandomSource(seed);
        return Matrix<double>.Build.Dense(n, m, (_, j) => random.NextInt(3) == 0 ? (float)(random.NextGaussian() * Math.Pow(0.8, j)) : 0);
    }

    private static SparseRows Sparse(Matrix<double> dense)
    {
        var rows = new List<(int[] Columns, float[] Values)>();
        for (int i = 0; i < dense.RowCount; i++)
        {
            int[] columns = [.. Enumerable.Range(0, dense.ColumnCount).Where(j => dense[i, j] != 0)];
            rows.Add((columns, [.. columns.Select(j => (float)dense[i, j])]));
        }
        return SparseRows.Join(rows, dense.ColumnCount, "test");
    }
}
