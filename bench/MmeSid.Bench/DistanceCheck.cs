using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Bench;

/// <summary>
/// Compares codes with all distances, from float64 products: ‖w‖² − 2 o·w of the operand o that the codes before leave (x less their codewords; for PSRQ their sum
/// beside it). A row of which another code is nearer by more than the roundings explain is wrong; one that they do not decide is left to the oracle.
/// </summary>
/// <param name="plan">The codebooks.</param>
/// <param name="threads">That compare.</param>
internal sealed unsafe class DistanceCheck(EncodePlan plan, int threads)
{
    private const int kRowsPerTask = 64, kRowsAtOnce = 4;
    private const int kReplacedRows = 64;

    private readonly double[][] _codewords = [.. Enumerable.Range(0, plan.Levels).Select(level =>
    {
        double[] values = new double[plan.Codebook(level).Length];
        TensorPrimitives.ConvertTruncating(plan.Codebook(level), values.AsSpan());
        return values;
    })];

    /// <summary>Rows with a wrong code.</summary>
    public long Wrong { get; private set; }

    /// <summary>Rows with a decision that float64 does not make.</summary>
    public long Close { get; private set; }

    /// <summary>Compares.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="codes">[n, L].</param>
    public void Compare(RowView rows, ReadOnlySpan<ushort> codes)
    {
        (long wrong, long close) = Count(rows, codes);
        Wrong += wrong;
        Close += close;
    }

    /// <summary>A check that cannot fail proves nothing: codes of some rows are replaced by others, hardly any of which can be as near.</summary>
    /// <exception cref="InvalidOperationException">Most of them passed.</exception>
    public void RequireThatWrongCodesAreSeen(RowView rows, ReadOnlySpan<ushort> codes)
    {
        int replaced = Math.Min(rows.Count, kReplacedRows), last = plan.Levels - 1;
        ushort[] others = codes[..(replaced * plan.Levels)].ToArray();
        for (int i = 0; i < replaced; i++)
            others[i * plan.Levels + last] = (ushort)((others[i * plan.Levels + last] + plan.CodeCount(last) / 2) % plan.CodeCount(last));
        (long seen, _) = Count(rows.Slice(0, replaced), others);
        if (seen <= replaced / 2)
            throw new InvalidOperationException($"of {replaced} codes that were replaced by wrong ones the check saw {seen}");
    }

    private (long Wrong, long Close) Count(RowView rows, ReadOnlySpan<ushort> codes)
    {
        int count = rows.Count, d = rows.Dimension, stride = rows.Stride, levels = plan.Levels;
        long wrong = 0, close = 0;
        fixed (float* firstRow = rows.Values)
        fixed (ushort* firstCode = codes)
        {
            float* x = firstRow;
            ushort* chosen = firstCode;
            Parallel.For(0, (count + kRowsPerTask - 1) / kRowsPerTask, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new Worker(plan, _codewords), (task, _, worker) =>
            {
                for (int i = task * kRowsPerTask; i < Math.Min(count, (task + 1) * kRowsPerTask); i += kRowsAtOnce)
                {
                    int live = Math.Min(kRowsAtOnce, count - i);
                    worker.Compare(new RowView(new ReadOnlySpan<float>(x + (nint)i * stride, (live - 1) * stride + d), live, d, stride), new ReadOnlySpan<ushort>(chosen + i * levels, live * levels));
                }
                return worker;
            }, worker =>
            {
                Interlocked.Add(ref wrong, worker.Wrong);
                Interlocked.Add(ref close, worker.Close);
                worker.Dispose();
            });
        }
        return (wrong, close);
    }

    private sealed class Worker : IDisposable
    {
        private readonly EncodePlan _plan;
        private readonly double[][] _codewords;
        private readonly double[][] _norms;
        private readonly double[] _operands, _products;
        private readonly int _width;
        private readonly IEncoder _oracle;

        public Worker(EncodePlan plan, double[][] codewords)
        {
            _plan = plan;
            _codewords = codewords;
            _width = Enumerable.Range(0, plan.Levels).Max(plan.CodewordWidth);
            _norms = [.. codewords.Select((values, level) => Enumerable.Range(0, plan.CodeCount(level)).Select(k => TensorPrimitives.SumOfSquares<double>(values.AsSpan(k * plan.CodewordWidth(level), plan.CodewordWidth(level)))).ToArray())];
            _operands = new double[kRowsAtOnce * _width];
            _products = new double[kRowsAtOnce * Enumerable.Range(0, plan.Levels).Max(plan.CodeCount)];
            _oracle = new ScalarBackend().CreateEncoder(plan);
        }

