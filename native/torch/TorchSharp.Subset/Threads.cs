using System.Runtime.InteropServices;
using TorchSharp.Interop;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>Version of libtorch.</summary>
    public static string __version__ => Marshal.PtrToStringUTF8(Shim.mmesid_torch_version())!;

    public static int get_num_threads() => Shim.mmesid_torch_threads();

    /// <summary>Threads that operators use on the CPU, those of OpenBLAS and oneDNN included.</summary>
    public static void set_num_threads(int num) => Shim.Check(Shim.mmesid_torch_set_threads(num));
}
