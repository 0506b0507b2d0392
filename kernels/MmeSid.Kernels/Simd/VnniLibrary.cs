using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The optional library of <c>native/vnni</c>: 512-bit integer dot products, which .NET 10 does not expose. Looked for beside the program, then in
/// <c>artifacts/native/vnni</c> of the program's folder or of a folder above it. Without it, or without the instructions, 256-bit ones do the work.
/// </summary>
internal static unsafe class VnniLibrary
{
    // Of native/vnni/vnni.c.
    private const int kInterface = 1;

    /// <summary>Tiles of one block of rows: see <c>native/vnni/vnni.c</c>.</summary>
    private static readonly delegate* unmanaged<int*, int*, long, long, int*, long, int> s_int8Tiles, s_int16Tiles;

    static VnniLibrary()
    {
        if (!HasInstructions || Find() is not { } path || !NativeLibrary.TryLoad(path, out nint library))
            return;
        if (!NativeLibrary.TryGetExport(library, "mmesid_int8_tiles", out nint int8) || !NativeLibrary.TryGetExport(library, "mmesid_int16_tiles", out nint int16))
            return;
        var tiles = (delegate* unmanaged<int*, int*, long, long, int*, long, int>)int8;
        if (tiles(null, null, 0, 0, null, 0) != kInterface)
            return;
        s_int8Tiles = tiles;
        s_int16Tiles = (delegate* unmanaged<int*, int*, long, long, int*, long, int>)int16;
    }

    /// <summary>Whether the library is there and this processor runs it.</summary>
    public static bool IsPresent => s_int8Tiles != null;

    // CPUID leaf 7, ECX bit 11: AVX512_VNNI. AVX-512 that was switched off for .NET stays off here.
    private static bool HasInstructions => Avx512F.IsSupported && Vector512.IsHardwareAccelerated && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>products[r, 16 p + c] = Σ of the s8 values of row r times the u8 values of codeword c of panel p.</summary>
    public static void Int8Tiles(int* rows, int* panels, long words, long count, int* products, long stride) => _ = s_int8Tiles(rows, panels, words, count, products, stride);

    /// <summary>The same of s16 values.</summary>
    public static void Int16Tiles(int* rows, int* panels, long words, long count, int* products, long stride) => _ = s_int16Tiles(rows, panels, words, count, products, stride);

    private static string? Find()
    {
        string file = OperatingSystem.IsWindows() ? "mmesid_vnni.dll" : OperatingSystem.IsMacOS() ? "libmmesid_vnni.dylib" : "libmmesid_vnni.so";
        string beside = Path.Combine(AppContext.BaseDirectory, file);
        if (File.Exists(beside))
            return beside;
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "artifacts", "native", "vnni", file);
            if (File.Exists(candidate))
                return candidate;
        }
        return null;
    }
}
