using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Products of a block of rows with packed codewords: the float32 matrix product under every vector kernel.
/// <code>
///   in    rows (R, d) row-major f32, any stride · codewords packed in panels: [depth block][panel][k][kCodesPerPanel]
///   out   products (R, K) f32, products[i, j] = Σ_k rows[i, k] · codeword[j, k]
///   order one chain of additions per product inside a depth block of kDepthPerBlock, then one addition per block:
///         error ≤ Bounds.Product(d) · ‖row‖‖codeword‖; the value depends on nothing but the row and the codeword
///   work  a tile of kRowsPerTile × kCodesPerPanel products stays in registers for a whole depth block
/// </code>
/// A row is read by broadcasts straight from its row-major place, so rows are never packed. A depth block of all rows stays in the second-level
/// cache while every panel (64 KB with AVX-512) passes it by, so codewords are fetched from beyond it once per block of rows.
/// </summary>
internal static unsafe class Product
{
    /// <summary>Longest run of k that a tile accumulates in registers. Bounds the rounding of long rows and keeps a block of rows in cache.</summary>
    public const int kDepthPerBlock = 256;

    private const int kCacheLine = 64;

    /// <summary>Rows of a tile; callers pad their row and product buffers to a multiple of it.</summary>
    public const int RowsPerTile = 6;

    /// <summary>Codewords of a panel; packed codewords are padded with zeros to a multiple of it.</summary>
    public static int CodesPerPanel => UseAvx512 ? 64 : UseAvx2 ? 16 : 8;

    private static bool UseAvx512 => Avx512F.IsSupported && Vector512.IsHardwareAccelerated;

    private static bool UseAvx2 => Fma.IsSupported && Vector256.IsHardwareAccelerated;

    /// <summary>Number of rows rounded up to whole tiles.</summary>
    public static int PaddedRows(int rows) => (rows + RowsPerTile - 1) / RowsPerTile * RowsPerTile;

    /// <summary>
    /// products[i, j] = rows[i] · codewords[firstCode + j] for i &lt; PaddedRows(rowCount), j &lt; codeCount rounded up to whole panels.
    /// </summary>
    /// <param name="rows">PaddedRows(rowCount) readable rows of at least codewords.Depth values; padding rows may hold anything finite.</param>
    /// <param name="rowStride">Values between two rows.</param>
    /// <param name="rowCount">R.</param>
    /// <param name="codewords">The packed right-hand side.</param>
    /// <param name="firstCode">A multiple of <see cref="CodesPerPanel"/>.</param>
    /// <param name="codeCount">Codewords wanted from there.</param>
    /// <param name="products">PaddedRows(rowCount) rows of codeCount rounded up to whole panels.</param>
    /// <param name="productStride">Values between two rows of products.</param>
    /// <param name="ahead">Memory that is wanted next, such as the following block of rows: fetched into the cache meanwhile, evenly; or null.</param>
    /// <param name="aheadBytes">Its length.</param>
    public static void Multiply(
        float* rows, nint rowStride, int rowCount, PackedCodewords codewords, int firstCode, int codeCount, float* products, nint productStride,
        float* ahead = null, nint aheadBytes = 0)
    {
        Debug.Assert(firstCode % CodesPerPanel == 0, "a slice starts at a panel");
        int firstPanel = firstCode / CodesPerPanel;
        int panels = (codeCount + CodesPerPanel - 1) / CodesPerPanel;
        int tileRows = RowsPerTile;
        int tiles = PaddedRows(rowCount) / tileRows;
        byte* fetched = (byte*)ahead;
        nint aheadStep = aheadBytes / Math.Max(1, (nint)tiles * panels * codewords.Depth);
        for (int depthStart = 0; depthStart < codewords.Depth; depthStart += kDepthPerBlock)
        {
            int depth = Math.Min(kDepthPerBlock, codewords.Depth - depthStart);
            for (int panel = 0; panel < panels; panel++)
            {
                float* packed = codewords.Panel(depthStart, firstPanel + panel);
                // While this panel is used for all row tiles, the next one is brought into the second-level cache, a slice per tile.
                byte* next = (byte*)(panel + 1 < panels ? codewords.Panel(depthStart, firstPanel + panel + 1)
                    : depthStart + depth < codewords.Depth ? codewords.Panel(depthStart + depth, firstPanel) : packed);
                nint panelBytes = (nint)depth * CodesPerPanel * sizeof(float);
                nint slice = (panelBytes / tiles + kCacheLine - 1) / kCacheLine * kCacheLine;
                for (int tile = 0; tile < tiles; tile++)
                {
                    if (Sse.IsSupported)
                    {
                        for (nint at = tile * slice, end = Math.Min(panelBytes, at + slice); at < end; at += kCacheLine)
                            Sse.Prefetch1(next + at);
                    }
                    Tile(rows + (nint)tile * tileRows * rowStride + depthStart, rowStride * sizeof(float), packed, depth,
                        products + (nint)tile * tileRows * productStride + (nint)panel * CodesPerPanel, productStride, depthStart > 0,
                        ahead == null ? (byte*)packed : fetched, aheadStep);
                    fetched += depth * aheadStep;
                }
            }
        }
    }

