namespace MmeSid.Kernels;

/// <summary>
/// Compares two extensions of prefixes by the real-number distances of <see cref="EncodePlan"/>, in exact arithmetic.
/// Slow (about 100 µs at d 768) and called only where float64 with a bound cannot decide. Not thread-safe; one per thread.
/// </summary>
internal sealed class ExactOrder(EncodePlan plan)
{
    private readonly ExactSum _sum = new();

    /// <summary>
    /// Sign of D(left) − D(right), where D of a path k_1 … k_l is <c>‖x − Σ_j c_j‖²</c> over all of its codewords (for PSRQ with l ≥ 2:
    /// residual halves, plus <c>‖Σ_{j&lt;l} a_j − b_l‖²</c>); equal distances are ordered lexicographically by path.
    /// </summary>
    /// <param name="row">x, [d].</param>
    /// <param name="left">Codes of levels 0 … l, l + 1 of them.</param>
    /// <param name="right">As many codes.</param>
    /// <returns>Negative, zero (same path) or positive.</returns>
    public int Compare(ReadOnlySpan<float> row, ReadOnlySpan<ushort> left, ReadOnlySpan<ushort> right)
    {
        int level = left.Length - 1;
        bool samePrefix = left[..level].SequenceEqual(right[..level]);
        int width = plan.CodewordWidth(level);
        ReadOnlySpan<float> codebook = plan.Codebook(level);
        // A codeword stored twice ties everywhere: no arithmetic needed.
        if (!samePrefix || !codebook.Slice(left[level] * width, width).SequenceEqual(codebook.Slice(right[level] * width, width)))
        {
            _sum.Clear();
            AddDistance(+1, row, left);
            AddDistance(-1, row, right);
            int sign = _sum.Sign();
            if (sign != 0)
                return sign;
        }
        return left.SequenceCompareTo(right);
    }

    // sign · (‖x − Σ_{j≤l} c_j‖² − ‖x‖²) expanded into products of stored values; ‖x‖² is common to both sides.
    private void AddDistance(int sign, ReadOnlySpan<float> row, ReadOnlySpan<ushort> path)
    {
        int d = plan.Dimension, last = path.Length - 1;
        for (int j = 0; j <= last; j++)
        {
            ReadOnlySpan<float> codeword = plan.Codeword(j, path[j]);
            AddDot(-2 * sign, row, codeword);
            AddDot(sign, codeword, codeword);
            for (int i = 0; i < j; i++)
                AddDot(2 * sign, plan.Codeword(i, path[i]), codeword);
        }
        if (plan.Kind != PlanKind.PrefixSemantic || last == 0)
            return;
        ReadOnlySpan<float> prefixHalf = plan.Codebook(last).Slice(path[last] * 2 * d + d, d);
        AddDot(sign, prefixHalf, prefixHalf);
        for (int j = 0; j < last; j++)
        {
            ReadOnlySpan<float> codeword = plan.Codeword(j, path[j]);
            AddDot(-2 * sign, codeword, prefixHalf);
            AddDot(sign, codeword, codeword);
            for (int i = 0; i < j; i++)
                AddDot(2 * sign, plan.Codeword(i, path[i]), codeword);
        }
    }

    private void AddDot(int factor, ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        for (int i = 0; i < left.Length; i++)
            _sum.AddProduct(factor, left[i], right[i]);
    }
}
