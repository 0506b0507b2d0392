using System.Collections.Concurrent;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    /// <inheritdoc/>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        options ??= new EncodeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Beam, 1);
        return options.Beam == 1 ? new SimdEncoder(plan, options, Threads) : new SimdBeamEncoder(plan, options, Threads);
    }
}

/// <summary>
/// encode: codes[i, l] = argmin_k of the real-number distances of EncodePlan          oracle: Scalar/Encode.cs
/// <code>
///   in    rows (n, d) row-major f32 · plan
///   out   codes (n, L) u16 · errors (n) f32 = ‖r_{L+1}‖²
///   does  per block of rows, in cache: r̂ = x − m; per level: products r̂ · w, scores s = β − 2 r̂·w (+ PSRQ's prefix tables), the codes
///         whose score is within 2E of the smallest survive; one survivor is proven, several go to Recheck; r̂ −= w[code]
///   why   |ŝ − s| ≤ E for every k (EncodeLevel.ScreenError), so the argmin of s is among the survivors
///   ties  decided exactly in Recheck, the smallest k
///   work  a worker owns a block of rows for all levels; scores of at most kScoreBytes live at a time; nothing of size n × K is stored
///   cost  2·n·d·ΣK flop, 4·(n·d + d·ΣK·n/rows per block + n·L) bytes
/// </code>
/// The residual r̂ is updated in place instead of adding look-up tables for RQ: it costs the same at K 256, less for larger K, and its
/// error bound scales with ‖r_l‖ instead of ‖x‖. PSRQ's prefix half needs tables: [r ; x − r] · [a | b] without them is twice the product.
/// </summary>
internal sealed unsafe class SimdEncoder : IEncoder
{
    private const int kScoreBytes = 1 << 20;
    // Survivors kept per row before the row is handed to Recheck with all K codes.
    private const int kSurvivors = 16;

    private readonly EncodeLevel[] _levels;
    private readonly float[] _centre;
    private readonly double[] _largestNorms;
    private readonly int _threads;
    private readonly int _stride;
    private readonly bool _wide;
    private readonly int _scoreColumns;
    private readonly ConcurrentBag<Workspace> _idle = [];
    private bool _disposed;

    public SimdEncoder(EncodePlan plan, EncodeOptions options, int threads)
    {
        Plan = plan;
        _threads = threads;
        _centre = Centre(plan, threads);
        _largestNorms = Recheck.LargestNorms(plan, threads);
        _wide = plan.Kind == PlanKind.PrefixSemantic && EncodeLevel.TableBytes(plan) > options.TableBytes;
        _levels = new EncodeLevel[plan.Levels];
        for (int level = 0; level < plan.Levels; level++)
            _levels[level] = new EncodeLevel(plan, level, _centre, _wide ? EncodeForm.Wide : EncodeForm.Residual, threads);
        _stride = EncodeBlocks.Stride(plan.Dimension * (_wide ? 2 : 1));
        RowsPerBlock = EncodeBlocks.RowsPerBlock(_stride);
        int widest = 0;
        foreach (EncodeLevel level in _levels)
            widest = Math.Max(widest, level.PaddedCodes);
        int affordable = Math.Max(PackedCodewords.kCodesMultiple, kScoreBytes / (RowsPerBlock * sizeof(float)));
        _scoreColumns = PackedCodewords.Padded(widest / ((widest + affordable - 1) / affordable));
    }

    public EncodePlan Plan { get; }

