using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The integer screens: operand rows and codewords rounded to int8 or int16 of a step each, multiplied exactly at two to four times the rate of float32
/// (<see cref="IntegerProduct"/>); what that leaves open is scored in float32, and what is open then goes to <see cref="Recheck"/>.
/// <code>
///   does  r̂ = Q(x − m), Q a rotation for int8 (HadamardRotation), else none; per level: r̂ = step · q + δ, ‖δ‖ measured; products q · q_k; scores
///         s = β − 2 step · step_k · q·q_k (+ PSRQ's prefix tables), off by at most e[k]; the codes whose s − e is below the smallest s + e survive; of several,
///         those within 2E′ of the smallest in float32; r̂ −= Q w[code]
///   of a prefix   the integers are P r̂'s and P w's, a fraction of the dimensions (PrefixBasis); e[k] then holds what lies outside, too; the few that survive are
///         scored by integers of all dimensions before float32
///   why   |r·w − x̂·ŵ| ≤ ‖r − x̂‖‖w‖ + ‖x̂‖‖w − ŵ‖ (docs/exactness.md §8); a rotation changes no distance
///   work  integers of all rows of a block; products and scores of a tile of rows and a chunk of codes live at a time
///   cost  2·n·d·ΣK integer operations; per row and level 12·d bytes of cache for r̂ and d or 2·d for its integers
/// </code>
/// </summary>
internal sealed unsafe class IntegerPass : EncodePass<IntegerWorkspace>
{
    // Codes whose products are scored before the next: a tile's are 24 KB.
    private const int kColumns = 256;

    // Survivors kept per row before all K codes are candidates.
    private const int kSurvivors = 64, kPrefixSurvivors = 512;

    // Codes, over all levels, for each direction that rows are projected to.
    private const int kLeastCodesPerDirection = 12;

    // Candidates between the one that is scored and the one that is fetched.
    private const int kAhead = 2;

    // The same of rows whose tables are added.
    private const int kTablesAhead = 2;

    // Of rows in a block.
    private const int kLeastTiles = 5;

    private readonly IntegerFormat _format;
    private readonly HadamardRotation? _rotation;
    private readonly PrefixBasis? _basis;
    private readonly IntegerLevel[] _levels;
    // [width], zeros behind it.
    private readonly float[] _centre;
    private readonly int _width;
    private readonly int _stride;

    public IntegerPass(EncodePlan plan, float[] centre, double[] largestNorms, IReadOnlyList<ScreenLevel> levels, IntegerFormat format, bool isPrefix, int threads)
        : base(plan, largestNorms)
    {
        _format = format;
        _rotation = format == IntegerFormat.Int8 ? new HadamardRotation(plan.Dimension) : null;
        _basis = isPrefix ? new PrefixBasis(plan, centre, _rotation!, PrefixWidth(plan.Dimension), threads) : null;
        _levels = [.. levels.Select(level => new IntegerLevel(level, format, _rotation, _basis, threads))];
        _width = _levels[0].Width;
        _stride = EncodeBlocks.Stride(_width);
        _centre = [.. centre, .. new float[_width - centre.Length]];
        RowsPerBlock = EncodeBlocks.RowsPerBlock(_stride, kLeastTiles);
    }

    public override string Name =>
        $"{(_format == IntegerFormat.Int8 ? "int8" : "int16")}{(_basis is null ? "" : $" of {_basis.Width} of {Plan.Dimension} dimensions")}, {IntegerProduct.Instructions(_format)}";

    public override int RowsPerBlock { get; }

    /// <summary>Whether this processor has the instructions and the proof covers the plan.</summary>
    public static bool Supports(EncodePlan plan, IntegerFormat format) => IntegerProduct.Supports(format, plan.Dimension);

    /// <summary>The same with a basis.</summary>
    public static bool SupportsPrefix(EncodePlan plan) => Supports(plan, IntegerFormat.Int8) && Supports(plan, IntegerFormat.Int16) && PrefixWidth(plan.Dimension) < plan.Dimension;

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

    protected override IntegerWorkspace CreateWorkspace(Recheck recheck) =>
        new(RowsPerBlock, _stride, _width, _basis?.Width ?? 0, _levels[0].Integers.Words, kColumns, _basis is null ? kSurvivors : kPrefixSurvivors, recheck);

    // A third of the dimensions, in the steps of a rotation.
    private static int PrefixWidth(int dimension) => Math.Max(64, (dimension + 96) / 192 * 64);

