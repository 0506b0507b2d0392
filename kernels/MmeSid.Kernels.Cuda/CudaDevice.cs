using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;
using System.Text;

namespace MmeSid.Kernels.Cuda;

/// <summary>A kernel with how it is launched.</summary>
/// <param name="Name">As in the sources.</param>
/// <param name="Function">Of the driver.</param>
/// <param name="Threads">Per block.</param>
/// <param name="SharedBytes">Dynamic shared memory per block.</param>
/// <param name="LocalBytes">Memory of a thread that did not fit its registers, as this GPU's driver has compiled the kernel.</param>
/// <param name="Registers">Of a thread, by the same.</param>
internal sealed record CudaKernel(string Name, nint Function, int Threads, int SharedBytes, int LocalBytes, int Registers);

/// <summary>
/// One GPU: its primary context, held for the life of the process, and the kernels that were loaded on it. Thread-safe; every call that
/// needs the context makes it current on the calling thread first.
/// </summary>
public sealed unsafe class CudaDevice
{
    private const int kLogBytes = 8192;
    // CUjit_option.
    private const int kErrorLog = 5, kErrorLogBytes = 6;
    // Dynamic shared memory that a kernel has without that attribute.
    private const int kSharedBytesUnasked = 48 << 10;

    private static readonly ConcurrentDictionary<int, Lazy<CudaDevice>> s_devices = new();

    private readonly nint _context;
    private readonly ConcurrentDictionary<string, Lazy<nint>> _modules = new();
    private readonly ConcurrentDictionary<(string, int, int), Lazy<CudaKernel>> _kernels = new();

    private readonly Lazy<bool> _trustsFloat16, _trustsFloat16OfGroups;

    private CudaDevice(int ordinal)
    {
        _trustsFloat16 = new(() => TensorCoreProbe.WorstError(this) <= 0.5);
        _trustsFloat16OfGroups = new(() => TensorCoreProbe.WorstErrorOfGroups(this) <= 0.5);
        Ordinal = ordinal;
        Driver.Check(Driver.cuDeviceGet(out int device, ordinal), "cuDeviceGet");
        byte* name = stackalloc byte[256];
        Driver.Check(Driver.cuDeviceGetName(name, 256, device), "cuDeviceGetName");
        Name = System.Runtime.InteropServices.Marshal.PtrToStringUTF8((nint)name) ?? "";
        Driver.Check(Driver.cuDeviceTotalMem_v2(out nuint bytes, device), "cuDeviceTotalMem");
        MemoryBytes = (long)bytes;
        int Attribute(DeviceAttribute attribute)
        {
            Driver.Check(Driver.cuDeviceGetAttribute(out int value, attribute, device), "cuDeviceGetAttribute");
            return value;
        }
        CapabilityMajor = Attribute(DeviceAttribute.CapabilityMajor);
        CapabilityMinor = Attribute(DeviceAttribute.CapabilityMinor);
        Multiprocessors = Attribute(DeviceAttribute.MultiprocessorCount);
        L2CacheBytes = Attribute(DeviceAttribute.L2CacheSize);
        SharedBytesPerBlock = Attribute(DeviceAttribute.SharedPerBlock);
        PciAddress = string.Create(CultureInfo.InvariantCulture,
            $"{Attribute(DeviceAttribute.PciDomain):x4}:{Attribute(DeviceAttribute.PciBus):x2}:{Attribute(DeviceAttribute.PciDevice):x2}.0");
        Driver.Check(Driver.cuDriverGetVersion(out int version), "cuDriverGetVersion");
        DriverVersion = string.Create(CultureInfo.InvariantCulture, $"{version / 1000}.{version % 1000 / 10}");
        Driver.Check(Driver.cuDevicePrimaryCtxRetain(out _context, device), "cuDevicePrimaryCtxRetain");
    }

    /// <summary>Number of GPUs; 0 where there is no driver.</summary>
    public static int Count
    {
        get
        {
            if (Driver.Missing is not null)
                return 0;
            Driver.Check(Driver.cuDeviceGetCount(out int count), "cuDeviceGetCount");
            return count;
        }
    }

    /// <summary>Why there is no GPU to use, in one line, or null where there is one.</summary>
    public static string? WhyNone => Driver.Missing ?? (Count == 0 ? "the driver finds no GPU" : null);

    /// <summary>Whether this build holds the kernels: they need clang-19 when it is made.</summary>
    public static bool HasKernels => Assembly.GetExecutingAssembly().GetManifestResourceNames().Any(name => name.EndsWith(".ptx", StringComparison.Ordinal));

    /// <summary>0 the first.</summary>
    public int Ordinal { get; }

    /// <summary>The driver's name of it.</summary>
    public string Name { get; }

    /// <summary>Memory of the device.</summary>
    public long MemoryBytes { get; }

    /// <summary>What of it nobody has taken.</summary>
    public long FreeBytes
    {
        get
        {
            MakeCurrent();
            Driver.Check(Driver.cuMemGetInfo_v2(out nuint free, out _), "cuMemGetInfo");
            return (long)free;
        }
    }

    /// <summary>Compute capability, 8 of 8.9.</summary>
    public int CapabilityMajor { get; }

    /// <summary>Compute capability, 9 of 8.9.</summary>
    public int CapabilityMinor { get; }

    /// <summary>Multiprocessors.</summary>
    public int Multiprocessors { get; }

