using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime.Cuda;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>Rows of a batch and what has been chosen for them.</summary>
internal struct EncodeRows
{
    /// <summary>x, [Count, Dimension].</summary>
    public ArrayView<float> Values;

    /// <summary>[Count, Levels]; of a level at hand those before it are read.</summary>
    public ArrayView<ushort> Codes;

    public int Count, Dimension, Levels;

    /// <summary>All levels' codewords as the plan has them, level j from Offsets[j], WidthFirst or Width values each.</summary>
    public ArrayView<float> Codebooks;

    /// <summary>[Levels] first value of a level's codebook.</summary>
    public ArrayView<long> Offsets;

    /// <summary>Values per codeword after the first level: d, or 2d.</summary>
    public int Width;

    /// <summary>First value of the codeword that is subtracted for the row at this level.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long Chosen(int row, int level) => Offsets[level] + (long)Codes[(long)row * Levels + level] * (level == 0 ? Dimension : Width);
}

/// <summary>What a batch counts, places of <see cref="EncodeRows"/>' counters: Levels counts of open rows come first.</summary>
internal enum EncodeCounter
{
    /// <summary>Decisions that float64 left open.</summary>
    Undecided,

    /// <summary>Codewords compared in float64.</summary>
    Candidates,

    /// <summary>First row that is not finite, int.MaxValue where there is none.</summary>
    BadRow,

    /// <summary>Number of these.</summary>
    Count,
}

internal struct PrepareArguments
{
    public EncodeRows Rows;

    /// <summary>m, [d].</summary>
    public ArrayView<float> Centre;

    /// <summary>Of the level before, [K, d]: the first level's are centred. Any view at level 0.</summary>
    public ArrayView<float> Subtrahends;

    /// <summary>[_, Stride]: [r̂] or [r̂ | x − m − r̂], zeros behind. Read where Level > 0.</summary>
    public ArrayView<float> Operands;

    /// <summary>[Count] bound of ‖r̂ − r‖. Read where Level > 0.</summary>
    public ArrayView<double> Errors;

    /// <summary>[Count] 2E rounded up, +∞ where the screen proves nothing.</summary>
    public ArrayView<float> Margins;

    /// <summary>See <see cref="EncodeCounter"/>.</summary>
    public ArrayView<int> Counters;

    /// <summary>E = Constant + PerNorm ‖r̂‖ + PerError ‖r̂ − r‖ (docs/exactness.md §4).</summary>
    public double Constant, PerNorm, PerError;

    /// <summary>Of the subtrahends: what their own roundings add to ‖r̂ − r‖.</summary>
    public double Rounding;

    /// <summary>Above it a float32 score could overflow.</summary>
    public double LargestNorm;

    public int Level, Depth, Stride;
}

internal struct ScreenArguments
{
    public EncodeRows Rows;
    public ArrayView<Float4> Operands;

    /// <summary>w, [PaddedCodes, CodewordStride].</summary>
    public ArrayView<Float4> Codewords;

    /// <summary>β, [PaddedCodes]; +∞ where there is no code to choose.</summary>
    public ArrayView<Float4> Biases;

    /// <summary>T_j, [K_j, PaddedCodes] from TableOffsets[j].</summary>
    public ArrayView<Float4> Tables;

    public ArrayView<long> TableOffsets;
    public ArrayView<float> Margins;

    /// <summary>[_] rows that stay open; the first Counters[Level] of them.</summary>
    public ArrayView<int> Open;

    /// <summary>[_] candidates of an open row, kAllCodes where the list was too short.</summary>
    public ArrayView<int> CandidateCounts;

    /// <summary>[_, kCandidates].</summary>
    public ArrayView<ushort> Candidates;

    public ArrayView<int> Counters;

    /// <summary>Both strides in Float4.</summary>
    public int OperandStride, CodewordStride;

    public int Depth, PaddedCodes, Level, TableCount;
}

internal struct RecheckArguments
{
    public EncodeRows Rows;
    public ArrayView<int> Open, CandidateCounts, Counters;
    public ArrayView<ushort> Candidates;

    /// <summary>Rows that float64 cannot decide; the first Counters[Levels + Undecided] of them, a row once per level.</summary>
    public ArrayView<int> Undecided;

    /// <summary>Σ_{j&lt;l} max ‖c_j‖.</summary>
    public double CodewordNorms;

    public int Level;
}