    protected override bool SetOperand(IntegerWorkspace workspace, int index, ReadOnlySpan<float> row)
    {
        Span<float> operand = workspace.Row(index, _width);
        row.CopyTo(operand);
        operand[row.Length..].Clear();
        double norm;
        fixed (float* centre = _centre)
            norm = workspace.Whole.Subtract(index, centre);
        if (_rotation is not null)
        {
            _rotation.Apply(workspace.Whole.Row(index));
            norm = workspace.Whole.Measure(index);
        }
        if (!double.IsFinite(norm) && !TensorPrimitives.IsFiniteAll(row))
            return false;
        // Each addition of the rotation rounds once; its scales, powers of two, can lose what falls below float32's range.
        workspace.Errors[index] = Bounds.Float32 * norm * (_rotation is null ? 1 : 1 + HadamardRotation.kDepth) + _width * (double)float.Epsilon;
        return true;
    }

    // Integers of all rows, transposed tile by tile.
    private void Round(IntegerWorkspace workspace, int rows, IntegerLevel level)
    {
        const int kTile = Product.kRowsPerTile;
        int words = level.Integers.Words;
        for (int i = 0; i < rows; i++)
        {
            double dotError = 0, outside = 0;
            if (_basis is not null)
            {
                dotError = level.DeviationError(workspace.Screened.Norms[i] + workspace.Screened.Errors[i]);
                outside = _basis.Outside(workspace.Norms[i], workspace.Errors[i], workspace.Screened.Norms[i], workspace.Screened.Errors[i]);
                workspace.Whole.Round(_format, i, level, level.Whole!, dotError: 0, outside: 0, workspace.Integers(i));
            }
            workspace.Screened.Round(_format, i, level, level.Integers, dotError, outside, workspace.TileRows + (nint)(i % kTile) * words);
            workspace.Survivors.Begin(i, 2 * workspace.Screened.SharedErrors[i]);
            workspace.Likeliest[i] = float.PositiveInfinity;
            if (i % kTile == kTile - 1 || i == rows - 1)
                Product.TransposeTile((float*)workspace.TileRows, words, words, (float*)workspace.Tile(i / kTile));
        }
    }

