using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The float32 screen: products of operand rows with all codewords at the rate of fused multiply-adds (<see cref="Product"/>).
/// <code>
///   does  r̂ = x − m; per level: products r̂ · w, scores s = β − 2 r̂·w (+ PSRQ's prefix tables), the codes whose score is within 2E of the smallest
///         survive; r̂ −= w[code]
///   why   |ŝ − s| ≤ E for every k (EncodeLevel.ScreenError), so the argmin of s is among the survivors
///   work  scores of at most kScoreBytes live at a time; nothing of size n × K is stored
///   cost  2·n·d·ΣK flop, 4·(n·d + d·ΣK·n/rows per block + n·L) bytes
/// </code>
/// The residual r̂ is updated in place instead of adding look-up tables for RQ: it costs the same at K 256, less for larger K, and its
/// error bound scales with ‖r_l‖ instead of ‖x‖. PSRQ's prefix half needs tables: [r ; x − r] · [a | b] without them is twice the product.
/// </summary>
internal sealed unsafe class FloatPass : EncodePass<FloatPass.Workspace>
{
    private const int kScoreBytes = 1 << 20;
    // Survivors kept per row before the row is handed to Recheck with all K codes.
    private const int kSurvivors = 16;

    private readonly EncodeLevel[] _levels;
    private readonly float[] _centre;
    private readonly int _width;
    private readonly int _stride;
    private readonly int _scoreColumns;

    public FloatPass(EncodePlan plan, float[] centre, double[] largestNorms, EncodeForm form, int threads)
        : base(plan, largestNorms)
    {
        _centre = centre;
        _width = plan.Dimension * (form == EncodeForm.Wide ? 2 : 1);
        _levels = new EncodeLevel[plan.Levels];
        for (int level = 0; level < plan.Levels; level++)
            _levels[level] = new EncodeLevel(plan, level, centre, form, threads);
        _stride = EncodeBlocks.Stride(_width);
        RowsPerBlock = EncodeBlocks.RowsPerBlock(_stride);
        int widest = _levels.Max(level => level.PaddedCodes);
        int affordable = Math.Max(PackedCodewords.kCodesMultiple, kScoreBytes / (RowsPerBlock * sizeof(float)));
        _scoreColumns = PackedCodewords.Padded(widest / ((widest + affordable - 1) / affordable));
    }

    /// <summary>Its levels, which other passes of the same plan may share as long as this one lives.</summary>
    public IReadOnlyList<ScreenLevel> Levels => _levels;

    public override string Name => $"float32, {SimdBackend.InstructionSet}";

    public override int RowsPerBlock { get; }

    public override void Dispose()
    {
        base.Dispose();
        foreach (EncodeLevel level in _levels)
            level.Dispose();
    }

    protected override Workspace CreateWorkspace(Recheck recheck) => new(RowsPerBlock, _stride, _scoreColumns, recheck);

    protected override bool SetOperand(Workspace workspace, int index, ReadOnlySpan<float> row)
    {
        int d = Plan.Dimension;
        Span<float> operand = workspace.Row(index, _width);
        TensorPrimitives.Subtract(row, _centre, operand);
        double norm = workspace.Norms[index] = EncodeLevel.OperandNorm(operand[..d]);
        if (!double.IsFinite(norm) && !TensorPrimitives.IsFiniteAll(row))
            return false;
        workspace.Errors[index] = Bounds.Float32 * norm;
        operand[d..].Clear();
        return true;
    }

    // A chunk of codes at a time, so that scores stay in cache. The rows of the next block are fetched while the last level is multiplied.
    protected override void Screen(Workspace workspace, int rows, int levelIndex, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead)
    {
        EncodeLevel level = _levels[levelIndex];
        int levels = Plan.Levels;
        for (int i = 0; i < rows; i++)
            workspace.Survivors.Begin(i, 2 * level.ScreenError(workspace.Norms[i], workspace.Errors[i]));
        TableRow* tables = stackalloc TableRow[level.Tables];
        for (int first = 0; first < level.PaddedCodes; first += _scoreColumns)
        {
            int columns = Math.Min(_scoreColumns, level.PaddedCodes - first);
            fixed (float* next = first + columns == level.PaddedCodes ? ahead : default)
                Product.Multiply(workspace.Rows, _stride, rows, level.Codewords, first, columns, workspace.Scores, _scoreColumns, next, (nint)ahead.Length * sizeof(float));
            for (int i = 0; i < rows; i++)
            {
                if (!workspace.Survivors.AreScreened(i))
                    continue;
                for (int j = 0; j < level.Tables; j++)
                    tables[j] = level.TableRow(j, codes[i * levels + j]).From(first);
                float* scores = workspace.Scores + (nint)i * _scoreColumns;
                float smallest = Score(scores, scores, 0, level.Biases + first, tables, level.Tables, columns);
                workspace.Survivors.Lower(i, smallest);
                workspace.Survivors.Collect(i, scores, first, columns);
            }
        }
    }

    protected override Span<int> Left(Workspace workspace, int index, ReadOnlySpan<ushort> path, int level, ref EncodeReport report) => workspace.Survivors.Of(index);

    protected override void Advance(Workspace workspace, int index, int level, int code) =>
        workspace.Errors[index] += _levels[level].Advance(workspace.Row(index, _width), code, out workspace.Norms[index]);

    /// <summary>scores[k] = offset + biases[k] − 2 products[k] + Σ_j tables[j][k]; returns the smallest. In place is fine; columns is a multiple of 32.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    internal static float Score(float* products, float* scores, float offset, float* biases, TableRow* tables, int tableCount, int columns)
    {
        Vector512<float> minusTwo = Vector512.Create(-2f), offsets = Vector512.Create(offset);
        Vector512<float> smallestLow = Vector512.Create(float.PositiveInfinity), smallestHigh = smallestLow;
        for (int k = 0; k < columns; k += 32)
        {
            Vector512<float> low = Vector512.MultiplyAddEstimate(minusTwo, Vector512.Load(products + k), Vector512.Load(biases + k) + offsets);
            Vector512<float> high = Vector512.MultiplyAddEstimate(minusTwo, Vector512.Load(products + k + 16), Vector512.Load(biases + k + 16) + offsets);
            for (int j = 0; j < tableCount; j++)
            {
                low = tables[j].AddTo(low, k);
                high = tables[j].AddTo(high, k + 16);
            }
            low.Store(scores + k);
            high.Store(scores + k + 16);
            smallestLow = Vector512.MinNative(smallestLow, low);
            smallestHigh = Vector512.MinNative(smallestHigh, high);
        }
        return new Lanes512(Vector512.MinNative(smallestLow, smallestHigh)).Smallest();
    }

    /// <summary>The buffers of one worker.</summary>
    internal sealed class Workspace(int rows, int stride, int columns, Recheck recheck) : EncodeWorkspace(rows, stride, kSurvivors, recheck)
    {
        private readonly RowMatrix _scores = new(rows, columns);

        /// <summary>Scores of a chunk of codes, [rows, columns].</summary>
        public float* Scores => (float*)_scores.DangerousGetHandle();

        public override void Dispose()
        {
            base.Dispose();
            _scores.Dispose();
        }
    }
}
