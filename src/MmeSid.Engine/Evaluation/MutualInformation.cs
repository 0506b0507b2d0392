namespace MmeSid.Engine.Evaluation;

/// <summary>
/// How much two labelings of the same n items say about each other. n_ij counts the items with labels i and j, a_i and b_j are its sums.
/// </summary>
/// <param name="Mutual">I = Σ n_ij/n · ln( n·n_ij / (a_i·b_j) ), nats.</param>
/// <param name="Expected">E[I] over all ways to pair the labels anew with the same a and b (hypergeometric, exact).</param>
/// <param name="FirstEntropy">H of the first labeling, nats.</param>
/// <param name="SecondEntropy">H of the second, nats.</param>
public sealed record MutualInformation(double Mutual, double Expected, double FirstEntropy, double SecondEntropy)
{
    /// <summary>
    /// (I − E[I]) / (½(H₁ + H₂) − E[I]) (Vinh, Epps and Bailey 2010): 1 for equal partitions, 0 expected by chance, may be slightly negative.
    /// 1 when both labelings have a single label.
    /// </summary>
    public double Adjusted
    {
        get
        {
            if (FirstEntropy == 0 && SecondEntropy == 0)
                return 1;
            double range = (FirstEntropy + SecondEntropy) / 2 - Expected;
            // Two labelings of single items each leave nothing above chance: keep the sign and stay finite.
            range = range < 0 ? Math.Min(range, -double.Epsilon) : Math.Max(range, 2.220446049250313e-16);
            return (Mutual - Expected) / range;
        }
    }

    /// <summary>I / ½(H₁ + H₂): inflated by chance when there are many labels; beside <see cref="Adjusted"/> for comparison. 1 when both have a single label.</summary>
    public double Normalized => FirstEntropy == 0 && SecondEntropy == 0 ? 1 : Mutual / ((FirstEntropy + SecondEntropy) / 2);

    /// <summary>Measures two labelings. Cost O(n log n) plus the sum of min(a, b) over the pairs of different sizes: at most n times the number of labels.</summary>
    /// <param name="first">[n], n ≥ 1.</param>
    /// <param name="second">[n].</param>
    /// <exception cref="ArgumentException">The lengths differ, or there are no items.</exception>
    public static MutualInformation Measure(ReadOnlySpan<ushort> first, ReadOnlySpan<ushort> second)
    {
        if (first.Length != second.Length)
            throw new ArgumentException($"{first.Length} labels cannot be compared with {second.Length}", nameof(second));
        if (first.Length == 0)
            throw new ArgumentException("there are no items to compare", nameof(first));
        var pairs = new uint[first.Length];
        var a = new int[System.Numerics.Tensors.TensorPrimitives.Max(first) + 1];
        var b = new int[System.Numerics.Tensors.TensorPrimitives.Max(second) + 1];
        for (int i = 0; i < pairs.Length; i++)
        {
            pairs[i] = ((uint)first[i] << 16) | second[i];
            a[first[i]]++;
            b[second[i]]++;
        }
        Array.Sort(pairs);
        double n = pairs.Length, mutual = 0;
        for (int start = 0, end; start < pairs.Length; start = end)
        {
            for (end = start + 1; end < pairs.Length && pairs[end] == pairs[start]; end++)
            {
            }
            double count = end - start;
            mutual += count / n * Math.Log(n * count / ((double)a[pairs[start] >> 16] * b[pairs[start] & 0xFFFF]));
        }
        return new MutualInformation(Math.Max(0, mutual), ExpectedMutual(Sizes(a), Sizes(b), pairs.Length), Entropy(a, n), Entropy(b, n));
    }

    private static double Entropy(int[] counts, double n)
    {
        double entropy = 0;
        foreach (int count in counts)
            entropy -= count == 0 ? 0 : count / n * Math.Log(count / n);
        return Math.Max(0, entropy);
    }

    // Different cluster sizes and how many clusters have each: labels of equal size contribute equally.
    private static (int Size, int Clusters)[] Sizes(int[] counts) =>
        [.. counts.Where(count => count > 0).GroupBy(count => count).OrderBy(group => group.Key).Select(group => (group.Key, group.Count()))];

    // Σ_ij Σ_m m/n · ln(n·m / (a_i·b_j)) · P(m), P(m) = a! b! (n−a)! (n−b)! / (n! m! (a−m)! (b−m)! (n−a−b+m)!), m = max(1, a+b−n) … min(a, b).
    private static double ExpectedMutual((int Size, int Clusters)[] first, (int Size, int Clusters)[] second, int n)
    {
        var logarithms = new double[n + 1];
        var factorials = new double[n + 1];
        for (int i = 1; i <= n; i++)
        {
            logarithms[i] = Math.Log(i);
            factorials[i] = factorials[i - 1] + logarithms[i];
        }
        double expected = 0;
        foreach ((int a, int aClusters) in first)
        {
            foreach ((int b, int bClusters) in second)
            {
                double constant = factorials[a] + factorials[b] + factorials[n - a] + factorials[n - b] - factorials[n];
                double sum = 0;
                for (int m = Math.Max(1, a + b - n); m <= Math.Min(a, b); m++)
                {
                    double probability = Math.Exp(constant - factorials[m] - factorials[a - m] - factorials[b - m] - factorials[n - a - b + m]);
                    sum += m * (logarithms[n] + logarithms[m] - logarithms[a] - logarithms[b]) * probability;
                }
                expected += sum / n * aClusters * bClusters;
            }
        }
        return expected;
    }
}
