using System.Runtime.InteropServices;

namespace TorchSharp.Interop;

/// <summary>One reference to a tensor of libtorch. Released by Dispose, else by the finalizer; the count of live ones is TorchSharp's <c>Tensor.TotalCount</c>.</summary>
internal sealed class TensorHandle : SafeHandle
{
    private static long s_live;
    private static long s_peak;

    public TensorHandle()
        : base(0, ownsHandle: true)
    {
    }

    public TensorHandle(nint tensor)
        : this() => SetHandle(tensor);

    /// <summary>References that tensors in this process hold.</summary>
    public static long Live => Interlocked.Read(ref s_live);

    /// <summary>The most there ever were.</summary>
    public static long Peak => Interlocked.Read(ref s_peak);

    public override bool IsInvalid => handle == 0;

    /// <summary>Counts a reference that a tensor takes over.</summary>
    public static void Count()
    {
        long live = Interlocked.Increment(ref s_live), peak;
        while (live > (peak = Interlocked.Read(ref s_peak)) && Interlocked.CompareExchange(ref s_peak, live, peak) != peak)
        {
        }
    }

    protected override bool ReleaseHandle()
    {
        Interlocked.Decrement(ref s_live);
        Shim.mmesid_torch_tensor_release(handle);
        return true;
    }
}

/// <summary>A random generator of libtorch.</summary>
internal sealed class GeneratorHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        Shim.mmesid_torch_generator_release(handle);
        return true;
    }
}
