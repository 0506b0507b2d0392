using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>
/// One accelerator of ILGPU, held for the life of the process, and the kernels that were compiled for it. One operation at a time owns it:
/// <see cref="Gate"/>. CUDA devices only: the certificate needs IEEE arithmetic with denormals, which OpenCL does not promise.
/// </summary>
internal sealed class IlgpuDevice
{
    // O1 leaves loads generic that O2 knows to be shared or global.
    private static readonly Lazy<Context> s_cuda = new(() =>
    {
        ResolveDriver();
        return Context.Create(builder => builder.Optimize(OptimizationLevel.O2).EnableAlgorithms().Cuda());
    });

    private static readonly ConcurrentDictionary<int, Lazy<IlgpuDevice>> s_devices = new();

    private static readonly Lazy<IlgpuDevice> s_simulator = new(() =>
    {
        var device = new CPUDevice(32, 8, 2);
        return new IlgpuDevice(Context.Create(builder => builder.Optimize(OptimizationLevel.O2).EnableAlgorithms().CPU(device)), device);
    });

    private readonly ConcurrentDictionary<MethodInfo, Lazy<Delegate>> _kernels = new();

    private IlgpuDevice(Context context, Device device)
    {
        Accelerator = device.CreateAccelerator(context);
        Name = device is CudaDevice cuda ? $"{cuda.Name}, compute {cuda.Architecture?.Major}.{cuda.Architecture?.Minor}" : "ILGPU's CPU simulator";
    }

    /// <summary>Number of GPUs that ILGPU can use; 0 where there is no driver.</summary>
    public static int Count => s_cuda.Value.GetCudaDevices().Count;

    /// <summary>ILGPU's CPU accelerator, one thread per simulated thread: for tests of tiny shapes.</summary>
    public static IlgpuDevice Simulator => s_simulator.Value;

    public Accelerator Accelerator { get; }

    /// <summary>For people.</summary>
    public string Name { get; }

    /// <summary>Held while an operation uses the accelerator.</summary>
    public Lock Gate { get; } = new();

    /// <summary>A GPU; the same object every time.</summary>
    /// <exception cref="BackendUnavailableException">There is no such GPU, or its driver refuses.</exception>
    public static IlgpuDevice Open(int ordinal)
    {
        if (ordinal < 0 || ordinal >= Count)
            throw new BackendUnavailableException($"ilgpu: GPU {ordinal} was asked for, ILGPU finds {Count}");
        try
        {
            return s_devices.GetOrAdd(ordinal, number => new Lazy<IlgpuDevice>(() => new IlgpuDevice(s_cuda.Value, s_cuda.Value.GetCudaDevice(number)))).Value;
        }
        catch (AcceleratorException error)
        {
            throw new BackendUnavailableException($"ilgpu: GPU {ordinal} cannot be opened: {error.Message}", error);
        }
    }

    /// <summary>The kernel's launcher, compiled at its first use.</summary>
    public Action<AcceleratorStream, KernelConfig, T> Kernel<T>(Action<T> kernel)
        where T : struct
        => (Action<AcceleratorStream, KernelConfig, T>)_kernels.GetOrAdd(kernel.Method, _ => new Lazy<Delegate>(() => Accelerator.LoadKernel(kernel))).Value;

    /// <summary>The same for a kernel of two arguments.</summary>
    public Action<AcceleratorStream, KernelConfig, T1, T2> Kernel<T1, T2>(Action<T1, T2> kernel)
        where T1 : struct
        where T2 : struct
        => (Action<AcceleratorStream, KernelConfig, T1, T2>)_kernels.GetOrAdd(kernel.Method, _ => new Lazy<Delegate>(() => Accelerator.LoadKernel(kernel))).Value;

    /// <summary>Uninitialised memory of at least one value.</summary>
    public MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(long length)
        where T : unmanaged
        => Accelerator.Allocate1D<T>(Math.Max(1, length));

    /// <summary>Memory that holds the values.</summary>
    public MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(AcceleratorStream stream, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        MemoryBuffer1D<T, Stride1D.Dense> buffer = Allocate<T>(values.Length);
        stream.Upload(buffer.View, values);
        return buffer;
    }

    /// <summary>The exception that the caller of an operation sees for one of ILGPU's.</summary>
    public static Exception Translate(AcceleratorException error) => error is CudaException { Error: nameof(CudaError.CUDA_ERROR_OUT_OF_MEMORY) }
        ? new BackendUnavailableException("ilgpu: the device's memory is exhausted", error)
        : new NativeException("ILGPU", error.TargetSite?.Name ?? "a call", 0, error.Message);

    // ILGPU asks for "cuda", which is found as libcuda.so only where CUDA's development files are; the driver itself brings libcuda.so.1.
    private static void ResolveDriver()
    {
        // There ILGPU resolves it itself, and a library can have one resolver.
        if (!OperatingSystem.IsLinux() || Directory.Exists("/usr/lib/wsl/lib"))
            return;
        try
        {
            NativeLibrary.SetDllImportResolver(typeof(Context).Assembly, (name, assembly, path) =>
                name == "cuda" && NativeLibrary.TryLoad("libcuda.so.1", assembly, path, out nint library) ? library : 0);
        }
        catch (InvalidOperationException)
        {
            // The program has a resolver of its own.
        }
    }
}
