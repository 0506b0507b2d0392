using System.Diagnostics;
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    /// <inheritdoc/>
    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        if (queries.Count == 0)
            OpArguments.CheckFinite(items, "item");
        if (!RoundsItems(queries.Count, items))
        {
            TopScan.Answer(queries, items, count, Threads, null, indices, scores);
            return;
        }
        using var shadow = new ItemShadow(items);
        var screen = new TopScreen(shadow, Screen == SimdScreen.Fastest ? new ScreenChoice() : null);
        TopScan.Answer(queries, items, count, Threads, screen, indices, scores);
    }

    /// <inheritdoc/>
    public IPreparedItems PrepareItems(RowMatrix items)
    {
        ArgumentNullException.ThrowIfNull(items);
        return new SimdItems(items, Threads, Screen);
    }

    // Rounding items costs about what int8 saves of the products with 400 to 800 queries; and a trial that fails is not to be felt.
    private const int kQueriesWorthRounding = 512, kUnitsWorthTrying = 100;

    private bool RoundsItems(int queries, RowView items) => IntegerProduct.Supports(IntegerFormat.Int8, items.Dimension) && (Screen switch
    {
        SimdScreen.Int8 or SimdScreen.Int8Prefix => queries > 0,
        SimdScreen.Fastest => queries >= kQueriesWorthRounding && TopScan.Units(items.Count) * (double)TopScan.Scans(queries) >= kUnitsWorthTrying,
        _ => false,
    });
}

/// <summary>The screen of a scan in int8.</summary>
/// <param name="Shadow">The items.</param>
/// <param name="Choice">Which units it screens; null for all of them.</param>
/// <param name="Lasts">Whether the shadow serves more calls than this: what it takes to make is then not this call's.</param>
internal sealed record TopScreen(ItemShadow Shadow, ScreenChoice? Choice, bool Lasts = false);

/// <summary>
/// top-inner-products: for each query q the k items of largest q·x, best first                     oracle: Scalar/TopInnerProducts.cs
/// <code>
///   in    queries (q, d) f32 · items (n, d) f32 · k ≤ n
///   out   indices (q, k) i32 · scores (q, k) f32
///   uses  ŝ = q·x in float32 with |ŝ − s| ≤ e = γ·max‖x‖·‖q‖: at least k items have s ≥ T, the k-th largest ŝ − e seen, so an item with
///         ŝ + e &lt; T is not among the best k. What is left is evaluated in float64 and ordered by ExactProducts
///   ties  real-number order, equal products by smaller index
///   or    of many queries or prepared items, an int8 product with a bound of its own leaves out most items first (ItemShadow, IntegerQueries); what that leaves open gets
///         its float32 product, and all else is the same. Which units go that way is measured (ScreenChoice); a block that int8 leaves open goes the other way at once
///   work  a unit is a run of items, taken by any worker; a worker keeps one short list of candidates per query, and nothing of a
///         block of scores but the few that reach the query's T: one comparison per register of scores
///         few queries: one pass over an item per query, from the first-level cache; more: packed queries, Product
///   cost  2·q·n·d flop and 4·n·d bytes per kQueriesPerScan queries; as int8 a quarter of both, and of the bytes of what is open
/// </code>
/// Blocks whose products could leave float32's range, and lists that ties keep from shrinking, are decided in float64 at once.
/// </summary>
internal sealed unsafe class TopScan
{
    /// <summary>Queries whose scores of one block of items stay in the second-level cache.</summary>
    public const int kQueriesPerScan = 256;

    // Up to here a pass per query costs less than a whole panel of packed queries.
    private const int kFewQueries = 6;

    // Even: the rows of a block are whole groups of kRowsAtOnce.
    private const int kTilesPerBlock = 3;

    // Distance in values at which a single query's pass asks for items: the processor's own prefetch stops at each page.
    private const int kValuesAhead = 2048;

    // Scores that are noted before the lists of their queries are visited.
    private const int kReachedHeld = 1024;

    // Rows of scores that one comparison clears.
    private const int kRowsAtOnce = 4;
    private const int kBlocksPerUnit = 32;

    // Share of a block's products that int8 may leave open: single products take longer than those of a whole block.
    private const double kMostOpen = 1.0 / 32, kMostOpenOfFew = 1.0 / 8;

    // ‖x‖‖q‖ up to here cannot overflow a float32 product.
    private const double kLargestProduct = 1e37;

