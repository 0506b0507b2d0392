using System.Runtime.InteropServices;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/centre.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct CentreArguments
{
    public nint Rows;
    public nint Sums;
    public nint Norms;
    public nint Largest;
    public nint From;
    public nint Mean;
    public float Scale;
    public float SecondScale;
    public int Count;
    public int Dimension;
    public int Depth;
    public int UnitRows;
}

/// <summary>Rows on the device that become what <see cref="Centring"/> makes of them: x̂ = 2^exponent · (x − m), with their squared norms.</summary>
internal sealed class CentredRows : IDisposable
{
    private const int kThreads = 256, kRowsPerBlock = kThreads / 32;
    // Units whose sums the host adds.
    private const int kMostUnits = 128;
    private const int kLeastUnitRows = 256;

    private readonly CudaStream _stream;

    /// <summary>Queues the copy of rows to the device.</summary>
    /// <param name="staging">Copies; its stream does all of the work.</param>
    /// <param name="rows">[n, d], n ≥ 1.</param>
    /// <exception cref="BackendUnavailableException">The device has not enough for them.</exception>
    public CentredRows(RowStaging staging, RowView rows)
    {
        (_stream, Count, Dimension, Depth) = (staging.Stream, rows.Count, rows.Dimension, staging.Depth);
        try
        {
            Values = DeviceMemory<float>.Allocate(_stream.Device, (long)Count * Depth);
            Norms = DeviceMemory<double>.Allocate(_stream.Device, Count);
            staging.Upload(rows, Values);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>n.</summary>
    public int Count { get; }

    /// <summary>d.</summary>
    public int Dimension { get; }

    /// <summary>Values per row on the device.</summary>
    public int Depth { get; }

    /// <summary>[n, depth].</summary>
    public DeviceMemory<float> Values { get; } = null!;

    /// <summary>[n] squared norms of the values as they are now, once <see cref="Subtract"/> was called.</summary>
    public DeviceMemory<double> Norms { get; } = null!;

    private CentreArguments Arguments => new() { Rows = Values.Value, Norms = Norms.Value, Count = Count, Dimension = Dimension, Depth = Depth };

    /// <summary>Σ (x_i − origin), [d], before anything was subtracted.</summary>
    public double[] DeviationSums(DeviceMemory<float> origin)
    {
        int unitRows = Math.Max(kLeastUnitRows, (Count + kMostUnits - 1) / kMostUnits), units = (Count + unitRows - 1) / unitRows;
        using var sums = DeviceMemory<double>.Allocate(_stream.Device, (long)units * Dimension);
        _stream.Launch(Kernel("centre_sums"), units, Arguments with { Sums = sums.Value, From = origin.Value, UnitRows = unitRows }, (Dimension + kThreads - 1) / kThreads);
        double[] parts = sums.ToArray(_stream, units * Dimension), total = new double[Dimension];
        for (int i = 0; i < parts.Length; i++)
            total[i % Dimension] += parts[i];
        return total;
    }

    /// <summary>‖x_i − mean‖² of every row, and the largest |x_ij|, before anything was subtracted.</summary>
    public (double[] SquaredNorms, float LargestValue) Measure(double[] mean)
    {
        using var deviceMean = DeviceMemory<double>.From(_stream, mean);
        using var largest = DeviceMemory<float>.Allocate(_stream.Device, 1);
        _stream.Fill(largest, 0, 1);
        _stream.Launch(Kernel("centre_measure"), Blocks, Arguments with { Mean = deviceMean.Value, Largest = largest.Value });
        return (Norms.ToArray(_stream, Count), largest.ToArray(_stream, 1)[0]);
    }

    /// <summary>Replaces the rows by x̂ and measures their norms.</summary>
    public void Subtract(float[] centre, int exponent)
    {
        using var deviceCentre = DeviceMemory<float>.From(_stream, centre);
        int half = exponent / 2;
        _stream.Launch(Kernel("centre_subtract"), Blocks, Arguments with { From = deviceCentre.Value, Scale = MathF.ScaleB(1, half), SecondScale = MathF.ScaleB(1, exponent - half) });
        // The centre goes back to the device at the end of this method.
        _stream.Synchronize();
    }

    public void Dispose()
    {
        Values?.Dispose();
        Norms?.Dispose();
    }

    private int Blocks => (Count + kRowsPerBlock - 1) / kRowsPerBlock;

    private CudaKernel Kernel(string name) => _stream.Device.Kernel("centre", name, kThreads);
}
