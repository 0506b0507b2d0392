using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// For each row of a block the codes that a screen cannot exclude: those whose score, or the least it may be, is within a margin of the smallest, or the
/// smallest of what codes have at most. Scores arrive a chunk of codes at a time; the smallest can only fall, so none is lost, and what earlier chunks kept
/// is filtered at the end.
/// </summary>
/// <param name="rows">Rows of a block.</param>
/// <param name="capacity">Codes that are kept of a row; where more survive, none is known and all are candidates.</param>
internal sealed unsafe class Survivors(int rows, int capacity)
{
    private readonly double[] _margins = new double[rows];
    private readonly float[] _smallest = new float[rows];
    private readonly float[] _limits = new float[rows];
    private readonly int[] _counts = new int[rows];
    private readonly int[] _codes = new int[rows * capacity];
    private readonly float[] _scores = new float[rows * capacity];
    private readonly int[] _kept = new int[capacity + 1];
    private readonly float[] _keptScores = new float[capacity + 1];

    /// <summary>Begins a row.</summary>
    /// <param name="row">Of the block.</param>
    /// <param name="margin">2E; +∞ where the screen cannot be trusted.</param>
    public void Begin(int row, double margin)
    {
        _margins[row] = margin;
        _smallest[row] = float.PositiveInfinity;
        _limits[row] = float.PositiveInfinity;
        _counts[row] = 0;
    }

    /// <summary>2E of a row.</summary>
    public double Margin(int row) => _margins[row];

    /// <summary>Whether the row has a margin at all.</summary>
    public bool AreScreened(int row) => !double.IsPositiveInfinity(_margins[row]);

    /// <summary>A code has this score, or at most this.</summary>
    public void Lower(int row, float smallest)
    {
        if (smallest >= _smallest[row])
            return;
        _smallest[row] = smallest;
        _limits[row] = MathF.BitIncrement((float)(smallest + _margins[row]));
    }

    /// <summary>Scores above it are too far from the smallest.</summary>
    public float Limit(int row) => _limits[row];

    /// <summary>Takes the codes of a chunk whose score is within the margin of the smallest seen so far.</summary>
    /// <param name="row">Of the block.</param>
    /// <param name="scores">[columns].</param>
    /// <param name="first">Code of the first.</param>
    /// <param name="columns">A multiple of 32.</param>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    public void Collect(int row, float* scores, int first, int columns)
    {
        float limit = Limit(row);
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
                Add(row, first + k + lane, scores[k + lane], limit);
            }
        }
    }

    /// <summary>Takes those codes of a chunk whose bits are set.</summary>
    /// <param name="row">Of the block.</param>
    /// <param name="scores">[columns].</param>
    /// <param name="within">[columns] bits, a multiple of 64.</param>
    /// <param name="first">Code of the first.</param>
    /// <param name="columns">Codes.</param>
    public void Take(int row, float* scores, ulong* within, int first, int columns)
    {
        for (int k = 0; k < columns; k += 64)
        {
            for (ulong bits = *within++; bits != 0; bits &= bits - 1)
            {
                int column = k + BitOperations.TrailingZeroCount(bits);
                Add(row, first + column, scores[column], _limits[row]);
            }
        }
    }

    /// <summary>The codes that are left, valid until the next call; empty where more survived than are kept, or the row was not screened.</summary>
    public Span<int> Of(int row) => Of(row, out _);

    /// <summary>The same with their scores.</summary>
    public Span<int> Of(int row, out Span<float> scores)
    {
        scores = default;
        if (_counts[row] > capacity)
            return default;
        float limit = Limit(row);
        int kept = 0;
        for (int i = row * capacity; i < row * capacity + _counts[row]; i++)
        {
            // No branch: which of them are within is anybody's guess.
            _keptScores[kept] = _scores[i];
            _kept[kept] = _codes[i];
            kept += _scores[i] <= limit ? 1 : 0;
        }
        scores = _keptScores.AsSpan(0, kept);
        return _kept.AsSpan(0, kept);
    }

    private void Add(int row, int code, float score, float limit)
    {
        ref int count = ref _counts[row];
        if (count == capacity)
        {
            // Earlier chunks were measured against a larger smallest score: what it no longer allows makes room.
            int kept = 0;
            for (int i = row * capacity; i < (row + 1) * capacity; i++)
            {
                if (_scores[i] > limit)
                    continue;
                _scores[row * capacity + kept] = _scores[i];
                _codes[row * capacity + kept++] = _codes[i];
            }
            count = kept;
        }
        if (count >= capacity)
        {
            count = capacity + 1;
            return;
        }
        _scores[row * capacity + count] = score;
        _codes[row * capacity + count++] = code;
    }
}
