using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>
/// The matrix products that an operation cannot avoid, and nothing else: what its time is compared with. Products go to a small buffer
/// per thread and are overwritten.
/// </summary>
internal static unsafe class PlainProducts
{
    private const int kTilesPerBlock = 8, kCodesPerSlice = 1024;

    /// <summary>All products of rows with targets; with <paramref name="half"/> only those on and below the diagonal's blocks.</summary>
    public static void Multiply(RowMatrix rows, RowMatrix targets, int threads, bool half)
    {
        fixed (float* target = targets.Rows(0, (int)targets.Count), row = rows.Rows(0, (int)rows.Count))
        {
            using var packed = new PackedCodewords(target, targets.Dimension, (int)targets.Count, targets.Dimension);
            nint first = (nint)row;
            int rowsPerBlock = kTilesPerBlock * Product.kRowsPerTile, whole = (int)rows.Count / Product.kRowsPerTile * Product.kRowsPerTile;
            Parallel.For(0, (whole + rowsPerBlock - 1) / rowsPerBlock, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new float[rowsPerBlock * (kCodesPerSlice + Product.CodesPerPanel)],
                (block, _, buffer) =>
                {
                    int start = block * rowsPerBlock, count = Math.Min(rowsPerBlock, whole - start), end = half ? Math.Min(packed.Count, start + count) : packed.Count;
                    fixed (float* products = buffer)
                    {
                        for (int code = 0; code < end; code += kCodesPerSlice)
                        {
                            int slice = Math.Min(kCodesPerSlice, end - code);
                            Product.Multiply((float*)first + (nint)start * rows.Dimension, rows.Dimension, count, packed, code, slice, products, kCodesPerSlice + Product.CodesPerPanel);
                        }
                    }
                    return buffer;
                },
                _ => { });
        }
    }
}
