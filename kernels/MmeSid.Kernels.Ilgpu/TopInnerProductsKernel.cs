using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>A score that reached its query's limit.</summary>
internal struct ReachedScore
{
    public int Query, Item;
    public float Score;
}

internal struct TopInnerProductsArguments
{
    /// <summary>[whole tiles, Depth / 4].</summary>
    public ArrayView<Float4> Queries, Items;

    /// <summary>[whole tiles of queries]; +∞ behind the last.</summary>
    public ArrayView<float> Limits;

    /// <summary>What is found; of it the first Found[0] where there is room.</summary>
    public ArrayView<ReachedScore> Reached;

    public ArrayView<int> Found;

    /// <summary>Items FirstItem, a multiple of kItems, … EndItem − 1 are looked at.</summary>
    public int FirstItem, EndItem, Depth;
}

internal struct ItemNormsArguments
{
    /// <summary>[_, Depth].</summary>
    public ArrayView<float> Items;

    /// <summary>The largest squared norm as the bits of a float, raised.</summary>
    public ArrayView<uint> LargestSquare;

    /// <summary>Lowered to the first item that is not finite.</summary>
    public ArrayView<int> BadItem;

    public int Count, Depth;
}

/// <summary>
/// top-inner-products: for each query q the k items of largest q·x, best first                     oracle: Scalar/TopInnerProducts.cs
/// <code>
///   in    queries (q, d) f32 · items (n, d) f32 · k ≤ n
///   out   indices (q, k) i32 · scores (q, k) f32
///   uses  ŝ = q·x in float32 with |ŝ − s| ≤ e = γ·max‖x‖·‖q‖: at least k items have s ≥ T, the k-th largest ŝ − e seen, so an item with
///         ŝ + e &lt; T is not among the best k. What is left is evaluated in float64 on the host and ordered by ExactProducts
///   ties  real-number order, equal products by smaller index
///   work  the items pass once, in parts; a group owns a tile of kQueries × kItems scores and notes the few that reach their query's limit.
///         The first part is short and all of it is noted; every part raises T, and the next may be kGrowth times longer. A part of which too
///         much reaches the limits is done again in shorter ones; the shortest always fits
///   cost  2·q·n·d flop, 4·n·d bytes over the link
/// </code>
/// </summary>
internal static class TopInnerProductsKernel
{
    public const int kQueries = ProductTile.kRows, kItems = ProductTile.kCodes, kThreads = ProductTile.kThreads;

    /// <summary>Items of a group, kNormLanes threads an item at a time.</summary>
    public const int kNormThreads = 256, kNormItems = 64;

    private const int kNormLanes = 16, kNormAtOnce = kNormThreads / kNormLanes;

    /// <summary>A group per kNormItems items.</summary>
    public static void ItemNorms(ItemNormsArguments a)
    {
        ArrayView<float> squares = SharedMemory.Allocate<float>(kNormItems * (kNormLanes + 1));
        int lane = Group.IdxX % kNormLanes, first = Grid.IdxX * kNormItems;
        for (int local = Group.IdxX / kNormLanes; local < kNormItems; local += kNormAtOnce)
        {
            float sum = 0;
            for (int i = lane; i < a.Depth && first + local < a.Count; i += kNormLanes)
            {
                float value = a.Items[(long)(first + local) * a.Depth + i];
                sum += value * value;
            }
            squares[local * (kNormLanes + 1) + lane] = sum;
        }
        Group.Barrier();
        int own = first + Group.IdxX;
        if (Group.IdxX >= kNormItems || own >= a.Count)
            return;
        float all = 0;
        for (int i = 0; i < kNormLanes; i++)
            all += squares[Group.IdxX * (kNormLanes + 1) + i];
        if (!(all <= float.MaxValue))
        {
            for (int i = 0; i < a.Depth; i++)
            {
                if (!(XMath.Abs(a.Items[(long)own * a.Depth + i]) <= float.MaxValue))
                    Atomic.Min(ref a.BadItem[0], own);
            }
            all = float.PositiveInfinity;
        }
        // Floats that are not negative are ordered as their bits.
        Atomic.Max(ref a.LargestSquare[0], Interop.FloatAsInt(all));
    }

