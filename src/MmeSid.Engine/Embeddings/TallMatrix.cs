using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// A tall float64 matrix [n, l] outside the garbage-collected heap, l a multiple of 16, and the few dense operations that a randomized
/// decomposition takes. Each value of a result belongs to one task and is summed in ascending order, so that threads change no bit.
/// </summary>
internal sealed unsafe class TallMatrix : SafeHandle
{
    /// <summary>Columns of a register tile: two vectors of eight.</summary>
    public const int ColumnsPerTile = 16;

    /// <summary>Rows of a register tile: with two vectors of columns, sixteen accumulators.</summary>
    private const int kRowsPerTile = 8;

    /// <summary>Rows whose values stay in the second-level cache while a strip of columns walks over them.</summary>
    private const int kRowsPerPanel = 64;

    public TallMatrix(long rows, int columns)
        : base(0, ownsHandle: true)
    {
        if (columns % ColumnsPerTile != 0)
            throw new ArgumentException($"{columns} columns, expected a multiple of {ColumnsPerTile}", nameof(columns));
        Rows = rows;
        Columns = columns;
        nuint bytes = checked((nuint)Math.Max(1, rows) * (nuint)columns * sizeof(double));
        try
        {
            SetHandle((nint)NativeMemory.AlignedAlloc(bytes, 64));
        }
        catch (OutOfMemoryException)
        {
            throw new InsufficientMemoryException($"a decomposition of {rows} rows at {columns} dimensions needs {bytes / 1e9:F2} GB, which could not be allocated");
        }
        NativeMemory.Clear((void*)handle, bytes);
    }

    public long Rows { get; }

    public int Columns { get; }

    public override bool IsInvalid => handle == 0;

    public double* Values => (double*)handle;

    public Span<double> Row(long row) => new(Values + row * Columns, Columns);

    /// <summary>this = A·X for a sparse A [Rows, X.Rows].</summary>
    public void SetProduct(SparseRows a, TallMatrix x, ParallelOptions threads)
    {
        ForBlocks(a.RowCount, 256, threads, (first, end) =>
        {
            for (long row = first; row < end; row++)
            {
                double* target = Values + row * Columns;
                new Span<double>(target, Columns).Clear();
                for (long i = a.RowStarts[row]; i < a.RowStarts[row + 1]; i++)
                    AddScaled(a.Values[i], x.Values + (long)a.Columns[i] * Columns, target, Columns);
            }
        });
    }

    /// <summary>G = YᵀY of this Y, [l, l], both triangles filled.</summary>
    public TallMatrix Gram(ParallelOptions threads)
    {
        var gram = new TallMatrix(Columns, Columns);
        Parallel.For(0, Columns / ColumnsPerTile, threads, strip => GramStrip(strip * ColumnsPerTile, gram));
        for (int i = 0; i < Columns; i++)
        {
            for (int j = 0; j < i; j++)
                gram.Values[(long)i * Columns + j] = gram.Values[(long)j * Columns + i];
        }
        return gram;
    }

    /// <summary>this = Y·W, W [l, l]; with <paramref name="upperTriangular"/> the part of W below the diagonal is not read.</summary>
    public void SetProduct(TallMatrix y, TallMatrix w, bool upperTriangular, ParallelOptions threads)
    {
        int columns = Columns;
        using var packed = new TallMatrix(w.Rows, columns);
        for (int strip = 0; strip < columns; strip += ColumnsPerTile)
        {
            for (int i = 0; i < columns; i++)
                w.Row(i).Slice(strip, ColumnsPerTile).CopyTo(new Span<double>(packed.Values + (long)strip * columns + i * ColumnsPerTile, ColumnsPerTile));
        }
        ForBlocks(Rows, kRowsPerPanel, threads, (first, end) =>
        {
            for (int strip = 0; strip < columns; strip += ColumnsPerTile)
            {
                int depth = upperTriangular ? strip + ColumnsPerTile : columns;
                long row = first;
                for (; row <= end - kRowsPerTile; row += kRowsPerTile)
                    ProductTile(y.Values + row * columns, packed.Values + (long)strip * columns, Values + row * columns + strip, depth, columns);
                for (; row < end; row++)
                    ProductRow(y.Values + row * columns, packed.Values + (long)strip * columns, Values + row * columns + strip, depth);
            }
        });
    }

