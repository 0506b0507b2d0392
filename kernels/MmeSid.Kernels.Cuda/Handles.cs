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

/// <summary>Memory of the device.</summary>
/// <typeparam name="T">What it holds.</typeparam>
internal sealed class DeviceMemory<T> : CudaHandle
    where T : unmanaged
{
    private DeviceMemory(CudaDevice device, nint pointer, long length)
        : base(device, pointer) => Length = length;

    /// <summary>Values.</summary>
    public long Length { get; }

    /// <summary>Uninitialised values; at least one, so that every buffer has an address.</summary>
    /// <exception cref="BackendUnavailableException">The device has not enough.</exception>
    public static unsafe DeviceMemory<T> Allocate(CudaDevice device, long length)
    {
        device.MakeCurrent();
        int status = Driver.cuMemAlloc_v2(out nint pointer, (nuint)(Math.Max(1, length) * sizeof(T)));
        if (status == Driver.kOutOfMemory)
        {
            _ = Driver.cuMemGetInfo_v2(out nuint free, out nuint total);
            throw new BackendUnavailableException(
                $"CUDA: {length * sizeof(T) / 1e6:F0} MB more are needed on {device.Name}, {free / 1e6:F0} MB of its {total / 1e6:F0} MB are free");
        }
        Driver.Check(status, "cuMemAlloc");
        return new(device, pointer, length);
    }

    /// <summary>Memory that holds these values.</summary>
    public static DeviceMemory<T> From(CudaStream stream, ReadOnlySpan<T> values)
    {
        DeviceMemory<T> memory = Allocate(stream.Device, values.Length);
        try
        {
            stream.Write(memory, values);
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>The first values, once the stream has come to this point.</summary>
    public T[] ToArray(CudaStream stream, int length)
    {
        T[] values = GC.AllocateUninitializedArray<T>(length);
        stream.Read<T>(values, this);
        return values;
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

/// <summary>Memory of somebody else that is pinned until this is disposed.</summary>
internal sealed class PinnedRange : CudaHandle
{
    private PinnedRange(CudaDevice device, nint pointer)
        : base(device, pointer)
    {
    }

    /// <summary>Pins a range; null where the system does not let it be pinned, which costs speed and nothing else.</summary>
    public static PinnedRange? TryPin(CudaDevice device, nint pointer, long bytes)
    {
        // On every device of the process, not on this one alone.
        const uint kPortable = 1;
        device.MakeCurrent();
        if (bytes == 0 || Driver.cuMemHostRegister_v2(pointer, (nuint)bytes, kPortable) != 0)
            return null;
        s_ranges[pointer] = bytes;
        return new(device, pointer);
    }

    /// <summary>Whether all of a range lies in one that is pinned.</summary>
    public static bool Covers(nint pointer, long bytes)
    {
        foreach ((nint start, long length) in s_ranges)
        {
            if (pointer >= start && pointer + bytes <= start + length)
                return true;
        }
        return false;
    }

    private static readonly System.Collections.Concurrent.ConcurrentDictionary<nint, long> s_ranges = new();

    protected override bool Release()
    {
        s_ranges.TryRemove(handle, out _);
        return Driver.cuMemHostUnregister(handle) == 0;
    }
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

    /// <summary>Copies to the device and returns before it is done. The source must be pinned: the collector moves managed arrays.</summary>
    public void Upload<T>(DeviceMemory<T> destination, ReadOnlySpan<T> pinned, long at = 0)
        where T : unmanaged
    {
        fixed (T* first = pinned)
            CopyIn(destination, first, pinned.Length, at);
    }

    /// <summary>Copies from the device and returns before it is done, under the same condition.</summary>
    public void Download<T>(Span<T> pinned, DeviceMemory<T> source, long at = 0)
        where T : unmanaged
    {
        fixed (T* first = pinned)
            CopyOut(first, pinned.Length, source, at);
    }

    /// <summary>Copies any memory to the device and waits.</summary>
    public void Write<T>(DeviceMemory<T> destination, ReadOnlySpan<T> values, long at = 0)
        where T : unmanaged
    {
        fixed (T* first = values)
        {
            CopyIn(destination, first, values.Length, at);
            Synchronize();
        }
    }

    /// <summary>Waits for what the stream was given before, and copies from the device to any memory.</summary>
    public void Read<T>(Span<T> values, DeviceMemory<T> source, long at = 0)
        where T : unmanaged
    {
        fixed (T* first = values)
        {
            CopyOut(first, values.Length, source, at);
            Synchronize();
        }
    }

    private void CopyIn<T>(DeviceMemory<T> destination, T* source, int length, long at)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + length, destination.Length, nameof(length));
        Device.MakeCurrent();
        if (length > 0)
            Driver.Check(Driver.cuMemcpyHtoDAsync_v2(destination.Value + (nint)(at * sizeof(T)), source, (nuint)length * (nuint)sizeof(T), Value), "cuMemcpyHtoDAsync");
    }

    private void CopyOut<T>(T* destination, int length, DeviceMemory<T> source, long at)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + length, source.Length, nameof(length));
        Device.MakeCurrent();
        if (length > 0)
            Driver.Check(Driver.cuMemcpyDtoHAsync_v2(destination, source.Value + (nint)(at * sizeof(T)), (nuint)length * (nuint)sizeof(T), Value), "cuMemcpyDtoHAsync");
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
        int status = Driver.cuLaunchKernel(kernel.Function, checked((uint)blocks), (uint)blocksY, 1, (uint)kernel.Threads, 1, 1, (uint)kernel.SharedBytes, Value, &pointer, null);
        // The text is made for a failure alone.
        if (status != 0)
            Driver.Check(status, $"cuLaunchKernel({kernel.Name})");
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
