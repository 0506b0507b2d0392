using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>What the driver gave and wants back. Released by Dispose, else by the finalizer, whatever thread that runs on.</summary>
internal abstract class CudaHandle : SafeHandle
{
    protected CudaHandle(CudaDevice device, nint value)
        : base(0, ownsHandle: true)
    {
        Device = device;
        SetHandle(value);
    }

    public CudaDevice Device { get; }

    public nint Value => IsClosed ? throw new ObjectDisposedException(GetType().Name) : handle;

    public override bool IsInvalid => handle == 0;

    protected sealed override bool ReleaseHandle() => Device.TryMakeCurrent() && Release();

    protected abstract bool Release();
}

/// <summary>Memory of the device, whatever it holds.</summary>
internal interface IDeviceMemory : IDisposable
{
    /// <summary>On the device.</summary>
    nint Address { get; }
}

/// <summary>Memory of the device.</summary>
/// <typeparam name="T">What it holds.</typeparam>
internal sealed class DeviceMemory<T> : CudaHandle, IDeviceMemory
    where T : unmanaged
{
    private DeviceMemory(CudaDevice device, nint pointer, long length)
        : base(device, pointer) => Length = length;

    /// <summary>Values.</summary>
    public long Length { get; }

    public nint Address => Value;

    /// <summary>Uninitialised values; at least one, so that every buffer has an address.</summary>
    /// <exception cref="InsufficientMemoryException">The device has not enough.</exception>
    public static unsafe DeviceMemory<T> Allocate(CudaDevice device, long length)
    {
        device.MakeCurrent();
        int status = Driver.cuMemAlloc_v2(out nint pointer, (nuint)(Math.Max(1, length) * sizeof(T)));
        if (status != 0)
        {
            _ = Driver.cuMemGetInfo_v2(out nuint free, out nuint total);
            try
            {
                Driver.Check(status, "cuMemAlloc");
            }
            catch (InsufficientMemoryException)
            {
                throw new InsufficientMemoryException(
                    $"CUDA: {length * sizeof(T) / 1e6:F0} MB more are needed on {device.Name}, {free / 1e6:F0} MB of its {total / 1e6:F0} MB are free");
            }
        }
        return new(device, pointer, length);
    }

    /// <summary>Copies values to the device and waits.</summary>
    public static DeviceMemory<T> From(CudaStream stream, ReadOnlySpan<T> values)
    {
        DeviceMemory<T> memory = Allocate(stream.Device, values.Length);
        try
        {
            stream.Upload(memory, values);
            stream.Synchronize();
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    protected override bool Release() => Driver.cuMemFree_v2(handle) == 0;
}

/// <summary>Host memory that the device can copy from and to while others work.</summary>
internal sealed class PinnedMemory<T> : CudaHandle
    where T : unmanaged
{
    private PinnedMemory(CudaDevice device, nint pointer, int length)
        : base(device, pointer) => Length = length;

    /// <summary>Values.</summary>
    public int Length { get; }

    public unsafe Span<T> Values => new((void*)Value, Length);

    public static unsafe PinnedMemory<T> Allocate(CudaDevice device, int length)
    {
        device.MakeCurrent();
        Driver.Check(Driver.cuMemHostAlloc(out nint pointer, (nuint)Math.Max(1, length) * (nuint)sizeof(T), 0), "cuMemHostAlloc");
        return new(device, pointer, length);
    }

    protected override bool Release() => Driver.cuMemFreeHost(handle) == 0;
}

/// <summary>A point in a stream's work.</summary>
internal sealed class CudaEvent : CudaHandle
{
    private CudaEvent(CudaDevice device, nint value)
        : base(device, value)
    {
    }

    public static CudaEvent Create(CudaDevice device)
    {
        device.MakeCurrent();
        Driver.Check(Driver.cuEventCreate(out nint value, 0), "cuEventCreate");
        return new(device, value);
    }

    /// <summary>Waits until the stream has come to the point that was recorded last.</summary>
    public void Synchronize()
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuEventSynchronize(Value), "cuEventSynchronize");
    }

    /// <summary>Milliseconds from this point to a later one; both reached.</summary>
    public double MillisecondsTo(CudaEvent end)
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuEventElapsedTime(out float milliseconds, Value, end.Value), "cuEventElapsedTime");
        return milliseconds;
    }

    protected override bool Release() => Driver.cuEventDestroy_v2(handle) == 0;
}

