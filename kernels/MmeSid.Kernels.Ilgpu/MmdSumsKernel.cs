using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Ilgpu;

internal struct MmdSumsArguments
{
    /// <summary>x̂ and ŷ, centred and scaled, [whole tiles, Depth / 4].</summary>
    public ArrayView<Float4> Rows, Columns;

    /// <summary>‖x̂‖², ‖ŷ‖², [whole tiles].</summary>
    public ArrayView<float> RowNorms;

    /// <summary>See <see cref="RowNorms"/>.</summary>
    public ArrayView<Float4> ColumnNorms;

    /// <summary>−1 / 2σ_t² per unit of scaled squared distance.</summary>
    public ArrayView<double> Rates;

    /// <summary>[tiles down, kParts or fewer], the sum of each group.</summary>
    public ArrayView<double> Sums;

    public int RowCount, ColumnCount, Depth, RateCount;

    /// <summary>Whether the sets are one, and only pairs row &lt; column count.</summary>
    public int Triangle;
}

/// <summary>
/// mmd-sums: S = Σ_{i≠j} k(s_i, s_j)   T = Σ_{i≠j} k(t_i, t_j)   C = Σ_{i,j} k(s_i, t_j)                oracle: Scalar/MmdSums.cs
/// <code>
///           k(x, y) = Σ_t exp(−‖x − y‖² / 2σ_t²),  σ_t² = factor_t · (relative ? mean : 1)
///   in    source (n, d) f32 · target (m, d) f32 · factors
///   out   S, T, C, mean, f64; relative error of each ≤ Bounds.MmdSums
///   uses  ‖x − y‖² = ‖x̂‖² + ‖ŷ‖² − 2x̂·ŷ, x̂ = x − joint mean, clamped at 0; the mean needs no pairs; of S and T only pairs i &lt; j, counted twice
///         exponents down to −60 in float32, lower ones in float64, pair by pair
///   work  a group owns kRows rows and every kParts-th tile of kColumns columns, a thread 8 × 8 pairs of each: eight exponentials are added in
///         float32, all else in float64; the host centres the rows and adds the groups' sums in their order
///   cost  d·(n + m)² flop, (n + m)²/2·|factors| exponentials
/// </code>
/// </summary>
internal static class MmdSumsKernel
{
    public const int kRows = ProductTile.kRows, kColumns = ProductTile.kCodes, kThreads = ProductTile.kThreads;

    /// <summary>Sums per tile of rows that the host adds: enough groups for any device, and memory that grows with the rows alone.</summary>
    public const int kParts = 16;

    // Threads that add the others' sums: a first round of as many, then one.
    private const int kAdders = 16;
    private const float kLeastExponent32 = -60;

