using System.Runtime.InteropServices;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/sinkhorn_assign.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct SinkhornArguments
{
    public nint Rows;
    public nint RowNorms;
    public nint Codewords;
    public nint CodeNorms;
    public nint Products;
    public nint Biases;
    public nint References;
    public nint Masses;
    public nint Least;
    public nint Most;
    public nint Potentials;
    public nint Codes;
    public double Rate;
    public double Epsilon;
    public double LogShare;
    public float Slope;
    public int Count;
    public int CodeCount;
    public int PaddedCodes;
    public int Depth;
    public int UnitTiles;
    public int Units;
}

public sealed partial class CudaBackend
{
    /// <summary>Most bytes of products that <see cref="SinkhornAssign"/> keeps between iterations; half of the free memory at most. No bit of the result depends on it.</summary>
    internal long SinkhornKeptBytes { get; init; } = long.MaxValue;

    /// <inheritdoc/>
    /// <remarks>4·n·d bytes of the device's memory for the rows, 4·n·K for their products where there is room, and what is proportional to n + K.</remarks>
    /// <exception cref="BackendUnavailableException">The rows do not fit the device's memory.</exception>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials)
    {
        OpArguments.CheckSinkhornAssign(rows, codewords, options, codes, potentials);
        if (rows.Count == 0 || !CudaTransport.TryRun(this, rows, codewords, options, codes, potentials))
            new ScalarBackend().SinkhornAssign(rows, codewords, options, codes, potentials);
    }
}

/// <summary>The buffers of one transport on the device, and the order in which its kernels run. Inputs that float32 cannot tell apart or hold are the oracle's, as in <see cref="Transport"/>.</summary>
internal sealed class CudaTransport : IDisposable
{
    // Beyond it float32 cannot hold z.
    private const double kLargestRate = 1e30;
    // Distances must spread over this many times their error.
    private const double kLeastSpread = 64;
    // Units whose masses are kept apart: enough blocks for any device, and memory that grows with K alone.
    private const int kMostUnits = 256;
    // References and logarithms of a tile's rows.
    private const int kRowBytes = ProductTiles.kRows * 2 * sizeof(float);
    // References and sums of a tile's columns per warp, where products are kept; otherwise they lie in the memory of the operands.
    private const int kColumnBytes = ProductTiles.kThreads / 32 * ProductTiles.kColumns * 2 * sizeof(float);

    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly List<IDisposable> _owned = [];
    private readonly DeviceMemory<double> _least, _most, _potentials;
    private readonly DeviceMemory<ushort> _codes;
    private readonly int _rowTiles;
    private readonly bool _keeps;
    private SinkhornArguments _arguments;