    /// <summary>A group per tile: x items, y queries.</summary>
    public static void Reach(TopInnerProductsArguments a)
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(ProductTile.kShared), items = SharedMemory.Allocate<Float4>(ProductTile.kShared);
        int firstQuery = Grid.IdxY * kQueries, firstItem = a.FirstItem + Grid.IdxX * kItems, down = ProductTile.Down, across = ProductTile.Across;
        Products s = ProductTile.Multiply(a.Queries, a.Items, firstQuery, firstItem, a.Depth / 4, a.Depth / 4, a.Depth, queries, items);
        int left = firstItem + ProductTile.Own(across, 0), right = firstItem + ProductTile.Own(across, 4);
        Note(a, s.R0, firstQuery + ProductTile.Own(down, 0), left, right);
        Note(a, s.R1, firstQuery + ProductTile.Own(down, 1), left, right);
        Note(a, s.R2, firstQuery + ProductTile.Own(down, 2), left, right);
        Note(a, s.R3, firstQuery + ProductTile.Own(down, 3), left, right);
        Note(a, s.R4, firstQuery + ProductTile.Own(down, 4), left, right);
        Note(a, s.R5, firstQuery + ProductTile.Own(down, 5), left, right);
        Note(a, s.R6, firstQuery + ProductTile.Own(down, 6), left, right);
        Note(a, s.R7, firstQuery + ProductTile.Own(down, 7), left, right);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Note(TopInnerProductsArguments a, ProductRow scores, int query, int left, int right)
    {
        float limit = a.Limits[query];
        float largest = XMath.Max(
            XMath.Max(XMath.Max(scores.Low.X, scores.Low.Y), XMath.Max(scores.Low.Z, scores.Low.W)),
            XMath.Max(XMath.Max(scores.High.X, scores.High.Y), XMath.Max(scores.High.Z, scores.High.W)));
        // NaN where a column lies behind the last item: those are looked at one by one.
        if (largest < limit)
            return;
        Note(a, scores.Low.X, limit, query, left);
        Note(a, scores.Low.Y, limit, query, left + 1);
        Note(a, scores.Low.Z, limit, query, left + 2);
        Note(a, scores.Low.W, limit, query, left + 3);
        Note(a, scores.High.X, limit, query, right);
        Note(a, scores.High.Y, limit, query, right + 1);
        Note(a, scores.High.Z, limit, query, right + 2);
        Note(a, scores.High.W, limit, query, right + 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Note(TopInnerProductsArguments a, float score, float limit, int query, int item)
    {
        if (!(score >= limit) || item >= a.EndItem)
            return;
        int place = Atomic.Add(ref a.Found[0], 1);
        if (place < a.Reached.IntLength)
            a.Reached[place] = new ReachedScore { Query = query, Item = item, Score = score };
    }
}

public sealed partial class IlgpuBackend
{
    private const long kQueryBytes = 256L << 20;

    /// <summary>Most queries of a scan of the items in <see cref="TopInnerProducts"/>. No bit of the result depends on it.</summary>
    internal int QueriesPerScan { get; init; } = 1 << 14;

    /// <inheritdoc/>
    /// <exception cref="BackendUnavailableException">A batch of items and queries, 320 MB, does not fit the device's memory.</exception>
    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        // Elsewhere, and where products could leave float32's range, the host.
        if (!TopSearch.IsWorthwhile(queries, count) || !Search(queries, items, count, indices, scores))
            _host.TopInnerProducts(queries, items, count, indices, scores);
    }

    // False where the device cannot answer all of them.
    private bool Search(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        int most = (int)Math.Clamp(kQueryBytes / (sizeof(float) * (long)queries.Dimension), 1, QueriesPerScan);
        lock (Gpu.Gate)
        {
            try
            {
                Gpu.Accelerator.Bind();
                for (int start = 0, size; start < queries.Count; start += size)
                {
                    size = Math.Min(most, queries.Count - start);
                    if (!TopSearch.Run(this, queries.Slice(start, size), items, count, indices.Slice(start * count, size * count), scores.Slice(start * count, size * count)))
                        return false;
                }
                return true;
            }
            catch (AcceleratorException error)
            {
                throw IlgpuDevice.Translate(error);
            }
        }
    }
}

/// <summary>The host side of <see cref="TopInnerProductsKernel"/>: parts of items, and each query's candidates.</summary>
internal sealed unsafe class TopSearch
{
    // With more results there is little to leave out; longer rows do not come in parts of a useful length.
    private const int kMostResults = 512, kLongestRow = 1 << 14;

    // Items of the shortest part: whole tiles, and all of their scores fit the list.
    private const int kLeastPart = 1024, kGrowth = 8;

    // Queries whose scores of a part are noted in one list.
    private const int kQueriesPerList = 512;

    // ‖x‖‖q‖ up to here cannot overflow a float32 product.
    private const double kLargestProduct = 1e37;

