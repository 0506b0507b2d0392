using System.Runtime.InteropServices;

namespace TorchSharp.Interop;

/// <summary>The functions of torch_shim.h, in its order. Statuses: 0 is success; the text of an error is <see cref="LastError"/>.</summary>
internal static unsafe partial class Shim
{
    /// <summary>Version of the interface, MMESID_TORCH_ABI.</summary>
    public const int Abi = 1;

    /// <summary>Name that <see cref="ShimLibrary"/> resolves.</summary>
    public const string Library = "mmesid_torch";

    /// <summary>mmesid_kind.</summary>
    public enum Kind
    {
        None = 0,
        Tensor = 1,
        Int = 2,
        Double = 3,
        Bool = 4,
        Ints = 5,
        Doubles = 6,
        Tensors = 7,
        OptionalTensors = 8,
        Text = 9,
        Device = 10,
        Generator = 11,
    }

    /// <summary>mmesid_value.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct NativeValue
    {
        public Kind Kind;
        public int Count;
        public long Payload;
    }

    /// <summary>mmesid_tensor_facts.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct TensorFacts
    {
        public long Dimensions;
        public long Elements;
        public long ElementSize;
        public int Type;
        public int DeviceType;
        public int DeviceIndex;
        public byte RequiresGrad;
        public byte IsLeaf;
        public byte IsContiguous;
        public byte IsDefined;
    }

    static Shim() => NativeLibrary.SetDllImportResolver(typeof(Shim).Assembly, ShimLibrary.Resolve);

    /// <summary>libtorch's text for the last error of this thread.</summary>
    public static string LastError => Marshal.PtrToStringUTF8(mmesid_torch_last_error()) ?? "";

    /// <summary>Turns a status that is not success into the exception that TorchSharp throws, with libtorch's text.</summary>
    /// <exception cref="ExternalException">The status says that libtorch threw.</exception>
    public static void Check(int status)
    {
        if (status != 0)
            throw Failure(LastError.TrimEnd());
    }

    /// <summary>What TorchSharp throws for an error of libtorch.</summary>
#pragma warning disable CA2201 // Callers of TorchSharp expect this type.
    public static ExternalException Failure(string text) => new(text);
#pragma warning restore CA2201

    [LibraryImport(Library)] public static partial int mmesid_torch_abi(out int abi, out int valueBytes, out int factsBytes);
    [LibraryImport(Library)] private static partial nint mmesid_torch_last_error();
    [LibraryImport(Library)] public static partial nint mmesid_torch_version();
    [LibraryImport(Library)] public static partial int mmesid_torch_configuration(out nint text);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)] public static partial int mmesid_torch_operator(string name, string overload, out nint op);
    [LibraryImport(Library)] public static partial int mmesid_torch_call(nint op, NativeValue* arguments, int count, out NativeValue* results, out int resultCount);

    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_from_memory(void* data, long bytes, int type, long* sizes, int dimensions, out TensorHandle tensor);
    [LibraryImport(Library)] public static partial void mmesid_torch_tensor_release(nint tensor);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_facts(TensorHandle tensor, out TensorFacts facts);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_sizes(TensorHandle tensor, long* sizes, long* strides);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_data(TensorHandle tensor, out nint data);

    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_require_grad(TensorHandle tensor, int required);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_retain_grad(TensorHandle tensor);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_grad(TensorHandle tensor, out TensorHandle grad);
    [LibraryImport(Library)] public static partial int mmesid_torch_tensor_set_grad(TensorHandle tensor, nint grad);
    [LibraryImport(Library)] public static partial int mmesid_torch_backward(nint* outputs, nint* grads, int outputsCount, nint* inputs, int inputsCount, int retainGraph, int createGraph);
    [LibraryImport(Library)] public static partial int mmesid_torch_grad(nint* outputs, nint* grads, int outputsCount, nint* inputs, int inputsCount, int retainGraph, int createGraph, int allowUnused, nint* results);

    [LibraryImport(Library)] public static partial int mmesid_torch_grad_mode();
    [LibraryImport(Library)] public static partial void mmesid_torch_set_grad_mode(int enabled);
    [LibraryImport(Library)] public static partial int mmesid_torch_inference_mode();
    [LibraryImport(Library)] public static partial int mmesid_torch_inference_enter(int enabled, out nint mode);
    [LibraryImport(Library)] public static partial void mmesid_torch_inference_leave(nint mode);

    [LibraryImport(Library)] public static partial int mmesid_torch_threads();
    [LibraryImport(Library)] public static partial int mmesid_torch_set_threads(int threads);
    [LibraryImport(Library)] public static partial int mmesid_torch_cuda_devices(out int count);
    [LibraryImport(Library)] public static partial int mmesid_torch_cuda_synchronize(int device);

    [LibraryImport(Library)] public static partial int mmesid_torch_seed_all(ulong seed);
    [LibraryImport(Library)] public static partial int mmesid_torch_generator(int deviceType, int deviceIndex, int isDefault, out GeneratorHandle generator);
    [LibraryImport(Library)] public static partial void mmesid_torch_generator_release(nint generator);
    [LibraryImport(Library)] public static partial int mmesid_torch_generator_seed(GeneratorHandle generator, ulong seed);
    [LibraryImport(Library)] public static partial int mmesid_torch_generator_initial_seed(GeneratorHandle generator, out ulong seed);
    [LibraryImport(Library)] public static partial int mmesid_torch_generator_state(GeneratorHandle generator, out TensorHandle state);
    [LibraryImport(Library)] public static partial int mmesid_torch_generator_set_state(GeneratorHandle generator, TensorHandle state);
}
