using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Rows as the Gram form ‖x‖² + ‖y‖² − 2x·y wants them: minus a common centre, so that it cancels little, and times a power of two, so that
/// float32 neither overflows nor underflows: <c>x̂ = 2^exponent · (x − m)</c>, m float32, one rounding per value.
/// </summary>
internal static unsafe class Centring
{
    /// <summary>Values up to here are subtracted from each other without overflow.</summary>
    public const float kLargestValue = float.MaxValue / 4;

    private const int kRowsPerUnit = 512;

    /// <summary>Mean of all rows of both sets, float64; exactly the common row when all are equal.</summary>
    public static double[] Mean(RowView left, RowView right, int threads)
    {
        int d = left.Dimension;
        long points = (long)left.Count + right.Count;
        ReadOnlySpan<float> origin = left.Count > 0 ? left[0] : right[0];
        double[] mean = new double[d];
        foreach (double[] sums in DeviationSums(left, origin, threads))
            TensorPrimitives.Add(mean, sums, mean);
        foreach (double[] sums in DeviationSums(right, origin, threads))
            TensorPrimitives.Add(mean, sums, mean);
        for (int j = 0; j < d; j++)
            mean[j] = origin[j] + mean[j] / points;
        return mean;
    }

    /// <summary>Squared norms ‖x_i − centre‖², float64, [n].</summary>
    public static double[] SquaredNorms(RowView rows, double[] centre, int threads)
    {
        int n = rows.Count, d = rows.Dimension;
        nint stride = rows.Stride;
        double[] norms = new double[n];
        fixed (float* pinned = rows.Values)
        {
            float* x = pinned;
            Workers.RunUnits(threads, (n + kRowsPerUnit - 1) / kRowsPerUnit, (_, unit) =>
            {
                double[] row = new double[d];
                for (int i = unit * kRowsPerUnit; i < Math.Min(n, (unit + 1) * kRowsPerUnit); i++)
                {
                    TensorPrimitives.ConvertTruncating<float, double>(new ReadOnlySpan<float>(x + i * stride, d), row);
                    TensorPrimitives.Subtract(row, centre, row);
                    norms[i] = TensorPrimitives.SumOfSquares<double>(row);
                }
            });
        }
        return norms;
    }

    /// <summary>The exponent that brings the largest of these norms to ½ … 1.</summary>
    public static int Exponent(double largestSquaredNorm) => largestSquaredNorm == 0 ? 0 : -(Math.ILogB(Math.Sqrt(largestSquaredNorm)) + 1);

    /// <summary>destination = 2^exponent · (row − centre).</summary>
    public static void Write(ReadOnlySpan<float> row, ReadOnlySpan<float> centre, int exponent, Span<float> destination)
    {
        TensorPrimitives.Subtract(row, centre, destination);
        // Two steps, since 2^exponent alone may be outside of float32.
        int half = exponent / 2;
        if (half != 0)
            TensorPrimitives.Multiply(destination, MathF.ScaleB(1, half), destination);
        TensorPrimitives.Multiply(destination, MathF.ScaleB(1, exponent - half), destination);
    }

    // Σ (x_i − origin) over each unit of rows; a difference of two float32 of like size is exact in float64.
    private static double[][] DeviationSums(RowView rows, ReadOnlySpan<float> origin, int threads)
    {
        int n = rows.Count, d = rows.Dimension;
        nint stride = rows.Stride;
        double[][] sums = new double[(n + kRowsPerUnit - 1) / kRowsPerUnit][];
        double[] from = new double[d];
        TensorPrimitives.ConvertTruncating(origin, from.AsSpan());
        fixed (float* pinned = rows.Values)
        {
            float* x = pinned;
            Workers.RunUnits(threads, sums.Length, (_, unit) =>
            {
                double[] row = new double[d], sum = new double[d];
                for (int i = unit * kRowsPerUnit; i < Math.Min(n, (unit + 1) * kRowsPerUnit); i++)
                {
                    TensorPrimitives.ConvertTruncating<float, double>(new ReadOnlySpan<float>(x + i * stride, d), row);
                    TensorPrimitives.Subtract(row, from, row);
                    TensorPrimitives.Add(sum, row, sum);
                }
                sums[unit] = sum;
            });
        }
        return sums;
    }
}
