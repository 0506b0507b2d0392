using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>Integers that a row and a codeword are rounded to before they are multiplied.</summary>
internal enum IntegerFormat
{
    /// <summary>−127 … 127; a codeword is stored as u8, 128 more.</summary>
    Int8,

    /// <summary>As large as the norms allow: ‖row‖‖codeword‖ &lt; 2³¹.</summary>
    Int16,
}

/// <summary>
/// Products of a tile of integer rows with packed integer codewords: <see cref="Product"/>'s sibling.
/// <code>
///   in    rows    [words][24] 32-bit words of four s8 or two s16 values · codewords [panel][words][16] words of four u8 or two s16 values
///   out   products (24, K) s32, products[i, j] = Σ_k rows[i, k] · codeword[j, k] modulo 2³²
///   exact integer sums: the same on every processor; int8's are 128 · Σ_k rows[i, k] too large, because codewords are stored as u8
///   why   one instruction multiplies and adds 64 int8 or 32 int16 values (VnniLibrary), 32 int8 values (AVX-VNNI), or two do 32 int16 values
///         (AVX-512BW), where a float32 multiply-add takes 16. With AVX2 alone int16 takes two for 16: what float32 takes one for 8; it gains nothing
/// </code>
/// </summary>
internal static unsafe class IntegerProduct
{
    /// <summary>Codewords of a panel.</summary>
    public const int kCodesPerPanel = 16;

    private const MethodImplOptions kOwnLoop = MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization;

    /// <summary>Whether this processor multiplies integers of a format faster than float32.</summary>
    public static bool IsSupported(IntegerFormat format) => format switch
    {
        IntegerFormat.Int8 => VnniLibrary.IsPresent || HasNarrowInt8,
        _ => VnniLibrary.IsPresent || HasWideInt16,
    };

    /// <summary>The instructions that do it, for people.</summary>
    public static string Instructions(IntegerFormat format) =>
        VnniLibrary.IsPresent ? "AVX-512 VNNI" : format == IntegerFormat.Int8 ? "AVX-VNNI" : "AVX-512BW";

    /// <summary>Values in a 32-bit word.</summary>
    public static int ValuesPerWord(IntegerFormat format) => format == IntegerFormat.Int8 ? 4 : 2;

    internal static bool HasNarrowInt8 => AvxVnni.IsSupported && Vector256.IsHardwareAccelerated;

    internal static bool HasWideInt16 => Avx512BW.IsSupported && Vector512.IsHardwareAccelerated;

    /// <summary>Multiplies a tile of rows with codewords.</summary>
    /// <param name="format">Of both.</param>
    /// <param name="tile">[words][24], see <see cref="Product.Transpose"/>.</param>
    /// <param name="panels">First panel.</param>
    /// <param name="words">Words per row.</param>
    /// <param name="count">Panels, an even number.</param>
    /// <param name="products">[24, stride].</param>
    /// <param name="stride">Values between two rows of products.</param>
    public static void Multiply(IntegerFormat format, int* tile, int* panels, nint words, int count, int* products, nint stride)
    {
        Debug.Assert(count % 2 == 0, "int16's tiles take two panels at a time");
        if (VnniLibrary.IsPresent && format == IntegerFormat.Int8)
            VnniLibrary.Int8Tiles(tile, panels, words, count, products, stride);
        else if (VnniLibrary.IsPresent)
            VnniLibrary.Int16Tiles(tile, panels, words, count, products, stride);
        else if (format == IntegerFormat.Int8)
            Int8Tiles(tile, panels, words, count, products, stride);
        else
            Int16Tiles(tile, panels, words, count, products, stride);
    }

    /// <summary>Rows that <see cref="MultiplyFew"/> multiplies.</summary>
    public const int kFewRows = 6;

