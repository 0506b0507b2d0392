using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The integer screens: operand rows and codewords rounded to int8 or int16 of a step each, multiplied exactly at two to four times the rate of float32
/// (<see cref="IntegerProduct"/>); what that leaves open is scored in float32, and what is open then goes to <see cref="Recheck"/>.
/// <code>
///   does  r̂ = Q(x − m), Q a rotation for int8 (HadamardRotation), else none; per level: r̂ = step · q + δ, ‖δ‖ measured; products q · q_k; scores
///         s = β − 2 step · step_k · q·q_k (+ PSRQ's prefix tables), off by at most e[k]; the codes whose s − e is below the smallest s + e survive; of several,
///         those within 2E′ of the smallest in float32; r̂ −= Q w[code]
///   of a prefix   the integers are P r̂'s and P w's, a third of the dimensions (PrefixBasis); e[k] then holds what lies outside, too
///   why   |r·w − x̂·ŵ| ≤ ‖r − x̂‖‖w‖ + ‖x̂‖‖w − ŵ‖ (docs/exactness.md §8); a rotation changes no distance
///   work  integers of all rows of a block; products and scores of a tile of rows and a chunk of codes live at a time
///   cost  2·n·d·ΣK integer operations; per row and level 12·d bytes of cache for r̂ and d or 2·d for its integers
/// </code>
/// </summary>
internal sealed unsafe class IntegerPass : EncodePass<IntegerPass.Workspace>
{
    // Codes whose products are scored before the next: a tile's are 24 KB.
    private const int kColumns = 256;

    // Survivors kept per row before all K codes are scored in float32.
    private const int kSurvivors = 64, kPrefixSurvivors = 512;

    // Codes, over all levels, for each direction that rows are projected to.
    private const int kLeastCodesPerDirection = 12;

    private const int kRowBytes = 640 << 10;
    private const int kLeastTiles = 5;
    private const int kMostTiles = 18;

    // Rounding a row to integers can then not make its norm exceed what int16's products allow, and int8's stay below 2³¹.
    private const int kLargestDimension = 1 << 14;

    private readonly IntegerFormat _format;
    private readonly HadamardRotation? _rotation;
    private readonly PrefixBasis? _basis;
    private readonly IntegerLevel[] _levels;
    // [width]: the centre with zeros behind it; and nothing but zeros, which is subtracted where a row is only measured.
    private readonly float[] _centre, _zeros;
    private readonly int _width;
    private readonly int _stride;
    // Of the rows that are rounded to integers.
    private readonly int _screenedWidth;

    public IntegerPass(EncodePlan plan, float[] centre, double[] largestNorms, IReadOnlyList<ScreenLevel> levels, IntegerFormat format, bool isPrefix, int threads)
        : base(plan, largestNorms)
    {
        _format = format;
        _basis = isPrefix ? new PrefixBasis(plan, centre, PrefixWidth(plan.Dimension), threads) : null;
        _rotation = format == IntegerFormat.Int8 && !isPrefix ? new HadamardRotation(plan.Dimension) : null;
        _levels = [.. levels.Select(level => new IntegerLevel(level, format, _rotation, _basis, threads))];
        _width = _levels[0].Width;
        _screenedWidth = _basis?.Width ?? _width;
        _stride = EncodeBlocks.Stride(_width);
        _zeros = new float[_width];
        _centre = [.. centre, .. new float[_width - centre.Length]];
        RowsPerBlock = Math.Clamp(kRowBytes / (_stride * sizeof(float)) / Product.kRowsPerTile, kLeastTiles, kMostTiles) * Product.kRowsPerTile;
    }

    public override string Name =>
        $"{(_format == IntegerFormat.Int8 ? "int8" : "int16")}{(_basis is null ? "" : $" of {_basis.Width} of {Plan.Dimension} dimensions")}, {IntegerProduct.Instructions(_format)}";

