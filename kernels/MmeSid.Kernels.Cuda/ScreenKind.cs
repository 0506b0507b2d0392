namespace MmeSid.Kernels.Cuda;

/// <summary>The arithmetic of a screen. Codes are the same with each; how fast they come and how many rows stay open is not.</summary>
internal enum ScreenKind
{
    /// <summary>float32 on the plain arithmetic units.</summary>
    Float32,

    /// <summary>fp16 operands on tensor cores, float32 sums.</summary>
    Float16,

    /// <summary>int8 operands on tensor cores, exact sums.</summary>
    Int8,
}

/// <summary>What the host needs to know of each screen.</summary>
internal static class Screens
{
    /// <summary>Rows that a block of any screen owns.</summary>
    public const int kRowsPerBlock = 128;

    /// <summary>Codes that a block of any screen multiplies at a time; K is padded to a multiple of it.</summary>
    public const int kCodesPerTile = 128;

    // Sizes of CandidateLists, Tiles and Shared in kernels/cuda, which softcuda guards: a block that reads beyond what it asked for fails.
    private const int kListBytes = kRowsPerBlock * (4 * 4 + OpenRow.kCandidates * (4 + 2));

    /// <summary>Dynamic shared memory of a re-check block.</summary>
    public const int kRecheckSharedBytes = 8 * 8 + 128 * (8 + 4 + 4) + 8;

    /// <summary>Dynamic shared memory of a screen's block.</summary>
    public static int SharedBytes(ScreenKind kind) => kListBytes + (kind == ScreenKind.Float32 ? 2 * 16 * 2 * (128 + 4) * 4 : 3 * 2 * 128 * 64);

    public static ScreenKind[] All { get; } = Enum.GetValues<ScreenKind>();

    /// <summary>File and kernel name.</summary>
    public static string Name(ScreenKind kind) => kind switch { ScreenKind.Float32 => "float32", ScreenKind.Float16 => "float16", _ => "int8" };

    /// <summary>Bytes of an operand's value.</summary>
    public static int ValueBytes(ScreenKind kind) => kind switch { ScreenKind.Float32 => 4, ScreenKind.Float16 => 2, _ => 1 };

    /// <summary>Values of an operand row, zeros behind it included: 64 bytes, what a stage of the screens moves.</summary>
    public static int PaddedDepth(ScreenKind kind, int depth)
    {
        int multiple = 64 / ValueBytes(kind);
        return (depth + multiple - 1) / multiple * multiple;
    }

    /// <summary>
    /// γ with |computed − real| ≤ γ‖x̂‖‖ŵ‖ for the products alone (docs/exactness.md §8). float32: one chain of fused additions. fp16: products
    /// are exact; each mma adds 16 of them and the sum so far, and may truncate each to 24 bits of the largest: 17 · 2u of what is at most
    /// ‖x̂‖‖ŵ‖; how tensor cores round is not documented, so twice that. int8: exact; u for the conversion of the sum.
    /// </summary>
    public static double Product(ScreenKind kind, int depth) => kind switch
    {
        ScreenKind.Float32 => depth * Bounds.Float32 / (1 - depth * Bounds.Float32),
        ScreenKind.Float16 => 2 * ((depth + 15) / 16) * 17 * 2 * Bounds.Float32,
        _ => Bounds.Float32,
    };
}
