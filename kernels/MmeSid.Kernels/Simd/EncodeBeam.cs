using System.Collections.Concurrent;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// encode with a beam of B &gt; 1 prefixes (EncodeOptions.Beam)                       oracle: Scalar/Encode.cs
/// <code>
///   in    rows (n, d) row-major f32 · plan
///   out   codes (n, L) u16 of the best path · errors (n) f32
///   does  with tables between all levels (EncodeForm.Tables), x̂ · w once per level for all beams; where they would exceed the budget,
///         r̂_b · w once per prefix b and no tables (Residual, Wide); s[b, k] = D_b + β[k] − 2 x̂·w[k] + Σ_j T_j[path_b[j], k], D_b the prefix's own distance in
///         float64; extensions within 2E of the B-th smallest survive; as many survivors as are kept: proven, more: Recheck
///   ties  the lexicographically smaller path, decided exactly
///   cost  2·n·d·ΣK flop (without tables B times that) + 2·n·B·ΣK·(l + 2) for the scores, and n·B·L·d float64 operations for D_b
/// </code>
/// </summary>
internal sealed unsafe class SimdBeamEncoder : IEncoder
{
    private readonly EncodeLevel[] _levels;
    private readonly float[] _centre;
    private readonly double[] _largestNorms;
    private readonly int _beam;
    private readonly int _threads;
    private readonly bool _perPrefix;
    private readonly int _width;
    private readonly int _stride;
    private readonly int _rowsPerBlock;
    private readonly int _operandsPerBlock;
    private readonly int _columns;
    private readonly ConcurrentBag<Workspace> _idle = [];
    private bool _disposed;

    public SimdBeamEncoder(EncodePlan plan, EncodeOptions options, int threads)
    {
        Plan = plan;
        _beam = options.Beam;
        _threads = threads;
        _centre = SimdEncoder.Centre(plan);
        _largestNorms = Recheck.LargestNorms(plan);
        _perPrefix = ScreenLevel.TableBytes(plan, narrow: true) > options.TableBytes;
        EncodeForm form = !_perPrefix ? EncodeForm.Tables : plan.Kind == PlanKind.PrefixSemantic ? EncodeForm.Wide : EncodeForm.Residual;
        _levels = new EncodeLevel[plan.Levels];
        for (int level = 0; level < plan.Levels; level++)
        {
            _levels[level] = new EncodeLevel(plan, level, _centre, form, threads, beam: true);
            _columns = Math.Max(_columns, _levels[level].PaddedCodes);
        }
        _width = form == EncodeForm.Wide ? 2 * plan.Dimension : plan.Dimension;
        _stride = EncodeBlocks.Stride(_width);
        _rowsPerBlock = _perPrefix ? Math.Max(1, EncodeBlocks.RowsPerBlock(_stride) / _beam) : EncodeBlocks.RowsPerBlock(_stride);
        _operandsPerBlock = Product.PaddedRows(_perPrefix ? checked(_rowsPerBlock * _beam) : _rowsPerBlock);
    }

