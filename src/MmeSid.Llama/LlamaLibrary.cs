using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MmeSid.Kernels;

namespace MmeSid.Llama;

/// <summary>
/// Finds and loads llama.cpp of release b8390 with its backends. It is looked for where <c>MMESID_LIBLLAMA</c> says, a file or its folder (a build of
/// one's own, with CUDA for instance); without that variable in <c>artifacts/native/llama</c> of the program's folder or of a folder above it.
/// A library of another layout is refused: its functions would write over memory that is not theirs.
/// </summary>
public static partial class LlamaLibrary
{
    /// <summary>Environment variable that names the library's file, or the folder with it.</summary>
    public const string PathVariable = "MMESID_LIBLLAMA";

    /// <summary>The release whose layout this binding has.</summary>
    public const string Release = "b8390";

    private const string kRemedy = "fetch it with ./build.sh --target Llama, or name a build of release " + Release + " in " + PathVariable;

    private static readonly Lazy<(nint Llama, nint Backend, string? Path, string? Reason)> s_loaded = new(Load);
    private static readonly Lazy<string?> s_started = new(StartOnce);

    static LlamaLibrary()
        => NativeLibrary.SetDllImportResolver(Assembly.GetExecutingAssembly(), (name, _, _) => name switch
        {
            LlamaNative.Library => s_loaded.Value.Llama,
            LlamaNative.BackendLibrary => s_loaded.Value.Backend,
            _ => 0,
        });

    /// <summary>Why the library cannot be used, in one line; null when it can.</summary>
    public static string? UnavailableReason => s_started.Value;

    /// <summary>The file in use.</summary>
    /// <exception cref="BackendUnavailableException">There is none.</exception>
    public static string FilePath
    {
        get
        {
            Require();
            return s_loaded.Value.Path!;
        }
    }

    /// <summary>The instruction sets and devices that the library says it uses.</summary>
    /// <exception cref="BackendUnavailableException">There is none.</exception>
    public static string SystemInformation
    {
        get
        {
            Require();
            return Marshal.PtrToStringUTF8(LlamaNative.llama_print_system_info())?.Trim(' ', '|') ?? "";
        }
    }