    private readonly float* _queries;
    private readonly float* _items;
    private readonly nint _queryStride, _itemStride;
    private readonly int _queryCount, _dimension, _count;
    private readonly double[] _queryNorms;
    private readonly TopCandidates[] _candidates;
    private readonly ExactProducts _exact = new();

    private TopSearch(float* queries, nint queryStride, int queryCount, float* items, nint itemStride, int dimension, int count)
    {
        _queries = queries;
        _queryStride = queryStride;
        _queryCount = queryCount;
        _items = items;
        _itemStride = itemStride;
        _dimension = dimension;
        _count = count;
        _queryNorms = new double[queryCount];
        _candidates = new TopCandidates[queryCount];
        for (int q = 0; q < queryCount; q++)
        {
            double sum = 0;
            foreach (float value in new ReadOnlySpan<float>(queries + q * queryStride, dimension))
                sum += (double)value * value;
            _queryNorms[q] = Math.Sqrt(sum);
            _candidates[q] = new TopCandidates(count);
        }
    }

    /// <summary>Whether the device is the place; without queries only the items have to be checked.</summary>
    public static bool IsWorthwhile(RowView queries, int count) => queries.Count > 0 && count <= kMostResults && queries.Dimension <= kLongestRow;

    /// <summary>Answers checked queries; false, and nothing written, where a product could leave float32's range.</summary>
    /// <exception cref="ArgumentException">An item holds NaN or infinity; the first is named.</exception>
    public static bool Run(IlgpuBackend backend, RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        fixed (float* q = queries.Values, x = items.Values)
        fixed (int* found = indices)
        fixed (float* values = scores)
        {
            var search = new TopSearch(q, queries.Stride, queries.Count, x, items.Stride, items.Dimension, count);
            if (!search.Scan(backend, queries, items))
                return false;
            int* bestIndices = found;
            float* bestScores = values;
            Parallel.For(0, queries.Count, new ParallelOptions { MaxDegreeOfParallelism = backend.Threads },
                query => search.Finish(query, new Span<int>(bestIndices + (nint)query * count, count), new Span<float>(bestScores + (nint)query * count, count)));
            return true;
        }
    }

    private static int WholeTiles(int rows) => (rows + ProductTile.kRows - 1) / ProductTile.kRows * ProductTile.kRows;

    private bool Scan(IlgpuBackend backend, RowView queries, RowView items)
    {
        IlgpuDevice device = backend.Gpu;
        int threads = backend.Threads;
        int depth = ProductTile.PaddedDepth(_dimension), paddedQueries = WholeTiles(_queryCount), listed = Math.Min(_queryCount, kQueriesPerList);
        int mostPart = (int)Math.Clamp(backend.StagingBytes / (sizeof(float) * (long)depth) / kLeastPart * kLeastPart, kLeastPart, WholeTiles(Math.Max(kLeastPart, items.Count)));
        using AcceleratorStream stream = device.Accelerator.CreateStream();
        using PageLockedArray1D<float> staging = device.Accelerator.AllocatePageLocked1D<float>((long)mostPart * depth, uninitialized: true);
        using MemoryBuffer1D<float, Stride1D.Dense> deviceQueries = device.Allocate<float>((long)paddedQueries * depth), deviceItems = device.Allocate<float>((long)mostPart * depth);
        using MemoryBuffer1D<float, Stride1D.Dense> deviceLimits = device.Allocate<float>(paddedQueries);
        using MemoryBuffer1D<ReachedScore, Stride1D.Dense> deviceReached = device.Allocate<ReachedScore>((long)listed * kLeastPart);
        using MemoryBuffer1D<int, Stride1D.Dense> deviceFound = device.Allocate<int>(1), deviceBad = device.Allocate<int>(1);
        using MemoryBuffer1D<uint, Stride1D.Dense> deviceSquare = device.Allocate<uint>(1);
        float[] queryValues = new float[paddedQueries * depth];
        RowCopy.Copy(queries, queryValues, depth, threads);
        stream.Upload<float>(deviceQueries.View, queryValues);
        var reached = new ReachedScore[listed * kLeastPart];
        int[] found = new int[1];

        int part = kLeastPart;
        for (int start = 0; start < items.Count;)
        {
            int size = Math.Min(part, items.Count - start);
            RowCopy.Copy(items.Slice(start, size), staging.Span, depth, threads);
            stream.Upload(deviceItems.View, staging.Span[..(size * depth)]);
            double square = LargestSquare(device, stream, deviceItems, deviceSquare, deviceBad, start, size, depth, items);
            double norm = Math.Sqrt(Bounds.NormSlack(depth) * square + Bounds.Underflow(depth));
            if (!(norm * _queryNorms.Max() <= kLargestProduct))
                return false;
            for (int first = 0; first < _queryCount; first += kQueriesPerList)
            {
                int held = Math.Min(kQueriesPerList, _queryCount - first), within = size;
                for (int at = 0; at < size;)
                {
                    int end = Math.Min(size, at + within);
                    stream.Upload(deviceLimits.View, Limits(first, held, norm));
                    stream.Upload<int>(deviceFound.View, [0]);
                    device.Kernel<TopInnerProductsArguments>(TopInnerProductsKernel.Reach)(
                        stream, new KernelConfig(new Index2D((end - at + ProductTile.kCodes - 1) / ProductTile.kCodes, WholeTiles(held) / ProductTile.kRows), new Index2D(ProductTile.kThreads, 1)), new TopInnerProductsArguments
                        {
                            Queries = deviceQueries.View.BaseView.SubView((long)first * depth).Cast<Float4>(), Items = deviceItems.View.BaseView.Cast<Float4>(),
                            Limits = deviceLimits.View, Reached = deviceReached.View, Found = deviceFound.View, FirstItem = at, EndItem = end, Depth = depth,
                        });
                    stream.Download(found.AsSpan(), deviceFound.View);
                    if (found[0] > reached.Length)
                    {
                        within = Math.Max(kLeastPart, within / kGrowth / kLeastPart * kLeastPart);
                        continue;
                    }
                    stream.Download(reached.AsSpan(0, found[0]), deviceReached.View);
                    Keep(reached.AsSpan(0, found[0]), first, held, start, norm);
                    at = end;
                }
            }
            start += size;
            part = Math.Min(part * kGrowth, mostPart);
        }
        return true;
    }

