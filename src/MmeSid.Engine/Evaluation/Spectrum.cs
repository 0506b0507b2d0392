using MathNet.Numerics.LinearAlgebra;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;

namespace MmeSid.Engine.Evaluation;

/// <summary>
/// Singular values of a table, largest first: how many dimensions its rows really use (collapse). They are the square roots of the
/// eigenvalues of the d × d matrix XᵀX (not centred), computed in float64: squaring halves the digits, so values below about 10⁻⁷ of the
/// largest are noise.
/// </summary>
/// <param name="SingularValues">[d], descending, not negative.</param>
/// <param name="Rows">Rows that entered: all, or a uniform sample.</param>
/// <param name="TotalRows">Rows of the table.</param>
public sealed record Spectrum(IReadOnlyList<double> SingularValues, long Rows, long TotalRows)
{
    private const int kRowsPerBlock = 256;

    /// <summary>Σσ / σ_max, 1 … d; 0 for a table of zeros.</summary>
    public double InformationAbundance => SingularValues[0] == 0 ? 0 : SingularValues.Sum() / SingularValues[0];

    /// <summary>exp(−Σ p ln p) with p = σ/Σσ (Roy and Vetterli 2007), 1 … d; 0 for a table of zeros.</summary>
    public double EffectiveRank
    {
        get
        {
            double sum = SingularValues.Sum();
            return sum == 0 ? 0 : Math.Exp(-SingularValues.Where(value => value > 0).Sum(value => value / sum * Math.Log(value / sum)));
        }
    }

    /// <summary>Measures a table.</summary>
    /// <param name="table">[n, d], n ≥ 1.</param>
    /// <param name="maximumRows">A longer table is sampled uniformly down to this many rows; the shares of the spectrum, not its scale, are then estimates.</param>
    /// <param name="seed">Of the sample.</param>
    /// <param name="threads">0 for all cores; changes nothing in the result.</param>
    /// <exception cref="ArgumentException">The table is empty, or its d × d matrix is larger than an array.</exception>
    public static Spectrum Measure(EmbeddingTable table, long maximumRows = 20_000, ulong seed = 0, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumRows, 1);
        if (table.Count == 0)
            throw new ArgumentException($"{table.Name}: has no rows, so it has no spectrum", nameof(table));
        if ((long)table.Dimension * table.Dimension > Array.MaxLength)
            throw new ArgumentException($"{table.Name}: rows have dimension {table.Dimension}, a spectrum is computed up to {(int)Math.Sqrt(Array.MaxLength)}", nameof(table));
        long[] rows = [.. RowSample.Draw(table.Count, maximumRows, new RandomSource(seed))];
        double[] gram = Gram(table, rows, threads > 0 ? threads : Environment.ProcessorCount);
        Vector<double> eigenvalues = Matrix<double>.Build.Dense(table.Dimension, table.Dimension, gram).Evd(Symmetricity.Symmetric).EigenValues.Map(value => value.Real);
        double[] singular = [.. eigenvalues.Select(value => Math.Sqrt(Math.Max(0, value))).OrderDescending()];
        return new Spectrum(singular, rows.Length, table.Count);
    }

    // G = Σ x xᵀ, rows in order for every entry whatever the threads: each thread owns rows of G.
    private static double[] Gram(EmbeddingTable table, long[] rows, int threads)
    {
        int d = table.Dimension;
        var gram = new double[d * d];
        var block = new float[d];
        var columns = new double[checked(kRowsPerBlock * d)];
        for (int first = 0; first < rows.Length; first += kRowsPerBlock)
        {
            int count = Math.Min(kRowsPerBlock, rows.Length - first);
            for (int i = 0; i < count; i++)
            {
                table.Read(rows[first + i], 1, block);
                for (int j = 0; j < d; j++)
                    columns[i * d + j] = block[j];
            }
            Parallel.For(0, d, new ParallelOptions { MaxDegreeOfParallelism = threads }, a =>
            {
                Span<double> target = gram.AsSpan(a * d, d);
                for (int i = 0; i < count; i++)
                {
                    ReadOnlySpan<double> row = columns.AsSpan(i * d, d);
                    double factor = row[a];
                    int b = 0;
                    for (; b + System.Numerics.Vector<double>.Count <= d; b += System.Numerics.Vector<double>.Count)
                    {
                        Span<double> part = target.Slice(b, System.Numerics.Vector<double>.Count);
                        (new System.Numerics.Vector<double>(part) + factor * new System.Numerics.Vector<double>(row[b..])).CopyTo(part);
                    }
                    for (; b < d; b++)
                        target[b] += factor * row[b];
                }
            });
        }
        return gram;
    }
}
