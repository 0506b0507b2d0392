using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>
/// The driver that these tests run on: what MMESID_LIBCUDA names, else softcuda where the build has made it, else the machine's own.
/// </summary>
internal static unsafe partial class SoftCuda
{
    private const string kVariable = "MMESID_LIBCUDA";

    /// <summary>Whether the driver is softcuda, which can be told to fail.</summary>
    public static bool IsLoaded => Path is { } path && NativeLibrary.TryLoad(path, out nint library) && NativeLibrary.TryGetExport(library, "softcuda_fail", out _);

    private static string? Path => Environment.GetEnvironmentVariable(kVariable);

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetNativeVariable(string name, string value, int overwrite);

    [ModuleInitializer]
    internal static void Choose()
    {
        // What tests tune is no measurement of the user's.
        Environment.SetEnvironmentVariable("XDG_CACHE_HOME", Directory.CreateTempSubdirectory("mmesid-tests-").FullName);
        // Environment.SetEnvironmentVariable tells managed code alone.
        if (OperatingSystem.IsLinux())
            _ = SetNativeVariable("SOFTCUDA_DEVICES", "2", overwrite: 0);
        if (Path is not null)
            return;
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string library = System.IO.Path.Combine(folder.FullName, "artifacts", "softcuda", "libcuda.so.1");
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "MmeSid.Engine.sln")) && File.Exists(library))
                Environment.SetEnvironmentVariable(kVariable, library);
        }
    }

    /// <summary>Skips the running test where nothing can run kernels.</summary>
    public static void Require() =>
        Assert.SkipUnless(CudaDevice.WhyNone is null && CudaDevice.HasKernels, "no GPU, and no softcuda or no PTX: the target Kernels builds both where clang-19, cmake and g++ are");

    /// <summary>The nth next call of a driver function answers with an error instead.</summary>
    public static void Fail(string function, int afterCalls, int status)
    {
        nint export = NativeLibrary.GetExport(NativeLibrary.Load(Path!), "softcuda_fail");
        nint name = Marshal.StringToCoTaskMemUTF8(function);
        ((delegate* unmanaged<nint, int, int, void>)export)(name, afterCalls, status);
        Marshal.FreeCoTaskMem(name);
    }

    /// <summary>The same among the calls that are made for one device.</summary>
    public static void FailOn(int device, string function, int afterCalls, int status)
    {
        nint export = NativeLibrary.GetExport(NativeLibrary.Load(Path!), "softcuda_fail_on");
        nint name = Marshal.StringToCoTaskMemUTF8(function);
        ((delegate* unmanaged<int, nint, int, int, void>)export)(device, name, afterCalls, status);
        Marshal.FreeCoTaskMem(name);
    }

    /// <summary>Forgets planned failures, and a failed kernel.</summary>
    public static void Reset() => ((delegate* unmanaged<void>)NativeLibrary.GetExport(NativeLibrary.Load(Path!), "softcuda_reset"))();

    /// <summary>Bytes that were copied so far to devices, and from them.</summary>
    public static (long In, long Out) Copied()
    {
        long* bytes = stackalloc long[2];
        ((delegate* unmanaged<long*, void>)NativeLibrary.GetExport(NativeLibrary.Load(Path!), "softcuda_copied"))(bytes);
        return (bytes[0], bytes[1]);
    }

    /// <summary>What the driver gave and has not got back: device memory, host memory, streams, events.</summary>
    public static long[] Live()
    {
        long* counts = stackalloc long[5];
        ((delegate* unmanaged<long*, void>)NativeLibrary.GetExport(NativeLibrary.Load(Path!), "softcuda_live"))(counts);
        // Modules stay loaded.
        return [counts[0], counts[1], counts[2], counts[3]];
    }
}
