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
///   why   one instruction multiplies and adds 64 int8 or 32 int16 values (VnniLibrary), 32 int8 or 16 int16 values (AVX-VNNI), or two do 32 int16 values
///         (AVX-512BW), where a float32 multiply-add takes 16, or 8 without AVX-512. With AVX2 alone int16 takes two for 16; it gains nothing
/// </code>
/// </summary>
internal static unsafe class IntegerProduct
{
    /// <summary>Codewords of a panel.</summary>
    public const int kCodesPerPanel = 16;

    private const int kLargestDimension = 1 << 14;

    private const MethodImplOptions kOwnLoop = MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization;

    /// <summary>Whether this processor multiplies integers of a format faster than float32.</summary>
    public static bool IsSupported(IntegerFormat format) => format switch
    {
        IntegerFormat.Int8 => VnniLibrary.IsPresent || HasNarrow,
        _ => VnniLibrary.IsPresent || HasWideInt16 || HasNarrow,
    };

    /// <summary>The same of rows of so many values: sums of int8 stay below 2³¹, and rounding a row does not make its norm exceed what int16's products allow.</summary>
    public static bool Supports(IntegerFormat format, int dimension) => IsSupported(format) && dimension <= kLargestDimension;

    /// <summary>The instructions that do it, for people.</summary>
    public static string Instructions(IntegerFormat format) =>
        VnniLibrary.IsPresent ? "AVX-512 VNNI" : format == IntegerFormat.Int16 && HasWideInt16 ? "AVX-512BW" : "AVX-VNNI";

    /// <summary>Values in a 32-bit word.</summary>
    public static int ValuesPerWord(IntegerFormat format) => format == IntegerFormat.Int8 ? 4 : 2;

