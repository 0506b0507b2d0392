using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The few directions that hold most of a plan's codewords, mixed so that none of them holds more than another: P, [p, d]. Products of a row and a codeword
/// are nearly those of P x and P w; what is left is at most the product of the two parts outside (docs/exactness.md §8).
/// <code>
///   does  S = Σ c cᵀ over a sample of the codewords of all levels (centred); a block of random directions is multiplied by S a few times and made orthonormal:
///         subspace iteration, near the leading eigenvectors of S (PCA); then HadamardRotation mixes the p directions
///   why   P need not be those eigenvectors, nor exactly orthonormal: how far P Pᵀ is from the identity is measured and enters the bound
/// </code>
/// </summary>
internal sealed unsafe class PrefixBasis : IDisposable
{
    private const int kIterations = 8;
    private const int kSample = 4096;

    private readonly float[] _rows;

    /// <summary>Of a plan.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="centre">Taken off the first level's codewords.</param>
    /// <param name="width">p, a multiple of 64 below d.</param>
    /// <param name="threads">That prepare.</param>
    public PrefixBasis(EncodePlan plan, float[] centre, int width, int threads)
    {
        int d = plan.Dimension;
        Width = width;
        float[] moments = Moments(plan, centre, threads);
        var random = new Random(1);
        float[] rows = new float[width * d];
        foreach (ref float value in rows.AsSpan())
            value = random.NextSingle() - 0.5f;
        for (int i = 0; i < kIterations; i++)
        {
            Orthonormalize(rows, d);
            rows = Multiply(rows, width, moments, d, d, threads);
        }
        // Twice: float32 leaves directions that were nearly equal far from orthogonal.
        Orthonormalize(rows, d);
        Orthonormalize(rows, d);
        Mix(rows, width, d);
        _rows = rows;
        fixed (float* first = rows)
            Packed = new PackedCodewords(first, d, width, d);
        Deviation = MeasureDeviation(rows, width, d, threads);
    }

    /// <summary>p.</summary>
    public int Width { get; }

    /// <summary>P, [p, d].</summary>
    public ReadOnlySpan<float> Rows => _rows;

    /// <summary>The directions as the right-hand side of <see cref="Product"/>.</summary>
    public PackedCodewords Packed { get; }

    /// <summary>η ≥ ‖P Pᵀ − I‖.</summary>
    public double Deviation { get; }

    /// <summary>‖fl(P x) − P x‖ ≤ this · ‖x‖.</summary>
    public double Rounding => Bounds.Product(Packed.Depth) * Math.Sqrt(Width) * (1 + Deviation);

    /// <summary>At least the norm of the part outside, ‖x − Pᵀ P x‖, of an x that is known by two vectors near x and P x.</summary>
    /// <param name="norm">‖x̂‖.</param>
    /// <param name="error">Bound of ‖x̂ − x‖.</param>
    /// <param name="prefixNorm">‖x̂′‖.</param>
    /// <param name="prefixError">Bound of ‖x̂′ − P x‖.</param>
    public double Outside(double norm, double error, double prefixNorm, double prefixError)
    {
        // Norms are float32 sums of squares; two nearly equal ones are subtracted, so that no more is added than they can be off.
        double slack = 1 + 2 * (Packed.Depth + 8) * Bounds.Float32;
        double whole = slack * (norm + error), inside = Math.Max(0, prefixNorm / slack - slack * prefixError);
        return Math.Sqrt(Math.Max(0, whole * whole - (1 - Deviation) * inside * inside));
    }

    public void Dispose() => Packed.Dispose();

    // S, [d, d].
    private static float[] Moments(EncodePlan plan, float[] centre, int threads)
    {
        int d = plan.Dimension, count = Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount), step = (count + kSample - 1) / kSample, taken = (count + step - 1) / step;
        float[] columns = new float[d * taken], values = new float[d];
        int at = 0, n = 0;
        for (int level = 0; level < plan.Levels; level++)
        {
            for (int k = 0; k < plan.CodeCount(level); k++, n++)
            {
                if (n % step != 0)
                    continue;
                plan.Codeword(level, k).CopyTo(values);
                if (level == 0)
                    TensorPrimitives.Subtract(values, centre, values);
                for (int i = 0; i < d; i++)
                    columns[i * taken + at] = values[i];
                at++;
            }
        }
        // Far from 1 its powers would leave float32.
        float scale = 1 / MathF.Max(1e-30f, MathF.Abs(TensorPrimitives.MaxMagnitude<float>(columns)));
        TensorPrimitives.Multiply(columns, scale, columns);
        return Multiply(columns, d, columns, d, taken, threads);
    }

    // left · rightᵀ, [rows, codes].
    private static float[] Multiply(float[] left, int rows, float[] right, int codes, int depth, int threads)
    {
        using RowMatrix products = new(Product.PaddedRows(rows), PackedCodewords.Padded(codes));
        fixed (float* first = right)
        {
            using var packed = new PackedCodewords(first, depth, codes, depth);
            RowProducts.Multiply(rows, (row, to) => left.AsSpan(row * depth, depth).CopyTo(to), packed, (float*)products.DangerousGetHandle(), products.Dimension, threads);
        }
        float[] result = new float[rows * codes];
        for (int i = 0; i < rows; i++)
            products.Rows(i, 1)[..codes].CopyTo(result.AsSpan(i * codes));
        return result;
    }

    // Modified Gram–Schmidt; a row that vanishes becomes zero.
    private static void Orthonormalize(float[] rows, int d)
    {
        for (int i = 0; i < rows.Length; i += d)
        {
            Span<float> row = rows.AsSpan(i, d);
            for (int j = 0; j < i; j += d)
                TensorPrimitives.MultiplyAdd(rows.AsSpan(j, d), -TensorPrimitives.Dot<float>(rows.AsSpan(j, d), row), row, row);
            float norm = TensorPrimitives.Norm<float>(row);
            TensorPrimitives.Multiply(row, norm > 1e-20f ? 1 / norm : 0, row);
        }
    }

    private static void Mix(float[] rows, int width, int d)
    {
        var rotation = new HadamardRotation(width);
        float[] column = new float[width];
        fixed (float* values = column)
        {
            for (int i = 0; i < d; i++)
            {
                for (int j = 0; j < width; j++)
                    column[j] = rows[j * d + i];
                rotation.Apply(values);
                for (int j = 0; j < width; j++)
                    rows[j * d + i] = column[j];
            }
        }
    }

    // The largest absolute row sum bounds the norm of a symmetric matrix.
    private static double MeasureDeviation(float[] rows, int width, int d, int threads)
    {
        double[] values = new double[rows.Length];
        TensorPrimitives.ConvertTruncating<float, double>(rows, values);
        double[] sums = new double[width];
        Parallel.For(0, width, new ParallelOptions { MaxDegreeOfParallelism = threads }, i =>
        {
            for (int j = 0; j < width; j++)
                sums[i] += Math.Abs(TensorPrimitives.Dot<double>(values.AsSpan(i * d, d), values.AsSpan(j * d, d)) - (i == j ? 1 : 0));
        });
        // The sums themselves are float64, d and p roundings each.
        return TensorPrimitives.Max<double>(sums) + 4.0 * width * d * Bounds.Float64;
    }
}