    /// <summary>Rows a worker keeps in cache at a time.</summary>
    private int RowsPerBlock { get; }

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(Plan, rows, codes, squaredErrors);
        return EncodeBlocks.Run(Plan.Levels, rows, codes, squaredErrors, RowsPerBlock, _threads, EncodeBlock);
    }

    public void Dispose()
    {
        _disposed = true;
        while (_idle.TryTake(out Workspace? workspace))
            workspace.Dispose();
        foreach (EncodeLevel level in _levels)
            level.Dispose();
    }

    /// <summary>m: the mean of the first level's codewords, float64 sums rounded once. Any finite vector gives the same codes.</summary>
    internal static float[] Centre(EncodePlan plan, int threads = 1)
    {
        // Columns that are added together: each column's sum is formed in the order of the codes, whoever forms it.
        const int kColumns = 64;
        int d = plan.Dimension, count = plan.CodeCount(0);
        float[] centre = new float[d];
        Parallel.For(0, (d + kColumns - 1) / kColumns, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
        {
            int first = block * kColumns, columns = Math.Min(kColumns, d - first);
            double[] sums = new double[columns], values = new double[columns];
            for (int k = 0; k < count; k++)
            {
                TensorPrimitives.ConvertTruncating(plan.Codeword(0, k).Slice(first, columns), values.AsSpan());
                TensorPrimitives.Add<double>(sums, values, sums);
            }
            for (int i = 0; i < columns; i++)
                centre[first + i] = (float)(sums[i] / count);
        });
        return centre;
    }

    private bool EncodeBlock(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report)
    {
        if (!_idle.TryTake(out Workspace? workspace))
            workspace = new Workspace(this);
        try
        {
            return EncodeBlock(workspace, rows, codes, squaredErrors, ahead, ref report);
        }
        finally
        {
            _idle.Add(workspace);
        }
    }

    private bool EncodeBlock(Workspace workspace, RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report)
    {
        int d = Plan.Dimension, levels = Plan.Levels;
        for (int i = 0; i < rows.Count; i++)
        {
            Span<float> residual = workspace.Row(i, d);
            TensorPrimitives.Subtract(rows[i], _centre, residual);
            double norm = workspace.Norms[i] = EncodeLevel.OperandNorm(residual);
            if (!double.IsFinite(norm) && !TensorPrimitives.IsFiniteAll<float>(rows[i]))
                return false;
            workspace.Errors[i] = Bounds.Float32 * norm;
            if (_wide)
                workspace.Row(i, 2 * d)[d..].Clear();
        }
        for (int level = 0; level < levels; level++)
        {
            Screen(workspace, rows.Count, level, codes, level + 1 == levels ? ahead : default);
            for (int i = 0; i < rows.Count; i++)
            {
                Span<ushort> path = codes.Slice(i * levels, level + 1);
                path[level] = (ushort)Settle(workspace, rows[i], i, path, level, ref report);
                if (level + 1 < levels)
                    workspace.Errors[i] += _levels[level].Advance(workspace.Row(i, _wide ? 2 * d : d), path[level], out workspace.Norms[i]);
            }
        }
        report += new EncodeReport((long)rows.Count * levels, 0, 0, 0);
        for (int i = 0; i < squaredErrors.Length; i++)
            squaredErrors[i] = (float)workspace.Recheck.SquaredError(rows[i], codes.Slice(i * levels, levels));
        return true;
    }

    // Fills every row's survivors of a level, a chunk of codes at a time, so that scores stay in cache.
    // The rows of the next block are fetched while the last level is multiplied.
    private void Screen(Workspace workspace, int rows, int levelIndex, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead)
    {
        EncodeLevel level = _levels[levelIndex];
        int levels = Plan.Levels;
        for (int i = 0; i < rows; i++)
        {
            workspace.Margins[i] = 2 * level.ScreenError(workspace.Norms[i], workspace.Errors[i]);
            workspace.Smallest[i] = float.PositiveInfinity;
            workspace.SurvivorCounts[i] = 0;
        }
        float** tables = stackalloc float*[level.Tables];
        for (int first = 0; first < level.PaddedCodes; first += _scoreColumns)
        {
            int columns = Math.Min(_scoreColumns, level.PaddedCodes - first);
            fixed (float* next = first + columns == level.PaddedCodes ? ahead : default)
                Product.Multiply(workspace.Rows, _stride, rows, level.Codewords, first, columns, workspace.Scores, _scoreColumns, next, (nint)ahead.Length * sizeof(float));
            for (int i = 0; i < rows; i++)
            {
                if (double.IsPositiveInfinity(workspace.Margins[i]))
                    continue;
                for (int j = 0; j < level.Tables; j++)
                    tables[j] = level.TableRow(j, codes[i * levels + j]) + first;
                float* scores = workspace.Scores + (nint)i * _scoreColumns;
                float smallest = Score(scores, scores, 0, level.Biases + first, tables, level.Tables, columns);
                workspace.Smallest[i] = Math.Min(workspace.Smallest[i], smallest);
                Collect(workspace, i, scores, first, columns);
            }
        }
    }

    /// <summary>scores[k] = offset + biases[k] − 2 products[k] + Σ_j tables[j][k]; returns the smallest. In place is fine; columns is a multiple of 32.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static float Score(float* products, float* scores, float offset, float* biases, float** tables, int tableCount, int columns)
    {
        Vector512<float> minusTwo = Vector512.Create(-2f), offsets = Vector512.Create(offset);
        Vector512<float> smallestLow = Vector512.Create(float.PositiveInfinity), smallestHigh = smallestLow;
        for (int k = 0; k < columns; k += 32)
        {
            Vector512<float> low = Vector512.MultiplyAddEstimate(minusTwo, Vector512.Load(products + k), Vector512.Load(biases + k) + offsets);
            Vector512<float> high = Vector512.MultiplyAddEstimate(minusTwo, Vector512.Load(products + k + 16), Vector512.Load(biases + k + 16) + offsets);
            for (int j = 0; j < tableCount; j++)
            {
                low += Vector512.Load(tables[j] + k);
                high += Vector512.Load(tables[j] + k + 16);
            }
            low.Store(scores + k);
            high.Store(scores + k + 16);
            smallestLow = Vector512.MinNative(smallestLow, low);
            smallestHigh = Vector512.MinNative(smallestHigh, high);
        }
        smallestLow = Vector512.MinNative(smallestLow, smallestHigh);
        Vector256<float> eight = Vector256.MinNative(smallestLow.GetLower(), smallestLow.GetUpper());
        Vector128<float> four = Vector128.MinNative(eight.GetLower(), eight.GetUpper());
        four = Vector128.MinNative(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return MathF.Min(four[0], four[1]);
    }

    // Appends the codes of a chunk whose score is within the margin of the smallest score seen so far.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Collect(Workspace workspace, int row, float* scores, int first, int columns)
    {
        float limit = MathF.BitIncrement((float)(workspace.Smallest[row] + workspace.Margins[row]));
        Vector512<float> limits = Vector512.Create(limit);
        for (int k = 0; k < columns; k += 32)
        {
            Vector512<float> low = Vector512.Load(scores + k), high = Vector512.Load(scores + k + 16);
            if (!Vector512.LessThanOrEqualAny(Vector512.MinNative(low, high), limits))
                continue;
            ulong within = Vector512.LessThanOrEqual(low, limits).ExtractMostSignificantBits()
                | (Vector512.LessThanOrEqual(high, limits).ExtractMostSignificantBits() << 16);
            for (; within != 0; within &= within - 1)
            {
                int lane = BitOperations.TrailingZeroCount(within);
                workspace.AddSurvivor(row, first + k + lane, scores[k + lane], limit);
            }
        }
    }

    // The level's code of a row: the only survivor, or what Recheck decides among several.
    private static int Settle(Workspace workspace, ReadOnlySpan<float> row, int index, Span<ushort> path, int level, ref EncodeReport report)
    {
        int count = workspace.SurvivorCounts[index];
        if (count is > 0 and <= kSurvivors)
        {
            float limit = MathF.BitIncrement((float)(workspace.Smallest[index] + workspace.Margins[index]));
            Span<int> survivors = workspace.SurvivorsWithin(index, limit);
            return survivors.Length == 1 ? survivors[0] : workspace.Recheck.Decide(row, path, level, survivors, ref report);
        }
        return workspace.Recheck.Decide(row, path, level, default, ref report);
    }

    /// <summary>The buffers of one worker.</summary>
    private sealed class Workspace : IDisposable
    {
        private readonly int _stride;
        private readonly RowMatrix _rows;
        private readonly RowMatrix _scores;
        private readonly int[] _survivorCodes;
        private readonly float[] _survivorScores;
        private readonly int[] _kept = new int[kSurvivors];

        public Workspace(SimdEncoder encoder)
        {
            int rows = encoder.RowsPerBlock;
            _stride = encoder._stride;
            // Zeros: rows of an incomplete last tile are multiplied too and must be numbers.
            _rows = new RowMatrix(rows, _stride);
            _scores = new RowMatrix(rows, encoder._scoreColumns);
            Norms = new double[rows];
            Errors = new double[rows];
            Margins = new double[rows];
            Smallest = new float[rows];
            SurvivorCounts = new int[rows];
            _survivorCodes = new int[rows * kSurvivors];
            _survivorScores = new float[rows * kSurvivors];
            Recheck = new Recheck(encoder.Plan, encoder._largestNorms);
        }

        /// <summary>Operand rows r̂, [rows, stride].</summary>
        public float* Rows => (float*)_rows.DangerousGetHandle();

        /// <summary>Scores of a chunk of codes, [rows, columns].</summary>
        public float* Scores => (float*)_scores.DangerousGetHandle();

        /// <summary>‖r̂‖ per row.</summary>
        public double[] Norms { get; }

        /// <summary>Bound of ‖r̂ − r‖ per row.</summary>
        public double[] Errors { get; }

        /// <summary>2E per row of the level at hand; +∞ where the screen cannot be trusted.</summary>
        public double[] Margins { get; }

        /// <summary>Smallest score so far per row.</summary>
        public float[] Smallest { get; }

        /// <summary>Survivors per row; more than kSurvivors means that they were not all kept.</summary>
        public int[] SurvivorCounts { get; }

        public Recheck Recheck { get; }

        public Span<float> Row(int index, int width) => new(Rows + (nint)index * _stride, width);

        public void AddSurvivor(int row, int code, float score, float limit)
        {
            ref int count = ref SurvivorCounts[row];
            if (count == kSurvivors)
            {
                // Earlier chunks were measured against a larger smallest score: what it no longer allows makes room.
                int kept = 0;
                for (int i = row * kSurvivors; i < (row + 1) * kSurvivors; i++)
                {
                    if (_survivorScores[i] > limit)
                        continue;
                    _survivorScores[row * kSurvivors + kept] = _survivorScores[i];
                    _survivorCodes[row * kSurvivors + kept++] = _survivorCodes[i];
                }
                count = kept;
            }
            if (count >= kSurvivors)
            {
                count = kSurvivors + 1;
                return;
            }
            _survivorScores[row * kSurvivors + count] = score;
            _survivorCodes[row * kSurvivors + count++] = code;
        }

        public Span<int> SurvivorsWithin(int row, float limit)
        {
            int kept = 0;
            for (int i = row * kSurvivors; i < row * kSurvivors + SurvivorCounts[row]; i++)
            {
                if (_survivorScores[i] <= limit)
                    _kept[kept++] = _survivorCodes[i];
            }
            return _kept.AsSpan(0, kept);
        }

        public void Dispose()
        {
            _rows.Dispose();
            _scores.Dispose();
        }
    }
}