    private readonly float* _queries;
    private readonly nint _queryStride;
    private readonly int _queryCount;
    private readonly float* _items;
    private readonly nint _itemStride;
    private readonly int _itemCount;
    private readonly int _dimension;
    private readonly int _count;
    private readonly double[] _queryNorms;
    private readonly double _largestQueryNorm;
    private readonly TopScreen? _screen;
    private readonly IntegerQueries? _integers;
    // Scans that a block of the shadow, made now, will serve.
    private readonly int _scansLeft;

    // T of each query, the largest that any worker has proven so far. Which worker reads which value when changes the work, not the result.
    private readonly double[] _proven;

    private TopScan(float* queries, nint queryStride, int queryCount, float* items, nint itemStride, int itemCount, int dimension, int count, TopScreen? screen, int scansLeft)
    {
        _queries = queries;
        _queryStride = queryStride;
        _queryCount = queryCount;
        _items = items;
        _itemStride = itemStride;
        _itemCount = itemCount;
        _dimension = dimension;
        _count = count;
        _queryNorms = new double[queryCount];
        for (int q = 0; q < queryCount; q++)
        {
            double sum = 0;
            foreach (float value in Query(q))
                sum += (double)value * value;
            _queryNorms[q] = Math.Sqrt(sum);
        }
        _largestQueryNorm = _queryNorms.Max();
        _screen = screen;
        _scansLeft = scansLeft;
        _integers = screen is null ? null : new IntegerQueries(queries, queryStride, queryCount, dimension, _queryNorms, screen.Shadow);
        _proven = new double[queryCount];
        Array.Fill(_proven, double.NegativeInfinity);
    }

    private const int BlockRows = kTilesPerBlock * Product.kRowsPerTile;

    private int PaddedQueries => PackedCodewords.Padded(_queryCount);

    private static int UnitRows => kBlocksPerUnit * BlockRows;

    /// <summary>Scans of the items that so many queries take.</summary>
    public static int Scans(int queries) => (queries + kQueriesPerScan - 1) / kQueriesPerScan;

    /// <summary>Units that so many items are.</summary>
    public static int Units(int items) => (items + UnitRows - 1) / UnitRows;

    /// <summary>Answers checked queries.</summary>
    /// <exception cref="ArgumentException">An item holds NaN or infinity; the first is named.</exception>
    public static TopReport Answer(RowView queries, RowView items, int count, int threads, TopScreen? screen, Span<int> indices, Span<float> scores)
    {
        TopReport report = default;
        for (int first = 0; first < queries.Count; first += kQueriesPerScan)
        {
            int held = Math.Min(kQueriesPerScan, queries.Count - first), scansLeft = Scans(queries.Count - first);
            RowView some = queries.Slice(first, held);
            Span<int> found = indices.Slice(first * count, held * count);
            Span<float> values = scores.Slice(first * count, held * count);
            report += Lanes512.IsSupported ? Run<Lanes512>(some, items, count, threads, screen, scansLeft, found, values)
                : Lanes256.IsSupported ? Run<Lanes256>(some, items, count, threads, screen, scansLeft, found, values)
                : Run<Lanes128>(some, items, count, threads, screen, scansLeft, found, values);
        }
        return report;
    }

    // Up to kQueriesPerScan queries in one scan of the items.
    private static TopReport Run<TLanes>(RowView queries, RowView items, int count, int threads, TopScreen? screen, int scansLeft, Span<int> indices, Span<float> scores)
        where TLanes : struct, ILanes<TLanes>
    {
        fixed (float* q = queries.Values, x = items.Values)
        fixed (int* found = indices)
        fixed (float* values = scores)
        {
            var scan = new TopScan(q, queries.Stride, queries.Count, x, items.Stride, items.Count, items.Dimension, count, screen, scansLeft);
            using (scan._integers)
                return scan.Run<TLanes>(threads, found, values);
        }
    }