    public override int RowsPerBlock { get; }

    /// <summary>Whether this processor has the instructions and the proof covers the plan.</summary>
    public static bool Supports(EncodePlan plan, IntegerFormat format) => IntegerProduct.IsSupported(format) && plan.Dimension <= kLargestDimension;

    /// <summary>The same with a basis.</summary>
    public static bool SupportsPrefix(EncodePlan plan) => Supports(plan, IntegerFormat.Int8) && PrefixWidth(plan.Dimension) < plan.Dimension;

    /// <summary>Whether there are so many codewords that multiplying rows with a basis first may be worth it.</summary>
    public static bool MayGainFromPrefix(EncodePlan plan) =>
        Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount) >= kLeastCodesPerDirection * PrefixWidth(plan.Dimension) && 2 * PrefixWidth(plan.Dimension) <= plan.Dimension;

    public override void Dispose()
    {
        base.Dispose();
        _basis?.Dispose();
        foreach (IntegerLevel level in _levels)
            level.Dispose();
    }

    protected override Workspace CreateWorkspace(Recheck recheck) => new(RowsPerBlock, _stride, _basis?.Width ?? 0, _levels[0].Integers.Words, recheck);

    // A third of the dimensions, in the steps of a rotation.
    private static int PrefixWidth(int dimension) => Math.Max(64, (dimension + 96) / 192 * 64);

    protected override bool SetOperand(Workspace workspace, int index, ReadOnlySpan<float> row)
    {
        Span<float> operand = workspace.Row(index, _width);
        row.CopyTo(operand);
        operand[row.Length..].Clear();
        float* values = workspace.Rows + (nint)index * _stride;
        double norm;
        fixed (float* centre = _centre, zeros = _zeros)
        {
            norm = IntegerRows.Subtract(values, centre, _width, out workspace.Largest[index]);
            if (_rotation is not null)
            {
                _rotation.Apply(values);
                norm = IntegerRows.Subtract(values, zeros, _width, out workspace.Largest[index]);
            }
        }
        workspace.Norms[index] = norm;
        if (!double.IsFinite(norm) && !TensorPrimitives.IsFiniteAll(row))
            return false;
        // Each addition of the rotation rounds once; its scales, powers of two, can lose what falls below float32's range.
        workspace.Errors[index] = Bounds.Float32 * norm * (_rotation is null ? 1 : 1 + HadamardRotation.kDepth) + _width * (double)float.Epsilon;
        workspace.ScreenedNorms[index] = norm;
        workspace.ScreenedErrors[index] = workspace.Errors[index];
        return true;
    }

    private float* Screened(Workspace workspace, int index) => _basis is null ? workspace.Rows + (nint)index * _stride : workspace.Prefixes + (nint)index * _basis.Width;

    // P r̂ of all rows.
    private void Project(Workspace workspace, int rows, PrefixBasis basis)
    {
        Product.Multiply(workspace.Rows, _stride, rows, basis.Packed, 0, basis.Width, workspace.Prefixes, basis.Width);
        fixed (float* zeros = _zeros)
        {
            for (int i = 0; i < rows; i++)
            {
                workspace.ScreenedNorms[i] = IntegerRows.Subtract(Screened(workspace, i), zeros, basis.Width, out workspace.Largest[i]);
                workspace.ScreenedErrors[i] = basis.Rounding * workspace.Norms[i] + (1 + basis.Deviation) * workspace.Errors[i];
            }
        }
    }

    protected override void Screen(Workspace workspace, int rows, int levelIndex, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead)
    {
        const int kTile = Product.kRowsPerTile;
        IntegerLevel level = _levels[levelIndex];
        int levels = Plan.Levels, words = level.Integers.Words;
        if (_basis is not null && levelIndex == 0)
            Project(workspace, rows, _basis);
        for (int i = 0; i < rows; i++)
        {
            double norm = workspace.ScreenedNorms[i], error = workspace.ScreenedErrors[i];
            double lost = IntegerRows.Round(_format, Screened(workspace, i), _screenedWidth, workspace.Largest[i], norm, workspace.Integers + (nint)(i % kTile) * words, out workspace.Steps[i], out workspace.Sums[i]);
            double outside = _basis?.Outside(workspace.Norms[i], workspace.Errors[i], norm, error) ?? 0;
            workspace.Outside[i] = MathF.BitIncrement((float)outside);
            workspace.Reaches[i] = level.Reach(norm, error, lost, workspace.Norms[i], outside, out double shared);
            workspace.Survivors.Begin(i, 2 * shared);
            workspace.Likeliest[i] = float.PositiveInfinity;
            if (i % kTile == kTile - 1 || i == rows - 1)
                Product.TransposeTile((float*)workspace.Integers, words, words, (float*)workspace.Tile(i / kTile));
        }
        float** tables = stackalloc float*[level.Tables];
        for (int first = 0; first < level.PaddedCodes; first += kColumns)
        {
            int columns = Math.Min(kColumns, level.PaddedCodes - first);
            int* panels = level.Integers.Panels + (nint)first * words;
            for (int tile = 0; tile < rows; tile += kTile)
            {
                IntegerProduct.Multiply(_format, workspace.Tile(tile / kTile), panels, words, columns / IntegerProduct.kCodesPerPanel, workspace.Products, kColumns);
                for (int i = tile; i < Math.Min(rows, tile + kTile); i++)
                {
                    if (!workspace.Survivors.AreScreened(i))
                        continue;
                    for (int j = 0; j < level.Tables; j++)
                        tables[j] = level.TableRow(j, codes[i * levels + j]) + first;
                    int* products = workspace.Products + (i - tile) * kColumns;
                    // Codewords of int8 are stored as 128 more.
                    var row = new ScoredRow(128 * workspace.Sums[i], -2 * workspace.Steps[i], workspace.Reaches[i], 2 * workspace.Outside[i]);
                    float smallest = Score(products, row, level, first, tables, columns, out (float Score, int Code) likeliest);
                    if (_basis is not null && likeliest.Score < workspace.Likeliest[i])
                    {
                        workspace.Likeliest[i] = likeliest.Score;
                        smallest = Math.Min(smallest, AtMost(workspace, i, level, codes.Slice(i * levels, levels), likeliest.Code));
                    }
                    workspace.Survivors.Collect(i, (float*)products, smallest, first, columns);
                }
            }
        }
    }

    protected override Span<int> Left(Workspace workspace, int index, ReadOnlySpan<ushort> path, int levelIndex, ref EncodeReport report)
    {
        Span<int> left = workspace.Survivors.Of(index, out Span<float> scores);
        if (left.Length == 1)
            return left;
        IntegerLevel level = _levels[levelIndex];
        report += new EncodeReport { Open = 1, OpenCandidates = left.IsEmpty ? level.CodeCount : left.Length };
        double error = level.Float32Error(workspace.Norms[index], workspace.Errors[index]);
        if (double.IsPositiveInfinity(error))
            return default;
        double integerError = workspace.Survivors.Margin(index) / 2;
        if (left.IsEmpty)
        {
            // Too many for the list, or not screened: nothing is known of any.
            left = workspace.AllCodes(level.CodeCount, out scores);
            integerError = 0;
        }
        // The likeliest first: with its float32 score, whose error is small, most others fall by half of the margin.
        int likeliest = TensorPrimitives.IndexOfMin<float>(scores);
        (left[0], left[likeliest]) = (left[likeliest], left[0]);
        (scores[0], scores[likeliest]) = (scores[likeliest], scores[0]);
        double smallest = double.PositiveInfinity;
        int kept = 0;
        for (int i = 0; i < left.Length; i++)
        {
            if (scores[i] - integerError > smallest + error)
                continue;
            float score = Float32Score(level, workspace.Rows + (nint)index * _stride, path, left[i]);
            smallest = Math.Min(smallest, score);
            left[kept] = left[i];
            scores[kept++] = score;
        }
        int proven = 0;
        for (int i = 0; i < kept; i++)
        {
            if (scores[i] <= smallest + 2 * error)
                left[proven++] = left[i];
        }
        return left[..proven];
    }

    protected override void Advance(Workspace workspace, int index, int levelIndex, int code)
    {
        IntegerLevel level = _levels[levelIndex];
        double norm = workspace.Norms[index] = IntegerRows.Subtract(workspace.Rows + (nint)index * _stride, level.Codeword(code), _width, out workspace.Largest[index]);
        workspace.Errors[index] += level.CodewordRounding + Bounds.Float32 * norm;
        if (_basis is not null)
            norm = IntegerRows.Subtract(Screened(workspace, index), level.Screened(code), _screenedWidth, out workspace.Largest[index]);
        workspace.ScreenedNorms[index] = norm;
        workspace.ScreenedErrors[index] += level.ScreenedRounding + Bounds.Float32 * norm;
    }

    private float Float32Score(IntegerLevel level, float* operand, ReadOnlySpan<ushort> path, int code)
    {
        float score = level.Biases[code] - 2 * TensorPrimitives.Dot(new ReadOnlySpan<float>(operand, _width), new ReadOnlySpan<float>(level.Codeword(code), _width));
        for (int j = 0; j < level.Tables; j++)
            score += level.TableRow(j, path[j])[code];
        return score;
    }

    // What makes scores of a row's products.
    private readonly record struct ScoredRow(int Offset, float Factor, float Reach, float Outside);

    // s[k] = biases[k] + factor · steps[k] · (products[k] − offset) + Σ_j tables[j][k], off by at most e[k] = reach · norms[k] + outside · outsides[k]: leaves
    // s − e, the least that a score may be, in the place of the products, and returns the smallest s + e.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Score(int* products, ScoredRow row, IntegerLevel level, int first, float** tables, int columns, out (float Score, int Code) likeliest)
    {
        float* steps = level.Integers.Steps + first, biases = level.Biases + first, norms = level.Integers.Norms + first, outsides = level.Outside, scores = (float*)products;
        int tableCount = level.Tables;
        Vector512<int> offsets = Vector512.Create(row.Offset);
        Vector512<float> factors = Vector512.Create(row.Factor), reaches = Vector512.Create(row.Reach), outside = Vector512.Create(row.Outside);
        Vector512<float> smallest = Vector512.Create(float.PositiveInfinity), smallestScore = smallest;
        Vector512<int> codes = Vector512<int>.Indices, likeliestCodes = codes;
        for (int k = 0; k < columns; k += 16)
        {
            Vector512<float> score = Vector512.ConvertToSingle(Vector512.Load(products + k) - offsets) * Vector512.Load(steps + k);
            score = Vector512.MultiplyAddEstimate(factors, score, Vector512.Load(biases + k));
            for (int j = 0; j < tableCount; j++)
                score += Vector512.Load(tables[j] + k);
            Vector512<float> error = reaches * Vector512.Load(norms + k);
            if (outsides != null)
            {
                error = Vector512.MultiplyAddEstimate(outside, Vector512.Load(outsides + first + k), error);
                likeliestCodes = Vector512.ConditionalSelect(Vector512.LessThan(score, smallestScore).AsInt32(), codes, likeliestCodes);
                smallestScore = Vector512.MinNative(smallestScore, score);
                codes += Vector512.Create(16);
            }
            (score - error).Store(scores + k);
            smallest = Vector512.MinNative(smallest, score + error);
        }
        float least = outsides == null ? 0 : new Lanes512(smallestScore).Smallest();
        likeliest = (least, outsides == null ? 0 : first + likeliestCodes[BitOperations.TrailingZeroCount(Vector512.Equals(smallestScore, Vector512.Create(least)).ExtractMostSignificantBits() | 1UL << 15)]);
        return new Lanes512(smallest).Smallest();
    }

    // What a code's score is at most, by its float32 product, less the margin's half that others are given: of the likeliest code it excludes at once what would
    // only be found to be too far later.
    private float AtMost(Workspace workspace, int index, IntegerLevel level, ReadOnlySpan<ushort> path, int code)
    {
        double error = level.Float32Error(workspace.Norms[index], workspace.Errors[index]);
        double score = Float32Score(level, workspace.Rows + (nint)index * _stride, path, code) + error - workspace.Survivors.Margin(index) / 2;
        return double.IsFinite(score) ? MathF.BitIncrement((float)score) : float.PositiveInfinity;
    }

    /// <summary>The buffers of one worker.</summary>
    internal sealed class Workspace(int rows, int stride, int prefixWidth, int words, Recheck recheck)
        : EncodeWorkspace(rows, stride, prefixWidth > 0 ? kPrefixSurvivors : kSurvivors, recheck)
    {
        private readonly RowMatrix _prefixes = new(rows, Math.Max(1, prefixWidth));
        private readonly RowMatrix _tiles = new(rows, words), _integers = new(Product.kRowsPerTile, words), _products = new(Product.kRowsPerTile, kColumns);
        private float[] _allScores = [];
        private int[] _allCodes = [];

        /// <summary>Integer rows of the tile at hand, [24, words].</summary>
        public int* Integers => (int*)_integers.DangerousGetHandle();

        /// <summary>Products, then scores, of a tile and a chunk of codes, [24, kColumns].</summary>
        public int* Products => (int*)_products.DangerousGetHandle();

        /// <summary>P r̂ of each row, [rows, p].</summary>
        public float* Prefixes => (float*)_prefixes.DangerousGetHandle();

        /// <summary>‖ẑ‖ of the rows that are rounded to integers, r̂ or P r̂.</summary>
        public double[] ScreenedNorms { get; } = new double[rows];

        /// <summary>Bound of ‖ẑ − z‖.</summary>
        public double[] ScreenedErrors { get; } = new double[rows];

        /// <summary>At least the norm of each row's part outside of the basis.</summary>
        public float[] Outside { get; } = new float[rows];

        /// <summary>What a row's scores are off for each unit of a codeword's norm.</summary>
        public float[] Reaches { get; } = new float[rows];

        /// <summary>The smallest score so far, with a basis.</summary>
        public float[] Likeliest { get; } = new float[rows];

        /// <summary>Largest magnitude of each ẑ.</summary>
        public float[] Largest { get; } = new float[rows];

        /// <summary>Step of each row's integers.</summary>
        public float[] Steps { get; } = new float[rows];

        /// <summary>Σ q of each row for int8, whose codewords are stored as 128 more; else 0.</summary>
        public int[] Sums { get; } = new int[rows];

        /// <summary>Integer rows of a tile, [words][24].</summary>
        public int* Tile(int tile) => (int*)_tiles.DangerousGetHandle() + (nint)tile * Product.kRowsPerTile * words;

        /// <summary>0 … count − 1, valid until the next call, each with a score that excludes nothing.</summary>
        public Span<int> AllCodes(int count, out Span<float> scores)
        {
            if (_allCodes.Length < count)
                (_allCodes, _allScores) = (new int[count], new float[count]);
            for (int i = 0; i < count; i++)
                _allCodes[i] = i;
            scores = _allScores.AsSpan(0, count);
            scores.Fill(float.NegativeInfinity);
            return _allCodes.AsSpan(0, count);
        }

        public override void Dispose()
        {
            base.Dispose();
            _prefixes.Dispose();
            _tiles.Dispose();
            _integers.Dispose();
            _products.Dispose();
        }
    }
}
