using ILGPU;
using ILGPU.Runtime;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>Copies between the host and a device.</summary>
internal static unsafe class Transfers
{
    /// <summary>Copies to the front of a view. The values may change when the call returns, unless they are page-locked: then when the stream has come so far.</summary>
    public static void Upload<T>(this AcceleratorStream stream, ArrayView<T> to, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        fixed (T* from = values)
        {
            if (values.Length > 0)
                to.SubView(0, values.Length).CopyFromCPUUnsafeAsync(stream, ref *from, values.Length);
        }
    }

    /// <summary>Copies the front of a view and waits for it.</summary>
    public static void Download<T>(this AcceleratorStream stream, Span<T> values, ArrayView<T> from)
        where T : unmanaged
    {
        fixed (T* to = values)
        {
            if (values.Length > 0)
                from.SubView(0, values.Length).CopyToCPUUnsafeAsync(stream, ref *to, values.Length);
            stream.Synchronize();
        }
    }

    /// <summary>Copies the front of a view to page-locked memory; it is there when the stream has come so far.</summary>
    public static void Download<T>(this AcceleratorStream stream, PageLockedArray1D<T> to, ArrayView<T> from, int length)
        where T : unmanaged
    {
        if (length > 0)
            from.SubView(0, length).CopyToCPUUnsafeAsync(stream, ref to[0], length);
    }
}