    /// <summary>A group per tile of rows, x, and part of the columns, y.</summary>
    public static void PairSums(MmdSumsArguments a)
    {
        ArrayView<Float4> rows = SharedMemory.Allocate<Float4>(ProductTile.kShared), columns = SharedMemory.Allocate<Float4>(ProductTile.kShared);
        ArrayView<double> parts = SharedMemory.Allocate<double>(kThreads);
        int firstRow = Grid.IdxX * kRows, down = ProductTile.Down, across = ProductTile.Across;
        double sum = 0;
        for (int firstColumn = Grid.IdxY * kColumns; firstColumn < a.ColumnCount; firstColumn += Grid.DimY * kColumns)
        {
            // The same for all threads of the group: tiles below the diagonal hold no pair that counts.
            if (a.Triangle != 0 && firstColumn < firstRow)
                continue;
            Products d = ProductTile.Multiply(a.Rows, a.Columns, firstRow, firstColumn, a.Depth / 4, a.Depth / 4, a.Depth, rows, columns);
            int left = firstColumn + ProductTile.Own(across, 0), right = firstColumn + ProductTile.Own(across, 4);
            d.R0 = Distances(a, d.R0, firstRow + ProductTile.Own(down, 0), left, right);
            d.R1 = Distances(a, d.R1, firstRow + ProductTile.Own(down, 1), left, right);
            d.R2 = Distances(a, d.R2, firstRow + ProductTile.Own(down, 2), left, right);
            d.R3 = Distances(a, d.R3, firstRow + ProductTile.Own(down, 3), left, right);
            d.R4 = Distances(a, d.R4, firstRow + ProductTile.Own(down, 4), left, right);
            d.R5 = Distances(a, d.R5, firstRow + ProductTile.Own(down, 5), left, right);
            d.R6 = Distances(a, d.R6, firstRow + ProductTile.Own(down, 6), left, right);
            d.R7 = Distances(a, d.R7, firstRow + ProductTile.Own(down, 7), left, right);
            for (int t = 0; t < a.RateCount; t++)
            {
                double rate = a.Rates[t];
                sum += Exponentials(d.R0, rate);
                sum += Exponentials(d.R1, rate);
                sum += Exponentials(d.R2, rate);
                sum += Exponentials(d.R3, rate);
                sum += Exponentials(d.R4, rate);
                sum += Exponentials(d.R5, rate);
                sum += Exponentials(d.R6, rate);
                sum += Exponentials(d.R7, rate);
            }
        }
        parts[Group.IdxX] = sum;
        Group.Barrier();
        if (Group.IdxX < kAdders)
        {
            for (int i = Group.IdxX + kAdders; i < kThreads; i += kAdders)
                sum += parts[i];
            parts[Group.IdxX] = sum;
        }
        Group.Barrier();
        if (Group.IdxX > 0)
            return;
        for (int i = 1; i < kAdders; i++)
            sum += parts[i];
        a.Sums[(long)Grid.IdxX * Grid.DimY + Grid.IdxY] = sum;
    }

