namespace MmeSid.Kernels;

/// <summary>Items prepared by a backend for <see cref="TopInnerProducts"/>, again and again. Thread-safe; hold it as long as they are asked for.</summary>
public interface IPreparedItems : IDisposable
{
    /// <summary>For people: what most of the items are left out by, such as <c>int8, AVX-512 VNNI</c>; empty where that is not known (yet).</summary>
    string Screen => "";

    /// <summary>What <see cref="IBackend.TopInnerProducts"/> gives for these items, bit for bit.</summary>
    /// <param name="queries">[q, d], finite values.</param>
    /// <param name="count">k, 1 ≤ k ≤ n.</param>
    /// <param name="indices">[q, k] item indices, best first.</param>
    /// <param name="scores">[q, k] the products, float64 evaluation rounded to float32.</param>
    /// <returns>What it took, where the backend counts that.</returns>
    /// <exception cref="ArgumentException">A length does not fit, or a value is NaN or infinite (query or item, and column named).</exception>
    TopReport TopInnerProducts(RowView queries, int count, Span<int> indices, Span<float> scores);
}

/// <summary>What the search of the largest products took.</summary>
/// <param name="Products">Queries × items.</param>
/// <param name="Screened">Products that were formed in integers first.</param>
/// <param name="Open">Of them, those that the integers did not exclude, formed in float32.</param>
/// <param name="ItemBytes">Bytes of items, or of their integers, that were gone through.</param>
public readonly record struct TopReport(long Products, long Screened, long Open, long ItemBytes)
{
    /// <summary>Adds two reports.</summary>
    public static TopReport operator +(TopReport left, TopReport right) =>
        new(left.Products + right.Products, left.Screened + right.Screened, left.Open + right.Open, left.ItemBytes + right.ItemBytes);
}

/// <summary>Items as they are, for backends that gain nothing by preparing them.</summary>
internal sealed class PlainItems(IBackend backend, RowMatrix items) : IPreparedItems
{
    public TopReport TopInnerProducts(RowView queries, int count, Span<int> indices, Span<float> scores)
    {
        backend.TopInnerProducts(queries, items.View(0, checked((int)items.Count)), count, indices, scores);
        return default;
    }

    public void Dispose()
    {
    }
}