    private double LargestSquare(
        IlgpuDevice device, AcceleratorStream stream, MemoryBuffer1D<float, Stride1D.Dense> values, MemoryBuffer1D<uint, Stride1D.Dense> square,
        MemoryBuffer1D<int, Stride1D.Dense> bad, int start, int size, int depth, RowView items)
    {
        stream.Upload<uint>(square.View, [0]);
        stream.Upload<int>(bad.View, [int.MaxValue]);
        device.Kernel<ItemNormsArguments>(TopInnerProductsKernel.ItemNorms)(
            stream, ((size + TopInnerProductsKernel.kNormItems - 1) / TopInnerProductsKernel.kNormItems, TopInnerProductsKernel.kNormThreads),
            new ItemNormsArguments { Items = values.View, LargestSquare = square.View, BadItem = bad.View, Count = size, Depth = depth });
        Span<uint> bits = stackalloc uint[1];
        Span<int> badItem = stackalloc int[1];
        stream.Download(bits, square.View);
        stream.Download(badItem, bad.View);
        if (badItem[0] != int.MaxValue)
            OpArguments.CheckFinite(start + badItem[0], items[start + badItem[0]], "item");
        return BitConverter.UInt32BitsToSingle(bits[0]);
    }

    // ŝ below it: ŝ + e < T.
    private float[] Limits(int first, int held, double norm)
    {
        float[] limits = new float[WholeTiles(held)];
        Array.Fill(limits, float.PositiveInfinity);
        for (int q = 0; q < held; q++)
            limits[q] = MathF.BitDecrement((float)(_candidates[first + q].Threshold - Error(first + q, norm)));
        return limits;
    }

    private double Error(int q, double norm) => Bounds.InnerProduct32(_dimension, norm * _queryNorms[q]);

    private void Keep(ReadOnlySpan<ReachedScore> reached, int first, int held, int start, double norm)
    {
        foreach (ReachedScore score in reached)
        {
            int q = first + score.Query;
            _candidates[q].Add(new TopCandidate(start + score.Item, score.Score, Error(q, norm)));
            if (_candidates[q].IsFull)
                Shrink(q);
        }
        for (int q = first; q < first + held; q++)
        {
            if (_candidates[q].Count > _count)
                Shrink(q);
        }
    }

    private void Shrink(int q)
    {
        _candidates[q].Shrink();
        if (_candidates[q].IsCrowded)
            Settle(q, _exact);
    }

    private void Settle(int q, ExactProducts exact) => _candidates[q].Settle(_queries + q * _queryStride, _items, _itemStride, _dimension, exact);

    private void Finish(int q, Span<int> indices, Span<float> scores)
    {
        Settle(q, new ExactProducts());
        for (int j = 0; j < _count; j++)
        {
            indices[j] = _candidates[q][j].Index;
            scores[j] = (float)_candidates[q][j].Score;
        }
    }
}