/// <summary>
/// encode: codes[i, l] = argmin_k of the real-number distances of EncodePlan          oracle: Scalar/Encode.cs
/// <code>
///   in    rows (n, d) row-major f32 · plan
///   out   codes (n, L) u16 · errors (n) f32 = ‖r_{L+1}‖²
///   does  per batch and level three kernels, the sisters of kernels/cuda: Prepare (r̂ = x − m, or r̂ −= w[code], and each row's margin 2E),
///         Screen (products r̂ · w, scores s = β − 2 r̂·w + PSRQ's prefix tables, the codes within the margin), Recheck (float64 distances of
///         the candidates); what float64 leaves open is encoded again by the host's vectors
///   why   |ŝ − s| ≤ E for every k, so the argmin of s is among the codes within 2E of the smallest ŝ
///   ties  decided exactly on the host, the smallest k
///   work  a group owns kRows rows for all codewords, a thread 8 × 8 products; no warp operations: any device, and the CPU simulator, runs it
///   cost  2·n·d·ΣK flop; a row's operand is written once and read K / kCodes times, from the second-level cache
/// </code>
/// </summary>
internal static class EncodeKernel
{
    public const int kRows = ProductTile.kRows, kCodes = ProductTile.kCodes, kScreenThreads = ProductTile.kThreads;

    /// <summary>Candidates that an open row can name; a row with more is left to the host.</summary>
    public const int kCandidates = 16, kAllCodes = -1;

    /// <summary>Rows of a group, kPrepareLanes threads a row at a time.</summary>
    public const int kPrepareThreads = 256, kPrepareRows = 32;

    /// <summary>A group re-checks a row at a time.</summary>
    public const int kRecheckThreads = 32;

    /// <summary>Eight threads a row: the oracle's eight partial sums.</summary>
    public const int kErrorThreads = 128, kErrorLanes = 8, kErrorRows = kErrorThreads / kErrorLanes;

    private const int kPrepareLanes = 32, kPrepareAtOnce = kPrepareThreads / kPrepareLanes;

    // Float32 overflow is kept at this distance.
    private const double kOverflow = 1e37;

    /// <summary>A group per kPrepareRows rows.</summary>
    public static void Prepare(PrepareArguments a)
    {
        ArrayView<float> squares = SharedMemory.Allocate<float>(kPrepareRows * (kPrepareLanes + 1));
        int lane = Group.IdxX % kPrepareLanes, first = Grid.IdxX * kPrepareRows, d = a.Rows.Dimension;
        for (int local = Group.IdxX / kPrepareLanes; local < kPrepareRows; local += kPrepareAtOnce)
        {
            int row = first + local;
            float sum = 0;
            if (row < a.Rows.Count)
            {
                long operand = (long)row * a.Stride, x = (long)row * d;
                long subtrahend = a.Level > 0 ? (long)a.Rows.Codes[(long)row * a.Rows.Levels + a.Level - 1] * d : 0;
                for (int i = lane; i < a.Stride; i += kPrepareLanes)
                {
                    float value = 0;
                    if (a.Level > 0)
                    {
                        value = a.Operands[operand + i];
                        if (i < d)
                            value -= a.Subtrahends[subtrahend + i];
                        else if (i < a.Depth)
                            value += a.Subtrahends[subtrahend + i - d];
                    }
                    else if (i < d)
                    {
                        value = a.Rows.Values[x + i] - a.Centre[i];
                    }
                    a.Operands[operand + i] = value;
                    sum += value * value;
                }
            }
            squares[local * (kPrepareLanes + 1) + lane] = sum;
        }
        Group.Barrier();
        int own = first + Group.IdxX;
        if (Group.IdxX >= kPrepareRows || own >= a.Rows.Count)
            return;
        float all = 0;
        for (int i = 0; i < kPrepareLanes; i++)
            all += squares[Group.IdxX * (kPrepareLanes + 1) + i];
        // Squares below 2⁻¹⁴⁹ vanish: they are made up for.
        double norm = XMath.Sqrt((double)all + a.Stride * (double)float.Epsilon);
        if (a.Level == 0 && !(norm <= float.MaxValue))
        {
            // Finite values whose squares overflow are left to the re-check.
            for (int i = 0; i < d; i++)
            {
                if (!(XMath.Abs(a.Rows.Values[(long)own * d + i]) <= float.MaxValue))
                    Atomic.Min(ref a.Counters[a.Rows.Levels + (int)EncodeCounter.BadRow], own);
            }
        }
        double rowError = (a.Level > 0 ? a.Errors[own] + a.Rounding : 0) + Bounds.Float32 * norm;
        double error = a.Constant + a.PerNorm * norm + a.PerError * rowError;
        a.Errors[own] = rowError;
        a.Margins[own] = norm <= a.LargestNorm && error < kOverflow ? (float)(2 * error * (1 + 1.0 / (1 << 20))) : float.PositiveInfinity;
    }