    // ‖x̂ − ŷ‖² of a row with eight columns; +∞, whose exponential is 0, for pairs that do not count.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ProductRow Distances(MmdSumsArguments a, ProductRow products, int row, int left, int right)
    {
        float norm = a.RowNorms[row];
        int least = a.Triangle != 0 ? row + 1 : 0, end = row < a.RowCount ? a.ColumnCount : 0;
        return new ProductRow { Low = Distances(products.Low, norm, a.ColumnNorms[left / 4], left, least, end), High = Distances(products.High, norm, a.ColumnNorms[right / 4], right, least, end) };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Distances(Float4 products, float norm, Float4 norms, int column, int least, int end) => new()
    {
        X = Distance(products.X, norm, norms.X, column, least, end),
        Y = Distance(products.Y, norm, norms.Y, column + 1, least, end),
        Z = Distance(products.Z, norm, norms.Z, column + 2, least, end),
        W = Distance(products.W, norm, norms.W, column + 3, least, end),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Distance(float product, float rowNorm, float columnNorm, int column, int least, int end) =>
        column >= least && column < end ? XMath.Max(0, rowNorm + columnNorm - 2 * product) : float.PositiveInfinity;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Exponentials(ProductRow distances, double rate)
    {
        float sum = 0;
        double low = 0;
        Add(distances.Low.X, rate, ref sum, ref low);
        Add(distances.Low.Y, rate, ref sum, ref low);
        Add(distances.Low.Z, rate, ref sum, ref low);
        Add(distances.Low.W, rate, ref sum, ref low);
        Add(distances.High.X, rate, ref sum, ref low);
        Add(distances.High.Y, rate, ref sum, ref low);
        Add(distances.High.Z, rate, ref sum, ref low);
        Add(distances.High.W, rate, ref sum, ref low);
        return sum + low;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(float distance, double rate, ref float sum, ref double low)
    {
        // A rate beyond float32 still gives 0 · rate = 0.
        float exponent = distance * XMath.Max((float)rate, float.MinValue);
        if (exponent >= kLeastExponent32)
            sum += Exp32(exponent);
        else
            low += Exp64(distance * rate);
    }

    // Simd.Lanes.Exp on −60 … 0, operation for operation: relative error at most Bounds.Exp32, fused or not.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Exp32(float x)
    {
        int n = (int)(x * 1.44269504f - 0.5f);
        float r = x - n * 0.693359375f + n * 2.12194440e-4f;
        float p = 1.9875691500e-4f * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * (r * r) + r + 1;
        return p * Interop.IntAsFloat((uint)(n + 127) << 23);
    }

    // e^x for x < −59 by a Taylor polynomial of degree 13 on |r| ≤ ½ ln 2, relative error below 2⁻⁵⁰; 0 below the smallest float64.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static double Exp64(double x)
    {
        if (!(x > -746))
            return 0;
        int n = (int)(x * 1.4426950408889634 - 0.5);
        double r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10, p = 1 / 6227020800.0;
        p = p * r + 1 / 479001600.0;
        p = p * r + 1 / 39916800.0;
        p = p * r + 1 / 3628800.0;
        p = p * r + 1 / 362880.0;
        p = p * r + 1 / 40320.0;
        p = p * r + 1 / 5040.0;
        p = p * r + 1 / 720.0;
        p = p * r + 1 / 120.0;
        p = p * r + 1 / 24.0;
        p = p * r + 1 / 6.0;
        p = p * r + 0.5;
        p = p * r + 1;
        p = p * r + 1;
        // In two steps: 2^n itself may be too small for a normal number.
        int half = n / 2;
        return p * Interop.IntAsFloat((ulong)(half + 1023) << 52) * Interop.IntAsFloat((ulong)(n - half + 1023) << 52);
    }
}

public sealed partial class IlgpuBackend
{
    /// <inheritdoc/>
    /// <exception cref="BackendUnavailableException">Both sets do not fit the device's memory.</exception>
    public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel)
    {
        OpArguments.CheckMmdSums(source, target, kernel);
        if (SimdBackend.LargestValue(source) > Centring.kLargestValue || SimdBackend.LargestValue(target) > Centring.kLargestValue)
            return _host.MmdSums(source, target, kernel);
        double[] centre = Centring.Mean(source, target, Threads);
        double[] sourceNorms = Centring.SquaredNorms(source, centre, Threads), targetNorms = Centring.SquaredNorms(target, centre, Threads);
        double points = (double)source.Count + target.Count, mean = 2 * (sourceNorms.Sum() + targetNorms.Sum()) / points;
        // All points are equal, all kernels 1.
        if (mean == 0)
            return _host.MmdSums(source, target, kernel);
        int exponent = Centring.Exponent(Math.Max(sourceNorms.Max(), targetNorms.Max()));
        double[] rates = [.. kernel.Factors.Select(factor => Math.ScaleB(-1 / (2 * factor * (kernel.Relative ? mean : 1)), -2 * exponent))];
        float[] centre32 = [.. centre.Select(value => (float)value)];
        lock (Gpu.Gate)
        {
            try
            {
                Gpu.Accelerator.Bind();
                using AcceleratorStream stream = Gpu.Accelerator.CreateStream();
                using var left = new PairOperand(Gpu, stream, source, centre32, exponent, StagingBytes, Threads);
                using var right = new PairOperand(Gpu, stream, target, centre32, exponent, StagingBytes, Threads);
                using MemoryBuffer1D<double, Stride1D.Dense> deviceRates = Gpu.Allocate<double>(stream, rates);
                return new MmdSums(
                    2 * PairSum(stream, left, left, deviceRates, rates.Length),
                    2 * PairSum(stream, right, right, deviceRates, rates.Length),
                    PairSum(stream, left, right, deviceRates, rates.Length),
                    mean);
            }
            catch (AcceleratorException error)
            {
                throw IlgpuDevice.Translate(error);
            }
        }
    }

    // Σ k over all pairs, or over those of row < column where both sets are one.
    private double PairSum(AcceleratorStream stream, PairOperand rows, PairOperand columns, MemoryBuffer1D<double, Stride1D.Dense> rates, int rateCount)
    {
        int parts = Math.Min(MmdSumsKernel.kParts, columns.Tiles);
        using MemoryBuffer1D<double, Stride1D.Dense> deviceSums = Gpu.Allocate<double>((long)rows.Tiles * parts);
        Gpu.Kernel<MmdSumsArguments>(MmdSumsKernel.PairSums)(stream, new KernelConfig(new Index2D(rows.Tiles, parts), new Index2D(MmdSumsKernel.kThreads, 1)), new MmdSumsArguments
        {
            Rows = rows.Values, Columns = columns.Values, RowNorms = rows.Norms, ColumnNorms = columns.Norms.Cast<Float4>(), Rates = rates.View, Sums = deviceSums.View,
            RowCount = rows.Count, ColumnCount = columns.Count, Depth = rows.Depth, RateCount = rateCount, Triangle = ReferenceEquals(rows, columns) ? 1 : 0,
        });
        double[] sums = new double[rows.Tiles * parts];
        stream.Download(sums.AsSpan(), deviceSums.View);
        double sum = 0;
        foreach (double part in sums)
            sum += part;
        return sum;
    }

    /// <summary>One set of rows on the device, centred and scaled, with squared norms; memory for whole tiles, of which no pair counts behind the last row.</summary>
    private sealed unsafe class PairOperand : IDisposable
    {
        private const int kRowsPerUnit = 512;

        private readonly MemoryBuffer1D<float, Stride1D.Dense> _values, _norms;

        public PairOperand(IlgpuDevice device, AcceleratorStream stream, RowView rows, float[] centre, int exponent, long stagingBytes, int threads)
        {
            Count = rows.Count;
            Depth = ProductTile.PaddedDepth(rows.Dimension);
            int perCopy = (int)Math.Clamp(stagingBytes / (sizeof(float) * (long)Depth), 1, Count);
            // Zeros behind the rows' own values, which nothing overwrites.
            using PageLockedArray1D<float> staging = device.Accelerator.AllocatePageLocked1D<float>((long)perCopy * Depth, uninitialized: false);
            float[] norms = new float[Tiles * ProductTile.kRows];
            _values = device.Allocate<float>((long)norms.Length * Depth);
            for (int start = 0; start < Count; start += perCopy)
            {
                int count = Math.Min(perCopy, Count - start);
                Write(rows.Slice(start, count), centre, exponent, staging.GetArray(), norms.AsMemory(start), threads);
                stream.Upload(_values.View.BaseView.SubView((long)start * Depth), staging.Span[..(count * Depth)]);
                // Staging is filled again.
                stream.Synchronize();
            }
            _norms = device.Allocate<float>(stream, norms);
        }

        public int Count { get; }

        public int Tiles => (Count + ProductTile.kRows - 1) / ProductTile.kRows;

        public int Depth { get; }

        public ArrayView<Float4> Values => _values.View.BaseView.Cast<Float4>();

        public ArrayView<float> Norms => _norms.View;

        public void Dispose()
        {
            _values.Dispose();
            _norms.Dispose();
        }

        private void Write(RowView rows, float[] centre, int exponent, float[] operands, Memory<float> norms, int threads)
        {
            int d = rows.Dimension, count = rows.Count;
            nint stride = rows.Stride;
            fixed (float* pinned = rows.Values)
            {
                float* x = pinned;
                Parallel.For(0, (count + kRowsPerUnit - 1) / kRowsPerUnit, new ParallelOptions { MaxDegreeOfParallelism = threads }, unit =>
                {
                    double[] row = new double[d];
                    for (int i = unit * kRowsPerUnit; i < Math.Min(count, (unit + 1) * kRowsPerUnit); i++)
                    {
                        Span<float> operand = operands.AsSpan(i * Depth, d);
                        Centring.Write(new ReadOnlySpan<float>(x + i * stride, d), centre, exponent, operand);
                        TensorPrimitives.ConvertTruncating<float, double>(operand, row);
                        norms.Span[i] = (float)TensorPrimitives.SumOfSquares<double>(row);
                    }
                });
            }
        }
    }
}