    private TopReport Run<TLanes>(int threads, int* indices, float* scores)
        where TLanes : struct, ILanes<TLanes>
    {
        using PackedCodewords? packed = _queryCount <= kFewQueries ? null : new PackedCodewords(_queries, _queryStride, _queryCount, _dimension);
        var workers = new Worker?[threads];
        try
        {
            Workers.RunUnits(threads, Units(_itemCount), (worker, unit) =>
            {
                Worker state = workers[worker] ??= new Worker(this, packed);
                state.TakeThresholds();
                int start = unit * UnitRows, end = Math.Min(_itemCount, start + UnitRows);
                bool isTimed = false, isInteger = _screen is not null && (_screen.Choice?.Take(out isTimed) ?? true);
                long begin = Stopwatch.GetTimestamp();
                double sharedSeconds = 0;
                if (isInteger)
                    sharedSeconds = state.ScanIntegers<TLanes>(start, end);
                else
                    state.Scan<TLanes>(start, end);
                if (isTimed)
                    _screen!.Choice!.Report(isInteger, (Stopwatch.GetElapsedTime(begin).TotalSeconds - sharedSeconds) / (end - start));
            });
            int broken = workers.Min(state => state?.BrokenItem ?? int.MaxValue);
            if (broken != int.MaxValue)
                OpArguments.CheckFinite(broken, Item(broken), "item");
            Workers.RunUnits(threads, _queryCount, (_, q) => Finish(q, workers, new Span<int>(indices + (nint)q * _count, _count), new Span<float>(scores + (nint)q * _count, _count)));
            return workers.Aggregate(default(TopReport), (sum, state) => sum + (state?.Report ?? default));
        }
        finally
        {
            foreach (Worker? state in workers)
                state?.Dispose();
        }
    }

    private void Finish(int q, Worker?[] workers, Span<int> indices, Span<float> scores)
    {
        var all = new TopCandidates(_count);
        foreach (Worker? state in workers)
            all.AddRange(state?.Kept(q));
        all.Shrink();
        all.Settle(_queries + q * _queryStride, _items, _itemStride, _dimension, new ExactProducts());
        for (int j = 0; j < _count; j++)
        {
            indices[j] = all[j].Index;
            scores[j] = (float)all[j].Score;
        }
    }

    private ReadOnlySpan<float> Query(int q) => new(_queries + q * _queryStride, _dimension);

    private ReadOnlySpan<float> Item(int i) => new(_items + i * _itemStride, _dimension);

    /// <summary>A score that reached its query's limit when it was computed.</summary>
    private readonly record struct Reached(int Query, int Item, float Score);

    /// <summary>What one worker keeps: its candidates of every query, and the scores of one block of items.</summary>
    private sealed class Worker : IDisposable
    {
        private readonly TopScan _scan;
        private readonly PackedCodewords? _packed;
        private readonly TopCandidates[] _candidates;
        private readonly ExactProducts _exact = new();
        private readonly Reached[] _reached = new Reached[kReachedHeld];
        private readonly RowMatrix _scores;
        private readonly RowMatrix _limits;
        private readonly RowMatrix? _tail;
        // Of a tile of queries with a block of the shadow; what that leaves open, and where it ends for each query.
        private readonly RowMatrix? _products;
        // For blocks that are made.
        private RowMatrix? _rows;
        private readonly int[] _open = [], _openEnds = [];
        private readonly float[] _integerLimits = [];
        private double _largestItemNorm = -1;

        public Worker(TopScan scan, PackedCodewords? packed)
        {
            _scan = scan;
            _packed = packed;
            _candidates = new TopCandidates[scan._queryCount];
            for (int q = 0; q < _candidates.Length; q++)
                _candidates[q] = new TopCandidates(scan._count);
            _scores = new RowMatrix(BlockRows, packed is null ? 1 : scan.PaddedQueries);
            _limits = new RowMatrix(scan.PaddedQueries, 1);
            _limits.Rows(0, scan.PaddedQueries).Fill(float.PositiveInfinity);
            _limits.Rows(0, scan._queryCount).Fill(float.NegativeInfinity);
            _tail = packed is null ? null : new RowMatrix(BlockRows, scan._dimension);
            if (scan._integers is null)
                return;
            _products = new RowMatrix(Product.kRowsPerTile, ItemShadow.kItemsPerBlock);
            // A tile of queries may be added when it is full.
            _open = GC.AllocateUninitializedArray<int>((int)(MostOpen * scan._queryCount) + Product.kRowsPerTile * ItemShadow.kItemsPerBlock);
            _openEnds = new int[scan._queryCount];
            _integerLimits = new float[scan._queryCount];
            Array.Fill(_integerLimits, float.NegativeInfinity);
        }