    public EncodePlan Plan { get; }

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(Plan, rows, codes, squaredErrors);
        return EncodeBlocks.Run(Plan.Levels, rows, codes, squaredErrors, _rowsPerBlock, _threads, EncodeBlock);
    }

    public void Dispose()
    {
        _disposed = true;
        while (_idle.TryTake(out Workspace? workspace))
            workspace.Dispose();
        foreach (EncodeLevel level in _levels)
            level.Dispose();
    }

    private bool EncodeBlock(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ReadOnlySpan<float> ahead, ref EncodeReport report)
    {
        if (!_idle.TryTake(out Workspace? workspace))
            workspace = new Workspace(this);
        try
        {
            return EncodeBlock(workspace, rows, codes, squaredErrors, ref report);
        }
        finally
        {
            _idle.Add(workspace);
        }
    }

    private bool EncodeBlock(Workspace workspace, RowView rows, Span<ushort> codes, Span<float> squaredErrors, ref EncodeReport report)
    {
        int levels = Plan.Levels;
        for (int i = 0; i < rows.Count; i++)
        {
            SetOperand(workspace, i, rows[i], []);
            if (!double.IsFinite(workspace.Norms[i]) && !TensorPrimitives.IsFiniteAll<float>(rows[i]))
                return false;
            workspace.Kept[i] = [[]];
        }
        for (int level = 0; level < levels; level++)
        {
            int operands = _perPrefix && level > 0 ? SetOperands(workspace, rows) : rows.Count;
            Product.Multiply(workspace.Rows, _stride, operands, _levels[level].Codewords, 0, _levels[level].PaddedCodes, workspace.Products, _columns);
            int first = 0;
            for (int i = 0; i < rows.Count; i++)
            {
                int own = _perPrefix ? workspace.Kept[i].Count : 1;
                workspace.Kept[i] = Extend(workspace, rows[i], first, own, workspace.Kept[i], level, ref report);
                first += own;
            }
        }
        report += new EncodeReport((long)rows.Count * levels, 0, 0, 0);
        for (int i = 0; i < rows.Count; i++)
        {
            ushort[] path = workspace.Kept[i][0];
            path.CopyTo(codes[(i * levels)..]);
            if (!squaredErrors.IsEmpty)
                squaredErrors[i] = (float)workspace.Recheck.SquaredError(rows[i], path);
        }
        return true;
    }

    // An operand for every kept prefix of every row, row by row; returns their number.
    private int SetOperands(Workspace workspace, RowView rows)
    {
        int place = 0;
        for (int i = 0; i < rows.Count; i++)
        {
            foreach (ushort[] prefix in workspace.Kept[i])
                SetOperand(workspace, place++, rows[i], prefix);
        }
        return place;
    }

    private void SetOperand(Workspace workspace, int place, ReadOnlySpan<float> row, ReadOnlySpan<ushort> prefix)
    {
        int d = Plan.Dimension;
        Span<float> operand = new(workspace.Rows + (nint)place * _stride, _width);
        TensorPrimitives.Subtract(row, _centre, operand[..d]);
        operand[d..].Clear();
        double norm = EncodeLevel.OperandNorm(operand), error = Bounds.Float32 * norm;
        for (int j = 0; j < prefix.Length; j++)
            error += _levels[j].Advance(operand, prefix[j], out norm);
        workspace.Norms[place] = norm;
        workspace.Errors[place] = error;
    }

    // The kept prefixes of the next level: the best B, at the last level the best alone. The row's operands, one or one per prefix, begin at
    // `first`.
    private List<ushort[]> Extend(
        Workspace workspace, ReadOnlySpan<float> row, int first, int operands, List<ushort[]> prefixes, int levelIndex, ref EncodeReport report)
    {
        EncodeLevel level = _levels[levelIndex];
        int wanted = levelIndex == Plan.Levels - 1 ? 1 : (int)Math.Min(_beam, (long)prefixes.Count * level.CodeCount);

        // D_b relative to the smallest: only differences between prefixes count.
        double[] distances = workspace.Distances;
        double smallest = 0, spread = 0, uncertainty = 0;
        if (levelIndex > 0)
        {
            for (int b = 0; b < prefixes.Count; b++)
            {
                distances[b] = workspace.Recheck.PrefixDistance(row, prefixes[b], levelIndex, _centre, out double bound);
                uncertainty = Math.Max(uncertainty, bound);
            }
            smallest = TensorPrimitives.Min<double>(distances.AsSpan(0, prefixes.Count));
            spread = TensorPrimitives.Max<double>(distances.AsSpan(0, prefixes.Count)) - smallest;
        }
        else
        {
            distances[0] = 0;
        }
        double error = level.ScreenError(
            TensorPrimitives.Max<double>(workspace.Norms.AsSpan(first, operands)), TensorPrimitives.Max<double>(workspace.Errors.AsSpan(first, operands)), spread, uncertainty);
        workspace.Survivors.Clear();
        if (double.IsFinite(error))
            Screen(workspace, first, level, prefixes, smallest, wanted, 2 * error);
        else
            workspace.AddEverything(prefixes.Count, level.CodeCount);

        if (workspace.Survivors.Count == wanted)
            return workspace.Survivors.ConvertAll<ushort[]>(survivor => [.. prefixes[survivor.Prefix], (ushort)survivor.Code]);
        return workspace.Recheck.Keep(row, prefixes, levelIndex, workspace.Survivors, wanted, ref report);
    }

    private void Screen(Workspace workspace, int first, EncodeLevel level, List<ushort[]> prefixes, double smallestDistance, int wanted, double margin)
    {
        TableRow* tables = stackalloc TableRow[level.Tables];
        Span<float> best = workspace.Best.AsSpan(0, wanted);
        best.Fill(float.PositiveInfinity);
        for (int b = 0; b < prefixes.Count; b++)
        {
            for (int j = 0; j < level.Tables; j++)
                tables[j] = level.TableRow(j, prefixes[b][j]);
            float* products = workspace.Products + (nint)(_perPrefix ? first + b : first) * _columns, scores = workspace.Scores + (nint)b * _columns;
            FloatPass.Score(products, scores, (float)(workspace.Distances[b] - smallestDistance), level.Biases, tables, level.Tables, level.PaddedCodes);
            for (int k = 0; k < level.PaddedCodes; k += 16)
            {
                ulong smaller = Vector512.LessThan(Vector512.Load(scores + k), Vector512.Create(best[^1])).ExtractMostSignificantBits();
                for (; smaller != 0; smaller &= smaller - 1)
                    Insert(best, scores[k + BitOperations.TrailingZeroCount(smaller)]);
            }
        }
        float limit = MathF.BitIncrement((float)(best[^1] + margin));
        for (int b = 0; b < prefixes.Count; b++)
        {
            float* scores = workspace.Scores + (nint)b * _columns;
            for (int k = 0; k < level.PaddedCodes; k += 16)
            {
                ulong within = Vector512.LessThanOrEqual(Vector512.Load(scores + k), Vector512.Create(limit)).ExtractMostSignificantBits();
                for (; within != 0; within &= within - 1)
                    workspace.Survivors.Add((b, k + BitOperations.TrailingZeroCount(within)));
            }
        }
    }

    private static void Insert(Span<float> ascending, float value)
    {
        int place = ascending.Length - 1;
        if (value >= ascending[place])
            return;
        for (; place > 0 && ascending[place - 1] > value; place--)
            ascending[place] = ascending[place - 1];
        ascending[place] = value;
    }

    private sealed class Workspace : IDisposable
    {
        private readonly RowMatrix _rows;
        private readonly RowMatrix _products;
        private readonly RowMatrix _scores;

        public Workspace(SimdBeamEncoder encoder)
        {
            int rows = encoder._rowsPerBlock;
            // Zeros: rows of an incomplete last tile are multiplied too and must be numbers.
            _rows = new RowMatrix(encoder._operandsPerBlock, encoder._stride);
            _products = new RowMatrix(encoder._operandsPerBlock, encoder._columns);
            _scores = new RowMatrix(encoder._beam, encoder._columns);
            Norms = new double[encoder._operandsPerBlock];
            Errors = new double[encoder._operandsPerBlock];
            Distances = new double[encoder._beam];
            Best = new float[encoder._beam];
            Kept = new List<ushort[]>[rows];
            Recheck = new Recheck(encoder.Plan, encoder._largestNorms);
        }

        public float* Rows => (float*)_rows.DangerousGetHandle();

        public float* Products => (float*)_products.DangerousGetHandle();

        public float* Scores => (float*)_scores.DangerousGetHandle();

        /// <summary>‖operand‖ per operand.</summary>
        public double[] Norms { get; }

        /// <summary>Bound of the distance between an operand and its real value.</summary>
        public double[] Errors { get; }

        public double[] Distances { get; }

        public float[] Best { get; }

        public List<ushort[]>[] Kept { get; }

        public List<(int Prefix, int Code)> Survivors { get; } = [];

        public Recheck Recheck { get; }

        public void AddEverything(int prefixes, int codes)
        {
            for (int b = 0; b < prefixes; b++)
            {
                for (int k = 0; k < codes; k++)
                    Survivors.Add((b, k));
            }
        }

        public void Dispose()
        {
            _rows.Dispose();
            _products.Dispose();
            _scores.Dispose();
        }
    }
}
