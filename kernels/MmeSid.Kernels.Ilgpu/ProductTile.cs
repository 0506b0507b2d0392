using System.Runtime.CompilerServices;
using ILGPU;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>Four neighbouring values: what one 16-byte load brings.</summary>
internal struct Float4
{
    public float X, Y, Z, W;

    public static Float4 MultiplyAdd(float left, Float4 right, Float4 sums) => new()
    {
        X = sums.X + left * right.X,
        Y = sums.Y + left * right.Y,
        Z = sums.Z + left * right.Z,
        W = sums.W + left * right.W,
    };

    public static Float4 operator +(Float4 left, Float4 right) => new() { X = left.X + right.X, Y = left.Y + right.Y, Z = left.Z + right.Z, W = left.W + right.W };
}

/// <summary>One row of a thread's products: codes <c>Own(across, 0 … 3)</c> and <c>Own(across, 4 … 7)</c>.</summary>
internal struct ProductRow
{
    public Float4 Low, High;

    public static ProductRow MultiplyAdd(float left, ProductRow right, ProductRow sums) => new()
    {
        Low = Float4.MultiplyAdd(left, right.Low, sums.Low),
        High = Float4.MultiplyAdd(left, right.High, sums.High),
    };

    public static ProductRow operator +(ProductRow left, ProductRow right) => new() { Low = left.Low + right.Low, High = left.High + right.High };
}

/// <summary>A thread's 8 × 8 products. Fields, because arrays inside a kernel live in memory.</summary>
internal struct Products
{
    public ProductRow R0, R1, R2, R3, R4, R5, R6, R7;

    public static Products operator +(Products left, Products right) => new()
    {
        R0 = left.R0 + right.R0,
        R1 = left.R1 + right.R1,
        R2 = left.R2 + right.R2,
        R3 = left.R3 + right.R3,
        R4 = left.R4 + right.R4,
        R5 = left.R5 + right.R5,
        R6 = left.R6 + right.R6,
        R7 = left.R7 + right.R7,
    };
}

/// <summary>
/// product tile: kRows × kCodes inner products of the rows of two matrices, 8 × 8 per thread; what Encode, MmdSums and TopInnerProducts have in common.
/// <code>
///   in    left (…, depth) f32 · right (…, depth) f32, depth a multiple of kDepth with zeros behind the rows' own values; whole tiles of both
///   out   64 sums in the registers of each thread
///   does  both operands pass through shared memory, kDepth values at a time, transposed; while one buffer is multiplied the next is on its way
///   why   chains of at most kDepthPerBlock products, then one addition per chain: |fl(x·w) − x·w| ≤ Bounds.Product(depth)·‖x‖‖w‖, fused or not
///   cost  2·kRows·kCodes·depth flop, 8 bytes of shared memory read for 4 multiply-adds
/// </code>
/// </summary>
internal static class ProductTile
{
    /// <summary>Of a tile, and of a thread: kPerThread × kPerThread products.</summary>
    public const int kRows = 128, kCodes = kRows, kPerThread = 8;

    /// <summary>Of a group.</summary>
    public const int kThreads = kAcross * kAcross;

    /// <summary>Values of each row that pass through shared memory at a time: two Float4 per thread and operand.</summary>
    public const int kDepth = 2 * 4 * kThreads / kRows;

    /// <summary>Longest chain of additions; whole steps of kDepth.</summary>
    public const int kDepthPerBlock = Simd.Product.kDepthPerBlock;

    // A thread's rows, and its codes, are two groups of four, half a tile apart, so that neighbours read neighbouring banks.
    private const int kAcross = kCodes / kPerThread, kHalf = kRows / 2;

    // In Float4: a line of a tile holds one value of each row, and one more keeps columns of them in different banks.
    private const int kTileStride = kRows / 4 + 1, kBuffer = kDepth * kTileStride;

    /// <summary>Float4 in shared memory that an operand's tiles take.</summary>
    public const int kShared = 2 * kBuffer;

    /// <summary>Of the thread's eight rows or codes the i-th, inside the tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Own(int group, int i) => group * 4 + i % 4 + i / 4 * kHalf;

    /// <summary>A depth with its zeros: whole steps of kDepth.</summary>
    public static int PaddedDepth(int depth) => (depth + kDepth - 1) / kDepth * kDepth;

