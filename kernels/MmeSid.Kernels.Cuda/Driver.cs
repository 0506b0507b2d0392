using System.Reflection;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// The functions of the CUDA driver that this backend calls, straight from the driver's library: no toolkit, no wrapper. Every status goes
/// through <see cref="Check"/>. <c>MMESID_LIBCUDA</c> names another library to load in its place.
/// </summary>
internal static unsafe partial class Driver
{
    /// <summary>Environment variable that names the driver library's file.</summary>
    public const string LibraryVariable = "MMESID_LIBCUDA";

    private const string Cuda = "cuda";

    /// <summary>The status of a device that is out of memory.</summary>
    public const int kOutOfMemory = 2;

    private const int kSuccess = 0, kNoDevice = 100, kInvalidPtx = 218, kUnsupportedPtx = 222;

    private static readonly Lazy<string?> s_initialized = new(Initialize);

    static Driver() => NativeLibrary.SetDllImportResolver(typeof(Driver).Assembly, Resolve);

    /// <summary>Why there is no usable driver, or null when there is one. The driver is initialised by the first call.</summary>
    public static string? Missing => s_initialized.Value;

    private static string LibraryName => Environment.GetEnvironmentVariable(LibraryVariable) is { Length: > 0 } named ? named
        : OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";

    /// <summary>Turns a status that is not success into an exception with the driver's own text.</summary>
    /// <exception cref="BackendUnavailableException">The status says that this machine cannot do it: no device, a driver too old for the kernels, too little memory.</exception>
    /// <exception cref="NativeException">Anything else.</exception>
    public static void Check(int status, string call)
    {
        if (status == kSuccess)
            return;
        string text = Text(status);
        throw status switch
        {
            kOutOfMemory => new BackendUnavailableException($"CUDA: {call}: {text}"),
            kNoDevice => new BackendUnavailableException($"CUDA: {text}"),
            kUnsupportedPtx or kInvalidPtx => new BackendUnavailableException($"CUDA: the driver refuses the kernels ({text}); install a newer driver"),
            _ => new NativeException("CUDA", call, status, text),
        };
    }

    /// <summary>The driver's name and text for a status.</summary>
    public static string Text(int status)
    {
        string? name = cuGetErrorName(status, out byte* pointer) == kSuccess ? Marshal.PtrToStringUTF8((nint)pointer) : null;
        string? text = cuGetErrorString(status, out pointer) == kSuccess ? Marshal.PtrToStringUTF8((nint)pointer) : null;
        return name is null ? $"status {status}" : $"{name}: {text}";
    }

    private static string? Initialize()
    {
        try
        {
            int status = cuInit(0);
            return status == kSuccess ? null : Text(status);
        }
        catch (DllNotFoundException)
        {
            return $"no NVIDIA driver: {LibraryName} cannot be loaded";
        }
        catch (EntryPointNotFoundException error)
        {
            return $"the driver {LibraryName} is too old: {error.Message}";
        }
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
        => name == Cuda && NativeLibrary.TryLoad(LibraryName, assembly, path, out nint library) ? library : 0;

    [LibraryImport(Cuda)] private static partial int cuInit(uint flags);
    [LibraryImport(Cuda)] private static partial int cuGetErrorName(int status, out byte* name);
    [LibraryImport(Cuda)] private static partial int cuGetErrorString(int status, out byte* text);

    [LibraryImport(Cuda)] public static partial int cuDriverGetVersion(out int version);
    [LibraryImport(Cuda)] public static partial int cuDeviceGetCount(out int count);
    [LibraryImport(Cuda)] public static partial int cuDeviceGet(out int device, int ordinal);
    [LibraryImport(Cuda)] public static partial int cuDeviceGetName(byte* name, int length, int device);
    [LibraryImport(Cuda)] public static partial int cuDeviceTotalMem_v2(out nuint bytes, int device);
    [LibraryImport(Cuda)] public static partial int cuDeviceGetAttribute(out int value, DeviceAttribute attribute, int device);
    [LibraryImport(Cuda)] public static partial int cuDevicePrimaryCtxRetain(out nint context, int device);
    [LibraryImport(Cuda)] public static partial int cuCtxSetCurrent(nint context);

    [LibraryImport(Cuda)] public static partial int cuModuleLoadDataEx(out nint module, byte* image, uint optionCount, int* options, nint* values);
    [LibraryImport(Cuda, StringMarshalling = StringMarshalling.Utf8)] public static partial int cuModuleGetFunction(out nint function, nint module, string name);
    [LibraryImport(Cuda)] public static partial int cuFuncGetAttribute(out int value, FunctionAttribute attribute, nint function);
    [LibraryImport(Cuda)] public static partial int cuFuncSetAttribute(nint function, FunctionAttribute attribute, int value);
    [LibraryImport(Cuda)] public static partial int cuLaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint threads, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra);

