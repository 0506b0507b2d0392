using System.Reflection;
using System.Runtime.InteropServices;
using MmeSid.Kernels;

namespace MmeSid.DuckDb;

/// <summary>
/// Finds libduckdb, which reads and writes Parquet. It is looked for in the file that <c>MMESID_LIBDUCKDB</c> names; without that variable
/// in <c>artifacts/native/duckdb</c> of the program's folder or of a folder above it.
/// </summary>
public static class DuckDbLibrary
{
    /// <summary>Environment variable that names the library's file.</summary>
    public const string PathVariable = "MMESID_LIBDUCKDB";

    private static readonly Lazy<(nint Handle, string? Reason)> Loaded = new(Load);

    static DuckDbLibrary()
        => NativeLibrary.SetDllImportResolver(Assembly.GetExecutingAssembly(), (name, _, _) => name == DuckDbNative.Library ? Loaded.Value.Handle : 0);

    /// <summary>Why the library cannot be used, in one line; null when it can.</summary>
    public static string? UnavailableReason => Loaded.Value.Reason;

    /// <summary>Does nothing when the library can be used.</summary>
    /// <exception cref="BackendUnavailableException">It cannot; the message says what to do.</exception>
    public static void Require()
    {
        if (UnavailableReason is { } reason)
            throw new BackendUnavailableException(reason);
    }

    private static (nint Handle, string? Reason) Load()
    {
        string file = OperatingSystem.IsWindows() ? "duckdb.dll" : OperatingSystem.IsMacOS() ? "libduckdb.dylib" : "libduckdb.so";
        string? named = Environment.GetEnvironmentVariable(PathVariable);
        string? path = string.IsNullOrEmpty(named) ? Find(file) : named;
        if (path is null)
            return (0, "Parquet needs libduckdb, which is not here: fetch it with ./build.sh --target Parquet, or name it in " + PathVariable);
        if (!NativeLibrary.TryLoad(path, out nint handle))
            return (0, $"Parquet needs libduckdb, but {path} cannot be loaded: fetch it again with ./build.sh --target Parquet, or name another in {PathVariable}");
        if (!NativeLibrary.TryGetExport(handle, "duckdb_execute_prepared_streaming", out _) || !NativeLibrary.TryGetExport(handle, "duckdb_library_version", out nint version))
            return (0, $"{path} is not libduckdb 1.x: fetch it with ./build.sh --target Parquet");
        string? text = VersionOf(version);
        return text is not null && text.StartsWith("v1.", StringComparison.Ordinal)
            ? (handle, null)
            : (0, $"{path} is libduckdb {text}, expected v1.x: fetch it with ./build.sh --target Parquet");
    }

    private static unsafe string? VersionOf(nint function) => Marshal.PtrToStringUTF8(((delegate* unmanaged<nint>)function)());

    private static string? Find(string file)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "artifacts", "native", "duckdb", file);
            if (File.Exists(candidate))
                return candidate;
        }
        return null;
    }
}
