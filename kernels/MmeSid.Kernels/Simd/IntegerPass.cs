using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// The integer screens: operand rows and codewords rounded to int8 or int16 of a step each, multiplied exactly at two to four times the rate of float32
/// (<see cref="IntegerProduct"/>); what that leaves open is scored in float32, and what is open then goes to <see cref="Recheck"/>.
/// <code>
///   does  r̂ = R(x − m), R a rotation for int8 (HadamardRotation), else none; per level: r̂ = step · q + δ, ‖δ‖ measured; products q · q_k; scores
///         s = β − 2 step · step_k · q·q_k (+ PSRQ's prefix tables); the codes within 2E of the smallest survive; of several, those within 2E′ of the
///         smallest in float32; r̂ −= R w[code]
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
    private const int kSurvivors = 64;

    private const int kRowBytes = 640 << 10;
    private const int kLeastTiles = 5;
    private const int kMostTiles = 18;

    // Rounding a row to integers can then not make its norm exceed what int16's products allow, and int8's stay below 2³¹.
    private const int kLargestDimension = 1 << 14;

    private readonly IntegerFormat _format;
    private readonly HadamardRotation? _rotation;
    private readonly IntegerLevel[] _levels;
    // [width], with zeros behind the centre.
    private readonly float[] _centre, _zeros;
    private readonly int _width;
    private readonly int _stride;

    public IntegerPass(EncodePlan plan, float[] centre, double[] largestNorms, IntegerFormat format, int threads)
        : base(plan, largestNorms)
    {
        _format = format;
        _rotation = format == IntegerFormat.Int8 ? new HadamardRotation(plan.Dimension) : null;
        _levels = [.. Enumerable.Range(0, plan.Levels).Select(level => new IntegerLevel(plan, level, centre, format, _rotation, threads))];
        _width = _levels[0].Width;
        _stride = EncodeBlocks.Stride(_width);
        _zeros = new float[_width];
        _centre = [.. centre, .. new float[_width - centre.Length]];
        RowsPerBlock = Math.Clamp(kRowBytes / (_stride * sizeof(float)) / Product.kRowsPerTile, kLeastTiles, kMostTiles) * Product.kRowsPerTile;
    }

    public override string Name => $"{(_format == IntegerFormat.Int8 ? "int8" : "int16")}, {IntegerProduct.Instructions(_format)}";

    public override int RowsPerBlock { get; }

    /// <summary>Whether this processor has the instructions and the proof covers the plan.</summary>
    public static bool Supports(EncodePlan plan, IntegerFormat format) => IntegerProduct.IsSupported(format) && plan.Dimension <= kLargestDimension;

    public override void Dispose()
    {
        base.Dispose();
        foreach (IntegerLevel level in _levels)
            level.Dispose();
    }

    protected override Workspace CreateWorkspace(Recheck recheck) => new(RowsPerBlock, _stride, _levels[0].Words, recheck);

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
        return true;
    }

    protected override void Screen(Workspace workspace, int rows, int levelIndex, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> ahead)
    {
        const int kTile = Product.kRowsPerTile;
        IntegerLevel level = _levels[levelIndex];
        int levels = Plan.Levels, words = level.Words;
        for (int i = 0; i < rows; i++)
        {
            double lost = IntegerRows.Round(_format, workspace.Rows + (nint)i * _stride, _width, workspace.Largest[i], workspace.Norms[i], workspace.Integers + (nint)(i % kTile) * words, out workspace.Steps[i], out workspace.Sums[i]);
            workspace.Survivors.Begin(i, 2 * level.IntegerError(workspace.Norms[i], workspace.Errors[i], lost));
            if (i % kTile == kTile - 1 || i == rows - 1)
                Product.TransposeTile((float*)workspace.Integers, words, words, (float*)workspace.Tile(i / kTile));
        }
        float** tables = stackalloc float*[level.Tables];
        for (int first = 0; first < level.PaddedCodes; first += kColumns)
        {
            int columns = Math.Min(kColumns, level.PaddedCodes - first);
            int* panels = level.Panels + (nint)first * words;
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
                    float smallest = Score(products, 128 * workspace.Sums[i], -2 * workspace.Steps[i], level.Steps + first, level.Biases + first, tables, level.Tables, columns);
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

    protected override void Advance(Workspace workspace, int index, int level, int code)
    {
        double norm = workspace.Norms[index] = IntegerRows.Subtract(workspace.Rows + (nint)index * _stride, _levels[level].Codeword(code), _width, out workspace.Largest[index]);
        workspace.Errors[index] += _levels[level].CodewordRounding + Bounds.Float32 * norm;
    }

    private float Float32Score(IntegerLevel level, float* operand, ReadOnlySpan<ushort> path, int code)
    {
        float score = level.Biases[code] - 2 * TensorPrimitives.Dot(new ReadOnlySpan<float>(operand, _width), new ReadOnlySpan<float>(level.Codeword(code), _width));
        for (int j = 0; j < level.Tables; j++)
            score += level.TableRow(j, path[j])[code];
        return score;
    }

    // scores[k] = biases[k] + factor · steps[k] · (products[k] − offset) + Σ_j tables[j][k], in the place of the products; returns the smallest.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static float Score(int* products, int offset, float factor, float* steps, float* biases, float** tables, int tableCount, int columns)
    {
        float* scores = (float*)products;
        Vector512<int> offsets = Vector512.Create(offset);
        Vector512<float> factors = Vector512.Create(factor), smallestLow = Vector512.Create(float.PositiveInfinity), smallestHigh = smallestLow;
        for (int k = 0; k < columns; k += 32)
        {
            Vector512<float> low = Vector512.ConvertToSingle(Vector512.Load(products + k) - offsets) * Vector512.Load(steps + k);
            Vector512<float> high = Vector512.ConvertToSingle(Vector512.Load(products + k + 16) - offsets) * Vector512.Load(steps + k + 16);
            low = Vector512.MultiplyAddEstimate(factors, low, Vector512.Load(biases + k));
            high = Vector512.MultiplyAddEstimate(factors, high, Vector512.Load(biases + k + 16));
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
        return new Lanes512(Vector512.MinNative(smallestLow, smallestHigh)).Smallest();
    }

    /// <summary>The buffers of one worker.</summary>
    internal sealed class Workspace(int rows, int stride, int words, Recheck recheck) : EncodeWorkspace(rows, stride, kSurvivors, recheck)
    {
        private readonly RowMatrix _tiles = new(rows, words), _integers = new(Product.kRowsPerTile, words), _products = new(Product.kRowsPerTile, kColumns);
        private float[] _allScores = [];
        private int[] _allCodes = [];

        /// <summary>Integer rows of the tile at hand, [24, words].</summary>
        public int* Integers => (int*)_integers.DangerousGetHandle();

        /// <summary>Products, then scores, of a tile and a chunk of codes, [24, kColumns].</summary>
        public int* Products => (int*)_products.DangerousGetHandle();

        /// <summary>Largest magnitude of each operand row.</summary>
        public float[] Largest { get; } = new float[rows];

        /// <summary>Step of each row's integers.</summary>
        public float[] Steps { get; } = new float[rows];

        /// <summary>128 Σ q of each row for int8, whose codewords are stored as 128 more; else 0.</summary>
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
            _tiles.Dispose();
            _integers.Dispose();
            _products.Dispose();
        }
    }
}