    [LibraryImport(Cuda)] public static partial int cuMemGetInfo_v2(out nuint free, out nuint total);
    [LibraryImport(Cuda)] public static partial int cuMemAlloc_v2(out nint pointer, nuint bytes);
    [LibraryImport(Cuda)] public static partial int cuMemFree_v2(nint pointer);
    [LibraryImport(Cuda)] public static partial int cuMemHostAlloc(out nint pointer, nuint bytes, uint flags);
    [LibraryImport(Cuda)] public static partial int cuMemFreeHost(nint pointer);
    [LibraryImport(Cuda)] public static partial int cuMemHostRegister_v2(nint pointer, nuint bytes, uint flags);
    [LibraryImport(Cuda)] public static partial int cuMemHostUnregister(nint pointer);
    [LibraryImport(Cuda)] public static partial int cuMemcpyHtoDAsync_v2(nint destination, void* source, nuint bytes, nint stream);
    [LibraryImport(Cuda)] public static partial int cuMemcpyDtoHAsync_v2(void* destination, nint source, nuint bytes, nint stream);
    [LibraryImport(Cuda)] public static partial int cuMemcpyDtoDAsync_v2(nint destination, nint source, nuint bytes, nint stream);
    [LibraryImport(Cuda)] public static partial int cuMemsetD8Async(nint destination, byte value, nuint bytes, nint stream);

    [LibraryImport(Cuda)] public static partial int cuStreamCreate(out nint stream, uint flags);
    [LibraryImport(Cuda)] public static partial int cuStreamDestroy_v2(nint stream);
    [LibraryImport(Cuda)] public static partial int cuStreamSynchronize(nint stream);
    [LibraryImport(Cuda)] public static partial int cuStreamWaitEvent(nint stream, nint handle, uint flags);
    [LibraryImport(Cuda)] public static partial int cuEventCreate(out nint handle, uint flags);
    [LibraryImport(Cuda)] public static partial int cuEventDestroy_v2(nint handle);
    [LibraryImport(Cuda)] public static partial int cuEventRecord(nint handle, nint stream);
    [LibraryImport(Cuda)] public static partial int cuEventSynchronize(nint handle);
    [LibraryImport(Cuda)] public static partial int cuEventElapsedTime(out float milliseconds, nint start, nint end);
}

/// <summary>CUdevice_attribute, as far as it is asked for.</summary>
internal enum DeviceAttribute
{
    MultiprocessorCount = 16,
    PciBus = 33,
    PciDevice = 34,
    L2CacheSize = 38,
    PciDomain = 50,
    CapabilityMajor = 75,
    CapabilityMinor = 76,
    SharedPerBlock = 97,
}

/// <summary>CUfunction_attribute, as far as it is asked for or set.</summary>
internal enum FunctionAttribute
{
    LocalBytes = 3,
    Registers = 4,
    MaximumDynamicSharedBytes = 8,
}
