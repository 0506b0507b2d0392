using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Products of a block of rows with packed codewords: the float32 matrix product under every vector kernel.
/// <code>
///   in    rows (R, d) row-major f32, any stride · codewords packed in panels: [depth block][panel][k][CodesPerPanel]
///   out   products (R, K) f32, products[i, j] = Σ_k rows[i, k] · codeword[j, k]
///   order one chain of additions per product inside a depth block of kDepthPerBlock, then one addition per block:
///         error ≤ Bounds.Product(d) · ‖row‖‖codeword‖; the value depends on nothing but the row and the codeword
///   work  kRowsPerTile rows × one panel of products at a time; the tile's rows stay in the first-level cache for a depth block while the
///         panels pass by from the second level
/// </code>
/// With AVX-512 a tile's rows are transposed first, [k][kRowsPerTile]: then a multiply-add takes its row value straight from memory, and 24 of
/// them need 25 loads and no other instruction. Reading rows by separate broadcasts from where they lie (6 × 64, 12 × 32, 14 × 32) was 8 to 15 %
/// slower; transposing costs 2 % at K 256.
/// </summary>
internal static unsafe class Product
{
    /// <summary>Longest run of k that a tile accumulates in registers. Bounds the rounding of long rows and keeps a tile's rows in cache.</summary>
    public const int kDepthPerBlock = 256;

    /// <summary>Rows of a tile; callers pad their row and product buffers to a multiple of it.</summary>
    public const int kRowsPerTile = 24;

    // Rows of the smaller tile that machines with fewer or shorter registers work through a tile in.
    private const int kRowsPerStep = 6;

    /// <summary>Codewords of a panel; packed codewords are padded with zeros to a multiple of it.</summary>
    public static int CodesPerPanel => UseAvx512 || UseAvx2 ? 16 : 8;

    private static bool UseAvx512 => Avx512F.IsSupported && Vector512.IsHardwareAccelerated;

    private static bool UseAvx2 => Fma.IsSupported && Vector256.IsHardwareAccelerated;

    /// <summary>Number of rows rounded up to whole tiles.</summary>
    public static int PaddedRows(int rows) => (rows + kRowsPerTile - 1) / kRowsPerTile * kRowsPerTile;

    /// <summary>
    /// products[i, j] = rows[i] · codewords[firstCode + j] for i &lt; PaddedRows(rowCount), j &lt; codeCount rounded up to whole panels.
    /// </summary>
    /// <param name="rows">PaddedRows(rowCount) readable rows of at least codewords.Depth values; padding rows may hold anything finite.</param>
    /// <param name="rowStride">Values between two rows.</param>
    /// <param name="rowCount">R.</param>
    /// <param name="codewords">The packed right-hand side.</param>
    /// <param name="firstCode">A multiple of <see cref="CodesPerPanel"/>.</param>
    /// <param name="codeCount">Codewords wanted from there. As many as fit half of the second-level cache (K × <see cref="kDepthPerBlock"/> values) are best.</param>
    /// <param name="products">PaddedRows(rowCount) rows of codeCount rounded up to whole panels.</param>
    /// <param name="productStride">Values between two rows of products.</param>
    /// <param name="ahead">Memory that is wanted next, such as the following block of rows: fetched into the cache meanwhile, evenly; or null.</param>
    /// <param name="aheadBytes">Its length.</param>
    public static void Multiply(
        float* rows, nint rowStride, int rowCount, PackedCodewords codewords, int firstCode, int codeCount, float* products, nint productStride,
        float* ahead = null, nint aheadBytes = 0)
    {
        Debug.Assert(firstCode % CodesPerPanel == 0, "a slice starts at a panel");
        int codesPerPanel = CodesPerPanel;
        int firstPanel = firstCode / codesPerPanel, panels = (codeCount + codesPerPanel - 1) / codesPerPanel;
        int padded = PaddedRows(rowCount);
        float* transposed = stackalloc float[UseAvx512 ? kRowsPerTile * kDepthPerBlock : 0];
        byte* fetched = (byte*)ahead;
        nint aheadStep = ahead == null ? 0 : aheadBytes / Math.Max(1, (nint)(padded / kRowsPerTile) * panels * codewords.Depth);
        for (int depthStart = 0; depthStart < codewords.Depth; depthStart += kDepthPerBlock)
        {
            int depth = Math.Min(kDepthPerBlock, codewords.Depth - depthStart);
            float* panel = codewords.Panel(depthStart, firstPanel);
            for (int row = 0; row < padded; row += kRowsPerTile)
            {
                float* tile = rows + row * rowStride + depthStart;
                if (UseAvx512)
                    Transpose(tile, rowStride, depth, transposed);
                for (int j = 0; j < panels; j++)
                {
                    float* packed = panel + (nint)j * depth * codesPerPanel;
                    float* product = products + row * productStride + (nint)j * codesPerPanel;
                    byte* next = ahead == null ? (byte*)packed : fetched;
                    if (UseAvx512)
                        Tile24x16(transposed, packed, depth, product, productStride, depthStart > 0, next, aheadStep);
                    else
                        Steps(tile, rowStride, packed, depth, product, productStride, depthStart > 0, next, aheadStep);
                    fetched += depth * aheadStep;
                }
            }
        }
    }