    /// <summary>Which group of codes is the thread's.</summary>
    public static int Across => Group.IdxX % kAcross;

    /// <summary>Which group of rows is the thread's.</summary>
    public static int Down => Group.IdxX / kAcross;

    /// <summary>Every thread of the group calls it.</summary>
    /// <param name="left">Rows, [_, depth / 4].</param>
    /// <param name="right">Codes, [_, depth / 4].</param>
    /// <param name="firstRow">Of the tile.</param>
    /// <param name="firstCode">Of the tile.</param>
    /// <param name="leftStride">Float4 between two rows.</param>
    /// <param name="rightStride">Float4 between two codes.</param>
    /// <param name="depth">Values that are multiplied, a multiple of kDepth.</param>
    /// <param name="rows">Shared memory, kShared.</param>
    /// <param name="codes">Shared memory, kShared.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Products Multiply(
        ArrayView<Float4> left, ArrayView<Float4> right, long firstRow, long firstCode, int leftStride, int rightStride, int depth,
        ArrayView<Float4> rows, ArrayView<Float4> codes)
    {
        int row = Group.IdxX / 4, part = Group.IdxX % 4, across = Across, down = Down;
        long leftAt = (firstRow + row) * leftStride + part, rightAt = (firstCode + row) * rightStride + part;
        long leftHalf = (long)kHalf * leftStride, rightHalf = (long)kHalf * rightStride;

        Float4 row0 = left[leftAt], row1 = left[leftAt + leftHalf], code0 = right[rightAt], code1 = right[rightAt + rightHalf];
        Store(rows, 0, row, part, row0, row1);
        Store(codes, 0, row, part, code0, code1);
        Group.Barrier();

        Products sums = default, finished = default;
        int buffer = 0;
        for (int at = 0; at < depth; at += kDepth)
        {
            bool more = at + kDepth < depth;
            if (more)
            {
                leftAt += kDepth / 4;
                rightAt += kDepth / 4;
                row0 = left[leftAt];
                row1 = left[leftAt + leftHalf];
                code0 = right[rightAt];
                code1 = right[rightAt + rightHalf];
            }
            if (at > 0 && at % kDepthPerBlock == 0)
            {
                finished += sums;
                sums = default;
            }
            for (long k = buffer; k < buffer + kBuffer; k += kTileStride)
            {
                Float4 r0 = rows[k + down], r1 = rows[k + down + kHalf / 4];
                ProductRow c = new() { Low = codes[k + across], High = codes[k + across + kHalf / 4] };
                sums.R0 = ProductRow.MultiplyAdd(r0.X, c, sums.R0);
                sums.R1 = ProductRow.MultiplyAdd(r0.Y, c, sums.R1);
                sums.R2 = ProductRow.MultiplyAdd(r0.Z, c, sums.R2);
                sums.R3 = ProductRow.MultiplyAdd(r0.W, c, sums.R3);
                sums.R4 = ProductRow.MultiplyAdd(r1.X, c, sums.R4);
                sums.R5 = ProductRow.MultiplyAdd(r1.Y, c, sums.R5);
                sums.R6 = ProductRow.MultiplyAdd(r1.Z, c, sums.R6);
                sums.R7 = ProductRow.MultiplyAdd(r1.W, c, sums.R7);
            }
            buffer = kBuffer - buffer;
            if (more)
            {
                Store(rows, buffer, row, part, row0, row1);
                Store(codes, buffer, row, part, code0, code1);
            }
            Group.Barrier();
        }
        return finished + sums;
    }

    // Element [k, row] of a tile: kDepth lines of kRows values.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<Float4> tile, int buffer, int row, int part, Float4 first, Float4 second)
    {
        ArrayView<float> values = tile.Cast<float>();
        long at = 4L * (buffer + part * 4 * kTileStride) + row;
        values[at] = first.X;
        values[at + 4 * kTileStride] = first.Y;
        values[at + 8 * kTileStride] = first.Z;
        values[at + 12 * kTileStride] = first.W;
        values[at + kHalf] = second.X;
        values[at + kHalf + 4 * kTileStride] = second.Y;
        values[at + kHalf + 8 * kTileStride] = second.Z;
        values[at + kHalf + 12 * kTileStride] = second.W;
    }
}
