using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Rows in the device's memory.</summary>
internal sealed class GpuRows : IDisposable
{
    private const int kValuesPerCopy = 1 << 28;

    private GpuRows(CudaStream stream, DeviceMemory<float> values, RowMatrix host) => (Stream, Values, Host) = (stream, values, host);

    /// <summary>That they were copied on.</summary>
    public CudaStream Stream { get; }

    /// <summary>[n, d].</summary>
    public DeviceMemory<float> Values { get; }

    /// <summary>Where they came from; belongs to the caller.</summary>
    public RowMatrix Host { get; }

    /// <summary>Copies rows to the device and waits.</summary>
    public static GpuRows Upload(CudaDevice gpu, RowMatrix rows)
    {
        CudaStream stream = CudaStream.Create(gpu);
        DeviceMemory<float> values = DeviceMemory<float>.Allocate(gpu, rows.Count * rows.Dimension);
        int rowsPerCopy = Math.Max(1, kValuesPerCopy / rows.Dimension);
        for (long first = 0; first < rows.Count; first += rowsPerCopy)
            stream.Write<float>(values, rows.Rows(first, (int)Math.Min(rowsPerCopy, rows.Count - first)), first * rows.Dimension);
        return new GpuRows(stream, values, rows);
    }

    public void Dispose()
    {
        Values.Dispose();
        Stream.Dispose();
    }
}
