using System.Numerics;

namespace MmeSid.Kernels.Simd;

/// <summary>Items whose shadow is made once, with the first calls, as far as it is faster. The float32 rows decide what it leaves open.</summary>
internal sealed class SimdItems : IPreparedItems
{
    private readonly RowMatrix _items;
    private readonly int _threads;
    private readonly ItemShadow? _shadow;
    // What is screened, by the number of queries: one for each power of two. One for all where int8 is asked for.
    private readonly TopScreen[] _screens = [];

    /// <summary>Prepares to make a shadow.</summary>
    public SimdItems(RowMatrix items, int threads, SimdScreen screen)
    {
        (_items, _threads) = (items, threads);
        if (items.Count == 0 || screen is SimdScreen.Float32 or SimdScreen.Int16 || !IntegerProduct.Supports(IntegerFormat.Int8, items.Dimension))
            return;
        var shadow = new ItemShadow(View());
        _shadow = shadow;
        _screens = screen == SimdScreen.Fastest
            ? [.. Enumerable.Range(0, BitOperations.Log2(TopScan.kQueriesPerScan) + 1).Select(_ => new TopScreen(shadow, new ScreenChoice(), Lasts: true))]
            : [new TopScreen(shadow, null, Lasts: true)];
    }

    public string Screen => _screens.Any(screen => screen.Choice?.IsInteger ?? true) ? $"int8, {IntegerProduct.Instructions(IntegerFormat.Int8)}" : "float32";

    public TopReport TopInnerProducts(RowView queries, int count, Span<int> indices, Span<float> scores)
    {
        RowView items = View();
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        if (queries.Count == 0)
            OpArguments.CheckFinite(items, "item");
        TopScreen? screen = _screens.Length == 0 ? null : _screens[Math.Min(_screens.Length - 1, BitOperations.Log2((uint)Math.Clamp(queries.Count, 1, TopScan.kQueriesPerScan)))];
        TopReport report = TopScan.Answer(queries, items, count, _threads, screen, indices, scores);
        GC.KeepAlive(_items);
        return report;
    }

    public void Dispose() => _shadow?.Dispose();

    private RowView View() => _items.View(0, checked((int)_items.Count));
}