    /// <summary>int8 products of the first <see cref="kFewRows"/> rows of a tile; what else the products hold is arbitrary. As fast as panels come from memory.</summary>
    /// <param name="tile">[words][24].</param>
    /// <param name="panels">First panel.</param>
    /// <param name="words">Words per row.</param>
    /// <param name="count">Panels, an even number.</param>
    /// <param name="products">[24, stride].</param>
    /// <param name="stride">Values between two rows of products.</param>
    /// <param name="ahead">As many panels that are wanted next: fetched into the cache meanwhile; or null.</param>
    public static void MultiplyFew(int* tile, int* panels, nint words, int count, int* products, nint stride, int* ahead)
    {
        const int kLine = 64 / sizeof(int);
        if (!HasNarrowInt8)
        {
            Multiply(IntegerFormat.Int8, tile, panels, words, count, products, stride);
            return;
        }
        for (int panel = 0; panel < count; panel++)
        {
            if (ahead != null)
            {
                for (nint line = 0; line < words * kCodesPerPanel; line += kLine)
                    Sse.Prefetch0(ahead + panel * words * kCodesPerPanel + line);
            }
            Int8Tile6(tile, panels + panel * words * kCodesPerPanel, words, products + panel * kCodesPerPanel, stride);
        }
    }

    /// <summary><see cref="VnniLibrary.Int8Tiles"/> without the library.</summary>
    internal static void Int8Tiles(int* rows, int* panels, nint words, int count, int* products, nint stride)
    {
        for (int panel = 0; panel < count; panel++)
        {
            for (int row = 0; row < Product.kRowsPerTile; row += kFewRows)
                Int8Tile6(rows + row, panels + panel * words * kCodesPerPanel, words, products + row * stride + panel * kCodesPerPanel, stride);
        }
    }

    /// <summary><see cref="VnniLibrary.Int16Tiles"/> without the library.</summary>
    internal static void Int16Tiles(int* rows, int* panels, nint words, int count, int* products, nint stride)
    {
        const int kRows = 12;
        for (int panel = 0; panel < count; panel += 2)
        {
            int* first = panels + panel * words * kCodesPerPanel;
            for (int row = 0; row < Product.kRowsPerTile; row += kRows)
                Int16Tile12(rows + row, first, first + words * kCodesPerPanel, words, products + row * stride + panel * kCodesPerPanel, stride);
        }
    }

    // s8 rows · u8 codewords, six rows at a time: 12 accumulators, 2 vectors of codewords, 1 broadcast: 15 of the 16 registers that AVX-VNNI reaches.
    [MethodImpl(kOwnLoop)]
    private static void Int8Tile6(int* rows, int* panel, nint words, int* products, nint stride)
    {
        Vector256<int> zero = Vector256<int>.Zero;
        Vector256<int> s0a = zero, s0b = zero, s1a = zero, s1b = zero, s2a = zero, s2b = zero, s3a = zero, s3b = zero, s4a = zero, s4b = zero, s5a = zero, s5b = zero;
        for (; words > 0; words--)
        {
            Vector256<byte> a = Vector256.Load((byte*)panel), b = Vector256.Load((byte*)panel + 32);
            Vector256<sbyte> x;
            x = Vector256.Create(rows[0]).AsSByte();
            s0a = AvxVnni.MultiplyWideningAndAdd(s0a, a, x);
            s0b = AvxVnni.MultiplyWideningAndAdd(s0b, b, x);
            x = Vector256.Create(rows[1]).AsSByte();
            s1a = AvxVnni.MultiplyWideningAndAdd(s1a, a, x);
            s1b = AvxVnni.MultiplyWideningAndAdd(s1b, b, x);
            x = Vector256.Create(rows[2]).AsSByte();
            s2a = AvxVnni.MultiplyWideningAndAdd(s2a, a, x);
            s2b = AvxVnni.MultiplyWideningAndAdd(s2b, b, x);
            x = Vector256.Create(rows[3]).AsSByte();
            s3a = AvxVnni.MultiplyWideningAndAdd(s3a, a, x);
            s3b = AvxVnni.MultiplyWideningAndAdd(s3b, b, x);
            x = Vector256.Create(rows[4]).AsSByte();
            s4a = AvxVnni.MultiplyWideningAndAdd(s4a, a, x);
            s4b = AvxVnni.MultiplyWideningAndAdd(s4b, b, x);
            x = Vector256.Create(rows[5]).AsSByte();
            s5a = AvxVnni.MultiplyWideningAndAdd(s5a, a, x);
            s5b = AvxVnni.MultiplyWideningAndAdd(s5b, b, x);
            rows += Product.kRowsPerTile;
            panel += kCodesPerPanel;
        }
        s0a.Store(products);
        s0b.Store(products + 8);
        s1a.Store(products + stride);
        s1b.Store(products + stride + 8);
        s2a.Store(products + 2 * stride);
        s2b.Store(products + 2 * stride + 8);
        s3a.Store(products + 3 * stride);
        s3b.Store(products + 3 * stride + 8);
        s4a.Store(products + 4 * stride);
        s4b.Store(products + 4 * stride + 8);
        s5a.Store(products + 5 * stride);
        s5b.Store(products + 5 * stride + 8);
    }

