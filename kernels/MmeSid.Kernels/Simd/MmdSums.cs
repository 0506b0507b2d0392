using System.Runtime.CompilerServices;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    // mmd-sums: S = Σ_{i≠j} k(s_i, s_j)   T = Σ_{i≠j} k(t_i, t_j)   C = Σ_{i,j} k(s_i, t_j)                oracle: Scalar/MmdSums.cs
    //           k(x, y) = Σ_t exp(−‖x − y‖² / 2σ_t²),  σ_t² = factor_t · (relative ? mean : 1)
    //   in    source (n, d) f32 · target (m, d) f32 · factors
    //   out   S, T, C, mean, f64; relative error of each ≤ Bounds.MmdSums
    //   uses  ‖x − y‖² = ‖x̂‖² + ‖ŷ‖² − 2x̂·ŷ, x̂ = x − joint mean: the products are one matrix product, clamped at 0
    //         Σ_{i,j} ‖z_i − z_j‖² = 2N Σ ‖z_i − z̄‖² over the N = n + m points: the mean needs no pairs
    //         k(x, y) = k(y, x): of S and T only pairs i < j are evaluated, and counted twice
    //   work  a unit is one tile of BlockRows × BlockRows pairs; its products never leave the cache; unit sums are float64 and
    //         added in the order of units, whichever thread made them
    //   cost  d·(n + m)² flop, (n + m)²/2·|factors| exponentials; 8·(n + m)·d bytes for the centred copies

    /// <inheritdoc/>
    public unsafe MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel)
    {
        OpArguments.CheckMmdSums(source, target, kernel);
        if (LargestValue(source) > Centring.kLargestValue || LargestValue(target) > Centring.kLargestValue)
            return new Scalar.ScalarBackend().MmdSums(source, target, kernel);

        double[] centre = Centring.Mean(source, target, Threads);
        double[] sourceNorms = Centring.SquaredNorms(source, centre, Threads), targetNorms = Centring.SquaredNorms(target, centre, Threads);
        double points = (double)source.Count + target.Count;
        double mean = 2 * (sourceNorms.Sum() + targetNorms.Sum()) / points;
        if (mean == 0)
        {
            // All points are equal, all kernels 1.
            double n = source.Count, m = target.Count, bandwidths = kernel.Factors.Count;
            return new MmdSums(n * (n - 1) * bandwidths, m * (m - 1) * bandwidths, n * m * bandwidths, 0);
        }

        int exponent = Centring.Exponent(Math.Max(sourceNorms.Max(), targetNorms.Max()));
        // Exponents per unit of scaled squared distance.
        double[] rates = [.. kernel.Factors.Select(factor => Math.ScaleB(-1 / (2 * factor * (kernel.Relative ? mean : 1)), -2 * exponent))];
        float[] centre32 = [.. centre.Select(value => (float)value)];
        using var left = new PairOperand(source, centre32, exponent, Threads);
        using var right = new PairOperand(target, centre32, exponent, Threads);
        var units = new List<(PairOperand Rows, PairOperand Columns, int Row, int Column)>();
        foreach ((PairOperand a, PairOperand b) in new[] { (left, left), (right, right), (left, right) })
        {
            for (int row = 0; row < a.Blocks; row++)
            {
                for (int column = ReferenceEquals(a, b) ? row : 0; column < b.Blocks; column++)
                    units.Add((a, b, row, column));
            }
        }
        double[] sums = new double[units.Count];
        using var products = new RowMatrix((long)Threads * PairOperand.BlockRows, PairOperand.BlockRows);
        Workers.RunUnits(Threads, units.Count, (worker, unit) =>
        {
            (PairOperand rows, PairOperand columns, int row, int column) = units[unit];
            fixed (float* buffer = products.Rows((long)worker * PairOperand.BlockRows, PairOperand.BlockRows))
            {
                sums[unit] = Lanes512.IsSupported ? PairSum<Lanes512>(rows, columns, row, column, rates, buffer)
                    : Lanes256.IsSupported ? PairSum<Lanes256>(rows, columns, row, column, rates, buffer)
                    : PairSum<Lanes128>(rows, columns, row, column, rates, buffer);
            }
        });
        double sourceSum = 0, targetSum = 0, crossSum = 0;
        for (int unit = 0; unit < units.Count; unit++)
        {
            if (!ReferenceEquals(units[unit].Rows, units[unit].Columns))
                crossSum += sums[unit];
            else if (ReferenceEquals(units[unit].Rows, left))
                sourceSum += 2 * sums[unit];
            else
                targetSum += 2 * sums[unit];
        }
        return new MmdSums(sourceSum, targetSum, crossSum, mean);
    }

    /// <summary>Largest |value|.</summary>
    internal static float LargestValue(RowView rows)
    {
        float largest = 0;
        for (int i = 0; i < rows.Count; i++)
            largest = Math.Max(largest, Math.Abs(System.Numerics.Tensors.TensorPrimitives.MaxMagnitude(rows[i])));
        return largest;
    }

    // Σ k over the pairs of one tile; of a tile on the diagonal of one set, over those with row < column.
    private static unsafe double PairSum<TLanes>(PairOperand rows, PairOperand columns, int row, int column, double[] rates, float* distances)
        where TLanes : struct, ILanes<TLanes>
    {
        int rowCount = rows.BlockCount(row), columnCount = columns.BlockCount(column), stride = PairOperand.BlockRows;
        bool triangle = ReferenceEquals(rows, columns) && row == column;
        Product.Multiply(rows.Row(row * stride), rows.Dimension, rowCount, columns.Packed(column), 0, columnCount, distances, stride);

        float* columnNorms = columns.Norms + column * stride;
        TLanes least = TLanes.Create(float.PositiveInfinity);
        for (int i = 0; i < rowCount; i++)
        {
            TLanes norm = TLanes.Create(rows.Norms[row * stride + i]);
            float* line = distances + i * stride;
            for (int j = 0; j < columnCount; j += TLanes.Count)
            {
                // Padding columns have an infinite norm: they are never the least, and their exponentials vanish.
                TLanes distance = TLanes.MultiplyAdd(TLanes.Create(-2), TLanes.Load(line + j), norm + TLanes.Load(columnNorms + j));
                distance = TLanes.Max(distance, TLanes.Create(0));
                distance.Store(line + j);
            }
            if (triangle)
                new Span<float>(line, i + 1).Fill(float.PositiveInfinity);
            for (int j = 0; j < columnCount; j += TLanes.Count)
                least = TLanes.Min(least, TLanes.Load(line + j));
        }
        float smallest = -(TLanes.Create(0) - least).Largest();

        double sum = 0;
        foreach (double rate in rates)
        {
            sum += rate * smallest < -kLargestExponent32 ? ExponentialSum64(distances, rowCount, columnCount, rate)
                : ExponentialSum<TLanes>(distances, rowCount, columnCount, Math.Max((float)rate, float.MinValue));
        }
        return sum;
    }

    // A tile whose largest kernel is below e^−60 adds nothing to a sum that has others; one that has not is summed in float64, down to e^−745.
    private const double kLargestExponent32 = 60;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe double ExponentialSum<TLanes>(float* distances, int rowCount, int columnCount, float rate)
        where TLanes : struct, ILanes<TLanes>
    {
        double sum = 0;
        for (int i = 0; i < rowCount; i++)
        {
            float* line = distances + i * PairOperand.BlockRows;
            TLanes lineSum = TLanes.Create(0);
            for (int j = 0; j < columnCount; j += TLanes.Count)
                lineSum += Lanes.Exp(TLanes.Load(line + j) * TLanes.Create(rate));
            sum += lineSum.Sum();
        }
        return sum;
    }

    private static unsafe double ExponentialSum64(float* distances, int rowCount, int columnCount, double rate)
    {
        double sum = 0;
        for (int i = 0; i < rowCount; i++)
        {
            for (int j = 0; j < columnCount; j++)
                sum += Math.Exp(distances[i * PairOperand.BlockRows + j] * rate);
        }
        return sum;
    }

    /// <summary>One set of rows, centred and scaled: row-major as left-hand side, packed by blocks as right-hand side, with squared norms.</summary>
    private sealed unsafe class PairOperand : IDisposable
    {
        private const int kLeastBlockRows = 192;

        private readonly RowMatrix _rows;
        private readonly RowMatrix _norms;
        private readonly PackedCodewords[] _packed;

        public PairOperand(RowView rows, float[] centre, int exponent, int threads)
        {
            Count = rows.Count;
            Dimension = rows.Dimension;
            _rows = new RowMatrix((long)Blocks * BlockRows, Dimension);
            _norms = new RowMatrix((long)Blocks * BlockRows, 1);
            _packed = new PackedCodewords[Blocks];
            nint stride = rows.Stride;
            fixed (float* pinned = rows.Values)
            {
                float* x = pinned;
                Workers.RunUnits(threads, Blocks, (_, block) =>
                {
                    int count = BlockCount(block), first = block * BlockRows;
                    for (int i = 0; i < count; i++)
                        Centring.Write(new ReadOnlySpan<float>(x + (first + i) * stride, Dimension), centre, exponent, new Span<float>(Row(first + i), Dimension));
                    for (int i = 0; i < BlockRows; i++)
                        Norms[first + i] = i < count ? (float)SquaredNorm(Row(first + i)) : float.PositiveInfinity;
                    _packed[block] = new PackedCodewords(Row(first), Dimension, count, Dimension);
                });
            }
        }

        // Whole tiles of rows and whole panels of columns.
        public static int BlockRows { get; } = LeastCommonMultiple(Product.kRowsPerTile, Product.CodesPerPanel) is var multiple
            ? (kLeastBlockRows + multiple - 1) / multiple * multiple : 0;

        public int Count { get; }

        public int Dimension { get; }

        public int Blocks => (Count + BlockRows - 1) / BlockRows;

        public float* Norms => (float*)_norms.DangerousGetHandle();

        public int BlockCount(int block) => Math.Min(BlockRows, Count - block * BlockRows);

        public float* Row(int index) => (float*)_rows.DangerousGetHandle() + (nint)index * Dimension;

        public PackedCodewords Packed(int block) => _packed[block];

        public void Dispose()
        {
            _rows.Dispose();
            _norms.Dispose();
            foreach (PackedCodewords packed in _packed)
                packed.Dispose();
        }

        private double SquaredNorm(float* row)
        {
            double sum = 0;
            for (int j = 0; j < Dimension; j++)
                sum += (double)row[j] * row[j];
            return sum;
        }

        private static int LeastCommonMultiple(int left, int right)
        {
            int multiple = left;
            while (multiple % right != 0)
                multiple += left;
            return multiple;
        }
    }
}