    private CudaTransport(CudaBackend backend, CudaStream stream, CentredRows rows, CentredRows codewords)
    {
        (_device, _stream) = (backend.Gpu, stream);
        int codeTiles = ProductTiles.Count(codewords.Count), padded = codeTiles * ProductTiles.kColumns;
        _rowTiles = ProductTiles.Count(rows.Count);
        int unitTiles = (_rowTiles + kMostUnits - 1) / kMostUnits, units = (_rowTiles + unitTiles - 1) / unitTiles;
        try
        {
            _least = Own<double>(_rowTiles);
            _most = Own<double>(_rowTiles);
            _potentials = Own<double>(codewords.Count);
            _codes = Own<ushort>(rows.Count);
            _arguments = new SinkhornArguments
            {
                Rows = rows.Values.Value, RowNorms = rows.Norms.Value, Codewords = codewords.Values.Value, CodeNorms = codewords.Norms.Value,
                Biases = Own<float>(padded).Value, References = Own<float>((long)units * padded).Value, Masses = Own<double>((long)units * padded).Value,
                Least = _least.Value, Most = _most.Value, Potentials = _potentials.Value, Codes = _codes.Value,
                Count = rows.Count, CodeCount = codewords.Count, PaddedCodes = padded, Depth = rows.Depth, UnitTiles = unitTiles, Units = units,
            };
            long products = (long)rows.Count * padded;
            _keeps = products * sizeof(float) <= Math.Min(backend.SinkhornKeptBytes, _device.FreeBytes / 2);
            if (_keeps)
                _arguments.Products = Own<float>(products).Value;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Assigns checked rows; false, with nothing written, when float32 cannot serve.</summary>
    public static bool TryRun(CudaBackend backend, RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials)
    {
        // The centre of the codewords serves as well as any: distances do not depend on it.
        double[] mean = Centring.Mean(codewords, rows.Slice(0, 0), backend.Threads);
        using var stream = CudaStream.Create(backend.Gpu);
        using var staging = new RowStaging(stream, rows.Dimension, Math.Max(rows.Count, codewords.Count), backend.Threads);
        using var left = new CentredRows(staging, rows);
        using var right = new CentredRows(staging, codewords);
        (double[] rowNorms, float largestRow) = left.Measure(mean);
        (double[] codeNorms, float largestCode) = right.Measure(mean);
        if (Math.Max(largestRow, largestCode) > Centring.kLargestValue)
            return false;
        double largest = Math.Max(rowNorms.Max(), codeNorms.Max());
        int exponent = Centring.Exponent(largest);
        float[] centre = [.. mean.Select(value => (float)value)];
        left.Subtract(centre, exponent);
        right.Subtract(centre, exponent);
        using var transport = new CudaTransport(backend, stream, left, right);
        // In units of the scaled operands, whose squared distances are 2^(2·exponent) times the real ones.
        double unit = Math.ScaleB(1, 2 * exponent), half = unit;
        if (options.ScaleDistances || transport._keeps)
        {
            (double least, double most) = transport.DistanceRange();
            if (options.ScaleDistances)
                half = (most - least) / 2;
            if (options.ScaleDistances && half < kLeastSpread * Bounds.GramDistance(rows.Dimension, largest * unit))
                return false;
        }
        double rate = 1 / (half * options.Epsilon);
        if (!(rate < kLargestRate))
            return false;
        transport.Iterate(options, rate);
        transport._codes.ToArray(stream, rows.Count).CopyTo(codes);
        if (!potentials.IsEmpty)
            transport._potentials.ToArray(stream, codewords.Count).CopyTo(potentials);
        return true;
    }

    public void Dispose()
    {
        foreach (IDisposable memory in _owned)
            memory.Dispose();
    }

    // Least and largest squared distance over all pairs, in units of the operands; keeps the products where there is room.
    private (double Least, double Most) DistanceRange()
    {
        _stream.Launch(Kernel("sinkhorn_assign_range", multiplies: true), _rowTiles, _arguments);
        return (Math.Max(0, _least.ToArray(_stream, _rowTiles).Min()), _most.ToArray(_stream, _rowTiles).Max());
    }

    private void Iterate(SinkhornOptions options, double rate)
    {
        _stream.Fill(_potentials, 0, _potentials.Length);
        _arguments.Rate = rate;
        _arguments.Slope = (float)(2 * rate * Math.Log2(Math.E));
        _arguments.Epsilon = options.Epsilon;
        _arguments.LogShare = Math.Log(_arguments.Count) - Math.Log(_arguments.CodeCount);
        CudaKernel scale = Kernel("sinkhorn_assign_scale", multiplies: false), masses = Kernel("sinkhorn_assign_masses", !_keeps);
        int scaleBlocks = _arguments.PaddedCodes / (ProductTiles.kThreads / 32);
        // Biases of the potentials as they are, 0.
        _stream.Launch(scale, scaleBlocks, _arguments with { Units = 0 });
        for (int iteration = 0; iteration < options.Iterations; iteration++)
        {
            _stream.Launch(masses, _arguments.Units, _arguments);
            _stream.Launch(scale, scaleBlocks, _arguments);
        }
        _stream.Launch(Kernel("sinkhorn_assign_codes", !_keeps), _rowTiles, _arguments);
    }

    private CudaKernel Kernel(string name, bool multiplies) =>
        _device.Kernel("sinkhorn_assign", name, ProductTiles.kThreads, kRowBytes + (multiplies ? ProductTiles.kBytes + ProductTiles.TotalBytes(_arguments.Depth) : kColumnBytes));

    private DeviceMemory<T> Own<T>(long length)
        where T : unmanaged
    {
        DeviceMemory<T> memory = DeviceMemory<T>.Allocate(_device, length);
        _owned.Add(memory);
        return memory;
    }
}