    // s16 rows · s16 codewords, twelve rows and two panels at a time: 24 accumulators, 2 vectors of codewords, 1 broadcast, 1 product: 28 of 32 registers.
    [MethodImpl(kOwnLoop)]
    private static void Int16Tile12(int* rows, int* panel, int* other, nint words, int* products, nint stride)
    {
        Vector512<int> zero = Vector512<int>.Zero;
        Vector512<int> s0a = zero, s0b = zero, s1a = zero, s1b = zero, s2a = zero, s2b = zero, s3a = zero, s3b = zero;
        Vector512<int> s4a = zero, s4b = zero, s5a = zero, s5b = zero, s6a = zero, s6b = zero, s7a = zero, s7b = zero;
        Vector512<int> s8a = zero, s8b = zero, s9a = zero, s9b = zero, s10a = zero, s10b = zero, s11a = zero, s11b = zero;
        for (; words > 0; words--)
        {
            Vector512<short> a = Vector512.Load((short*)panel), b = Vector512.Load((short*)other), x;
            x = Vector512.Create(rows[0]).AsInt16();
            s0a += Avx512BW.MultiplyAddAdjacent(a, x);
            s0b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[1]).AsInt16();
            s1a += Avx512BW.MultiplyAddAdjacent(a, x);
            s1b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[2]).AsInt16();
            s2a += Avx512BW.MultiplyAddAdjacent(a, x);
            s2b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[3]).AsInt16();
            s3a += Avx512BW.MultiplyAddAdjacent(a, x);
            s3b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[4]).AsInt16();
            s4a += Avx512BW.MultiplyAddAdjacent(a, x);
            s4b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[5]).AsInt16();
            s5a += Avx512BW.MultiplyAddAdjacent(a, x);
            s5b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[6]).AsInt16();
            s6a += Avx512BW.MultiplyAddAdjacent(a, x);
            s6b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[7]).AsInt16();
            s7a += Avx512BW.MultiplyAddAdjacent(a, x);
            s7b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[8]).AsInt16();
            s8a += Avx512BW.MultiplyAddAdjacent(a, x);
            s8b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[9]).AsInt16();
            s9a += Avx512BW.MultiplyAddAdjacent(a, x);
            s9b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[10]).AsInt16();
            s10a += Avx512BW.MultiplyAddAdjacent(a, x);
            s10b += Avx512BW.MultiplyAddAdjacent(b, x);
            x = Vector512.Create(rows[11]).AsInt16();
            s11a += Avx512BW.MultiplyAddAdjacent(a, x);
            s11b += Avx512BW.MultiplyAddAdjacent(b, x);
            rows += Product.kRowsPerTile;
            panel += kCodesPerPanel;
            other += kCodesPerPanel;
        }
        s0a.Store(products);
        s0b.Store(products + kCodesPerPanel);
        s1a.Store(products + stride);
        s1b.Store(products + stride + kCodesPerPanel);
        s2a.Store(products + 2 * stride);
        s2b.Store(products + 2 * stride + kCodesPerPanel);
        s3a.Store(products + 3 * stride);
        s3b.Store(products + 3 * stride + kCodesPerPanel);
        s4a.Store(products + 4 * stride);
        s4b.Store(products + 4 * stride + kCodesPerPanel);
        s5a.Store(products + 5 * stride);
        s5b.Store(products + 5 * stride + kCodesPerPanel);
        s6a.Store(products + 6 * stride);
        s6b.Store(products + 6 * stride + kCodesPerPanel);
        s7a.Store(products + 7 * stride);
        s7b.Store(products + 7 * stride + kCodesPerPanel);
        s8a.Store(products + 8 * stride);
        s8b.Store(products + 8 * stride + kCodesPerPanel);
        s9a.Store(products + 9 * stride);
        s9b.Store(products + 9 * stride + kCodesPerPanel);
        s10a.Store(products + 10 * stride);
        s10b.Store(products + 10 * stride + kCodesPerPanel);
        s11a.Store(products + 11 * stride);
        s11b.Store(products + 11 * stride + kCodesPerPanel);
    }
}
