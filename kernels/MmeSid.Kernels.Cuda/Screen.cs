namespace MmeSid.Kernels.Cuda;

/// <summary>A screen's kernel: its arithmetic, and how a block divides the products.</summary>
/// <param name="Kind">The arithmetic.</param>
/// <param name="File">Source file without its ending.</param>
/// <param name="Name">Of the kernel.</param>
/// <param name="Rows">That a block owns.</param>
/// <param name="Codes">That a block multiplies at a time.</param>
/// <param name="SharedBytes">Dynamic shared memory of a block.</param>
/// <param name="Capability">The only compute capability that has its instructions, 90 for 9.0; 0 where every GPU has them.</param>
internal sealed record Screen(ScreenKind Kind, string File, string Name, int Rows, int Codes, int SharedBytes, int Capability = 0)
{
    /// <summary>Threads of a block, whatever the screen.</summary>
    public const int kThreads = 256;

    /// <summary>Rows that a block owns at most; batches are padded to a multiple of it.</summary>
    public const int kMostRows = 256;

    /// <summary>All that there are; of each arithmetic the one that every GPU runs well comes first.</summary>
    public static IReadOnlyList<Screen> All { get; } =
    [
        new(ScreenKind.Float32, "screen_float32", "screen_float32", 128, 128, 2 * 16 * 2 * (128 + 4) * 4 + ListBytes(128)),
        Mma(ScreenKind.Float16, 128, 128), Mma(ScreenKind.Float16, 128, 256), Mma(ScreenKind.Float16, 256, 128), Hopper(ScreenKind.Float16),
        Mma(ScreenKind.Int8, 128, 128), Mma(ScreenKind.Int8, 128, 256), Mma(ScreenKind.Int8, 256, 128), Hopper(ScreenKind.Int8),
    ];

    /// <summary>What an arithmetic takes unless something faster was measured.</summary>
    public static Screen Default(ScreenKind kind) => All.First(screen => screen.Kind == kind);

    /// <summary>The screen whose kernel has this name.</summary>
    public static Screen Named(string name) => All.First(screen => screen.Name == name);

    /// <summary>Whether a GPU can run it.</summary>
    public bool Fits(CudaDevice device) =>
        SharedBytes <= device.SharedBytesPerBlock && (Kind != ScreenKind.Float16 || device.TrustsFloat16)
        && (Capability == 0 || (Capability == device.CapabilityMajor * 10 + device.CapabilityMinor && (Kind != ScreenKind.Float16 || device.TrustsFloat16OfGroups)));

    /// <summary>Whether a GPU can run it on a level.</summary>
    public bool Fits(CudaDevice device, CudaLevel level) => Fits(device) && level.PaddedCodes % Codes == 0 && level.Has(Kind);

    // Sizes of the structures in kernels/cuda, which softcuda guards: a block that reads beyond what it asked for fails.
    private static int ListBytes(int rows) => rows * (4 * 4 + OpenRow.kCandidates * (4 + 2));

    private static Screen Mma(ScreenKind kind, int rows, int codes) =>
        new(kind, $"screen_{kind.Lower()}", $"screen_{kind.Lower()}_{rows}x{codes}", rows, codes, 3 * (rows + codes) * 64 + ListBytes(rows));

    private static Screen Hopper(ScreenKind kind) =>
        new(kind, "screen_hopper", $"screen_hopper_{kind.Lower()}", 128, 256, 4 * ((128 + 256) * 128 + 8) + ListBytes(128), 90);
}
