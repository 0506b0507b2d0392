using System.Reflection;
using System.Runtime.InteropServices;

namespace TorchSharp.Interop;

/// <summary>Finds the shim: beside the program, else in <c>artifacts/torch</c> of the program's folder or of a folder above it, where the build puts it.</summary>
internal static class ShimLibrary
{
    private static readonly Lazy<(nint Handle, string? Reason)> s_loaded = new(Load);

    /// <summary>Does nothing where libtorch can be used.</summary>
    /// <exception cref="NotSupportedException">It cannot; the message says why and what to do.</exception>
    public static void Require()
    {
        if (s_loaded.Value.Reason is { } reason)
            throw new NotSupportedException(reason);
    }

    /// <summary>Answers for <see cref="Shim.Library"/>, under the condition of <see cref="Require"/>.</summary>
    public static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        if (name != Shim.Library)
            return 0;
        Require();
        return s_loaded.Value.Handle;
    }

    private static (nint Handle, string? Reason) Load()
    {
        string file = OperatingSystem.IsWindows() ? "mmesid_torch.dll" : OperatingSystem.IsMacOS() ? "libmmesid_torch.dylib" : "libmmesid_torch.so";
        if (Find(file) is not { } path)
            return (0, $"{file} is not here; install libtorch (on Debian: apt-get install libtorch-dev libopenblas0-openmp, elsewhere PyTorch), then ./build.sh --target Torch builds it");
        nint library;
        try
        {
            library = NativeLibrary.Load(path);
        }
        catch (DllNotFoundException error)
        {
            // The loader's own words come last.
            string words = error.Message.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1].Trim();
            return (0, $"{path} cannot be loaded ({words}); build it again for the libtorch that is here with ./build.sh --target Torch");
        }
        return Abi(library) is { } expected ? (0, $"{path} {expected}: build it again with ./build.sh --target Torch") : (library, null);
    }

    private static unsafe string? Abi(nint library)
    {
        if (!NativeLibrary.TryGetExport(library, nameof(Shim.mmesid_torch_abi), out nint export))
            return "is another library of this name";
        int abi, valueBytes, factsBytes;
        _ = ((delegate* unmanaged<int*, int*, int*, int>)export)(&abi, &valueBytes, &factsBytes);
        return abi == Shim.Abi && valueBytes == sizeof(Shim.NativeValue) && factsBytes == sizeof(Shim.TensorFacts)
            ? null
            : $"has interface {abi} with structures of {valueBytes} and {factsBytes} bytes, expected {Shim.Abi} with {sizeof(Shim.NativeValue)} and {sizeof(Shim.TensorFacts)}";
    }

    private static string? Find(string file)
    {
        string beside = Path.Combine(AppContext.BaseDirectory, file);
        if (File.Exists(beside))
            return beside;
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "artifacts", "torch", file);
            if (File.Exists(candidate))
                return candidate;
        }
        return null;
    }
}
