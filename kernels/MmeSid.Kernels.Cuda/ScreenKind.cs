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

/// <summary>Operands as the screens of an arithmetic read them.</summary>
internal static class Screens
{
    // kOperandTileRows and kOperandTileBytes of kernels/cuda/encode.h.
    private const int kTileRows = 128, kTileBytes = 128;

    /// <summary>Bytes of a row that lie together wherever its others are.</summary>
    public const int kChunk = 16;

    /// <summary>Dynamic shared memory of a re-check block.</summary>
    public const int kRecheckSharedBytes = 8 * 8 + 128 * (8 + 4 + 4) + 8;

    public static ScreenKind[] Kinds { get; } = Enum.GetValues<ScreenKind>();

    /// <summary>As kernels are named.</summary>
    public static string Lower(this ScreenKind kind) => kind switch { ScreenKind.Float32 => "float32", ScreenKind.Float16 => "float16", _ => "int8" };

    /// <summary>What K is padded to a multiple of, so that the screens which take codes by 256 serve all but the smallest levels.</summary>
    public static int CodesMultiple(int codes) => codes <= 128 ? 128 : 256;

    /// <summary>Bytes of an operand's value.</summary>
    public static int ValueBytes(ScreenKind kind) => kind switch { ScreenKind.Float32 => 4, ScreenKind.Float16 => 2, _ => 1 };

    /// <summary>Values of an operand row that the screens multiply, zeros behind it included: 64 bytes, what a stage of theirs moves.</summary>
    public static int PaddedDepth(ScreenKind kind, int depth)
    {
        int multiple = 64 / ValueBytes(kind);
        return (depth + multiple - 1) / multiple * multiple;
    }

    /// <summary>Bytes that an operand row takes: whole tiles on tensor cores.</summary>
    public static int RowBytes(ScreenKind kind, int depth)
    {
        int bytes = PaddedDepth(kind, depth) * ValueBytes(kind);
        return kind == ScreenKind.Float32 ? bytes : (bytes + kTileBytes - 1) / kTileBytes * kTileBytes;
    }

    /// <summary>Where the 16 bytes of a row that begin at a multiple of 16 lie: `tiled` of kernels/cuda/encode.h.</summary>
    public static long Chunk(ScreenKind kind, int row, int at, int rowBytes)
    {
        if (kind == ScreenKind.Float32)
            return (long)row * rowBytes + at;
        long tile = (long)(row / kTileRows) * (rowBytes / kTileBytes) + at / kTileBytes;
        return (tile * kTileRows + row % kTileRows) * kTileBytes + (at / kChunk % 8 ^ row % 8) * kChunk;
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
