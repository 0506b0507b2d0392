using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/row_errors.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct RowErrorArguments
{
    public nint Rows;
    public nint Mean;
    public nint Centroids;
    public nint Codes;
    public nint Errors;
    public nint BlockSums;
    public nint Total;
    public nint Uniform;
    public nint Drawn;
    public int Count;
    public int Dimension;
    public int Draws;
}

/// <summary>Squared distances of rows on the device to one point each, their sum, and rows drawn by them; ordered as <see cref="ILloyd"/> says.</summary>
internal sealed class RowErrors : IDisposable
{
    /// <summary>Rows of a block sum.</summary>
    public const int kRowsPerSum = 4096;

    private const int kThreads = 256, kWarps = kThreads / 32, kRowsPerBlock = kThreads / 16;

    private readonly CudaStream _stream;
    private readonly DeviceMemory<double> _errors = null!, _blockSums = null!, _total = null!;
    private int _count;

    /// <summary>Takes memory.</summary>
    /// <param name="stream">Does the work.</param>
    /// <param name="capacity">Rows at most.</param>
    public RowErrors(CudaStream stream, int capacity)
    {
        _stream = stream;
        try
        {
            _errors = DeviceMemory<double>.Allocate(stream.Device, capacity);
            _blockSums = DeviceMemory<double>.Allocate(stream.Device, Blocks(capacity));
            _total = DeviceMemory<double>.Allocate(stream.Device, 1);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Block sums of so many rows.</summary>
    public static int Blocks(int count) => (int)(((long)count + kRowsPerSum - 1) / kRowsPerSum);

    /// <summary>Σ‖x − μ‖².</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="count">n.</param>
    /// <param name="mean">[d].</param>
    public double ToMean(DeviceMemory<float> rows, int count, DeviceMemory<double> mean) =>
        Measure("row_errors_to_mean", new RowErrorArguments { Rows = rows.Value, Mean = mean.Value, Count = count, Dimension = (int)mean.Length });

    /// <summary>Σ‖x − c‖² over each row and the centroid of its code.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="count">n.</param>
    /// <param name="dimension">d.</param>
    /// <param name="centroids">[K, d].</param>
    /// <param name="codes">[n].</param>
    public double ToCentroids(DeviceMemory<float> rows, int count, int dimension, DeviceMemory<float> centroids, DeviceMemory<ushort> codes) =>
        Measure("row_errors_to_centroids", new RowErrorArguments { Rows = rows.Value, Centroids = centroids.Value, Codes = codes.Value, Count = count, Dimension = dimension });

    /// <summary>Rows drawn by what was measured last.</summary>
    /// <param name="uniform">[m] in [0, 1).</param>
    /// <param name="rows">[m], −1 where no row has an error.</param>
    public void Draw(ReadOnlySpan<double> uniform, Span<int> rows)
    {
        using var numbers = DeviceMemory<double>.From(_stream, uniform);
        using var drawn = DeviceMemory<int>.Allocate(_stream.Device, rows.Length);
        Launch("row_errors_draw", (uniform.Length + kWarps - 1) / kWarps, new RowErrorArguments { Uniform = numbers.Value, Drawn = drawn.Value, Count = _count, Draws = uniform.Length });
        _stream.Read(rows, drawn);
    }

    public void Dispose()
    {
        _errors?.Dispose();
        _blockSums?.Dispose();
        _total?.Dispose();
    }

    private double Measure(string kernel, RowErrorArguments arguments)
    {
        _count = arguments.Count;
        Launch(kernel, ((long)_count + kRowsPerBlock - 1) / kRowsPerBlock, arguments);
        Launch("row_errors_sums", (Blocks(_count) + kWarps - 1) / kWarps, arguments);
        Launch("row_errors_total", 1, arguments, threads: 32);
        return _total.ToArray(_stream, 1)[0];
    }

    private void Launch(string kernel, long blocks, RowErrorArguments arguments, int threads = kThreads)
    {
        (arguments.Errors, arguments.BlockSums, arguments.Total) = (_errors.Value, _blockSums.Value, _total.Value);
        _stream.Launch(_stream.Device.Kernel("row_errors", kernel, threads), blocks, arguments);
    }
}