    internal static bool HasNarrow => AvxVnni.IsSupported && Vector256.IsHardwareAccelerated;

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
            NarrowTiles<Int8Words>(tile, panels, words, count, products, stride);
        else if (HasWideInt16)
            WideInt16Tiles(tile, panels, words, count, products, stride);
        else
            NarrowTiles<Int16Words>(tile, panels, words, count, products, stride);
    }

    /// <summary>Σ of the s8 values of a row times the u8 values of a codeword.</summary>
    /// <param name="row">[words].</param>
    /// <param name="codeword">[words].</param>
    /// <param name="words">A multiple of 16.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Dot8(int* row, int* codeword, nint words)
    {
        if (HasNarrow)
        {
            Vector256<int> a = Vector256<int>.Zero, b = a, c = a, e = a;
            nint i = 0;
            for (; i + 32 <= words; i += 32)
            {
                a = AvxVnni.MultiplyWideningAndAdd(a, Vector256.Load((byte*)(codeword + i)), Vector256.Load((sbyte*)(row + i)));
                b = AvxVnni.MultiplyWideningAndAdd(b, Vector256.Load((byte*)(codeword + i + 8)), Vector256.Load((sbyte*)(row + i + 8)));
                c = AvxVnni.MultiplyWideningAndAdd(c, Vector256.Load((byte*)(codeword + i + 16)), Vector256.Load((sbyte*)(row + i + 16)));
                e = AvxVnni.MultiplyWideningAndAdd(e, Vector256.Load((byte*)(codeword + i + 24)), Vector256.Load((sbyte*)(row + i + 24)));
            }
            if (i < words)
            {
                a = AvxVnni.MultiplyWideningAndAdd(a, Vector256.Load((byte*)(codeword + i)), Vector256.Load((sbyte*)(row + i)));
                b = AvxVnni.MultiplyWideningAndAdd(b, Vector256.Load((byte*)(codeword + i + 8)), Vector256.Load((sbyte*)(row + i + 8)));
            }
            return Vector256.Sum(a + b + (c + e));
        }
        // u8 and s8 as s16, products of neighbours added.
        Vector512<int> low = Vector512<int>.Zero, high = low;
        for (nint i = 0; i < words; i += 16)
        {
            Vector256<byte> u = Vector256.Load((byte*)(codeword + i)), v = Vector256.Load((byte*)(codeword + i + 8));
            Vector256<sbyte> s = Vector256.Load((sbyte*)(row + i)), t = Vector256.Load((sbyte*)(row + i + 8));
            low += Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(u), Avx512BW.ConvertToVector512Int16(s));
            high += Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(v), Avx512BW.ConvertToVector512Int16(t));
        }
        return Vector512.Sum(low + high);
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
        if (!HasNarrow)
        {
            Multiply(IntegerFormat.Int8, tile, panels, words, count, products, stride);
            return;
        }
        for (int panel = 0; panel < count; panel++)
        {
            if (ahead != null)
                Prefetch.Lines(ahead + panel * words * kCodesPerPanel, (int)words * kCodesPerPanel * sizeof(int));
            NarrowTile6<Int8Words>(tile, panels + panel * words * kCodesPerPanel, words, products + panel * kCodesPerPanel, stride);
        }
    }

    /// <summary>The tiles of <see cref="VnniLibrary"/> without it, 256 bits at a time.</summary>
    internal static void NarrowTiles<TWords>(int* rows, int* panels, nint words, int count, int* products, nint stride)
        where TWords : struct, IWords
    {
        for (int panel = 0; panel < count; panel++)
        {
            for (int row = 0; row < Product.kRowsPerTile; row += kFewRows)
                NarrowTile6<TWords>(rows + row, panels + panel * words * kCodesPerPanel, words, products + row * stride + panel * kCodesPerPanel, stride);
        }
    }

    /// <summary><see cref="VnniLibrary.Int16Tiles"/> without the library, 512 bits at a time.</summary>
    internal static void WideInt16Tiles(int* rows, int* panels, nint words, int count, int* products, nint stride)
    {
        const int kRows = 12;
        for (int panel = 0; panel < count; panel += 2)
        {
            int* first = panels + panel * words * kCodesPerPanel;
            for (int row = 0; row < Product.kRowsPerTile; row += kRows)
                WideInt16Tile12(rows + row, first, first + words * kCodesPerPanel, words, products + row * stride + panel * kCodesPerPanel, stride);
        }
    }

    // Six rows at a time: 12 accumulators, 2 vectors of codewords, 1 broadcast: 15 of the 16 registers that AVX-VNNI reaches.
    [MethodImpl(kOwnLoop)]
    private static void NarrowTile6<TWords>(int* rows, int* panel, nint words, int* products, nint stride)
        where TWords : struct, IWords
    {
        Vector256<int> zero = Vector256<int>.Zero;
        Vector256<int> s0a = zero, s0b = zero, s1a = zero, s1b = zero, s2a = zero, s2b = zero, s3a = zero, s3b = zero, s4a = zero, s4b = zero, s5a = zero, s5b = zero;
        for (; words > 0; words--)
        {
            Vector256<int> a = Vector256.Load(panel), b = Vector256.Load(panel + 8), x;
            x = Vector256.Create(rows[0]);
            s0a = TWords.MultiplyAdd(s0a, a, x);
            s0b = TWords.MultiplyAdd(s0b, b, x);
            x = Vector256.Create(rows[1]);
            s1a = TWords.MultiplyAdd(s1a, a, x);
            s1b = TWords.MultiplyAdd(s1b, b, x);
            x = Vector256.Create(rows[2]);
            s2a = TWords.MultiplyAdd(s2a, a, x);
            s2b = TWords.MultiplyAdd(s2b, b, x);
            x = Vector256.Create(rows[3]);
            s3a = TWords.MultiplyAdd(s3a, a, x);
            s3b = TWords.MultiplyAdd(s3b, b, x);
            x = Vector256.Create(rows[4]);
            s4a = TWords.MultiplyAdd(s4a, a, x);
            s4b = TWords.MultiplyAdd(s4b, b, x);
            x = Vector256.Create(rows[5]);
            s5a = TWords.MultiplyAdd(s5a, a, x);
            s5b = TWords.MultiplyAdd(s5b, b, x);
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
    private static void WideInt16Tile12(int* rows, int* panel, int* other, nint words, int* products, nint stride)
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

    /// <summary>What 32-bit words hold.</summary>
    internal interface IWords
    {
        /// <summary>sum + the products of the values of a codeword's words and of a row's, added within each word.</summary>
        static abstract Vector256<int> MultiplyAdd(Vector256<int> sum, Vector256<int> codewords, Vector256<int> row);
    }

    /// <summary>Four u8 of a codeword, four s8 of a row.</summary>
    internal readonly struct Int8Words : IWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<int> MultiplyAdd(Vector256<int> sum, Vector256<int> codewords, Vector256<int> row) =>
            AvxVnni.MultiplyWideningAndAdd(sum, codewords.AsByte(), row.AsSByte());
    }

    /// <summary>Two s16 of either.</summary>
    internal readonly struct Int16Words : IWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<int> MultiplyAdd(Vector256<int> sum, Vector256<int> codewords, Vector256<int> row) =>
            AvxVnni.MultiplyWideningAndAdd(sum, codewords.AsInt16(), row.AsInt16());
    }
}