    protected override void Screen(IntegerWorkspace workspace, int rows, int levelIndex, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead)
    {
        const int kTile = Product.kRowsPerTile;
        IntegerLevel level = _levels[levelIndex];
        int levels = Plan.Levels, words = level.Integers.Words;
        if (_basis is not null && levelIndex == 0)
            _basis.Project(workspace.Whole, rows, workspace.Screened, workspace.TileRows, workspace.Transposed, workspace.Products);
        Round(workspace, rows, level);
        TableRow* tables = stackalloc TableRow[level.Tables];
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
                    float* biases = level.Biases + first;
                    if (level.Tables > 0)
                    {
                        int later = Math.Min(rows - 1, i + kTablesAhead);
                        for (int j = 0; j < level.Tables; j++)
                        {
                            tables[j] = level.TableRow(j, codes[i * levels + j]).From(first);
                            Prefetch.Lines(level.TableRow(j, codes[later * levels + j]).From(first).Values, columns * sizeof(short));
                        }
                        IntegerScores.AddTables(biases, tables, level.Tables, workspace.Biases, columns);
                        biases = workspace.Biases;
                    }
                    Keep(workspace, i, level, workspace.Products + (i - tile) * kColumns, biases, first, columns, codes.Slice(i * levels, levels));
                }
            }
        }
    }

    // The codes of a chunk that a row's products do not exclude.
    private void Keep(IntegerWorkspace workspace, int index, IntegerLevel level, int* products, float* biases, int first, int columns, ReadOnlySpan<ushort> path)
    {
        ref readonly RowFactors row = ref workspace.Screened.Factors[index];
        var codewords = new CodeFactors(level.Integers.Steps + first, biases, level.Integers.Norms + first, _basis is null ? null : level.Outside + first);
        float* atLeast = (float*)products;
        if (_basis is null)
        {
            workspace.Survivors.Lower(index, IntegerScores.Bound(products, row, codewords, columns));
            workspace.Survivors.Collect(index, atLeast, first, columns);
            return;
        }
        ushort* within = stackalloc ushort[kColumns / 16];
        (float Score, int Column) likeliest = (workspace.Likeliest[index], 0);
        if (IntegerScores.BoundPrefix(products, row, codewords, columns, workspace.Survivors.Limit(index), within, ref likeliest))
        {
            // What its score is at most excludes at once what would only be found to be too far later.
            workspace.Likeliest[index] = likeliest.Score;
            workspace.Survivors.Lower(index, AtMost(workspace, index, level, path, first + likeliest.Column));
            workspace.Survivors.Collect(index, atLeast, first, columns);
        }
        else
        {
            workspace.Survivors.Take(index, atLeast, (ulong*)within, first, columns);
        }
    }

    protected override Span<int> Left(IntegerWorkspace workspace, int index, ReadOnlySpan<ushort> path, int levelIndex, ref EncodeReport report)
    {
        Span<int> left = workspace.Survivors.Of(index, out Span<float> scores);
        if (left.Length == 1)
            return left;
        IntegerLevel level = _levels[levelIndex];
        // A code's score is at least the one in scores less this.
        double error = workspace.Survivors.Margin(index) / 2;
        if (left.IsEmpty)
        {
            // Too many for the list, or not screened: nothing is known of any.
            left = workspace.AllCodes(level.CodeCount, out scores);
            error = 0;
        }
        if (_basis is not null && double.IsFinite(workspace.Whole.SharedErrors[index]))
        {
            left = Sift(workspace, index, path, level, left, scores, error, ofIntegers: true);
            error = workspace.Whole.SharedErrors[index];
            if (left.Length == 1)
                return left;
        }
        report += new EncodeReport { Open = 1, OpenCandidates = left.Length };
        return double.IsPositiveInfinity(level.Float32Error(workspace.Norms[index], workspace.Errors[index])) ? default : Sift(workspace, index, path, level, left, scores, error, ofIntegers: false);
    }

    protected override void Advance(IntegerWorkspace workspace, int index, int levelIndex, int code)
    {
        IntegerLevel level = _levels[levelIndex];
        double norm = workspace.Whole.Subtract(index, level.Codeword(code));
        workspace.Errors[index] += level.CodewordRounding + Bounds.Float32 * norm;
        if (_basis is null)
            return;
        norm = workspace.Screened.Subtract(index, level.Screened(code));
        workspace.Screened.Errors[index] += level.ScreenedRounding + Bounds.Float32 * norm;
    }

    // Scores candidates by more than was known of them, the likeliest first, because its score excludes most others at once. Leaves those that may be the best,
    // and what their scores are at least but for the error of these scores.
    private static Span<int> Sift(IntegerWorkspace workspace, int index, ReadOnlySpan<ushort> path, IntegerLevel level, Span<int> left, Span<float> scores, double error, bool ofIntegers)
    {
        double newError = ofIntegers ? workspace.Whole.SharedErrors[index] : level.Float32Error(workspace.Norms[index], workspace.Errors[index]);
        int likeliest = TensorPrimitives.IndexOfMin<float>(scores[..left.Length]);
        (left[0], left[likeliest]) = (left[likeliest], left[0]);
        (scores[0], scores[likeliest]) = (scores[likeliest], scores[0]);
        double atMost = double.PositiveInfinity;
        int scored = 0, kept = 0;
        for (int i = 0; i < left.Length; i++)
        {
            if (scores[i] - error > atMost)
                continue;
            if (ofIntegers && i + kAhead < left.Length)
                level.Prefetch(left[i + kAhead]);
            float codeError = 0;
            float score = ofIntegers ? IntegerScore(workspace, index, level, path, left[i], out codeError) : Float32Score(level, workspace.Whole.Row(index), path, left[i]);
            atMost = Math.Min(atMost, score + codeError + newError);
            left[scored] = left[i];
            scores[scored++] = score - codeError;
        }
        for (int i = 0; i < scored; i++)
        {
            if (scores[i] - newError > atMost)
                continue;
            left[kept] = left[i];
            scores[kept++] = scores[i];
        }
        return left[..kept];
    }

    private static float Float32Score(IntegerLevel level, float* operand, ReadOnlySpan<ushort> path, int code)
    {
        float score = level.Biases[code] - 2 * TensorPrimitives.Dot(new ReadOnlySpan<float>(operand, level.Width), new ReadOnlySpan<float>(level.Codeword(code), level.Width));
        for (int j = 0; j < level.Tables; j++)
            score += level.TableRow(j, path[j])[code];
        return score;
    }

    // By the integers of all dimensions.
    private static float IntegerScore(IntegerWorkspace workspace, int index, IntegerLevel level, ReadOnlySpan<ushort> path, int code, out float error)
    {
        IntegerCodewords codewords = level.Whole!;
        ref readonly RowFactors row = ref workspace.Whole.Factors[index];
        int product = IntegerProduct.Dot8(workspace.Integers(index), codewords.Codeword(code), codewords.Words) - row.Offset;
        ref readonly IntegerLevel.CodeFactor factor = ref level.Factor(code);
        error = row.Reach * factor.Norm;
        float score = factor.Bias + row.Factor * (product * factor.Step);
        for (int j = 0; j < level.Tables; j++)
            score += level.TableRow(j, path[j])[code];
        return score;
    }

    // What a code's score is at most, less the margin's half that others are given.
    private static float AtMost(IntegerWorkspace workspace, int index, IntegerLevel level, ReadOnlySpan<ushort> path, int code)
    {
        double score = IntegerScore(workspace, index, level, path, code, out float error);
        score += error + workspace.Whole.SharedErrors[index] - workspace.Survivors.Margin(index) / 2;
        return double.IsFinite(score) ? MathF.BitIncrement((float)score) : float.PositiveInfinity;
    }
}
