using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    // accumulate: sums[k, j] += Σ_{i : codes[i] = k} rows[i, j]      counts[k] += |{i : codes[i] = k}|      oracle: Scalar/Accumulate.cs
    //   in    rows (n, d) f32 · codes (n) u16 < K
    //   out   sums (K, d) f64 · counts (K) i64, both added to
    //   order each sum takes its rows one by one, in ascending i, exactly as the oracle does: same bytes for any thread count
    //   work  a stable counting sort lists the rows of each code; a unit is one code, or a range of columns of a code so heavy
    //         that it alone would hold up the others; one thread owns the unit's sums
    //   cost  n·d additions, 4·n·d bytes read once, kRowsAtOnce rows per pass over the sums in cache; 4·(n + threads·K) bytes

    private const int kRowsAtOnce = 4;

    // The rows of a code are scattered, so they are fetched this many values ahead of the additions.
    private const int kValuesFetchedAhead = 2048;

    // Column ranges of a heavy code are multiples of this: four cache lines of a row.
    private const int kColumnsPerStep = 64;

    // A unit holds at most 1/(kUnitsPerThread·threads) of all additions, as far as kColumnsPerStep allows.
    private const int kUnitsPerThread = 2;

    /// <inheritdoc/>
    public unsafe void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts)
    {
        OpArguments.CheckAccumulate(rows, codes, codeCount, sums, counts);
        if (rows.Count == 0)
            return;
        int[] order = GC.AllocateUninitializedArray<int>(rows.Count);
        int[] ends = new int[codeCount];
        SortByCode(codes, ends, order);
        List<(int Code, int Column, int Columns)> units = AccumulateUnits(ends, rows.Dimension);
        int d = rows.Dimension;
        long stride = rows.Stride;
        fixed (float* pinnedRows = rows.Values)
        fixed (double* pinnedSums = sums)
        {
            float* x = pinnedRows;
            double* s = pinnedSums;
            Workers.RunUnits(Threads, units.Count, (_, unit) =>
            {
                (int code, int column, int columns) = units[unit];
                int start = code == 0 ? 0 : ends[code - 1];
                AddRows(x + column, stride, order.AsSpan(start, ends[code] - start), columns, s + (long)code * d + column);
            });
        }
        for (int k = 0; k < codeCount; k++)
            counts[k] += ends[k] - (k == 0 ? 0 : ends[k - 1]);
    }

    // Stable counting sort: order lists the rows by code, ascending within a code; those of code k end before ends[k].
    // Each worker counts, then places, its own contiguous part of the rows.
    private unsafe void SortByCode(ReadOnlySpan<ushort> codes, int[] ends, int[] order)
    {
        int n = codes.Length, codeCount = ends.Length;
        int parts = Math.Max(1, Math.Min(Threads, n / (2 * codeCount)));
        int[][] places = new int[parts][];
        fixed (ushort* pinnedCodes = codes)
        {
            ushort* c = pinnedCodes;
            Workers.Run(parts, part =>
            {
                int[] place = new int[codeCount];
                for (int i = (int)((long)n * part / parts), end = (int)((long)n * (part + 1) / parts); i < end; i++)
                    place[c[i]]++;
                places[part] = place;
            });
            int placed = 0;
            for (int k = 0; k < codeCount; k++)
            {
                foreach (int[] place in places)
                    (place[k], placed) = (placed, placed + place[k]);
                ends[k] = placed;
            }
            Workers.Run(parts, part =>
            {
                int[] place = places[part];
                for (int i = (int)((long)n * part / parts), end = (int)((long)n * (part + 1) / parts); i < end; i++)
                    order[place[c[i]]++] = i;
            });
        }
    }

    // Heaviest first, so that no thread starts a long unit when the others are about to end.
    private List<(int Code, int Column, int Columns)> AccumulateUnits(int[] ends, int dimension)
    {
        long most = Threads == 1 ? long.MaxValue : (long)ends[^1] * dimension / ((long)Threads * kUnitsPerThread) + 1;
        var units = new List<(int Code, int Column, int Columns)>();
        int Rows(int code) => ends[code] - (code == 0 ? 0 : ends[code - 1]);
        for (int k = 0; k < ends.Length; k++)
        {
            if (Rows(k) == 0)
                continue;
            int columns = (int)Math.Min(dimension, Math.Max(kColumnsPerStep, most / Rows(k) / kColumnsPerStep * kColumnsPerStep));
            for (int column = 0; column < dimension; column += columns)
                units.Add((k, column, Math.Min(columns, dimension - column)));
        }
        units.Sort((left, right) => ((long)Rows(right.Code) * right.Columns).CompareTo((long)Rows(left.Code) * left.Columns));
        return units;
    }

    // sums[j] += rows[order[0], j], then rows[order[1], j], …: one addition per row and element, in this order.
    private static unsafe void AddRows(float* rows, long stride, ReadOnlySpan<int> order, int columns, double* sums)
    {
        int ahead = kRowsAtOnce * Math.Max(1, kValuesFetchedAhead / (kRowsAtOnce * columns));
        int r = 0;
        for (; r + kRowsAtOnce <= order.Length; r += kRowsAtOnce)
        {
            float* row0 = rows + order[r] * stride, row1 = rows + order[r + 1] * stride;
            float* row2 = rows + order[r + 2] * stride, row3 = rows + order[r + 3] * stride;
            int next = Math.Min(r + ahead, order.Length - kRowsAtOnce);
            float* next0 = rows + order[next] * stride, next1 = rows + order[next + 1] * stride;
            float* next2 = rows + order[next + 2] * stride, next3 = rows + order[next + 3] * stride;
            int j = 0;
            for (; j + 16 <= columns; j += 16)
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(next0 + j);
                    Sse.Prefetch0(next1 + j);
                    Sse.Prefetch0(next2 + j);
                    Sse.Prefetch0(next3 + j);
                }
                Add8(row0 + j, row1 + j, row2 + j, row3 + j, sums + j);
                Add8(row0 + j + 8, row1 + j + 8, row2 + j + 8, row3 + j + 8, sums + j + 8);
            }
            for (; j < columns; j++)
                sums[j] = sums[j] + row0[j] + row1[j] + row2[j] + row3[j];
        }
        for (; r < order.Length; r++)
        {
            float* row = rows + order[r] * stride;
            for (int j = 0; j < columns; j++)
                sums[j] += row[j];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Add8(float* row0, float* row1, float* row2, float* row3, double* sums)
    {
        if (Vector512.IsHardwareAccelerated && Avx512F.IsSupported)
        {
            (Vector512.Load(sums)
                + Avx512F.ConvertToVector512Double(Vector256.Load(row0))
                + Avx512F.ConvertToVector512Double(Vector256.Load(row1))
                + Avx512F.ConvertToVector512Double(Vector256.Load(row2))
                + Avx512F.ConvertToVector512Double(Vector256.Load(row3))).Store(sums);
            return;
        }
        (Vector256<double> low0, Vector256<double> high0) = Vector256.Widen(Vector256.Load(row0));
        (Vector256<double> low1, Vector256<double> high1) = Vector256.Widen(Vector256.Load(row1));
        (Vector256<double> low2, Vector256<double> high2) = Vector256.Widen(Vector256.Load(row2));
        (Vector256<double> low3, Vector256<double> high3) = Vector256.Widen(Vector256.Load(row3));
        (Vector256.Load(sums) + low0 + low1 + low2 + low3).Store(sums);
        (Vector256.Load(sums + 4) + high0 + high1 + high2 + high3).Store(sums + 4);
    }
}
