using System.Runtime.InteropServices;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

// Mirror of kernels/cuda/top_inner_products.cu.
[StructLayout(LayoutKind.Sequential)]
internal struct TopArguments
{
    public nint Queries;
    public nint Slopes;
    public nint Items;
    public nint Norms;
    public nint Thresholds;
    public nint Kept;
    public nint Counts;
    public nint Indices;
    public nint Scores;
    public nint Errors;
    public nint Flags;
    public double LargestQueryNorm;
    public double LargestProduct;
    public double Underflow;
    public double ErrorFactor;
    public int QueryCount;
    public int ItemCount;
    public int FirstItem;
    public int Depth;
    public int Capacity;
    public int Rank;
    public int ItemTotal;
}

public sealed partial class CudaBackend
{
    /// <summary>Least entries of a query's list in <see cref="TopInnerProducts"/>. No bit of the result depends on it.</summary>
    internal int TopListEntries { get; init; } = 1024;

    /// <summary>Bytes of items that <see cref="TopInnerProducts"/> has on the device at a time, twice.</summary>
    internal long TopBatchBytes { get; init; } = 256L << 20;

    /// <summary>Bytes of the lists of all queries of a scan of the items.</summary>
    internal long TopListBytes { get; init; } = 128L << 20;

    /// <inheritdoc/>
    /// <remarks>Items stream through the device, once per some thousand queries (k ≤ 256): their number is not limited by its memory.</remarks>
    /// <exception cref="BackendUnavailableException">The device cannot hold two batches of items and the queries of a scan.</exception>
    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        if (queries.Count == 0)
            OpArguments.CheckFinite(items, "item");
        int capacity = (int)Math.Min(items.Count, Math.Max(TopListEntries, 4L * count));
        int perScan = (int)Math.Clamp(TopListBytes / (capacity * CudaTopScan.kEntryBytes + sizeof(float) * (long)RowStaging.Padded(queries.Dimension)), 1, Math.Max(1, queries.Count));
        for (int first = 0; first < queries.Count; first += perScan)
        {
            int held = Math.Min(perScan, queries.Count - first);
            CudaTopScan.Run(this, queries.Slice(first, held), items, count, capacity, indices.Slice(first * count, held * count), scores.Slice(first * count, held * count));
        }
    }
}

/// <summary>
/// One scan of the items for some queries: batches are copied in while others are searched, and a batch is searched in chunks that grow as
/// thresholds rise, so that what joins the lists of a chunk stays about k per query. Between two chunks the lists are cut to what may still be
/// among the best; the host orders what is left at the end, in exact arithmetic where float64 does not decide.
/// </summary>
internal sealed unsafe class CudaTopScan : IDisposable
{
    /// <summary>An index, a score and its error.</summary>
    public const long kEntryBytes = sizeof(int) + 2 * sizeof(double);

    // Beside the tiles: a limit and a slope per query.
    private const int kScanBytes = ProductTiles.kBytes + ProductTiles.kRows * 2 * sizeof(float);
    // Bins, counts of warps, a digit and a rank.
    private const int kKeepBytes = (256 + ProductTiles.kThreads / 32 + 2) * sizeof(int);
    private const int kItemsPerBlock = ProductTiles.kThreads / 32;

    // Places of TopFlags.
    private const int kOverflowed = 0, kCrowded = 1, kBroken = 2, kFlags = 3;

    // ‖x‖‖q‖ up to here cannot overflow a float32 product.
    private const double kLargestProduct = 1e37;

    private readonly CudaBackend _backend;
    private readonly CudaStream _stream, _copies;
    private readonly RowStaging _staging;
    private readonly List<IDisposable> _owned = [];
    private readonly DeviceMemory<float>[] _batches;
    private readonly CudaEvent[] _copied;
    private readonly DeviceMemory<double> _thresholds, _scores, _errors;
    private readonly DeviceMemory<int> _kept, _counts, _indices;
    private readonly DeviceMemory<uint> _flags;
    private readonly PinnedMemory<uint> _flagsOnHost;
    private readonly CudaKernel _measure, _scan, _keep;
    private readonly float* _queries, _items;
    private readonly nint _queryStride, _itemStride;
    private readonly int _queryCount, _itemCount, _dimension, _count, _capacity, _batchRows;
    private readonly TopArguments _arguments;

