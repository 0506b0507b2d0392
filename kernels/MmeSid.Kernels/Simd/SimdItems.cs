using System.Numerics;

namespace MmeSid.Kernels.Simd;

/// <summary>Items whose shadow is made once. The float32 rows decide what it leaves open.</summary>
internal sealed unsafe class SimdItems : IPreparedItems
{
    private readonly RowMatrix _items;
    private readonly int _count;
    private readonly int _threads;
    private readonly bool _isForced;
    private readonly ItemShadow? _shadow;
    // One for queries of similar number.
    private readonly ScreenChoice[] _choices = [.. Enumerable.Range(0, BitOperations.Log2(TopScan.kQueriesPerScan) + 1).Select(_ => new ScreenChoice())];

    /// <summary>Makes the shadow.</summary>
    /// <exception cref="ArgumentException">An item holds NaN or infinity; the first is named.</exception>
    public SimdItems(RowMatrix items, int threads, SimdScreen screen)
    {
        (_items, _count, _threads, _isForced) = (items, checked((int)items.Count), threads, screen != SimdScreen.Fastest);
        RowView view = items.View(0, _count);
        if (screen is SimdScreen.Float32 or SimdScreen.Int16 || !ItemShadow.Supports(items.Dimension))
        {
            OpArguments.CheckFinite(view, "item");
            return;
        }
        _shadow = new ItemShadow(view);
        var values = (float*)items.DangerousGetHandle();
        int blocks = (_count + ItemShadow.kItemsPerBlock - 1) / ItemShadow.kItemsPerBlock;
        var suspects = new bool[blocks];
        var buffers = new RowMatrix?[threads];
        try
        {
            Workers.RunUnits(threads, blocks, (worker, block) =>
            {
                int first = block * ItemShadow.kItemsPerBlock;
                ItemBlock made = _shadow.Make(values + (nint)first * items.Dimension, items.Dimension, Math.Min(ItemShadow.kItemsPerBlock, _count - first), buffers[worker] ??= _shadow.Buffer());
                suspects[block] = !double.IsFinite(made.LargestNorm);
                _shadow.Keep(block, made);
            });
            // A norm may be too large for float32 without a value that is.
            if (suspects.Contains(true))
                OpArguments.CheckFinite(view, "item");
        }
        catch
        {
            _shadow.Dispose();
            throw;
        }
        finally
        {
            foreach (RowMatrix? buffer in buffers)
                buffer?.Dispose();
        }
    }

    public string Screen => _shadow is not null && (_isForced || _choices.Any(choice => choice.IsInteger)) ? $"int8, {IntegerProduct.Instructions(IntegerFormat.Int8)}" : "float32";

    public TopReport TopInnerProducts(RowView queries, int count, Span<int> indices, Span<float> scores)
    {
        RowView items = _items.View(0, _count);
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        ScreenChoice choice = _choices[BitOperations.Log2((uint)Math.Clamp(queries.Count, 1, TopScan.kQueriesPerScan))];
        TopReport report = TopScan.Answer(queries, items, count, _threads, _shadow is null ? null : new TopScreen(_shadow, _isForced ? null : choice), indices, scores);
        GC.KeepAlive(_items);
        return report;
    }

    public void Dispose() => _shadow?.Dispose();
}