/// <summary>Work that the device does in order, beside other streams. Memory that a copy names must stay until the work is done.</summary>
internal sealed unsafe class CudaStream : CudaHandle
{
    // Does not wait for the default stream, which nobody here uses.
    private const uint kNonBlocking = 1;

    private CudaStream(CudaDevice device, nint value)
        : base(device, value)
    {
    }

    public static CudaStream Create(CudaDevice device)
    {
        device.MakeCurrent();
        Driver.Check(Driver.cuStreamCreate(out nint value, kNonBlocking), "cuStreamCreate");
        return new(device, value);
    }

    /// <summary>Copies to the device. The source must be pinned, or stay where it is until the stream is synchronised.</summary>
    public void Upload<T>(DeviceMemory<T> destination, ReadOnlySpan<T> source, long at = 0)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + source.Length, destination.Length, nameof(source));
        if (source.IsEmpty)
            return;
        Device.MakeCurrent();
        fixed (T* first = source)
            Driver.Check(Driver.cuMemcpyHtoDAsync_v2(destination.Value + (nint)(at * sizeof(T)), first, (nuint)source.Length * (nuint)sizeof(T), Value), "cuMemcpyHtoDAsync");
    }

    /// <summary>Copies from the device, under the same condition.</summary>
    public void Download<T>(Span<T> destination, DeviceMemory<T> source, long at = 0)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + destination.Length, source.Length, nameof(destination));
        if (destination.IsEmpty)
            return;
        Device.MakeCurrent();
        fixed (T* first = destination)
            Driver.Check(Driver.cuMemcpyDtoHAsync_v2(first, source.Value + (nint)(at * sizeof(T)), (nuint)destination.Length * (nuint)sizeof(T), Value), "cuMemcpyDtoHAsync");
    }

    /// <summary>Copies all of it inside the device.</summary>
    public void Copy<T>(DeviceMemory<T> destination, DeviceMemory<T> source)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(destination.Length, source.Length, nameof(destination));
        Device.MakeCurrent();
        Driver.Check(Driver.cuMemcpyDtoDAsync_v2(destination.Value, source.Value, (nuint)(source.Length * sizeof(T)), Value), "cuMemcpyDtoDAsync");
    }

    /// <summary>Sets the first values to a pattern of equal bytes.</summary>
    public void Fill<T>(DeviceMemory<T> destination, byte value, long length)
        where T : unmanaged
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuMemsetD8Async(destination.Value, value, (nuint)(length * sizeof(T)), Value), "cuMemsetD8Async");
    }

    /// <summary>Launches a kernel that takes one structure, on a grid of <paramref name="blocks"/> × <paramref name="blocksY"/>.</summary>
    public void Launch<T>(CudaKernel kernel, long blocks, T arguments, int blocksY = 1)
        where T : unmanaged
    {
        if (blocks == 0)
            return;
        Device.MakeCurrent();
        void* pointer = &arguments;
        Driver.Check(Driver.cuLaunchKernel(kernel.Function, checked((uint)blocks), (uint)blocksY, 1, (uint)kernel.Threads, 1, 1, (uint)kernel.SharedBytes, Value, &pointer, null), $"cuLaunchKernel({kernel.Name})");
    }

    public void Record(CudaEvent point)
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuEventRecord(point.Value, Value), "cuEventRecord");
    }

    /// <summary>What follows waits until another stream has come to the point.</summary>
    public void Wait(CudaEvent point)
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuStreamWaitEvent(Value, point.Value, 0), "cuStreamWaitEvent");
    }

    public void Synchronize()
    {
        Device.MakeCurrent();
        Driver.Check(Driver.cuStreamSynchronize(Value), "cuStreamSynchronize");
    }

    /// <summary>Waits without reporting: for who cleans up after an error.</summary>
    public void TrySynchronize()
    {
        if (Device.TryMakeCurrent())
            _ = Driver.cuStreamSynchronize(Value);
    }

    protected override bool Release() => Driver.cuStreamDestroy_v2(handle) == 0;
}