    /// <summary>Second-level cache.</summary>
    public int L2CacheBytes { get; }

    /// <summary>Shared memory that one block can ask for.</summary>
    public int SharedBytesPerBlock { get; }

    /// <summary>Where it is on the bus, as the system names it.</summary>
    public string PciAddress { get; }

    /// <summary>Speed and width of its PCIe link as the system reports them, or null where it does not.</summary>
    public string? Link
    {
        get
        {
            string folder = $"/sys/bus/pci/devices/{PciAddress}";
            string speed = Path.Combine(folder, "current_link_speed"), width = Path.Combine(folder, "current_link_width");
            return File.Exists(speed) && File.Exists(width) ? $"{File.ReadAllText(speed).Trim()} x{File.ReadAllText(width).Trim()}" : null;
        }
    }

    /// <summary>CUDA version that the driver supports.</summary>
    public string DriverVersion { get; }

    /// <summary>Whether its tensor cores keep the bound of the fp16 screen; probed once.</summary>
    internal bool TrustsFloat16 => _trustsFloat16.Value;

    /// <summary>The same of Hopper's warp groups.</summary>
    internal bool TrustsFloat16OfGroups => _trustsFloat16OfGroups.Value;

    /// <summary>The GPU of this number.</summary>
    /// <exception cref="BackendUnavailableException">There is no driver or no such GPU.</exception>
    public static CudaDevice Open(int ordinal = 0)
    {
        if (WhyNone is { } reason)
            throw new BackendUnavailableException($"cuda: {reason}");
        if (ordinal < 0 || ordinal >= Count)
            throw new BackendUnavailableException($"cuda: there is no GPU {ordinal}, the driver finds {Count}");
        return s_devices.GetOrAdd(ordinal, number => new(() => new CudaDevice(number))).Value;
    }

    /// <summary>Makes the context current on this thread. Whoever else uses the driver here may have changed it, so it is not remembered.</summary>
    internal void MakeCurrent() => Driver.Check(Driver.cuCtxSetCurrent(_context), "cuCtxSetCurrent");

    /// <summary>The same for finalizers, which cannot report.</summary>
    internal bool TryMakeCurrent() => Driver.cuCtxSetCurrent(_context) == 0;

    /// <summary>A kernel, loaded and compiled by the driver when it is first asked for.</summary>
    /// <param name="file">Source file without its ending.</param>
    /// <param name="name">Name of the kernel.</param>
    /// <param name="threads">Per block.</param>
    /// <param name="sharedBytes">Dynamic shared memory per block.</param>
    /// <exception cref="BackendUnavailableException">The driver refuses the kernel, the build lacks it, or it needs more shared memory than there is.</exception>
    internal CudaKernel Kernel(string file, string name, int threads, int sharedBytes = 0) => _kernels.GetOrAdd((name, threads, sharedBytes), _ => new(() =>
    {
        if (sharedBytes > SharedBytesPerBlock)
            throw new BackendUnavailableException($"CUDA: {name} needs {sharedBytes} bytes of shared memory, {Name} has {SharedBytesPerBlock} per block");
        nint function = Function(file, name);
        // A limit, not what a launch takes: the same function may be launched with less.
        if (sharedBytes > kSharedBytesUnasked)
            Driver.Check(Driver.cuFuncSetAttribute(function, FunctionAttribute.MaximumDynamicSharedBytes, SharedBytesPerBlock), $"cuFuncSetAttribute({name})");
        return new CudaKernel(name, function, threads, sharedBytes, Attribute(FunctionAttribute.LocalBytes), Attribute(FunctionAttribute.Registers));

        int Attribute(FunctionAttribute attribute)
        {
            Driver.Check(Driver.cuFuncGetAttribute(out int value, attribute, function), $"cuFuncGetAttribute({name})");
            return value;
        }
    })).Value;

    /// <summary>The driver's handle of a kernel.</summary>
    internal nint Function(string file, string name)
    {
        MakeCurrent();
        Driver.Check(Driver.cuModuleGetFunction(out nint function, Module(file), name), $"cuModuleGetFunction({name})");
        return function;
    }

    private nint Module(string file) => _modules.GetOrAdd(file, _ => new(() =>
    {
        using Stream? resource = Assembly.GetExecutingAssembly().GetManifestResourceStream(file + ".ptx")
            ?? throw new BackendUnavailableException($"CUDA: this build has no kernels ({file}.ptx); build with ./build.sh, which compiles them where clang or nvcc is");
        byte[] image = new byte[resource.Length + 1];
        resource.ReadExactly(image, 0, image.Length - 1);
        byte[] log = new byte[kLogBytes];
        MakeCurrent();
        fixed (byte* text = image, errors = log)
        {
            int* options = stackalloc int[] { kErrorLog, kErrorLogBytes };
            nint* values = stackalloc nint[] { (nint)errors, kLogBytes };
            int status = Driver.cuModuleLoadDataEx(out nint module, text, 2, options, values);
            if (status != 0)
            {
                string said = Encoding.UTF8.GetString(log, 0, Math.Max(0, Array.IndexOf(log, (byte)0))).Trim().ReplaceLineEndings(" ");
                throw new BackendUnavailableException($"CUDA: the driver ({DriverVersion}) refuses the kernels of {file}: {Driver.Text(status)} {said}".TrimEnd());
            }
            return module;
        }
    })).Value;
}