    /// <summary>A group per kRows rows.</summary>
    public static void Screen(ScreenArguments a)
    {
        ArrayView<Float4> rows = SharedMemory.Allocate<Float4>(ProductTile.kShared), codes = SharedMemory.Allocate<Float4>(ProductTile.kShared);
        var lists = new CandidateLists
        {
            Smallest = SharedMemory.Allocate<uint>(kRows),
            Margins = SharedMemory.Allocate<float>(kRows),
            Counts = SharedMemory.Allocate<int>(kRows),
            Scores = SharedMemory.Allocate<float>(kRows * kCandidates),
            Codes = SharedMemory.Allocate<ushort>(kRows * kCandidates),
        };
        int firstRow = Grid.IdxX * kRows, down = ProductTile.Down, code = ProductTile.Across;
        for (int i = Group.IdxX; i < kRows; i += kScreenThreads)
        {
            lists.Smallest[i] = uint.MaxValue;
            lists.Margins[i] = firstRow + i < a.Rows.Count ? a.Margins[firstRow + i] : 0;
            lists.Counts[i] = 0;
        }
        for (int firstCode = 0; firstCode < a.PaddedCodes; firstCode += kCodes)
        {
            Products s = ProductTile.Multiply(a.Operands, a.Codewords, firstRow, firstCode, a.OperandStride, a.CodewordStride, a.Depth, rows, codes);
            int at = firstCode / 4 + code;
            s.R0 = Score(a, lists, s.R0, firstRow, ProductTile.Own(down, 0), at);
            s.R1 = Score(a, lists, s.R1, firstRow, ProductTile.Own(down, 1), at);
            s.R2 = Score(a, lists, s.R2, firstRow, ProductTile.Own(down, 2), at);
            s.R3 = Score(a, lists, s.R3, firstRow, ProductTile.Own(down, 3), at);
            s.R4 = Score(a, lists, s.R4, firstRow, ProductTile.Own(down, 4), at);
            s.R5 = Score(a, lists, s.R5, firstRow, ProductTile.Own(down, 5), at);
            s.R6 = Score(a, lists, s.R6, firstRow, ProductTile.Own(down, 6), at);
            s.R7 = Score(a, lists, s.R7, firstRow, ProductTile.Own(down, 7), at);
            // The smallest scores of this tile are known, those of the next wait for the barriers of its products: what a list holds depends on no timing.
            Group.Barrier();
            int first = firstCode + ProductTile.Own(code, 0), second = firstCode + ProductTile.Own(code, 4);
            Offer(lists, s.R0, ProductTile.Own(down, 0), first, second);
            Offer(lists, s.R1, ProductTile.Own(down, 1), first, second);
            Offer(lists, s.R2, ProductTile.Own(down, 2), first, second);
            Offer(lists, s.R3, ProductTile.Own(down, 3), first, second);
            Offer(lists, s.R4, ProductTile.Own(down, 4), first, second);
            Offer(lists, s.R5, ProductTile.Own(down, 5), first, second);
            Offer(lists, s.R6, ProductTile.Own(down, 6), first, second);
            Offer(lists, s.R7, ProductTile.Own(down, 7), first, second);
        }
        Group.Barrier();
        for (int i = Group.IdxX; i < kRows; i += kScreenThreads)
        {
            if (firstRow + i < a.Rows.Count)
                End(a, lists, firstRow + i, i);
        }
    }

