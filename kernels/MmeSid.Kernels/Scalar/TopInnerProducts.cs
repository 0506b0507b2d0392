namespace MmeSid.Kernels.Scalar;

public sealed partial class ScalarBackend
{
    // top-inner-products: for each query q the k items of largest q·x, best first
    //   in    queries (q, d) f32 · items (n, d) f32 · k ≤ n
    //   out   indices (q, k) i32 · scores (q, k) f32 = the float64 sum in ascending column, rounded
    //   ties  the order is that of the real products: float64 where its bound decides, else exactly; equal products by smaller index
    //   cost  2·q·n·d flop and at most k comparisons per item on one thread

    /// <inheritdoc/>
    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        OpArguments.CheckTopInnerProducts(queries, items, count, indices, scores);
        OpArguments.CheckFinite(items, "item");
        var exact = new ExactProducts();
        var best = new List<ExactProducts.Product>(count + 1);
        for (int q = 0; q < queries.Count; q++)
        {
            best.Clear();
            for (int i = 0; i < items.Count; i++)
            {
                ExactProducts.Product product = ExactProducts.Evaluate(queries[q], items[i], i);
                int place = best.Count;
                while (place > 0 && exact.Compare(queries[q], items[i], items[best[place - 1].Index], product, best[place - 1]) < 0)
                    place--;
                if (place == count)
                    continue;
                best.Insert(place, product);
                if (best.Count > count)
                    best.RemoveAt(count);
            }
            for (int j = 0; j < count; j++)
            {
                indices[q * count + j] = best[j].Index;
                scores[q * count + j] = (float)best[j].Score;
            }
        }
    }
}