    /// <summary>Loads the library and its backends, once; does nothing when that is done.</summary>
    /// <exception cref="BackendUnavailableException">It cannot be used; the message says what to do.</exception>
    public static void Require()
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException(reason);
    }

    /// <summary>The library's file in a folder: <c>libllama</c>, with or without the release in its name.</summary>
    internal static string? FindIn(string folder)
    {
        if (!Directory.Exists(folder))
            return null;
        string[] patterns = OperatingSystem.IsWindows() ? ["llama.dll", "llama.*.dll"]
            : OperatingSystem.IsMacOS() ? ["libllama.dylib", "libllama.*.dylib"] : ["libllama.so", "libllama.*.so", "libllama.so.*"];
        return patterns.SelectMany(pattern => Directory.GetFiles(folder, pattern).Order(StringComparer.Ordinal)).FirstOrDefault();
    }

    /// <summary>Null where the default parameters, in values and lengths, are those of the release; else what differs.</summary>
    /// <param name="export">The address of a function by its name.</param>
    internal static string? Mismatch(Func<string, nint> export)
    {
        ReadOnlySpan<byte> model = Defaults(export, "llama_model_default_params", out int modelBytes);
        ReadOnlySpan<byte> context = Defaults(export, "llama_context_default_params", out int contextBytes);
        ReadOnlySpan<byte> quantize = Defaults(export, "llama_model_quantize_default_params", out int quantizeBytes);
        if (modelBytes != Unsafe.SizeOf<LlamaNative.ModelParameters>() || contextBytes != Unsafe.SizeOf<LlamaNative.ContextParameters>()
            || quantizeBytes != Unsafe.SizeOf<LlamaNative.QuantizeParameters>())
        {
            return $"its parameters take {modelBytes}, {contextBytes} and {quantizeBytes} bytes, expected {Unsafe.SizeOf<LlamaNative.ModelParameters>()}, "
                + $"{Unsafe.SizeOf<LlamaNative.ContextParameters>()} and {Unsafe.SizeOf<LlamaNative.QuantizeParameters>()}";
        }
        var expectedModel = new LlamaNative.ModelParameters { GpuLayers = -1, SplitMode = 1, MemoryMap = 1, ExtraBuffers = 1 };
        var expectedContext = new LlamaNative.ContextParameters
        {
            Capacity = 512,
            BatchSize = 2048,
            PhysicalBatchSize = 512,
            Sequences = 1,
            Threads = 4,
            BatchThreads = 4,
            RopeScaling = -1,
            Pooling = -1,
            Attention = -1,
            FlashAttention = -1,
            YarnExtension = -1,
            YarnAttention = -1,
            YarnFast = -1,
            YarnSlow = -1,
            Defragmentation = -1,
            KeyType = 1,
            ValueType = 1,
            OffloadCache = 1,
            NoTimings = 1,
            OffloadOperations = 1,
            FullWindow = 1,
        };
        var expectedQuantize = new LlamaNative.QuantizeParameters
        {
            FileType = 9,
            OutputType = LlamaNative.NoTensorType,
            TokenEmbeddingType = LlamaNative.NoTensorType,
            QuantizeOutput = 1,
        };
        return !Same(model, expectedModel) ? "its model parameters have other defaults"
            : !Same(context, expectedContext) ? "its context parameters have other defaults"
            : !Same(quantize, expectedQuantize) ? "its quantization parameters have other defaults" : null;
    }

    private static (nint Llama, nint Backend, string? Path, string? Reason) Load()
    {
        string? named = Environment.GetEnvironmentVariable(PathVariable);
        string? path = string.IsNullOrEmpty(named) ? Find() : Directory.Exists(named) ? FindIn(named) : named;
        if (path is null)
        {
            return (0, 0, null, string.IsNullOrEmpty(named)
                ? $"language models need llama.cpp, which is not here: {kRemedy}"
                : $"{named} holds no libllama: {kRemedy}");
        }
        // Without it an assertion forks a debugger before it ends the process.
        if (!OperatingSystem.IsWindows())
            _ = setenv("GGML_NO_BACKTRACE", "1", overwrite: 0);
        if (!NativeLibrary.TryLoad(System.IO.Path.GetFullPath(path), out nint llama))
            return (0, 0, null, $"language models need llama.cpp, but {path} cannot be loaded: {kRemedy}");
        foreach (string function in Functions(LlamaNative.Library))
        {
            if (!NativeLibrary.TryGetExport(llama, function, out _))
                return (0, 0, null, $"{path} is not llama.cpp {Release}: it lacks {function}; {kRemedy}");
        }
        if (Mismatch(name => NativeLibrary.GetExport(llama, name)) is { } mismatch)
            return (0, 0, null, $"{path} is not llama.cpp {Release}: {mismatch}; {kRemedy}");
        nint backend = Backend(llama, System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!);
        return backend == 0
            ? (0, 0, null, $"{path} has no ggml beside it: {kRemedy}")
            : (llama, backend, System.IO.Path.GetFullPath(path), null);
    }

    private static string? StartOnce()
    {
        if (s_loaded.Value.Reason is { } reason)
            return reason;
        LlamaLog.Install();
        LlamaNative.ggml_backend_load_all_from_path(System.IO.Path.GetDirectoryName(s_loaded.Value.Path!)!);
        LlamaNative.llama_backend_init();
        return null;
    }

    /// <summary>ggml's own functions are found through libllama, which needs it, except on Windows.</summary>
    private static nint Backend(nint llama, string folder)
    {
        foreach (string function in Functions(LlamaNative.BackendLibrary))
        {
            if (NativeLibrary.TryGetExport(llama, function, out _))
                return llama;
        }
        foreach (string file in Directory.GetFiles(folder, "ggml*.dll").Order(StringComparer.Ordinal))
        {
            if (NativeLibrary.TryLoad(file, out nint candidate) && NativeLibrary.TryGetExport(candidate, nameof(LlamaNative.ggml_backend_load_all_from_path), out _))
                return candidate;
        }
        return 0;
    }

    private static IEnumerable<string> Functions(string library)
        => typeof(LlamaNative).GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .Select(method => method.Name).Where(name => name.StartsWith(library == LlamaNative.Library ? "llama_" : "ggml_", StringComparison.Ordinal));

    private static string? Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (FindIn(System.IO.Path.Combine(folder.FullName, "artifacts", "native", "llama")) is { } file)
                return file;
        }
        return null;
    }

    private static bool Same<T>(ReadOnlySpan<byte> actual, T expected)
        where T : unmanaged
        // Field by field: what lies between them is anything.
        => MemoryMarshal.Read<T>(actual).Equals(expected);

    /// <summary>
    /// What a function returns that fills a structure of unknown length: room for far more is given. On x64 the caller passes the place as a hidden first
    /// argument, so that it can be filled with a mark before, and the last byte that is no mark tells the length; elsewhere the length is taken as expected.
    /// </summary>
    private static unsafe ReadOnlySpan<byte> Defaults(Func<string, nint> export, string function, out int length)
    {
        const byte mark = 0xCD;
        nint address = export(function);
        var room = default(Room);
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            room = ((delegate* unmanaged[Cdecl]<Room>)address)();
            length = function.Contains("quantize", StringComparison.Ordinal) ? sizeof(LlamaNative.QuantizeParameters)
                : function.Contains("context", StringComparison.Ordinal) ? sizeof(LlamaNative.ContextParameters) : sizeof(LlamaNative.ModelParameters);
        }
        else
        {
            new Span<byte>(&room, sizeof(Room)).Fill(mark);
            _ = ((delegate* unmanaged[Cdecl]<Room*, nint>)address)(&room);
            length = new ReadOnlySpan<byte>(&room, sizeof(Room)).LastIndexOfAnyExcept(mark) + 1;
        }
        return new ReadOnlySpan<byte>(&room, sizeof(Room)).ToArray();
    }

    [InlineArray(128)]
    private struct Room
    {
        private long _first;
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