        public long Wrong { get; private set; }

        public long Close { get; private set; }

        public void Dispose() => _oracle.Dispose();

        public void Compare(RowView rows, ReadOnlySpan<ushort> codes)
        {
            int d = _plan.Dimension, levels = _plan.Levels;
            Span<bool> isWrong = stackalloc bool[kRowsAtOnce], isClose = stackalloc bool[kRowsAtOnce];
            for (int level = 0; level < levels; level++)
            {
                int width = _plan.CodewordWidth(level), count = _plan.CodeCount(level);
                for (int i = 0; i < rows.Count; i++)
                    SetOperand(rows[i], codes.Slice(i * levels, level), _operands.AsSpan(i * _width, width), d);
                fixed (double* operands = _operands, codewords = _codewords[level], products = _products)
                {
                    for (int k = 0; k < count; k++)
                        Multiply(operands, _width, codewords + (nint)k * width, width, products + k * kRowsAtOnce);
                }
                for (int i = 0; i < rows.Count; i++)
                {
                    double norm = TensorPrimitives.Norm<double>(_operands.AsSpan(i * _width, width)), magnitude = norm + TensorPrimitives.Norm<float>(rows[i]);
                    int code = codes[i * levels + level];
                    for (int k = 0; k < count; k++)
                    {
                        double gap = Score(code) - Score(k), length = magnitude + Math.Sqrt(_norms[level][k]) + Math.Sqrt(_norms[level][code]);
                        // Roundings of the operand, level by level, and of products and squares of this width.
                        double bound = 8 * (width + 4 * levels) * Math.Pow(2, -53) * length * length;
                        isWrong[i] |= gap > bound;
                        isClose[i] |= k != code && Math.Abs(gap) <= bound;
                    }

                    double Score(int k) => _norms[level][k] - 2 * _products[k * kRowsAtOnce + i];
                }
            }
            for (int i = 0; i < rows.Count; i++)
            {
                if (isClose[i])
                {
                    Close++;
                    ushort[] expected = new ushort[levels];
                    _oracle.Encode(rows.Slice(i, 1), expected);
                    isWrong[i] |= !codes.Slice(i * levels, levels).SequenceEqual(expected);
                }
                Wrong += isWrong[i] ? 1 : 0;
            }
        }

        // r; or [r; x − r] from PSRQ's second level on.
        private void SetOperand(ReadOnlySpan<float> row, ReadOnlySpan<ushort> path, Span<double> operand, int d)
        {
            Span<double> residual = operand[..d];
            TensorPrimitives.ConvertTruncating(row, residual);
            for (int level = 0; level < path.Length; level++)
                TensorPrimitives.Subtract<double>(residual, _codewords[level].AsSpan(path[level] * _plan.CodewordWidth(level), d), residual);
            for (int i = d; i < operand.Length; i++)
                operand[i] = row[i - d] - residual[i - d];
        }

        // Products of a codeword with four rows.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static void Multiply(double* rows, int stride, double* codeword, int width, double* products)
        {
            double* a = rows, b = rows + stride, c = rows + 2 * stride, e = rows + 3 * stride;
            Vector512<double> sumA = Vector512<double>.Zero, sumB = sumA, sumC = sumA, sumE = sumA;
            int i = 0;
            for (; i + 8 <= width; i += 8)
            {
                Vector512<double> value = Vector512.Load(codeword + i);
                sumA = Vector512.FusedMultiplyAdd(Vector512.Load(a + i), value, sumA);
                sumB = Vector512.FusedMultiplyAdd(Vector512.Load(b + i), value, sumB);
                sumC = Vector512.FusedMultiplyAdd(Vector512.Load(c + i), value, sumC);
                sumE = Vector512.FusedMultiplyAdd(Vector512.Load(e + i), value, sumE);
            }
            products[0] = Vector512.Sum(sumA);
            products[1] = Vector512.Sum(sumB);
            products[2] = Vector512.Sum(sumC);
            products[3] = Vector512.Sum(sumE);
            for (; i < width; i++)
            {
                products[0] += a[i] * codeword[i];
                products[1] += b[i] * codeword[i];
                products[2] += c[i] * codeword[i];
                products[3] += e[i] * codeword[i];
            }
        }
    }
}
