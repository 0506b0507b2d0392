using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>A range of columns of all rows of a matrix: a PQ sub-space, the residual half of PSRQ's rows, or simply every column.</summary>
internal sealed class RowColumns
{
    /// <summary>Rows of a block of <see cref="ForBlocks"/>: fixed, so that sums over blocks do not depend on threads.</summary>
    public const int kRowsPerBlock = 4096;

    private readonly RowMatrix _matrix;
    private readonly int _first;

    public RowColumns(RowMatrix matrix, int first, int width)
    {
        _matrix = matrix;
        _first = first;
        Width = width;
    }

    public RowColumns(RowMatrix matrix)
        : this(matrix, 0, matrix.Dimension)
    {
    }

    /// <summary>n.</summary>
    public long Count => _matrix.Count;

    /// <summary>Values per row.</summary>
    public int Width { get; }

    /// <summary>Most rows that one view can hold.</summary>
    public int MaximumViewRows => _matrix.MaximumSpanRows;

    public ReadOnlySpan<float> Row(long row) => _matrix.Rows(row, 1).Slice(_first, Width);

    public RowView View(long start, int count) =>
        count == 0 ? new RowView(default, Width) : new RowView(_matrix.Rows(start, count)[_first..], count, Width, _matrix.Dimension);

    /// <summary>Rows worth one call of the backend: enough to keep its threads busy, few enough to cancel soon (about a second of work).</summary>
    /// <param name="codes">K of the search.</param>
    public int RowsPerCall(int codes)
    {
        const long kProductsPerCall = 1L << 36;
        long rows = Math.Max(kRowsPerBlock, kProductsPerCall / ((long)Width * codes));
        return (int)Math.Min(rows, Math.Max(1, Math.Min((1L << 27) / _matrix.Dimension, MaximumViewRows)));
    }

    /// <summary>Calls <paramref name="block"/> for every block of rows, on several threads, in any order.</summary>
    /// <param name="count">Rows to cover.</param>
    /// <param name="threads">Threads, 0 for all cores.</param>
    /// <param name="block">Number of the block, its first row, its rows.</param>
    public static void ForBlocks(long count, int threads, Action<int, long, int> block)
    {
        int blocks = BlockCount(count);
        if (blocks == 1 || threads == 1)
        {
            for (int b = 0; b < blocks; b++)
                Call(b);
            return;
        }
        Parallel.For(0, blocks, new ParallelOptions { MaxDegreeOfParallelism = threads == 0 ? Environment.ProcessorCount : threads }, Call);

        void Call(int b)
        {
            long first = (long)b * kRowsPerBlock;
            block(b, first, (int)Math.Min(kRowsPerBlock, count - first));
        }
    }

    /// <summary>Σ over rows of a value per row, as <see cref="Kernels.ILloyd"/> adds them: the same bits for any number of threads.</summary>
    /// <param name="count">Rows.</param>
    /// <param name="threads">Threads, 0 for all cores.</param>
    /// <param name="block">Fills in the values of the rows from the first.</param>
    /// <param name="blockSums">[⌈n / <see cref="kRowsPerBlock"/>⌉], written over.</param>
    public static double Sum(long count, int threads, ValuesOfRows block, double[] blockSums)
    {
        ForBlocks(count, threads, (b, first, rows) =>
        {
            Span<double> values = stackalloc double[kRowsPerBlock];
            block(first, values[..rows]);
            blockSums[b] = InterleavedSum.Of(values[..rows]);
        });
        return InterleavedSum.Of(blockSums);
    }

    /// <summary>Mean of the rows: each column in blocks, row by row, then block by block.</summary>
    public double[] Mean(int threads)
    {
        var blocks = new double[BlockCount(Count)][];
        ForBlocks(Count, threads, (b, first, count) =>
        {
            blocks[b] = new double[Width];
            for (long row = first; row < first + count; row++)
                Add(blocks[b], Row(row));
        });
        var mean = new double[Width];
        foreach (double[] sums in blocks)
        {
            for (int j = 0; j < mean.Length; j++)
                mean[j] += sums[j];
        }
        for (int j = 0; j < mean.Length; j++)
            mean[j] /= Count;
        return mean;
    }

    /// <summary>Blocks of <see cref="ForBlocks"/>.</summary>
    public static int BlockCount(long count) => (int)((count + kRowsPerBlock - 1) / kRowsPerBlock);

    private static void Add(double[] sums, ReadOnlySpan<float> row)
    {
        ref float x = ref MemoryMarshal.GetReference(row);
        ref double s = ref MemoryMarshal.GetArrayDataReference(sums);
        int j = 0;
        for (; j + Vector512<float>.Count <= row.Length; j += Vector512<float>.Count)
        {
            (Vector512<double> low, Vector512<double> high) = Vector512.Widen(Vector512.LoadUnsafe(ref x, (nuint)j));
            (Vector512.LoadUnsafe(ref s, (nuint)j) + low).StoreUnsafe(ref s, (nuint)j);
            (Vector512.LoadUnsafe(ref s, (nuint)(j + Vector512<double>.Count)) + high).StoreUnsafe(ref s, (nuint)(j + Vector512<double>.Count));
        }
        for (; j < row.Length; j++)
            sums[j] += row[j];
    }

    /// <summary>Number of rows with different values, counted up to <paramref name="enough"/>; 0 and −0 are the same value.</summary>
    public int CountDistinct(int enough)
    {
        var seen = new HashSet<long>(new RowEquality(this));
        for (long row = 0; row < Count && seen.Count < enough; row++)
            seen.Add(row);
        return seen.Count;
    }

    /// <summary>Compares rows by their values.</summary>
    public sealed class RowEquality(RowColumns rows) : IEqualityComparer<long>
    {
        public bool Equals(long x, long y)
        {
            ReadOnlySpan<float> left = rows.Row(x), right = rows.Row(y);
            for (int j = 0; j < left.Length; j++)
            {
                if (left[j] != right[j])
                    return false;
            }
            return true;
        }

        public int GetHashCode(long row)
        {
            var hash = new HashCode();
            foreach (float value in rows.Row(row))
                hash.Add(value + 0f);
            return hash.ToHashCode();
        }
    }
}

/// <summary>A float64 value of each row of a block.</summary>
/// <param name="first">First row.</param>
/// <param name="values">[rows], to be filled.</param>
internal delegate void ValuesOfRows(long first, Span<double> values);
