namespace MmeSid.Kernels;

/// <summary>
/// The order of items by their real-number inner product with a query, largest first, ties to the smaller index.
/// Float64 decides where its bound allows, exact arithmetic elsewhere. Not thread-safe; one per thread.
/// </summary>
internal sealed class ExactProducts
{
    private readonly ExactSum _sum = new();

    /// <summary>A product in float64 with the bound of its error.</summary>
    /// <param name="Index">Item.</param>
    /// <param name="Score">Σ x_i q_i in float64, ascending i: these bits, rounded, are what backends return.</param>
    /// <param name="Error">Real value = Score ± Error.</param>
    public readonly record struct Product(int Index, double Score, double Error);

    /// <summary>Evaluates one product.</summary>
    public static Product Evaluate(ReadOnlySpan<float> query, ReadOnlySpan<float> item, int index)
    {
        double sum = 0, magnitude = 0;
        for (int i = 0; i < query.Length; i++)
        {
            double term = (double)query[i] * item[i];
            sum += term;
            magnitude += Math.Abs(term);
        }
        return new Product(index, sum, Bounds.InnerProduct64(query.Length, magnitude));
    }

    /// <summary>Negative when <paramref name="left"/> comes first; zero only for the same item.</summary>
    public int Compare(ReadOnlySpan<float> query, ReadOnlySpan<float> leftItem, ReadOnlySpan<float> rightItem, in Product left, in Product right)
    {
        if (Math.Abs(left.Score - right.Score) > left.Error + right.Error)
            return right.Score.CompareTo(left.Score);
        if (!leftItem.SequenceEqual(rightItem))
        {
            _sum.Clear();
            for (int i = 0; i < query.Length; i++)
            {
                _sum.AddProduct(-1, query[i], leftItem[i]);
                _sum.AddProduct(+1, query[i], rightItem[i]);
            }
            int sign = _sum.Sign();
            if (sign != 0)
                return sign;
        }
        return left.Index.CompareTo(right.Index);
    }
}