        /// <summary>What it did.</summary>
        public TopReport Report { get; private set; }

        /// <summary>The first item with a value that is not finite; int.MaxValue when there is none.</summary>
        public int BrokenItem { get; private set; } = int.MaxValue;

        private float* Scores => (float*)_scores.DangerousGetHandle();

        private float* Limits => (float*)_limits.DangerousGetHandle();

        public TopCandidates Kept(int q) => _candidates[q];

        public void Dispose()
        {
            _scores.Dispose();
            _limits.Dispose();
            _tail?.Dispose();
            _products?.Dispose();
            _rows?.Dispose();
        }

        /// <summary>Profits from what other workers have proven since the last unit.</summary>
        public void TakeThresholds()
        {
            for (int q = 0; q < _candidates.Length; q++)
            {
                _candidates[q].Raise(Volatile.Read(ref _scan._proven[q]));
                SetLimits(q);
            }
        }

        /// <summary>Goes through items in float32.</summary>
        public void Scan<TLanes>(int start, int end)
            where TLanes : struct, ILanes<TLanes>
        {
            for (int block = start; block < end; block += BlockRows)
                ScanBlock<TLanes>(block, Math.Min(BlockRows, end - block));
            Report += new TopReport((long)(end - start) * _scan._queryCount, 0, 0, (long)(end - start) * _scan._dimension * sizeof(float));
        }

        /// <summary>Goes through items in int8.</summary>
        /// <param name="start">First item, of a whole block.</param>
        /// <param name="end">Behind the last.</param>
        /// <returns>Of the seconds for blocks that were made, those that are not this scan's share.</returns>
        public double ScanIntegers<TLanes>(int start, int end)
            where TLanes : struct, ILanes<TLanes>
        {
            const int kItems = ItemShadow.kItemsPerBlock;
            TopScreen screen = _scan._screen!;
            double seconds = 0;
            bool keeps = screen.Lasts || _scan._scansLeft > 1;
            for (int first = start; first < end; first += kItems)
            {
                int count = Math.Min(kItems, end - first);
                ItemBlock? block = screen.Shadow.Find(first / kItems), made = null;
                if (block is null)
                {
                    long begin = Stopwatch.GetTimestamp();
                    made = screen.Shadow.Make(_scan._items + first * _scan._itemStride, _scan._itemStride, count, _rows ??= screen.Shadow.Buffer());
                    block = keeps ? screen.Shadow.Keep(first / kItems, made) : made;
                    seconds += Stopwatch.GetElapsedTime(begin).TotalSeconds;
                }
                // A few queries are done with a block before the next one comes from memory by itself.
                IntegerCodewords? next = first + kItems < end && _packed is null ? screen.Shadow.Find(first / kItems + 1)?.Integers : null;
                if (Screen(block, first, count, next is null ? null : next.Panels))
                    KeepOpen(block, count);
                else
                    Scan<TLanes>(first, first + count);
                if (!keeps)
                    made?.Dispose();
            }
            return screen.Lasts ? seconds : seconds * (1 - 1.0 / _scan._scansLeft);
        }

        private double MostOpen => ItemShadow.kItemsPerBlock * (_scan._screen!.Choice is null ? 1 : _packed is null ? kMostOpenOfFew : kMostOpen);

        // The items of a block that are open for each query; false where they are too many.
        private bool Screen(ItemBlock block, int start, int count, int* ahead)
        {
            const int kTile = Product.kRowsPerTile;
            if (block.Integers is not { } items || !(block.LargestNorm * _scan._largestQueryNorm <= kLargestProduct))
                return false;
            IntegerQueries queries = _scan._integers!;
            var lostShare = MathF.BitIncrement((float)items.LostShare);
            var products = (int*)_products!.DangerousGetHandle();
            int panels = block.PaddedCount / IntegerProduct.kCodesPerPanel, held = 0;
            double mostOpen = MostOpen;
            fixed (int* open = _open)
            {
                for (int first = 0; first < _scan._queryCount; first += kTile)
                {
                    if (_scan._queryCount <= IntegerProduct.kFewRows)
                        IntegerProduct.MultiplyFew(queries.Tile(0), items.Panels, queries.Words, panels, products, ItemShadow.kItemsPerBlock, ahead);
                    else
                        IntegerProduct.Multiply(IntegerFormat.Int8, queries.Tile(first / kTile), items.Panels, queries.Words, panels, products, ItemShadow.kItemsPerBlock);
                    for (int q = first; q < Math.Min(first + kTile, _scan._queryCount); q++)
                    {
                        int* row = products + (q - first) * ItemShadow.kItemsPerBlock;
                        held += Collect(row, count, queries.Offsets[q], queries.Reach(q, lostShare), _integerLimits[q], items.Steps, items.Norms, start, open + held);
                        _openEnds[q] = held;
                    }
                    if (held > mostOpen * Math.Min(first + kTile, _scan._queryCount))
                        return false;
                }
            }
            return true;
        }

