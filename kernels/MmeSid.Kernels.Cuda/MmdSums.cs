using System.Runtime.InteropServices;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

// Mirrors of kernels/cuda/mmd_sums.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct MmdRate
{
    public double Exponent;
    public float Exponent2;
    public float Unused;
}

[StructLayout(LayoutKind.Sequential)]
internal struct MmdSumsArguments
{
    public nint Rows;
    public nint RowNorms;
    public nint Columns;
    public nint ColumnNorms;
    public nint Rates;
    public nint Sums;
    public int RowCount;
    public int ColumnCount;
    public int Depth;
    public int RateCount;
    public int TilesPerPart;
    public int OneSet;
}

public sealed partial class CudaBackend
{
    // Sums per tile of rows that the host adds: enough blocks for any device, and memory that grows with the rows alone.
    private const int kMmdParts = 16;
    // Beside the tiles: a float64 and a float32 per warp.
    private const int kMmdSharedBytes = ProductTiles.kBytes + ProductTiles.kThreads / 32 * (sizeof(double) + sizeof(float));

    /// <inheritdoc/>
    /// <exception cref="BackendUnavailableException">Both sets do not fit the device's memory: 4·(n + m)·d bytes.</exception>
    public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel)
    {
        OpArguments.CheckMmdSums(source, target, kernel);
        using var stream = CudaStream.Create(Gpu);
        using var staging = new RowStaging(stream, source.Dimension, Math.Max(source.Count, target.Count), Threads);
        using var left = new CentredRows(staging, source);
        using var right = new CentredRows(staging, target);
        double points = (double)source.Count + target.Count;
        double[] centre = JointMean(stream, left, right, source[0], points);
        (double[] sourceNorms, float sourceLargest) = left.Measure(centre);
        (double[] targetNorms, float targetLargest) = right.Measure(centre);
        if (Math.Max(sourceLargest, targetLargest) > Centring.kLargestValue)
            return _host.MmdSums(source, target, kernel);
        // Σ_{i,j} ‖z_i − z_j‖² = 2N Σ ‖z_i − z̄‖²
        double mean = 2 * (sourceNorms.Sum() + targetNorms.Sum()) / points;
        if (mean == 0)
        {
            // All points are equal, all kernels 1.
            double n = source.Count, m = target.Count, bandwidths = kernel.Factors.Count;
            return new MmdSums(n * (n - 1) * bandwidths, m * (m - 1) * bandwidths, n * m * bandwidths, 0);
        }

        int exponent = Centring.Exponent(Math.Max(sourceNorms.Max(), targetNorms.Max()));
        float[] centre32 = [.. centre.Select(value => (float)value)];
        left.Subtract(centre32, exponent);
        right.Subtract(centre32, exponent);
        using var rates = DeviceMemory<MmdRate>.From(stream, [.. kernel.Factors.Select(factor => Rate(Math.ScaleB(-1 / (2 * factor * (kernel.Relative ? mean : 1)), -2 * exponent)))]);
        using PairSums ofSource = Queue(stream, left, left, rates), ofTarget = Queue(stream, right, right, rates), cross = Queue(stream, left, right, rates);
        // k(x, y) = k(y, x): of one set only pairs i < j are there.
        return new MmdSums(2 * ofSource.Total(stream), 2 * ofTarget.Total(stream), cross.Total(stream), mean);
    }

    private static double[] JointMean(CudaStream stream, CentredRows left, CentredRows right, ReadOnlySpan<float> origin, double points)
    {
        using var from = DeviceMemory<float>.From(stream, origin);
        double[] mean = left.DeviationSums(from), more = right.DeviationSums(from);
        for (int j = 0; j < mean.Length; j++)
            mean[j] = origin[j] + (mean[j] + more[j]) / points;
        return mean;
    }

    // Finite and not zero: a pair that does not count has an infinite distance, and equal points have none.
    private static MmdRate Rate(double exponent) => new()
    {
        Exponent = Math.Clamp(exponent, double.MinValue, -double.Epsilon),
        Exponent2 = (float)Math.Clamp(exponent * Math.Log2(Math.E), float.MinValue, -float.Epsilon),
    };

    private PairSums Queue(CudaStream stream, CentredRows rows, CentredRows columns, DeviceMemory<MmdRate> rates)
    {
        int tiles = ProductTiles.Count(columns.Count), tilesPerPart = (tiles + kMmdParts - 1) / kMmdParts, parts = (tiles + tilesPerPart - 1) / tilesPerPart;
        int rowTiles = ProductTiles.Count(rows.Count);
        CudaKernel kernel = Gpu.Kernel("mmd_sums", "mmd_sums", ProductTiles.kThreads, kMmdSharedBytes + ProductTiles.TotalBytes(rows.Depth));
        var sums = new PairSums(DeviceMemory<double>.Allocate(Gpu, (long)rowTiles * parts));
        stream.Launch(kernel, rowTiles, new MmdSumsArguments
        {
            Rows = rows.Values.Value, RowNorms = rows.Norms.Value, Columns = columns.Values.Value, ColumnNorms = columns.Norms.Value,
            Rates = rates.Value, Sums = sums.Parts.Value,
            RowCount = rows.Count, ColumnCount = columns.Count, Depth = rows.Depth, RateCount = (int)rates.Length,
            TilesPerPart = tilesPerPart, OneSet = ReferenceEquals(rows, columns) ? 1 : 0,
        }, parts);
        return sums;
    }

    /// <summary>Sums of blocks, added in their order.</summary>
    private sealed record PairSums(DeviceMemory<double> Parts) : IDisposable
    {
        public double Total(CudaStream stream)
        {
            double total = 0;
            foreach (double part in Parts.ToArray(stream, (int)Parts.Length))
                total += part;
            return total;
        }

        public void Dispose() => Parts.Dispose();
    }
}
