using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The few directions that hold most of a plan's codewords, mixed so that none of them holds more than another: P, [p, d]. Products of a row and a codeword
/// are nearly those of P x and P w; what is left is at most the product of the two parts outside (docs/exactness.md §8).
/// <code>
///   does  S = Σ c cᵀ over a sample of the codewords (centred), each level scaled to the same energy; a block of random directions is multiplied by S a few times and made orthonormal:
///         subspace iteration, near the leading eigenvectors of S (PCA); then HadamardRotation mixes the p directions
///   are   integers of 16 bits times a step each: rows are rounded to such integers too and multiplied at twice the rate of float32
///   why   P need not be those eigenvectors, nor exactly orthonormal: how far P Pᵀ is from the identity is measured and enters the bound
/// </code>
/// </summary>
internal sealed unsafe class PrefixBasis : IDisposable
{
    private const IntegerFormat kFormat = IntegerFormat.Int16;
    // Of a row's norm, which is at most about 1.
    private const float kNothing = 1e-20f;
    private const int kIterations = 4;
    private const int kSample = 8_192;

    private readonly IntegerCodewords _directions;
    private readonly float[] _rows;

    /// <summary>Of a plan.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="centre">Taken off the first level's codewords.</param>
    /// <param name="rotation">What rows are rotated by before they are multiplied with the directions.</param>
    /// <param name="width">p, a multiple of 64 below d.</param>
    /// <param name="threads">That prepare.</param>
    public PrefixBasis(EncodePlan plan, float[] centre, HadamardRotation rotation, int width, int threads)
        : this(Leading(plan, centre, width, threads), width, rotation, threads)
    {
    }

    /// <summary>Of any directions: bounds hold however far they are from orthonormal, and are infinite where η is 1 or more.</summary>
    /// <param name="directions">[p, d], not yet rotated.</param>
    /// <param name="width">p, a multiple of 64.</param>
    /// <param name="rotation">What rows are rotated by before they are multiplied with the directions.</param>
    /// <param name="threads">That prepare.</param>
    internal PrefixBasis(float[] directions, int width, HadamardRotation rotation, int threads)
    {
        Width = width;
        _rows = Rotate(directions, width, directions.Length / width, rotation);
        fixed (float* first = _rows)
        {
            _directions = new IntegerCodewords(kFormat, first, width, width, rotation.Width, rounding: 0, IntegerProduct.kCodesPerPanel, threads);
            Deviation = RoundToSteps(first, rotation.Width, threads);
            Packed = new PackedCodewords(first, rotation.Width, width, rotation.Width);
        }
    }

    /// <summary>p.</summary>
    public int Width { get; }

    /// <summary>fl(P), [p, d and what the rotation appends].</summary>
    public ReadOnlySpan<float> Rows => _rows;

    /// <summary><see cref="Rows"/> as the right-hand side of <see cref="Product"/>.</summary>
    public PackedCodewords Packed { get; }

    /// <summary>η ≥ ‖P Pᵀ − I‖.</summary>
    public double Deviation { get; }

    /// <summary>‖fl(fl(P) x) − P x‖ ≤ this · ‖x‖, the product one of <see cref="Product"/>.</summary>
    public double Rounding => (Bounds.Product(Packed.Depth) + Bounds.Float32) * Math.Sqrt(Width) * (1 + Deviation);

    /// <summary>P x̂ of rows, which are rounded to integers for it.</summary>
    /// <param name="rows">x̂, with their norms and errors.</param>
    /// <param name="count">How many.</param>
    /// <param name="prefixes">Receive P x̂ with theirs.</param>
    /// <param name="integers">[24, words], a buffer.</param>
    /// <param name="transposed">[words, 24], another.</param>
    /// <param name="products">[24, p], another.</param>
    public void Project(IntegerOperands rows, int count, IntegerOperands prefixes, int* integers, int* transposed, int* products)
    {
        const int kTile = Product.kRowsPerTile;
        int words = _directions.Words;
        float* steps = stackalloc float[kTile];
        for (int first = 0; first < count; first += kTile)
        {
            int live = Math.Min(kTile, count - first);
            for (int i = 0; i < live; i++)
                prefixes.Errors[first + i] = (1 + Deviation) * (rows.Errors[first + i] + rows.Round(kFormat, first + i, integers + i * words, out steps[i]));
            Product.TransposeTile((float*)integers, words, words, (float*)transposed);
            IntegerProduct.Multiply(kFormat, transposed, _directions.Panels, words, Width / IntegerProduct.kCodesPerPanel, products, Width);
            for (int i = 0; i < live; i++)
            {
                // An exact integer, made a float32 and multiplied by both steps: three roundings.
                TensorPrimitives.ConvertTruncating(new ReadOnlySpan<int>(products + i * Width, Width), prefixes.Values(first + i));
                TensorPrimitives.Multiply(prefixes.Values(first + i), steps[i], prefixes.Values(first + i));
                TensorPrimitives.Multiply(prefixes.Values(first + i), new ReadOnlySpan<float>(_directions.Steps, Width), prefixes.Values(first + i));
                prefixes.Errors[first + i] += 4 * Bounds.Float32 * prefixes.Measure(first + i) + Width * (double)float.Epsilon;
            }
        }
    }

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

    public void Dispose()
    {
        Packed.Dispose();
        _directions.Dispose();
    }

