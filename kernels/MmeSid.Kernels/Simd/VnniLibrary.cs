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
    /// <summary>Dot products of 512 bits in a step of <see cref="Int8Ceiling"/> and <see cref="Int16Ceiling"/>.</summary>
    public const int CeilingChains = 24;

    // Of native/vnni/vnni.c.
    private const int kInterface = 2;

    /// <summary>Tiles of one block of rows: see <c>native/vnni/vnni.c</c>.</summary>
    private static readonly delegate* unmanaged<int*, int*, long, long, int*, long, int> s_int8Tiles, s_int16Tiles;

    private static readonly delegate* unmanaged<long, int> s_int8Ceiling, s_int16Ceiling;

    static VnniLibrary()
    {
        if (!HasInstructions || Find() is not { } path || !NativeLibrary.TryLoad(path, out nint library))
            return;
        var int8Tiles = (delegate* unmanaged<int*, int*, long, long, int*, long, int>)Export("mmesid_int8_tiles");
        if (int8Tiles == null || int8Tiles(null, null, 0, 0, null, 0) != kInterface)
            return;
        s_int8Tiles = int8Tiles;
        s_int16Tiles = (delegate* unmanaged<int*, int*, long, long, int*, long, int>)Export("mmesid_int16_tiles");
        s_int8Ceiling = (delegate* unmanaged<long, int>)Export("mmesid_int8_ceiling");
        s_int16Ceiling = (delegate* unmanaged<long, int>)Export("mmesid_int16_ceiling");

        nint Export(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address : 0;
    }

    /// <summary>Whether the library is there and this processor runs it.</summary>
    public static bool IsPresent => s_int8Tiles != null;

    // CPUID leaf 7, ECX bit 11: AVX512_VNNI. AVX-512 that was switched off for .NET stays off here.
    private static bool HasInstructions => Avx512F.IsSupported && Vector512.IsHardwareAccelerated && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>products[r, 16 p + c] = Σ of the s8 values of row r times the u8 values of codeword c of panel p.</summary>
    public static void Int8Tiles(int* rows, int* panels, long words, long count, int* products, long stride) => _ = s_int8Tiles(rows, panels, words, count, products, stride);

    /// <summary>The same of s16 values.</summary>
    public static void Int16Tiles(int* rows, int* panels, long words, long count, int* products, long stride) => _ = s_int16Tiles(rows, panels, words, count, products, stride);

    /// <summary>Nothing but multiplying and adding, from registers; at least one step.</summary>
    public static int Int8Ceiling(long steps) => s_int8Ceiling(steps);

    /// <summary>The same of int16.</summary>
    public static int Int16Ceiling(long steps) => s_int16Ceiling(steps);

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