    /// <summary>Any number of groups.</summary>
    public static void Recheck(RecheckArguments a)
    {
        ArrayView<double> sums = SharedMemory.Allocate<double>((kCandidates + 1) * (kRecheckThreads + 1));
        int lane = Group.IdxX, d = a.Rows.Dimension, levels = a.Rows.Levels, width = a.Level == 0 ? d : a.Rows.Width;
        int open = a.Counters[a.Level];
        for (int index = Grid.IdxX; index < open; index += Grid.DimX)
        {
            int row = a.Open[index], count = a.CandidateCounts[index];
            long codebook = a.Rows.Offsets[a.Level];
            for (int c = 0; c <= kCandidates; c++)
                sums[c * (kRecheckThreads + 1) + lane] = 0;
            // The target [x − Σ c_j | Σ c_j] in float64, as the oracle forms it, a column at a time.
            for (int i = lane; i < d; i += kRecheckThreads)
            {
                double x = a.Rows.Values[(long)row * d + i], residual = x, prefix = 0;
                for (int j = 0; j < a.Level; j++)
                {
                    double part = a.Rows.Codebooks[a.Rows.Chosen(row, j) + i];
                    residual -= part;
                    prefix += part;
                }
                sums[kCandidates * (kRecheckThreads + 1) + lane] += x * x;
                for (int c = 0; c < count; c++)
                {
                    long codeword = codebook + (long)a.Candidates[(long)index * kCandidates + c] * width + i;
                    double difference = residual - a.Rows.Codebooks[codeword], square = difference * difference;
                    if (width > d)
                    {
                        difference = prefix - a.Rows.Codebooks[codeword + d];
                        square += difference * difference;
                    }
                    sums[c * (kRecheckThreads + 1) + lane] += square;
                }
            }
            Group.Barrier();
            if (lane == 0)
                Decide(a, sums, row, index, count, width, levels);
            Group.Barrier();
        }
    }

    /// <summary>
    /// errors[i] = ‖x − Σ c‖² in float64 with the oracle's eight partial sums and their order, so that the bits are the same. A group per kErrorRows rows.
    /// </summary>
    public static void SquaredErrors(EncodeRows rows, ArrayView<float> errors)
    {
        ArrayView<double> parts = SharedMemory.Allocate<double>(kErrorThreads);
        int row = Grid.IdxX * kErrorRows + Group.IdxX / kErrorLanes, part = Group.IdxX % kErrorLanes;
        double sum = 0;
        if (row < rows.Count)
        {
            for (int i = part; i < rows.Dimension; i += kErrorLanes)
            {
                double residual = rows.Values[(long)row * rows.Dimension + i];
                for (int j = 0; j < rows.Levels; j++)
                    residual -= rows.Codebooks[rows.Chosen(row, j) + i];
                sum += MultiplyUnfused(residual, residual);
            }
        }
        parts[Group.IdxX] = sum;
        Group.Barrier();
        int p = Group.IdxX;
        if (part == 0 && row < rows.Count)
            errors[row] = (float)(((parts[p] + parts[p + 4]) + (parts[p + 2] + parts[p + 6])) + ((parts[p + 1] + parts[p + 5]) + (parts[p + 3] + parts[p + 7])));
    }

    // A product that the driver's compiler must not contract with the addition that follows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double MultiplyUnfused(double left, double right)
    {
        if (!CudaAsm.IsSupported)
            return left * right;
        CudaAsm.Emit("mul.rn.f64 %0, %1, %2;", out double product, left, right);
        return product;
    }

    // β[k] − 2 product + Σ_j T_j[k_j, k] of eight codes; their smallest goes to the row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ProductRow Score(ScreenArguments a, CandidateLists lists, ProductRow products, int firstRow, int local, int at)
    {
        long row = XMath.Min(firstRow + local, a.Rows.Count - 1);
        Float4 low = Float4.MultiplyAdd(-2, products.Low, a.Biases[at]), high = Float4.MultiplyAdd(-2, products.High, a.Biases[at + kCodes / 8]);
        for (int j = 0; j < a.TableCount; j++)
        {
            long table = a.TableOffsets[j] + a.Rows.Codes[row * a.Rows.Levels + j] * (long)(a.PaddedCodes / 4) + at;
            low += a.Tables[table];
            high += a.Tables[table + kCodes / 8];
        }
        Atomic.Min(ref lists.Smallest[local], Ordered(Smallest(low, high)));
        return new ProductRow { Low = low, High = high };
    }

    // Lists the codes whose score is within the margin of the smallest so far.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Offer(CandidateLists lists, ProductRow scores, int local, int first, int second)
    {
        float limit = lists.Limit(local);
        if (!(Smallest(scores.Low, scores.High) <= limit))
            return;
        lists.Offer(local, first, scores.Low.X, limit);
        lists.Offer(local, first + 1, scores.Low.Y, limit);
        lists.Offer(local, first + 2, scores.Low.Z, limit);
        lists.Offer(local, first + 3, scores.Low.W, limit);
        lists.Offer(local, second, scores.High.X, limit);
        lists.Offer(local, second + 1, scores.High.Y, limit);
        lists.Offer(local, second + 2, scores.High.Z, limit);
        lists.Offer(local, second + 3, scores.High.W, limit);
    }