    // [p, d].
    private static float[] Leading(EncodePlan plan, float[] centre, int width, int threads)
    {
        int d = plan.Dimension;
        float[] moments = Moments(plan, centre, threads);
        var random = new Random(1);
        float[] rows = new float[width * d];
        Randomize(rows, random);
        for (int i = 0; i < kIterations; i++)
        {
            Orthonormalize(rows, d, random);
            rows = Multiply(rows, width, moments, d, d, threads);
        }
        // Twice: float32 leaves directions that were nearly equal far from orthogonal.
        Orthonormalize(rows, d, random);
        Orthonormalize(rows, d, random);
        Mix(rows, width, d);
        return rows;
    }

    // S, [d, d].
    private static float[] Moments(EncodePlan plan, float[] centre, int threads)
    {
        int d = plan.Dimension, step = (Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount) - 1) / kSample + 1;
        int taken = Enumerable.Range(0, plan.Levels).Sum(level => (plan.CodeCount(level) - 1) / step + 1);
        float[] columns = new float[d * taken];
        for (int level = 0, start = 0; level < plan.Levels; level++)
        {
            int count = (plan.CodeCount(level) - 1) / step + 1;
            float[] codewords = new float[count * d];
            for (int i = 0; i < count; i++)
            {
                Span<float> codeword = codewords.AsSpan(i * d, d);
                plan.Codeword(level, i * step).CopyTo(codeword);
                if (level == 0)
                    TensorPrimitives.Subtract(codeword, centre, codeword);
            }
            // A level of small residuals has as much to decide as one of large ones.
            float norm = TensorPrimitives.Norm<float>(codewords);
            TensorPrimitives.Multiply(codewords, float.IsNormal(norm) ? 1 / norm : 0, codewords);
            fixed (float* from = codewords, to = columns)
                Transpose(from, count, d, to + start, taken);
            start += count;
        }
        return Multiply(columns, d, columns, d, taken, threads);
    }

    private static void Transpose(float* from, int rows, int width, float* to, int stride)
    {
        const int kBlock = 16;
        for (int first = 0; first < rows; first += kBlock)
        {
            for (int i = 0; i < width; i++)
            {
                for (int row = first; row < Math.Min(rows, first + kBlock); row++)
                    to[(nint)i * stride + row] = from[(nint)row * width + i];
            }
        }
    }

    // left · rightᵀ, [rows, codes].
    private static float[] Multiply(float[] left, int rows, float[] right, int codes, int depth, int threads)
    {
        float[] result = new float[rows * codes];
        fixed (float* first = right)
        {
            using var packed = new PackedCodewords(first, depth, codes, depth);
            RowProducts.Multiply(rows, (row, to) => left.AsSpan(row * depth, depth).CopyTo(to), packed,
                (row, code, products) => products.CopyTo(result.AsSpan(row * codes + code)), threads);
        }
        return result;
    }

    // Modified Gram–Schmidt; where nothing is left of a row, it begins again at random.
    private static void Orthonormalize(float[] rows, int d, Random random)
    {
        for (int i = 0; i < rows.Length; i += d)
        {
            Span<float> row = rows.AsSpan(i, d);
            float norm;
            while ((norm = Project(row, i)) < kNothing)
                Randomize(row, random);
            TensorPrimitives.Multiply(row, 1 / norm, row);
        }

        float Project(Span<float> row, int before)
        {
            for (int j = 0; j < before; j += d)
                TensorPrimitives.MultiplyAdd(rows.AsSpan(j, d), -TensorPrimitives.Dot<float>(rows.AsSpan(j, d), row), row, row);
            return TensorPrimitives.Norm<float>(row);
        }
    }

    private static void Randomize(Span<float> row, Random random)
    {
        foreach (ref float value in row)
            value = random.NextSingle() - 0.5f;
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

    private static float[] Rotate(float[] rows, int width, int d, HadamardRotation rotation)
    {
        float[] rotated = new float[width * rotation.Width];
        fixed (float* first = rotated)
        {
            for (int i = 0; i < width; i++)
            {
                rows.AsSpan(i * d, d).CopyTo(rotated.AsSpan(i * rotation.Width));
                rotation.Apply(first + i * rotation.Width);
            }
        }
        return rotated;
    }

    // Each direction becomes the multiple of its step that its integers stand for. Returns a bound of ‖M‖, M = P Pᵀ − I.
    private double RoundToSteps(float* rows, int depth, int threads)
    {
        int p = Width;
        double[] values = new double[p * depth];
        for (int i = 0; i < p; i++)
        {
            double step = _directions.Steps[i];
            for (int j = 0; j < depth; j++)
            {
                double value = step * _directions.Int16(i, j);
                values[i * depth + j] = value;
                rows[i * depth + j] = (float)value;
            }
        }
        // ‖M‖² = ‖M²‖, which the largest absolute row sum bounds; that of M itself is several times too large where M is noise.
        double[] deviation = Gram(values, depth);
        for (int i = 0; i < p; i++)
            deviation[i * p + i] -= 1;
        double[] square = Gram(deviation, p), sums = new double[p];
        for (int i = 0; i < p; i++)
            sums[i] = TensorPrimitives.SumOfMagnitudes<double>(square.AsSpan(i * p, p));
        // All of it is float64: d roundings of a product, then 2p.
        return Math.Sqrt(TensorPrimitives.Max<double>(sums)) * Bounds.Slack + 4.0 * p * depth * Bounds.Float64;

        double[] Gram(double[] rows, int width)
        {
            double[] products = new double[p * p];
            Parallel.For(0, p, new ParallelOptions { MaxDegreeOfParallelism = threads }, i =>
            {
                for (int j = 0; j <= i; j++)
                    products[i * p + j] = products[j * p + i] = TensorPrimitives.Dot<double>(rows.AsSpan(i * width, width), rows.AsSpan(j * width, width));
            });
            return products;
        }
    }
}
