using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Memory of the device that a piece of work takes at its highest point, as often as the driver can be asked.</summary>
internal static class GpuMemoryPeak
{
    /// <summary>Bytes beyond what was taken before.</summary>
    public static long Above(CudaDevice gpu, Action work)
    {
        long before = gpu.FreeBytes, least = before;
        using var stop = new CancellationTokenSource();
        var watcher = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                least = Math.Min(least, gpu.FreeBytes);
                Thread.Sleep(1);
            }
        });
        watcher.Start();
        try
        {
            work();
        }
        finally
        {
            stop.Cancel();
            watcher.Join();
        }
        return before - least;
    }
}
