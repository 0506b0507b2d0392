using System.Runtime.Intrinsics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// y = R·x for rows of float32: <c>y[i] = round( Σ_j R[i, j]·x[j] )</c>, j ascending, sums in float64, one rounding to float32 at the end.
/// A product of two float32 values is exact in float64, so a fused multiply-add and a multiply followed by an add give the same bits, and the
/// vectors run along i, never along the sum: the result is the same on every machine, whatever its vector width, and for any thread count.
/// Cost: 2·n·d² flop in float64.
/// </summary>
internal sealed unsafe class RowRotation
{
    private const int kRowsPerTile = 4;
    private const int kOutputsPerTile = 3 * kLanes;
    private const int kLanes = 8;
    private const int kRowsPerTask = 64;

    private readonly int _dimension;
    private readonly int _threads;

    // Panels of kOutputsPerTile output columns: panel p, input j holds R[p·kOutputsPerTile + o, j] for o = 0 …, zero beyond d.
    private readonly double[] _panels;

    /// <summary>Packs the matrix.</summary>
    /// <param name="matrix">[d, d] row-major.</param>
    /// <param name="dimension">d.</param>
    /// <param name="threads">Threads to use, 0 for all cores.</param>
    public RowRotation(ReadOnlySpan<float> matrix, int dimension, int threads)
    {
        _dimension = dimension;
        _threads = threads == 0 ? Environment.ProcessorCount : threads;
        int panels = (dimension + kOutputsPerTile - 1) / kOutputsPerTile;
        _panels = new double[(long)panels * dimension * kOutputsPerTile];
        for (int i = 0; i < dimension; i++)
        {
            long panel = (long)(i / kOutputsPerTile) * dimension * kOutputsPerTile + i % kOutputsPerTile;
            for (int j = 0; j < dimension; j++)
                _panels[panel + (long)j * kOutputsPerTile] = matrix[i * dimension + j];
        }
    }

    /// <summary>Rotates a block of rows.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="destination">[n, d] contiguous; must not overlap the rows.</param>
    /// <param name="firstRow">Number of the first row in messages.</param>
    /// <exception cref="ArgumentException">A rotated value overflows float32 (row named).</exception>
    public void Apply(RowView rows, Span<float> destination, long firstRow = 0)
    {
        int count = rows.Count, stride = rows.Stride;
        if (count == 0)
            return;
        int tasks = (count + kRowsPerTask - 1) / kRowsPerTask;
        fixed (float* source = rows.Values)
        fixed (float* target = destination)
        fixed (double* panels = _panels)
        {
            // Lambdas cannot capture pointers to fixed locals; plain integers can be captured.
            nint sourceAddress = (nint)source, targetAddress = (nint)target, panelAddress = (nint)panels;
            Parallel.For(0, tasks, new ParallelOptions { MaxDegreeOfParallelism = _threads }, task =>
            {
                int first = task * kRowsPerTask, last = Math.Min(count, first + kRowsPerTask);
                ApplyRows((float*)sourceAddress, stride, (float*)targetAddress, (double*)panelAddress, first, last);
            });
        }
        for (int i = 0; i < count; i++)
        {
            if (!System.Numerics.Tensors.TensorPrimitives.IsFiniteAll(destination.Slice(i * _dimension, _dimension)))
                throw new UnfitRowException(firstRow + i, "overflows float32 when it is rotated");
        }
    }

    private void ApplyRows(float* source, int stride, float* target, double* panels, int first, int last)
    {
        double* tile = stackalloc double[kRowsPerTile * kOutputsPerTile];
        for (int panel = 0; panel * kOutputsPerTile < _dimension; panel++)
        {
            int column = panel * kOutputsPerTile, columns = Math.Min(kOutputsPerTile, _dimension - column);
            double* matrix = panels + (long)panel * _dimension * kOutputsPerTile;
            for (int row = first; row < last; row += kRowsPerTile)
            {
                int rows = Math.Min(kRowsPerTile, last - row);
                // A short tile repeats its last row; what it computes twice is not written twice.
                float* x0 = source + (long)row * stride;
                float* x1 = source + (long)Math.Min(row + 1, last - 1) * stride;
                float* x2 = source + (long)Math.Min(row + 2, last - 1) * stride;
                float* x3 = source + (long)Math.Min(row + 3, last - 1) * stride;
                MultiplyTile(x0, x1, x2, x3, matrix, tile);
                for (int r = 0; r < rows; r++)
                {
                    float* y = target + (long)(row + r) * _dimension + column;
                    for (int o = 0; o < columns; o++)
                        y[o] = (float)tile[r * kOutputsPerTile + o];
                }
            }
        }
    }

    private void MultiplyTile(float* x0, float* x1, float* x2, float* x3, double* matrix, double* tile)
    {
        Vector512<double> a00 = default, a01 = default, a02 = default, a10 = default, a11 = default, a12 = default;
        Vector512<double> a20 = default, a21 = default, a22 = default, a30 = default, a31 = default, a32 = default;
        for (int j = 0; j < _dimension; j++, matrix += kOutputsPerTile)
        {
            Vector512<double> m0 = Vector512.Load(matrix), m1 = Vector512.Load(matrix + kLanes), m2 = Vector512.Load(matrix + 2 * kLanes);
            var v = Vector512.Create((double)x0[j]);
            a00 = Vector512.MultiplyAddEstimate(v, m0, a00);
            a01 = Vector512.MultiplyAddEstimate(v, m1, a01);
            a02 = Vector512.MultiplyAddEstimate(v, m2, a02);
            v = Vector512.Create((double)x1[j]);
            a10 = Vector512.MultiplyAddEstimate(v, m0, a10);
            a11 = Vector512.MultiplyAddEstimate(v, m1, a11);
            a12 = Vector512.MultiplyAddEstimate(v, m2, a12);
            v = Vector512.Create((double)x2[j]);
            a20 = Vector512.MultiplyAddEstimate(v, m0, a20);
            a21 = Vector512.MultiplyAddEstimate(v, m1, a21);
            a22 = Vector512.MultiplyAddEstimate(v, m2, a22);
            v = Vector512.Create((double)x3[j]);
            a30 = Vector512.MultiplyAddEstimate(v, m0, a30);
            a31 = Vector512.MultiplyAddEstimate(v, m1, a31);
            a32 = Vector512.MultiplyAddEstimate(v, m2, a32);
        }
        a00.Store(tile);
        a01.Store(tile + kLanes);
        a02.Store(tile + 2 * kLanes);
        a10.Store(tile + kOutputsPerTile);
        a11.Store(tile + kOutputsPerTile + kLanes);
        a12.Store(tile + kOutputsPerTile + 2 * kLanes);
        a20.Store(tile + 2 * kOutputsPerTile);
        a21.Store(tile + 2 * kOutputsPerTile + kLanes);
        a22.Store(tile + 2 * kOutputsPerTile + 2 * kLanes);
        a30.Store(tile + 3 * kOutputsPerTile);
        a31.Store(tile + 3 * kOutputsPerTile + kLanes);
        a32.Store(tile + 3 * kOutputsPerTile + 2 * kLanes);
    }
}