    // A tile of products, six rows at a time.
    private static void Steps(float* rows, nint rowStride, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        for (int row = 0; row < kRowsPerTile; row += kRowsPerStep)
        {
            if (UseAvx2)
                Tile6x16(rows + row * rowStride, rowStride * sizeof(float), panel, depth, products + row * productStride, productStride, add, ahead, aheadStep);
            else
                Tile6x8(rows + row * rowStride, rowStride * sizeof(float), panel, depth, products + row * productStride, productStride, add, ahead, aheadStep);
        }
    }

    /// <summary>transposed[k, i] = rows[i, k] of a tile; any 32-bit words.</summary>
    public static void TransposeTile(float* rows, nint stride, int depth, float* transposed)
    {
        if (UseAvx512)
        {
            Transpose(rows, stride, depth, transposed);
            return;
        }
        for (int k = 0; k < depth; k++)
        {
            for (int i = 0; i < kRowsPerTile; i++)
                transposed[k * kRowsPerTile + i] = rows[i * stride + k];
        }
    }

    // transposed[k, i] = rows[i, k]: four k of sixteen, then of eight rows at a time. Lane j of a quad holds four values of row 4j.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(float* rows, nint stride, int depth, float* transposed)
    {
        const int width = kRowsPerTile;
        float* low = rows, high = rows + 16 * stride, to = transposed;
        int k = 0;
        for (; k + 4 <= depth; k += 4, low += 4, high += 4, to += 4 * width)
        {
            Vector512<float> a = Quads(low, stride), b = Quads(low + stride, stride), c = Quads(low + 2 * stride, stride), e = Quads(low + 3 * stride, stride);
            Vector512<double> ab = Avx512F.UnpackLow(a, b).AsDouble(), ce = Avx512F.UnpackLow(c, e).AsDouble();
            Avx512F.UnpackLow(ab, ce).AsSingle().Store(to);
            Avx512F.UnpackHigh(ab, ce).AsSingle().Store(to + width);
            ab = Avx512F.UnpackHigh(a, b).AsDouble();
            ce = Avx512F.UnpackHigh(c, e).AsDouble();
            Avx512F.UnpackLow(ab, ce).AsSingle().Store(to + 2 * width);
            Avx512F.UnpackHigh(ab, ce).AsSingle().Store(to + 3 * width);

            Vector256<float> p = Pair(high, stride), q = Pair(high + stride, stride), r = Pair(high + 2 * stride, stride), s = Pair(high + 3 * stride, stride);
            Vector256<double> pq = Avx.UnpackLow(p, q).AsDouble(), rs = Avx.UnpackLow(r, s).AsDouble();
            Avx.UnpackLow(pq, rs).AsSingle().Store(to + 16);
            Avx.UnpackHigh(pq, rs).AsSingle().Store(to + width + 16);
            pq = Avx.UnpackHigh(p, q).AsDouble();
            rs = Avx.UnpackHigh(r, s).AsDouble();
            Avx.UnpackLow(pq, rs).AsSingle().Store(to + 2 * width + 16);
            Avx.UnpackHigh(pq, rs).AsSingle().Store(to + 3 * width + 16);
        }
        for (; k < depth; k++)
        {
            for (int i = 0; i < width; i++)
                transposed[k * width + i] = rows[i * stride + k];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Pair(float* row, nint stride) => Vector256.Create(Vector128.Load(row), Vector128.Load(row + 4 * stride));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Quads(float* row, nint stride) => Vector512.Create(Pair(row, stride), Pair(row + 8 * stride, stride));

    // 24 accumulators and a panel vector: 25 of 32 registers. The broadcast of a row value is part of its multiply-add.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Tile24x16(float* rows, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        Vector512<float> w, zero = Vector512<float>.Zero;
        Vector512<float> s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
        Vector512<float> s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;
        Vector512<float> s12 = zero, s13 = zero, s14 = zero, s15 = zero, s16 = zero, s17 = zero;
        Vector512<float> s18 = zero, s19 = zero, s20 = zero, s21 = zero, s22 = zero, s23 = zero;
        for (nint pairs = depth / 2; pairs > 0; pairs--)
        {
            w = Vector512.Load(panel);
            s0 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[0]), s0);
            s1 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[1]), s1);
            s2 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[2]), s2);
            s3 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[3]), s3);
            s4 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[4]), s4);
            s5 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[5]), s5);
            s6 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[6]), s6);
            s7 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[7]), s7);
            s8 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[8]), s8);
            s9 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[9]), s9);
            s10 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[10]), s10);
            s11 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[11]), s11);
            s12 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[12]), s12);
            s13 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[13]), s13);
            s14 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[14]), s14);
            s15 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[15]), s15);
            s16 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[16]), s16);
            s17 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[17]), s17);
            s18 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[18]), s18);
            s19 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[19]), s19);
            s20 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[20]), s20);
            s21 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[21]), s21);
            s22 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[22]), s22);
            s23 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[23]), s23);
            w = Vector512.Load(panel + 16);
            s0 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[24]), s0);
            s1 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[25]), s1);
            s2 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[26]), s2);
            s3 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[27]), s3);
            s4 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[28]), s4);
            s5 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[29]), s5);
            s6 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[30]), s6);
            s7 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[31]), s7);
            s8 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[32]), s8);
            s9 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[33]), s9);
            s10 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[34]), s10);
            s11 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[35]), s11);
            s12 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[36]), s12);
            s13 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[37]), s13);
            s14 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[38]), s14);
            s15 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[39]), s15);
            s16 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[40]), s16);
            s17 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[41]), s17);
            s18 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[42]), s18);
            s19 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[43]), s19);
            s20 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[44]), s20);
            s21 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[45]), s21);
            s22 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[46]), s22);
            s23 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[47]), s23);
            rows += 2 * kRowsPerTile;
            panel += 2 * 16;
            Sse.Prefetch1(ahead);
            ahead += 2 * aheadStep;
        }
        if (depth % 2 != 0)
        {
            w = Vector512.Load(panel);
            s0 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[0]), s0);
            s1 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[1]), s1);
            s2 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[2]), s2);
            s3 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[3]), s3);
            s4 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[4]), s4);
            s5 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[5]), s5);
            s6 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[6]), s6);
            s7 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[7]), s7);
            s8 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[8]), s8);
            s9 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[9]), s9);
            s10 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[10]), s10);
            s11 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[11]), s11);
            s12 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[12]), s12);
            s13 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[13]), s13);
            s14 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[14]), s14);
            s15 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[15]), s15);
            s16 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[16]), s16);
            s17 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[17]), s17);
            s18 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[18]), s18);
            s19 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[19]), s19);
            s20 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[20]), s20);
            s21 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[21]), s21);
            s22 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[22]), s22);
            s23 = Avx512F.FusedMultiplyAdd(w, Vector512.Create(rows[23]), s23);
        }
        if (add)
        {
            s0 += Vector512.Load(products);
            s1 += Vector512.Load(products + productStride);
            s2 += Vector512.Load(products + 2 * productStride);
            s3 += Vector512.Load(products + 3 * productStride);
            s4 += Vector512.Load(products + 4 * productStride);
            s5 += Vector512.Load(products + 5 * productStride);
            s6 += Vector512.Load(products + 6 * productStride);
            s7 += Vector512.Load(products + 7 * productStride);
            s8 += Vector512.Load(products + 8 * productStride);
            s9 += Vector512.Load(products + 9 * productStride);
            s10 += Vector512.Load(products + 10 * productStride);
            s11 += Vector512.Load(products + 11 * productStride);
            s12 += Vector512.Load(products + 12 * productStride);
            s13 += Vector512.Load(products + 13 * productStride);
            s14 += Vector512.Load(products + 14 * productStride);
            s15 += Vector512.Load(products + 15 * productStride);
            s16 += Vector512.Load(products + 16 * productStride);
            s17 += Vector512.Load(products + 17 * productStride);
            s18 += Vector512.Load(products + 18 * productStride);
            s19 += Vector512.Load(products + 19 * productStride);
            s20 += Vector512.Load(products + 20 * productStride);
            s21 += Vector512.Load(products + 21 * productStride);
            s22 += Vector512.Load(products + 22 * productStride);
            s23 += Vector512.Load(products + 23 * productStride);
        }
        s0.Store(products);
        s1.Store(products + productStride);
        s2.Store(products + 2 * productStride);
        s3.Store(products + 3 * productStride);
        s4.Store(products + 4 * productStride);
        s5.Store(products + 5 * productStride);
        s6.Store(products + 6 * productStride);
        s7.Store(products + 7 * productStride);
        s8.Store(products + 8 * productStride);
        s9.Store(products + 9 * productStride);
        s10.Store(products + 10 * productStride);
        s11.Store(products + 11 * productStride);
        s12.Store(products + 12 * productStride);
        s13.Store(products + 13 * productStride);
        s14.Store(products + 14 * productStride);
        s15.Store(products + 15 * productStride);
        s16.Store(products + 16 * productStride);
        s17.Store(products + 17 * productStride);
        s18.Store(products + 18 * productStride);
        s19.Store(products + 19 * productStride);
        s20.Store(products + 20 * productStride);
        s21.Store(products + 21 * productStride);
        s22.Store(products + 22 * productStride);
        s23.Store(products + 23 * productStride);
    }

    // 12 accumulators, 2 panel vectors, 1 broadcast: 15 of 16 registers.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Tile6x16(float* rows, nint rowBytes, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        Vector256<float> s0a = Vector256<float>.Zero, s0b = Vector256<float>.Zero;
        Vector256<float> s1a = Vector256<float>.Zero, s1b = Vector256<float>.Zero;
        Vector256<float> s2a = Vector256<float>.Zero, s2b = Vector256<float>.Zero;
        Vector256<float> s3a = Vector256<float>.Zero, s3b = Vector256<float>.Zero;
        Vector256<float> s4a = Vector256<float>.Zero, s4b = Vector256<float>.Zero;
        Vector256<float> s5a = Vector256<float>.Zero, s5b = Vector256<float>.Zero;
        byte* row0 = (byte*)rows;
        byte* row3 = (byte*)rows + 3 * rowBytes;
        for (nint k = 0; k < depth; k++)
        {
            Vector256<float> wa = Vector256.Load(panel), wb = Vector256.Load(panel + 8);
            Vector256<float> x = Vector256.Create(*(float*)(row0));
            s0a = Fma.MultiplyAdd(x, wa, s0a); s0b = Fma.MultiplyAdd(x, wb, s0b);
            x = Vector256.Create(*(float*)(row0 + rowBytes));
            s1a = Fma.MultiplyAdd(x, wa, s1a); s1b = Fma.MultiplyAdd(x, wb, s1b);
            x = Vector256.Create(*(float*)(row0 + 2 * rowBytes));
            s2a = Fma.MultiplyAdd(x, wa, s2a); s2b = Fma.MultiplyAdd(x, wb, s2b);
            x = Vector256.Create(*(float*)(row3));
            s3a = Fma.MultiplyAdd(x, wa, s3a); s3b = Fma.MultiplyAdd(x, wb, s3b);
            x = Vector256.Create(*(float*)(row3 + rowBytes));
            s4a = Fma.MultiplyAdd(x, wa, s4a); s4b = Fma.MultiplyAdd(x, wb, s4b);
            x = Vector256.Create(*(float*)(row3 + 2 * rowBytes));
            s5a = Fma.MultiplyAdd(x, wa, s5a); s5b = Fma.MultiplyAdd(x, wb, s5b);
            row0 += sizeof(float);
            row3 += sizeof(float);
            panel += 16;
            if (Sse.IsSupported)
                Sse.Prefetch1(ahead);
            ahead += aheadStep;
        }
        if (add)
        {
            s0a += Vector256.Load(products);
            s0b += Vector256.Load(products + 8);
            s1a += Vector256.Load(products + productStride);
            s1b += Vector256.Load(products + productStride + 8);
            s2a += Vector256.Load(products + 2 * productStride);
            s2b += Vector256.Load(products + 2 * productStride + 8);
            s3a += Vector256.Load(products + 3 * productStride);
            s3b += Vector256.Load(products + 3 * productStride + 8);
            s4a += Vector256.Load(products + 4 * productStride);
            s4b += Vector256.Load(products + 4 * productStride + 8);
            s5a += Vector256.Load(products + 5 * productStride);
            s5b += Vector256.Load(products + 5 * productStride + 8);
        }
        s0a.Store(products);
        s0b.Store(products + 8);
        s1a.Store(products + productStride);
        s1b.Store(products + productStride + 8);
        s2a.Store(products + 2 * productStride);
        s2b.Store(products + 2 * productStride + 8);
        s3a.Store(products + 3 * productStride);
        s3b.Store(products + 3 * productStride + 8);
        s4a.Store(products + 4 * productStride);
        s4b.Store(products + 4 * productStride + 8);
        s5a.Store(products + 5 * productStride);
        s5b.Store(products + 5 * productStride + 8);
    }

    // The same shape in 128-bit vectors; multiply and add may round separately, which Bounds.Product allows for.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Tile6x8(float* rows, nint rowBytes, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        Vector128<float> s0a = Vector128<float>.Zero, s0b = Vector128<float>.Zero;
        Vector128<float> s1a = Vector128<float>.Zero, s1b = Vector128<float>.Zero;
        Vector128<float> s2a = Vector128<float>.Zero, s2b = Vector128<float>.Zero;
        Vector128<float> s3a = Vector128<float>.Zero, s3b = Vector128<float>.Zero;
        Vector128<float> s4a = Vector128<float>.Zero, s4b = Vector128<float>.Zero;
        Vector128<float> s5a = Vector128<float>.Zero, s5b = Vector128<float>.Zero;
        byte* row0 = (byte*)rows;
        byte* row3 = (byte*)rows + 3 * rowBytes;
        for (nint k = 0; k < depth; k++)
        {
            Vector128<float> wa = Vector128.Load(panel), wb = Vector128.Load(panel + 4);
            Vector128<float> x = Vector128.Create(*(float*)(row0));
            s0a = Vector128.MultiplyAddEstimate(x, wa, s0a); s0b = Vector128.MultiplyAddEstimate(x, wb, s0b);
            x = Vector128.Create(*(float*)(row0 + rowBytes));
            s1a = Vector128.MultiplyAddEstimate(x, wa, s1a); s1b = Vector128.MultiplyAddEstimate(x, wb, s1b);
            x = Vector128.Create(*(float*)(row0 + 2 * rowBytes));
            s2a = Vector128.MultiplyAddEstimate(x, wa, s2a); s2b = Vector128.MultiplyAddEstimate(x, wb, s2b);
            x = Vector128.Create(*(float*)(row3));
            s3a = Vector128.MultiplyAddEstimate(x, wa, s3a); s3b = Vector128.MultiplyAddEstimate(x, wb, s3b);
            x = Vector128.Create(*(float*)(row3 + rowBytes));
            s4a = Vector128.MultiplyAddEstimate(x, wa, s4a); s4b = Vector128.MultiplyAddEstimate(x, wb, s4b);
            x = Vector128.Create(*(float*)(row3 + 2 * rowBytes));
            s5a = Vector128.MultiplyAddEstimate(x, wa, s5a); s5b = Vector128.MultiplyAddEstimate(x, wb, s5b);
            row0 += sizeof(float);
            row3 += sizeof(float);
            panel += 8;
            if (Sse.IsSupported)
                Sse.Prefetch1(ahead);
            ahead += aheadStep;
        }
        if (add)
        {
            s0a += Vector128.Load(products);
            s0b += Vector128.Load(products + 4);
            s1a += Vector128.Load(products + productStride);
            s1b += Vector128.Load(products + productStride + 4);
            s2a += Vector128.Load(products + 2 * productStride);
            s2b += Vector128.Load(products + 2 * productStride + 4);
            s3a += Vector128.Load(products + 3 * productStride);
            s3b += Vector128.Load(products + 3 * productStride + 4);
            s4a += Vector128.Load(products + 4 * productStride);
            s4b += Vector128.Load(products + 4 * productStride + 4);
            s5a += Vector128.Load(products + 5 * productStride);
            s5b += Vector128.Load(products + 5 * productStride + 4);
        }
        s0a.Store(products);
        s0b.Store(products + 4);
        s1a.Store(products + productStride);
        s1b.Store(products + productStride + 4);
        s2a.Store(products + 2 * productStride);
        s2b.Store(products + 2 * productStride + 4);
        s3a.Store(products + 3 * productStride);
        s3b.Store(products + 3 * productStride + 4);
        s4a.Store(products + 4 * productStride);
        s4b.Store(products + 4 * productStride + 4);
        s5a.Store(products + 5 * productStride);
        s5b.Store(products + 5 * productStride + 4);
    }
}