    /// <summary>y += a·x. A fused multiply-add where the machine has one (all with AVX2 or NEON).</summary>
    public static void AddScaled(double a, double* x, double* y, int count)
    {
        Vector512<double> factor = Vector512.Create(a);
        int i = 0;
        for (; i <= count - 8; i += 8)
            Vector512.MultiplyAddEstimate(factor, Vector512.Load(x + i), Vector512.Load(y + i)).Store(y + i);
        for (; i < count; i++)
            y[i] = double.MultiplyAddEstimate(a, x[i], y[i]);
    }

    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }

    private static void ForBlocks(long count, int blockSize, ParallelOptions threads, Action<long, long> body)
        => Parallel.For(0L, (count + blockSize - 1) / blockSize, threads, block => body(block * blockSize, Math.Min(count, (block + 1) * blockSize)));

    /// <summary>G[i, j] for 16 columns j and all i up to the last of them.</summary>
    private void GramStrip(int j, TallMatrix gram)
    {
        for (long first = 0; first < Rows; first += kRowsPerPanel)
        {
            int rows = (int)Math.Min(kRowsPerPanel, Rows - first);
            for (int i = 0; i < j + ColumnsPerTile; i += kRowsPerTile)
                GramTile(Values + first * Columns, i, j, rows, Columns, gram.Values + (long)i * Columns + j);
        }
    }

    /// <summary>G[i + a, j + b] += Σ_r Y[r, i + a]·Y[r, j + b] for 8 a and 16 b.</summary>
    private static void GramTile(double* y, int i, int j, int rows, int stride, double* gram)
    {
        Vector512<double> c00 = Vector512.Load(gram), c01 = Vector512.Load(gram + 8);
        Vector512<double> c10 = Vector512.Load(gram + stride), c11 = Vector512.Load(gram + stride + 8);
        Vector512<double> c20 = Vector512.Load(gram + 2L * stride), c21 = Vector512.Load(gram + 2L * stride + 8);
        Vector512<double> c30 = Vector512.Load(gram + 3L * stride), c31 = Vector512.Load(gram + 3L * stride + 8);
        Vector512<double> c40 = Vector512.Load(gram + 4L * stride), c41 = Vector512.Load(gram + 4L * stride + 8);
        Vector512<double> c50 = Vector512.Load(gram + 5L * stride), c51 = Vector512.Load(gram + 5L * stride + 8);
        Vector512<double> c60 = Vector512.Load(gram + 6L * stride), c61 = Vector512.Load(gram + 6L * stride + 8);
        Vector512<double> c70 = Vector512.Load(gram + 7L * stride), c71 = Vector512.Load(gram + 7L * stride + 8);
        for (int r = 0; r < rows; r++, y += stride)
        {
            Vector512<double> b0 = Vector512.Load(y + j), b1 = Vector512.Load(y + j + 8);
            Accumulate(y[i], b0, b1, ref c00, ref c01);
            Accumulate(y[i + 1], b0, b1, ref c10, ref c11);
            Accumulate(y[i + 2], b0, b1, ref c20, ref c21);
            Accumulate(y[i + 3], b0, b1, ref c30, ref c31);
            Accumulate(y[i + 4], b0, b1, ref c40, ref c41);
            Accumulate(y[i + 5], b0, b1, ref c50, ref c51);
            Accumulate(y[i + 6], b0, b1, ref c60, ref c61);
            Accumulate(y[i + 7], b0, b1, ref c70, ref c71);
        }
        Store(gram, stride, c00, c01, c10, c11, c20, c21, c30, c31);
        Store(gram + 4L * stride, stride, c40, c41, c50, c51, c60, c61, c70, c71);
    }

    /// <summary>C[a, b] = Σ_i Y[a, i]·W[i, b] for 8 rows a and 16 columns b; W's strip is contiguous.</summary>
    private static void ProductTile(double* y, double* w, double* c, int depth, int stride)
    {
        Vector512<double> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        Vector512<double> c40 = default, c41 = default, c50 = default, c51 = default, c60 = default, c61 = default, c70 = default, c71 = default;
        for (int i = 0; i < depth; i++, w += ColumnsPerTile)
        {
            Vector512<double> b0 = Vector512.Load(w), b1 = Vector512.Load(w + 8);
            Accumulate(y[i], b0, b1, ref c00, ref c01);
            Accumulate(y[stride + i], b0, b1, ref c10, ref c11);
            Accumulate(y[2L * stride + i], b0, b1, ref c20, ref c21);
            Accumulate(y[3L * stride + i], b0, b1, ref c30, ref c31);
            Accumulate(y[4L * stride + i], b0, b1, ref c40, ref c41);
            Accumulate(y[5L * stride + i], b0, b1, ref c50, ref c51);
            Accumulate(y[6L * stride + i], b0, b1, ref c60, ref c61);
            Accumulate(y[7L * stride + i], b0, b1, ref c70, ref c71);
        }
        Store(c, stride, c00, c01, c10, c11, c20, c21, c30, c31);
        Store(c + 4L * stride, stride, c40, c41, c50, c51, c60, c61, c70, c71);
    }

    private static void ProductRow(double* y, double* w, double* c, int depth)
    {
        Vector512<double> c0 = default, c1 = default;
        for (int i = 0; i < depth; i++, w += ColumnsPerTile)
            Accumulate(y[i], Vector512.Load(w), Vector512.Load(w + 8), ref c0, ref c1);
        c0.Store(c);
        c1.Store(c + 8);
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(double a, Vector512<double> b0, Vector512<double> b1, ref Vector512<double> c0, ref Vector512<double> c1)
    {
        Vector512<double> factor = Vector512.Create(a);
        c0 = Vector512.MultiplyAddEstimate(factor, b0, c0);
        c1 = Vector512.MultiplyAddEstimate(factor, b1, c1);
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    private static void Store(double* c, int stride, Vector512<double> c00, Vector512<double> c01, Vector512<double> c10, Vector512<double> c11, Vector512<double> c20, Vector512<double> c21, Vector512<double> c30, Vector512<double> c31)
    {
        c00.Store(c);
        c01.Store(c + 8);
        c10.Store(c + stride);
        c11.Store(c + stride + 8);
        c20.Store(c + 2L * stride);
        c21.Store(c + 2L * stride + 8);
        c30.Store(c + 3L * stride);
        c31.Store(c + 3L * stride + 8);
    }
}