        // The items whose step · (product − offset) + reach · norm is not below the limit.
        [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
        private static int Collect(int* products, int count, int offset, float reach, float limit, float* steps, float* norms, int start, int* open)
        {
            Vector512<int> offsets = Vector512.Create(offset);
            Vector512<float> reaches = Vector512.Create(reach), limits = Vector512.Create(limit);
            int held = 0;
            for (int i = 0; i < count; i += 2 * Vector512<int>.Count)
            {
                Vector512<float> most = Vector512.ConvertToSingle(Vector512.Load(products + i) - offsets) * Vector512.Load(steps + i);
                Vector512<float> other = Vector512.ConvertToSingle(Vector512.Load(products + i + 16) - offsets) * Vector512.Load(steps + i + 16);
                most = Vector512.MultiplyAddEstimate(reaches, Vector512.Load(norms + i), most);
                other = Vector512.MultiplyAddEstimate(reaches, Vector512.Load(norms + i + 16), other);
                // What is no number is open.
                ulong below = Vector512.LessThan(most, limits).ExtractMostSignificantBits() | Vector512.LessThan(other, limits).ExtractMostSignificantBits() << 16;
                for (ulong reached = ~below & uint.MaxValue; reached != 0; reached &= reached - 1)
                {
                    int item = i + BitOperations.TrailingZeroCount(reached);
                    if (item < count)
                        open[held++] = start + item;
                }
            }
            return held;
        }

        // What a block leaves open, in float32.
        private void KeepOpen(ItemBlock block, int count)
        {
            Raise(block.LargestNorm);
            int d = _scan._dimension, held = 0;
            for (int q = 0; q < _openEnds.Length; q++)
            {
                for (; held < _openEnds[q]; held++)
                {
                    float score = TensorPrimitives.Dot(_scan.Query(q), _scan.Item(_open[held]));
                    if (score >= Limits[q])
                        Keep(q, _open[held], score);
                }
            }
            long products = (long)count * _openEnds.Length;
            Report += new TopReport(products, products, held, (long)count * _scan._integers!.Words * sizeof(int) + (long)held * d * sizeof(float));
        }

        private void Raise(double norm)
        {
            if (norm <= _largestItemNorm)
                return;
            _largestItemNorm = norm;
            for (int q = 0; q < _scan._queryCount; q++)
                SetLimits(q);
        }

        private void SetLimits(int q)
        {
            if (_largestItemNorm >= 0)
                Limits[q] = Limit(q);
            if (_scan._integers is { } integers)
                _integerLimits[q] = integers.Limit(q, _candidates[q].Threshold);
        }

        private void ScanBlock<TLanes>(int start, int rows)
            where TLanes : struct, ILanes<TLanes>
        {
            float* block = _scan._items + start * _scan._itemStride;
            // The first query's scores come with the norms, so that a single query reads the items once.
            double squares = _packed is null
                ? Dots<TLanes>(block, _scan._itemStride, rows, _scan._dimension, _scan._queries, Scores)
                : LargestSquare<TLanes>(block, _scan._itemStride, rows, _scan._dimension);
            if (!double.IsFinite(squares) && !AllFinite(start, rows))
                return;
            double norm = Math.Sqrt(Bounds.NormSlack(_scan._dimension) * squares + Bounds.Underflow(_scan._dimension));
            if (!(norm * _scan._largestQueryNorm <= kLargestProduct))
            {
                ScanExactly(start, rows);
                return;
            }
            Raise(norm);
            if (_packed is null)
            {
                KeepQuery<TLanes>(0, start, rows);
                for (int q = 1; q < _scan._queryCount; q++)
                {
                    Dots<TLanes>(block, _scan._itemStride, rows, _scan._dimension, _scan._queries + q * _scan._queryStride, Scores);
                    KeepQuery<TLanes>(q, start, rows);
                }
                return;
            }
            nint stride = _scan._itemStride;
            if (rows % Product.kRowsPerTile != 0)
            {
                for (int i = 0; i < rows; i++)
                    _scan.Item(start + i).CopyTo(_tail!.Rows(i, 1));
                block = (float*)_tail!.DangerousGetHandle();
                stride = _scan._dimension;
            }
            // Items are read once: the block after this one comes in while this one is multiplied.
            int next = Math.Min(BlockRows, _scan._itemCount - start - rows);
            Product.Multiply(block, stride, rows, _packed, 0, _scan._queryCount, Scores, _scan.PaddedQueries,
                _scan._items + (start + rows) * _scan._itemStride, next * _scan._itemStride * sizeof(float));
            KeepAll<TLanes>(start, rows);
        }

        // Float32 error of any score of this query so far: |ŝ − s| ≤ γ‖x‖‖q‖, and what falls below float32's normal range.
        private double Error(int q) => Bounds.InnerProduct32(_scan._dimension, _largestItemNorm * _scan._queryNorms[q]);

        // ŝ below it: ŝ + e < T.
        private float Limit(int q) => MathF.BitDecrement((float)(_candidates[q].Threshold - Error(q)));

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void KeepAll<TLanes>(int start, int rows)
            where TLanes : struct, ILanes<TLanes>
        {
            Debug.Assert(BlockRows % kRowsAtOnce == 0, "rows are read in whole groups");
            int padded = _scan.PaddedQueries, held = 0;
            for (int q = 0; q < padded; q += TLanes.Count)
            {
                TLanes limits = TLanes.Load(Limits + q);
                float* scores = Scores + q;
                for (int i = 0; i < rows; i += kRowsAtOnce, scores += kRowsAtOnce * padded)
                {
                    // Rows past the last are padding of the buffer: finite, and looked at only beside a row that counts.
                    TLanes best = TLanes.Max(
                        TLanes.Max(TLanes.Load(scores), TLanes.Load(scores + padded)),
                        TLanes.Max(TLanes.Load(scores + 2 * padded), TLanes.Load(scores + 3 * padded)));
                    if (TLanes.AtLeast(best, limits) == 0)
                        continue;
                    ulong reached = 0;
                    for (int r = Math.Min(kRowsAtOnce, rows - i) - 1; r >= 0; r--)
                        reached = (reached << TLanes.Count) | TLanes.AtLeast(TLanes.Load(scores + r * padded), limits);
                    for (; reached != 0; reached &= reached - 1)
                    {
                        int bit = BitOperations.TrailingZeroCount(reached), row = bit / TLanes.Count, lane = bit % TLanes.Count;
                        _reached[held++] = new Reached(q + lane, start + i + row, scores[row * padded + lane]);
                    }
                    if (held > _reached.Length - kRowsAtOnce * TLanes.Count)
                    {
                        KeepReached(held);
                        held = 0;
                        limits = TLanes.Load(Limits + q);
                    }
                }
            }
            KeepReached(held);
        }

        private void KeepReached(int held)
        {
            foreach (ref readonly Reached reached in _reached.AsSpan(0, held))
            {
                // The limit may have risen since.
                if (reached.Score >= Limits[reached.Query])
                    Keep(reached.Query, reached.Item, reached.Score);
            }
        }

        private void KeepQuery<TLanes>(int q, int start, int rows)
            where TLanes : struct, ILanes<TLanes>
        {
            for (int i = 0; i < rows; i++)
            {
                if (Scores[i] >= Limits[q])
                    Keep(q, start + i, Scores[i]);
            }
        }

        private void Keep(int q, int item, float score)
        {
            TopCandidates candidates = _candidates[q];
            candidates.Add(new TopCandidate(item, score, Error(q)));
            if (!candidates.IsFull)
                return;
            Shrink(q);
            SetLimits(q);
        }

        private void Shrink(int q)
        {
            TopCandidates candidates = _candidates[q];
            candidates.Shrink();
            if (candidates.IsCrowded)
                candidates.Settle(_scan._queries + q * _scan._queryStride, _scan._items, _scan._itemStride, _scan._dimension, _exact);
            // A smaller value may overwrite a larger one of another worker: both are proven, and the next unit puts it right.
            if (Volatile.Read(ref _scan._proven[q]) < candidates.Threshold)
                Volatile.Write(ref _scan._proven[q], candidates.Threshold);
        }

        private void ScanExactly(int start, int rows)
        {
            for (int q = 0; q < _scan._queryCount; q++)
            {
                for (int i = start; i < start + rows; i++)
                {
                    ExactProducts.Product product = ExactProducts.Evaluate(_scan.Query(q), _scan.Item(i), i);
                    if (product.Score + product.Error < _candidates[q].Threshold)
                        continue;
                    _candidates[q].Add(new TopCandidate(i, product.Score, product.Error));
                    if (_candidates[q].IsFull)
                        Shrink(q);
                }
                SetLimits(q);
            }
        }

        private bool AllFinite(int start, int rows)
        {
            for (int i = start; i < start + rows; i++)
            {
                foreach (float value in _scan.Item(i))
                {
                    if (!float.IsFinite(value))
                    {
                        BrokenItem = Math.Min(BrokenItem, i);
                        return false;
                    }
                }
            }
            return true;
        }

        // scores[i] = rows[i] · query; returns LargestSquare of the rows.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static double Dots<TLanes>(float* rows, nint stride, int count, int dimension, float* query, float* scores)
            where TLanes : struct, ILanes<TLanes>
        {
            TLanes largest = TLanes.Create(0), total = TLanes.Create(0);
            float largestTail = 0, totalTail = 0;
            for (int i = 0; i < count; i++)
            {
                float* row = rows + i * stride;
                TLanes dot = TLanes.Create(0), dot2 = dot, square = dot, square2 = dot;
                int j = 0;
                for (; j + 2 * TLanes.Count <= dimension; j += 2 * TLanes.Count)
                {
                    TLanes x = TLanes.Load(row + j), x2 = TLanes.Load(row + j + TLanes.Count);
                    if (Sse.IsSupported)
                    {
                        Sse.Prefetch0(row + j + kValuesAhead);
                        Sse.Prefetch0(row + j + TLanes.Count + kValuesAhead);
                    }
                    dot = TLanes.MultiplyAdd(x, TLanes.Load(query + j), dot);
                    square = TLanes.MultiplyAdd(x, x, square);
                    dot2 = TLanes.MultiplyAdd(x2, TLanes.Load(query + j + TLanes.Count), dot2);
                    square2 = TLanes.MultiplyAdd(x2, x2, square2);
                }
                float dotTail = 0, squareTail = 0;
                for (; j < dimension; j++)
                {
                    dotTail += row[j] * query[j];
                    squareTail += row[j] * row[j];
                }
                scores[i] = (dot + dot2).Sum() + dotTail;
                square += square2;
                largest = TLanes.Max(largest, square);
                total += square;
                largestTail = Math.Max(largestTail, squareTail);
                totalTail += squareTail;
            }
            // A NaN or infinity may be lost in the maximum, but not in the sum.
            return float.IsFinite(total.Sum() + totalTail) ? (double)largest.Sum() + largestTail : double.NaN;
        }

        // At least max_i ‖rows[i]‖²: the sum over lanes of the largest partial sum. NaN when a value is not finite or a square overflows.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static double LargestSquare<TLanes>(float* rows, nint stride, int count, int dimension)
            where TLanes : struct, ILanes<TLanes>
        {
            TLanes largest = TLanes.Create(0), total = TLanes.Create(0);
            float largestTail = 0, totalTail = 0;
            for (int i = 0; i < count; i++)
            {
                float* row = rows + i * stride;
                TLanes square = TLanes.Create(0), square2 = square;
                int j = 0;
                for (; j + 2 * TLanes.Count <= dimension; j += 2 * TLanes.Count)
                {
                    TLanes x = TLanes.Load(row + j), x2 = TLanes.Load(row + j + TLanes.Count);
                    square = TLanes.MultiplyAdd(x, x, square);
                    square2 = TLanes.MultiplyAdd(x2, x2, square2);
                }
                float squareTail = 0;
                for (; j < dimension; j++)
                    squareTail += row[j] * row[j];
                square += square2;
                largest = TLanes.Max(largest, square);
                total += square;
                largestTail = Math.Max(largestTail, squareTail);
                totalTail += squareTail;
            }
            return float.IsFinite(total.Sum() + totalTail) ? (double)largest.Sum() + largestTail : double.NaN;
        }
    }
}
