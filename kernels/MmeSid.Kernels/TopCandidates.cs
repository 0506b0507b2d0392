namespace MmeSid.Kernels;

/// <summary>An item that may be among the best: its real product is Score ± Error.</summary>
internal readonly record struct TopCandidate(int Index, double Score, double Error);

/// <summary>What a query of TopInnerProducts keeps while the items pass: its k best so far, and those that bounds cannot tell from them.</summary>
internal sealed unsafe class TopCandidates(int count)
{
    // Places beside the best k, at least: fewer raise T sooner, more are sifted less often.
    private const int kLeastSpare = 32;

    private TopCandidate[] _list = new TopCandidate[count + Math.Max(count, kLeastSpare)];
    private double[] _lowest = [];

    public int Count { get; private set; }

    /// <summary>T: at least k items are known to have a product of this or more.</summary>
    public double Threshold { get; private set; } = double.NegativeInfinity;

    public bool IsFull => Count == _list.Length;

    /// <summary>Whether ties and near-ties keep the list from shrinking: only <see cref="Settle"/> can tell them apart.</summary>
    public bool IsCrowded => Count > count + Math.Max(count, kLeastSpare) / 2;

    public TopCandidate this[int index] => _list[index];

    public void Add(in TopCandidate candidate) => _list[Count++] = candidate;

    public void AddRange(TopCandidates? others)
    {
        if (others is null)
            return;
        Array.Resize(ref _list, Math.Max(_list.Length, Count + others.Count));
        Array.Copy(others._list, 0, _list, Count, others.Count);
        Count += others.Count;
    }

    /// <summary>Takes over a threshold proven elsewhere.</summary>
    public void Raise(double threshold) => Threshold = Math.Max(Threshold, threshold);

    /// <summary>Raises the threshold to what the list, at least k, proves and drops what is below.</summary>
    public void Shrink()
    {
        if (_lowest.Length < Count)
            _lowest = new double[_list.Length];
        for (int i = 0; i < Count; i++)
            _lowest[i] = _list[i].Score - _list[i].Error;
        Raise(Largest(_lowest.AsSpan(0, Count), count));
        int kept = 0;
        for (int i = 0; i < Count; i++)
        {
            if (_list[i].Score + _list[i].Error >= Threshold)
                _list[kept++] = _list[i];
        }
        Count = kept;
    }

    /// <summary>Evaluates the candidates, at least k, and keeps the best k, in order.</summary>
    /// <param name="query">[d].</param>
    /// <param name="items">[·, d].</param>
    /// <param name="itemStride">Values from one item to the next.</param>
    /// <param name="dimension">d.</param>
    /// <param name="exact">The caller's own.</param>
    public void Settle(float* query, float* items, nint itemStride, int dimension, ExactProducts exact)
    {
        var products = new ExactProducts.Product[Count];
        for (int i = 0; i < Count; i++)
            products[i] = ExactProducts.Evaluate(Query(), Item(_list[i].Index), _list[i].Index);
        Array.Sort(products, (left, right) => exact.Compare(Query(), Item(left.Index), Item(right.Index), left, right));
        Count = count;
        for (int i = 0; i < count; i++)
            _list[i] = new TopCandidate(products[i].Index, products[i].Score, products[i].Error);
        Raise(products[count - 1].Score - products[count - 1].Error);

        ReadOnlySpan<float> Query() => new(query, dimension);

        ReadOnlySpan<float> Item(int index) => new(items + index * itemStride, dimension);
    }

    // The rank-th largest value, by Hoare's selection; reorders the values.
    private static double Largest(Span<double> values, int rank)
    {
        int low = 0, high = values.Length - 1;
        while (low < high)
        {
            double pivot = values[(low + high) / 2];
            int i = low, j = high;
            while (i <= j)
            {
                while (values[i] > pivot)
                    i++;
                while (values[j] < pivot)
                    j--;
                if (i <= j)
                {
                    (values[i], values[j]) = (values[j], values[i]);
                    i++;
                    j--;
                }
            }
            if (rank - 1 <= j)
                high = j;
            else if (rank - 1 >= i)
                low = i;
            else
                break;
        }
        return values[rank - 1];
    }
}