    private static void Tile(float* rows, nint rowBytes, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        if (UseAvx512)
            Tile6x64(rows, rowBytes, panel, depth, products, productStride, add, ahead, aheadStep);
        else if (UseAvx2)
            Tile6x16(rows, rowBytes, panel, depth, products, productStride, add, ahead, aheadStep);
        else
            Tile6x8(rows, rowBytes, panel, depth, products, productStride, add, ahead, aheadStep);
    }

    // 24 accumulators, 4 panel vectors, 1 broadcast: 29 of 32 registers. 24 multiply-adds take 34 instructions and two steps share one turn of the
    // loop: on a core that another machine's work shares, instructions are what runs out first (14 × 32 needs 44 for 28 and lost 15 % there).
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Tile6x64(float* rows, nint rowBytes, float* panel, nint depth, float* products, nint productStride, bool add, byte* ahead, nint aheadStep)
    {
        Vector512<float> s0a = Vector512<float>.Zero, s0b = Vector512<float>.Zero, s0c = Vector512<float>.Zero, s0d = Vector512<float>.Zero;
        Vector512<float> s1a = Vector512<float>.Zero, s1b = Vector512<float>.Zero, s1c = Vector512<float>.Zero, s1d = Vector512<float>.Zero;
        Vector512<float> s2a = Vector512<float>.Zero, s2b = Vector512<float>.Zero, s2c = Vector512<float>.Zero, s2d = Vector512<float>.Zero;
        Vector512<float> s3a = Vector512<float>.Zero, s3b = Vector512<float>.Zero, s3c = Vector512<float>.Zero, s3d = Vector512<float>.Zero;
        Vector512<float> s4a = Vector512<float>.Zero, s4b = Vector512<float>.Zero, s4c = Vector512<float>.Zero, s4d = Vector512<float>.Zero;
        Vector512<float> s5a = Vector512<float>.Zero, s5b = Vector512<float>.Zero, s5c = Vector512<float>.Zero, s5d = Vector512<float>.Zero;
        Vector512<float> wa, wb, wc, wd, x;
        byte* row0 = (byte*)rows;
        byte* row3 = (byte*)rows + 3 * rowBytes;
        for (nint pairs = depth / 2; pairs > 0; pairs--)
        {
            wa = Vector512.Load(panel);
            wb = Vector512.Load(panel + 16);
            wc = Vector512.Load(panel + 32);
            wd = Vector512.Load(panel + 48);
            x = Vector512.Create(*(float*)(row0));
            s0a = Avx512F.FusedMultiplyAdd(x, wa, s0a);
            s0b = Avx512F.FusedMultiplyAdd(x, wb, s0b);
            s0c = Avx512F.FusedMultiplyAdd(x, wc, s0c);
            s0d = Avx512F.FusedMultiplyAdd(x, wd, s0d);
            x = Vector512.Create(*(float*)(row0 + rowBytes));
            s1a = Avx512F.FusedMultiplyAdd(x, wa, s1a);
            s1b = Avx512F.FusedMultiplyAdd(x, wb, s1b);
            s1c = Avx512F.FusedMultiplyAdd(x, wc, s1c);
            s1d = Avx512F.FusedMultiplyAdd(x, wd, s1d);
            x = Vector512.Create(*(float*)(row0 + 2 * rowBytes));
            s2a = Avx512F.FusedMultiplyAdd(x, wa, s2a);
            s2b = Avx512F.FusedMultiplyAdd(x, wb, s2b);
            s2c = Avx512F.FusedMultiplyAdd(x, wc, s2c);
            s2d = Avx512F.FusedMultiplyAdd(x, wd, s2d);
            x = Vector512.Create(*(float*)(row3));
            s3a = Avx512F.FusedMultiplyAdd(x, wa, s3a);
            s3b = Avx512F.FusedMultiplyAdd(x, wb, s3b);
            s3c = Avx512F.FusedMultiplyAdd(x, wc, s3c);
            s3d = Avx512F.FusedMultiplyAdd(x, wd, s3d);
            x = Vector512.Create(*(float*)(row3 + rowBytes));
            s4a = Avx512F.FusedMultiplyAdd(x, wa, s4a);
            s4b = Avx512F.FusedMultiplyAdd(x, wb, s4b);
            s4c = Avx512F.FusedMultiplyAdd(x, wc, s4c);
            s4d = Avx512F.FusedMultiplyAdd(x, wd, s4d);
            x = Vector512.Create(*(float*)(row3 + 2 * rowBytes));
            s5a = Avx512F.FusedMultiplyAdd(x, wa, s5a);
            s5b = Avx512F.FusedMultiplyAdd(x, wb, s5b);
            s5c = Avx512F.FusedMultiplyAdd(x, wc, s5c);
            s5d = Avx512F.FusedMultiplyAdd(x, wd, s5d);
            wa = Vector512.Load(panel + 64);
            wb = Vector512.Load(panel + 80);
            wc = Vector512.Load(panel + 96);
            wd = Vector512.Load(panel + 112);
            x = Vector512.Create(*(float*)(row0 + 4));
            s0a = Avx512F.FusedMultiplyAdd(x, wa, s0a);
            s0b = Avx512F.FusedMultiplyAdd(x, wb, s0b);
            s0c = Avx512F.FusedMultiplyAdd(x, wc, s0c);
            s0d = Avx512F.FusedMultiplyAdd(x, wd, s0d);
            x = Vector512.Create(*(float*)(row0 + rowBytes + 4));
            s1a = Avx512F.FusedMultiplyAdd(x, wa, s1a);
            s1b = Avx512F.FusedMultiplyAdd(x, wb, s1b);
            s1c = Avx512F.FusedMultiplyAdd(x, wc, s1c);
            s1d = Avx512F.FusedMultiplyAdd(x, wd, s1d);
            x = Vector512.Create(*(float*)(row0 + 2 * rowBytes + 4));
            s2a = Avx512F.FusedMultiplyAdd(x, wa, s2a);
            s2b = Avx512F.FusedMultiplyAdd(x, wb, s2b);
            s2c = Avx512F.FusedMultiplyAdd(x, wc, s2c);
            s2d = Avx512F.FusedMultiplyAdd(x, wd, s2d);
            x = Vector512.Create(*(float*)(row3 + 4));
            s3a = Avx512F.FusedMultiplyAdd(x, wa, s3a);
            s3b = Avx512F.FusedMultiplyAdd(x, wb, s3b);
            s3c = Avx512F.FusedMultiplyAdd(x, wc, s3c);
            s3d = Avx512F.FusedMultiplyAdd(x, wd, s3d);
            x = Vector512.Create(*(float*)(row3 + rowBytes + 4));
            s4a = Avx512F.FusedMultiplyAdd(x, wa, s4a);
            s4b = Avx512F.FusedMultiplyAdd(x, wb, s4b);
            s4c = Avx512F.FusedMultiplyAdd(x, wc, s4c);
            s4d = Avx512F.FusedMultiplyAdd(x, wd, s4d);
            x = Vector512.Create(*(float*)(row3 + 2 * rowBytes + 4));
            s5a = Avx512F.FusedMultiplyAdd(x, wa, s5a);
            s5b = Avx512F.FusedMultiplyAdd(x, wb, s5b);
            s5c = Avx512F.FusedMultiplyAdd(x, wc, s5c);
            s5d = Avx512F.FusedMultiplyAdd(x, wd, s5d);
            row0 += 2 * sizeof(float);
            row3 += 2 * sizeof(float);
            panel += 2 * 64;
            Sse.Prefetch1(ahead);
            ahead += 2 * aheadStep;
        }
        if (depth % 2 != 0)
        {
            wa = Vector512.Load(panel);
            wb = Vector512.Load(panel + 16);
            wc = Vector512.Load(panel + 32);
            wd = Vector512.Load(panel + 48);
            x = Vector512.Create(*(float*)(row0));
            s0a = Avx512F.FusedMultiplyAdd(x, wa, s0a);
            s0b = Avx512F.FusedMultiplyAdd(x, wb, s0b);
            s0c = Avx512F.FusedMultiplyAdd(x, wc, s0c);
            s0d = Avx512F.FusedMultiplyAdd(x, wd, s0d);
            x = Vector512.Create(*(float*)(row0 + rowBytes));
            s1a = Avx512F.FusedMultiplyAdd(x, wa, s1a);
            s1b = Avx512F.FusedMultiplyAdd(x, wb, s1b);
            s1c = Avx512F.FusedMultiplyAdd(x, wc, s1c);
            s1d = Avx512F.FusedMultiplyAdd(x, wd, s1d);
            x = Vector512.Create(*(float*)(row0 + 2 * rowBytes));
            s2a = Avx512F.FusedMultiplyAdd(x, wa, s2a);
            s2b = Avx512F.FusedMultiplyAdd(x, wb, s2b);
            s2c = Avx512F.FusedMultiplyAdd(x, wc, s2c);
            s2d = Avx512F.FusedMultiplyAdd(x, wd, s2d);
            x = Vector512.Create(*(float*)(row3));
            s3a = Avx512F.FusedMultiplyAdd(x, wa, s3a);
            s3b = Avx512F.FusedMultiplyAdd(x, wb, s3b);
            s3c = Avx512F.FusedMultiplyAdd(x, wc, s3c);
            s3d = Avx512F.FusedMultiplyAdd(x, wd, s3d);
            x = Vector512.Create(*(float*)(row3 + rowBytes));
            s4a = Avx512F.FusedMultiplyAdd(x, wa, s4a);
            s4b = Avx512F.FusedMultiplyAdd(x, wb, s4b);
            s4c = Avx512F.FusedMultiplyAdd(x, wc, s4c);
            s4d = Avx512F.FusedMultiplyAdd(x, wd, s4d);
            x = Vector512.Create(*(float*)(row3 + 2 * rowBytes));
            s5a = Avx512F.FusedMultiplyAdd(x, wa, s5a);
            s5b = Avx512F.FusedMultiplyAdd(x, wb, s5b);
            s5c = Avx512F.FusedMultiplyAdd(x, wc, s5c);
            s5d = Avx512F.FusedMultiplyAdd(x, wd, s5d);
        }
        if (add)
        {
            s0a += Vector512.Load(products);
            s0b += Vector512.Load(products + 16);
            s0c += Vector512.Load(products + 32);
            s0d += Vector512.Load(products + 48);
            s1a += Vector512.Load(products + productStride);
            s1b += Vector512.Load(products + productStride + 16);
            s1c += Vector512.Load(products + productStride + 32);
            s1d += Vector512.Load(products + productStride + 48);
            s2a += Vector512.Load(products + 2 * productStride);
            s2b += Vector512.Load(products + 2 * productStride + 16);
            s2c += Vector512.Load(products + 2 * productStride + 32);
            s2d += Vector512.Load(products + 2 * productStride + 48);
            s3a += Vector512.Load(products + 3 * productStride);
            s3b += Vector512.Load(products + 3 * productStride + 16);
            s3c += Vector512.Load(products + 3 * productStride + 32);
            s3d += Vector512.Load(products + 3 * productStride + 48);
            s4a += Vector512.Load(products + 4 * productStride);
            s4b += Vector512.Load(products + 4 * productStride + 16);
            s4c += Vector512.Load(products + 4 * productStride + 32);
            s4d += Vector512.Load(products + 4 * productStride + 48);
            s5a += Vector512.Load(products + 5 * productStride);
            s5b += Vector512.Load(products + 5 * productStride + 16);
            s5c += Vector512.Load(products + 5 * productStride + 32);
            s5d += Vector512.Load(products + 5 * productStride + 48);
        }
        s0a.Store(products);
        s0b.Store(products + 16);
        s0c.Store(products + 32);
        s0d.Store(products + 48);
        s1a.Store(products + productStride);
        s1b.Store(products + productStride + 16);
        s1c.Store(products + productStride + 32);
        s1d.Store(products + productStride + 48);
        s2a.Store(products + 2 * productStride);
        s2b.Store(products + 2 * productStride + 16);
        s2c.Store(products + 2 * productStride + 32);
        s2d.Store(products + 2 * productStride + 48);
        s3a.Store(products + 3 * productStride);
        s3b.Store(products + 3 * productStride + 16);
        s3c.Store(products + 3 * productStride + 32);
        s3d.Store(products + 3 * productStride + 48);
        s4a.Store(products + 4 * productStride);
        s4b.Store(products + 4 * productStride + 16);
        s4c.Store(products + 4 * productStride + 32);
        s4d.Store(products + 4 * productStride + 48);
        s5a.Store(products + 5 * productStride);
        s5b.Store(products + 5 * productStride + 16);
        s5c.Store(products + 5 * productStride + 32);
        s5d.Store(products + 5 * productStride + 48);
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