    // The proven code of a row, or the row with its candidates.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void End(ScreenArguments a, CandidateLists lists, int row, int local)
    {
        int listed = lists.Counts[local], kept = 0, list = local * kCandidates;
        float limit = lists.Limit(local);
        bool all = listed > kCandidates || !(lists.Margins[local] < float.PositiveInfinity);
        for (int j = 0; j < listed && !all; j++)
        {
            if (lists.Scores[list + j] <= limit)
                lists.Codes[list + kept++] = lists.Codes[list + j];
        }
        if (kept == 1)
        {
            a.Rows.Codes[(long)row * a.Rows.Levels + a.Level] = lists.Codes[list];
            return;
        }
        int open = Atomic.Add(ref a.Counters[a.Level], 1);
        a.Open[open] = row;
        a.CandidateCounts[open] = kept == 0 ? kAllCodes : kept;
        for (int j = 0; j < kept; j++)
            a.Candidates[(long)open * kCandidates + j] = lists.Codes[list + j];
    }

    // The smallest distance, where no other interval meets its own. A row that is not decided goes on with some code, always the same, so that
    // what follows reads codes that exist; the host encodes it again.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Decide(RecheckArguments a, ArrayView<double> sums, int row, int index, int count, int width, int levels)
    {
        double magnitude = XMath.Sqrt(Sum(sums, kCandidates)) * (1 + 1.0 / (1 << 20)) + a.CodewordNorms;
        int best = 0;
        double bestDistance = double.PositiveInfinity;
        for (int c = 0; c < count; c++)
        {
            double distance = Sum(sums, c);
            int code = a.Candidates[(long)index * kCandidates + c];
            if (distance < bestDistance || (distance == bestDistance && code < best))
            {
                best = code;
                bestDistance = distance;
            }
        }
        bool decided = count > 0;
        double bestBound = Bounds.SquaredDistance(width, a.Level, magnitude, bestDistance);
        for (int c = 0; c < count; c++)
        {
            double distance = Sum(sums, c);
            if (a.Candidates[(long)index * kCandidates + c] != best && distance - bestDistance <= bestBound + Bounds.SquaredDistance(width, a.Level, magnitude, distance))
                decided = false;
        }
        a.Rows.Codes[(long)row * levels + a.Level] = (ushort)best;
        Atomic.Add(ref a.Counters[levels + (int)EncodeCounter.Candidates], XMath.Max(count, 0));
        if (!decided)
            a.Undecided[Atomic.Add(ref a.Counters[levels + (int)EncodeCounter.Undecided], 1)] = row;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Sum(ArrayView<double> sums, int candidate)
    {
        double sum = 0;
        for (int i = 0; i < kRecheckThreads; i++)
            sum += sums[candidate * (kRecheckThreads + 1) + i];
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Smallest(Float4 low, Float4 high) =>
        XMath.Min(XMath.Min(XMath.Min(low.X, low.Y), XMath.Min(low.Z, low.W)), XMath.Min(XMath.Min(high.X, high.Y), XMath.Min(high.Z, high.W)));

    // Integers that are ordered as the floats they stand for.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Ordered(float value)
    {
        uint bits = Interop.FloatAsInt(value);
        return (bits & 0x8000_0000u) != 0 ? ~bits : bits | 0x8000_0000u;
    }

    /// <summary>What a group's rows have found so far, in shared memory.</summary>
    private struct CandidateLists
    {
        /// <summary>[kRows] Ordered().</summary>
        public ArrayView<uint> Smallest;

        /// <summary>[kRows].</summary>
        public ArrayView<float> Margins;

        /// <summary>[kRows]; more than kCandidates means that they were not all kept.</summary>
        public ArrayView<int> Counts;

        /// <summary>[kRows, kCandidates].</summary>
        public ArrayView<float> Scores;

        /// <summary>[kRows, kCandidates].</summary>
        public ArrayView<ushort> Codes;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly float Limit(int local)
        {
            uint key = Smallest[local];
            return Interop.IntAsFloat((key & 0x8000_0000u) != 0 ? key & 0x7fff_ffffu : ~key) + Margins[local];
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Offer(int local, int code, float score, float limit)
        {
            if (!(score <= limit))
                return;
            int place = Atomic.Add(ref Counts[local], 1);
            if (place >= kCandidates)
                return;
            Scores[local * kCandidates + place] = score;
            Codes[local * kCandidates + place] = (ushort)code;
        }
    }
}