    private CudaTopScan(CudaBackend backend, float* queries, float* items, RowView queryRows, RowView itemRows, int count, int capacity)
    {
        _queries = queries;
        _items = items;
        (_backend, _count, _capacity) = (backend, count, capacity);
        (_queryCount, _queryStride, _itemCount, _itemStride, _dimension) = (queryRows.Count, queryRows.Stride, itemRows.Count, itemRows.Stride, itemRows.Dimension);
        CudaDevice device = backend.Gpu;
        int depth = RowStaging.Padded(_dimension);
        _batchRows = (int)Math.Clamp(backend.TopBatchBytes / (sizeof(float) * (long)depth), 1, _itemCount);
        _measure = device.Kernel("top_inner_products", "top_inner_products_measure", ProductTiles.kThreads);
        _scan = device.Kernel("top_inner_products", "top_inner_products_scan", ProductTiles.kThreads, kScanBytes);
        _keep = device.Kernel("top_inner_products", "top_inner_products_keep", ProductTiles.kThreads, kKeepBytes);
        try
        {
            _stream = Own(CudaStream.Create(device));
            _copies = Own(CudaStream.Create(device));
            _batches = [.. Enumerable.Range(0, _batchRows < _itemCount ? 2 : 1).Select(_ => Allocate<float>((long)_batchRows * depth))];
            _copied = [.. _batches.Select(_ => Own(CudaEvent.Create(device)))];
            _thresholds = Allocate<double>(_queryCount);
            _kept = Allocate<int>(_queryCount);
            _counts = Allocate<int>(_queryCount);
            _indices = Allocate<int>((long)_queryCount * capacity);
            _scores = Allocate<double>((long)_queryCount * capacity);
            _errors = Allocate<double>((long)_queryCount * capacity);
            _flags = Allocate<uint>(kFlags);
            _flagsOnHost = Own(PinnedMemory<uint>.Allocate(device, kFlags));
            DeviceMemory<float> deviceQueries = Allocate<float>((long)_queryCount * depth);
            using (var staging = new RowStaging(_stream, _dimension, _queryCount, backend.Threads))
                staging.Upload(queryRows, deviceQueries);
            double[] norms = [.. Enumerable.Range(0, _queryCount).Select(Norm)];
            double factor = Bounds.InnerProduct32(_dimension, 1);
            _arguments = new TopArguments
            {
                Queries = deviceQueries.Value,
                Slopes = Own(DeviceMemory<float>.From(_stream, [.. norms.Select(norm => MathF.BitIncrement((float)(factor * norm)))])).Value,
                Norms = Allocate<float>(_batchRows).Value, Thresholds = _thresholds.Value,
                Kept = _kept.Value, Counts = _counts.Value, Indices = _indices.Value, Scores = _scores.Value, Errors = _errors.Value, Flags = _flags.Value,
                LargestQueryNorm = norms.Max(), LargestProduct = kLargestProduct, Underflow = Bounds.Underflow(_dimension), ErrorFactor = Bounds.InnerProduct64(_dimension, 1),
                QueryCount = _queryCount, Depth = depth, Capacity = capacity, Rank = count, ItemTotal = _itemCount,
            };
            _staging = Own(new RowStaging(_copies, _dimension, _batchRows, backend.Threads));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Answers checked queries.</summary>
    /// <exception cref="ArgumentException">An item holds NaN or infinity; the first is named.</exception>
    public static void Run(CudaBackend backend, RowView queries, RowView items, int count, int capacity, Span<int> indices, Span<float> scores)
    {
        fixed (float* q = queries.Values, x = items.Values)
        fixed (int* found = indices)
        fixed (float* values = scores)
        {
            using var scan = new CudaTopScan(backend, q, x, queries, items, count, capacity);
            scan.Search();
            scan.Finish(found, values);
        }
    }

    public void Dispose()
    {
        // Streams came first and go last: what they still do ends before its memory goes.
        _stream?.TrySynchronize();
        _copies?.TrySynchronize();
        for (int i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
    }

    private ReadOnlySpan<float> Query(int q) => new(_queries + q * _queryStride, _dimension);

    private ReadOnlySpan<float> Item(int i) => new(_items + i * _itemStride, _dimension);

    private double Norm(int q)
    {
        double sum = 0;
        foreach (float value in Query(q))
            sum += (double)value * value;
        return Math.Sqrt(sum);
    }

    private void Search()
    {
        _stream.Fill(_kept, 0, _kept.Length);
        _stream.Fill(_counts, 0, _counts.Length);
        _stream.Fill(_flags, 0xff, kFlags);
        double[] none = new double[_queryCount];
        Array.Fill(none, double.NegativeInfinity);
        _stream.Write(_thresholds, none);
        // The first chunk fills the lists; from then on as many items as were seen before bring about k to each.
        int next = _capacity;
        CopyIn(0);
        for (int start = 0; start < _itemCount; start += Math.Min(_batchRows, _itemCount - start))
            next = SearchBatch(start, Math.Min(_batchRows, _itemCount - start), next);
    }

    // Queues the copy of a batch; nothing on the device uses its place any more.
    private void CopyIn(int start)
    {
        int place = start / _batchRows % _batches.Length, rows = Math.Min(_batchRows, _itemCount - start);
        long values = (rows - 1) * (long)_itemStride + _dimension;
        _staging.Upload(new RowView(new ReadOnlySpan<float>(_items + start * _itemStride, checked((int)values)), rows, _dimension, (int)_itemStride), _batches[place]);
        _copies.Record(_copied[place]);
    }

    // Returns the size of the next chunk.
    private int SearchBatch(int start, int rows, int next)
    {
        int place = start / _batchRows % _batches.Length;
        nint items = _batches[place].Value;
        _stream.Wait(_copied[place]);
        _stream.Launch(_measure, (rows + kItemsPerBlock - 1) / kItemsPerBlock, _arguments with { Items = items, ItemCount = rows, FirstItem = start });
        bool ahead = start + rows >= _itemCount;
        int at = 0;
        while (at < rows)
        {
            int chunk = Math.Min(next, rows - at);
            TopArguments arguments = _arguments with
            {
                Items = items + (nint)at * _arguments.Depth * sizeof(float), Norms = _arguments.Norms + (nint)at * sizeof(float),
                ItemCount = chunk, FirstItem = start + at,
            };
            _stream.Fill(_flags, 0, kBroken);
            _stream.Launch(_scan, (long)ProductTiles.Count(chunk) * ProductTiles.Count(_queryCount), arguments);
            _stream.Launch(_keep, _queryCount, arguments);
            _stream.Download(_flagsOnHost.Values, _flags);
            if (!ahead)
                CopyIn(start + rows);
            ahead = true;
            _stream.Synchronize();
            Span<uint> flags = _flagsOnHost.Values;
            if (flags[kBroken] != uint.MaxValue)
                OpArguments.CheckFinite((int)flags[kBroken], Item((int)flags[kBroken]), "item");
            if (flags[kOverflowed] != 0)
            {
                // Lists are at most half full: a chunk of half a list has room.
                next = chunk / 2;
                continue;
            }
            if (flags[kCrowded] != 0)
                Settle();
            at += chunk;
            next = (int)Math.Min(start + at, 2L * next);
        }
        return next;
    }

    // Items whose products float64 cannot tell apart: of each list that is more than half full the best k stay, in exact order.
    private void Settle()
    {
        Lists lists = Download();
        double[] thresholds = _thresholds.ToArray(_stream, _queryCount);
        Workers.RunUnits(_backend.Threads, _queryCount, (_, q) =>
        {
            if (lists.Kept[q] <= _capacity / 2)
                return;
            ExactProducts.Product[] best = Order(lists, q);
            for (int j = 0; j < _count; j++)
                lists[q, j] = best[j];
            lists.Kept[q] = _count;
            thresholds[q] = Math.Max(thresholds[q], best[_count - 1].Score - best[_count - 1].Error);
        });
        _stream.Write(_kept, lists.Kept);
        _stream.Write(_counts, lists.Kept);
        _stream.Write(_indices, lists.Indices);
        _stream.Write(_scores, lists.Scores);
        _stream.Write(_errors, lists.Errors);
        _stream.Write(_thresholds, thresholds);
    }

    private void Finish(int* indices, float* scores)
    {
        Lists lists = Download();
        Workers.RunUnits(_backend.Threads, _queryCount, (_, q) =>
        {
            ExactProducts.Product[] best = Order(lists, q);
            for (int j = 0; j < _count; j++)
            {
                indices[(nint)q * _count + j] = best[j].Index;
                scores[(nint)q * _count + j] = (float)best[j].Score;
            }
        });
    }

    private ExactProducts.Product[] Order(Lists lists, int q)
    {
        var products = new ExactProducts.Product[lists.Kept[q]];
        for (int j = 0; j < products.Length; j++)
            products[j] = lists[q, j];
        var exact = new ExactProducts();
        Array.Sort(products, (left, right) => exact.Compare(Query(q), Item(left.Index), Item(right.Index), left, right));
        return products;
    }

    private Lists Download()
    {
        int entries = checked(_queryCount * _capacity);
        return new Lists(_capacity, _kept.ToArray(_stream, _queryCount), _indices.ToArray(_stream, entries), _scores.ToArray(_stream, entries), _errors.ToArray(_stream, entries));
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    private DeviceMemory<T> Allocate<T>(long length)
        where T : unmanaged => Own(DeviceMemory<T>.Allocate(_backend.Gpu, length));

    /// <summary>The lists of all queries on the host. Scores are those of <see cref="ExactProducts.Evaluate"/>, bit for bit: products are exact, added in the same order.</summary>
    private sealed record Lists(int Capacity, int[] Kept, int[] Indices, double[] Scores, double[] Errors)
    {
        public ExactProducts.Product this[int q, int j]
        {
            get => new(Indices[q * Capacity + j], Scores[q * Capacity + j], Errors[q * Capacity + j]);
            set => (Indices[q * Capacity + j], Scores[q * Capacity + j], Errors[q * Capacity + j]) = (value.Index, value.Score, value.Error);
        }
    }
}
