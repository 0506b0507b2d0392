namespace MmeSid.Kernels;

/// <summary>The checks that every backend makes at the public edge of the operations beside encoding.</summary>
internal static class OpArguments
{
    public static void CheckAccumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(codeCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(codeCount, EncodePlan.MaximumCodes);
        if (codes.Length != rows.Count)
            throw new ArgumentException($"{rows.Count} rows need {rows.Count} codes, the span has {codes.Length}", nameof(codes));
        if (sums.Length != (long)codeCount * rows.Dimension)
            throw new ArgumentException($"{codeCount} codes of dimension {rows.Dimension} need {(long)codeCount * rows.Dimension} sums, the span has {sums.Length}", nameof(sums));
        if (counts.Length != codeCount)
            throw new ArgumentException($"{codeCount} codes need {codeCount} counts, the span has {counts.Length}", nameof(counts));
        for (int i = 0; i < codes.Length; i++)
        {
            if (codes[i] >= codeCount)
                throw new ArgumentException($"row {i} has code {codes[i]}, expected one below {codeCount}", nameof(codes));
        }
    }

    public static void CheckMmdSums(RowView source, RowView target, MmdKernel kernel)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        if (source.Dimension != target.Dimension)
            throw new ArgumentException($"the source rows have dimension {source.Dimension}, the target rows {target.Dimension}", nameof(target));
        if (source.Count == 0 || target.Count == 0)
            throw new ArgumentException($"both sets need at least one row, they have {source.Count} and {target.Count}");
        if (kernel.Factors.Count == 0)
            throw new ArgumentException("the kernel needs at least one bandwidth", nameof(kernel));
        for (int t = 0; t < kernel.Factors.Count; t++)
        {
            if (!(kernel.Factors[t] > 0 && double.IsFinite(kernel.Factors[t])))
                throw new ArgumentException($"bandwidth {t} is {kernel.Factors[t]}, expected a positive number", nameof(kernel));
        }
        CheckFinite(source, "source");
        CheckFinite(target, "target");
    }

    public static void CheckSinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (codewords.Dimension != rows.Dimension)
            throw new ArgumentException($"the codewords have dimension {codewords.Dimension}, the rows have {rows.Dimension}", nameof(codewords));
        if (codewords.Count is 0 or > EncodePlan.MaximumCodes)
            throw new ArgumentException($"there are {codewords.Count} codewords, expected 1 … {EncodePlan.MaximumCodes}", nameof(codewords));
        if (!(options.Epsilon > 0 && double.IsFinite(options.Epsilon)))
            throw new ArgumentException($"epsilon is {options.Epsilon}, expected a positive number", nameof(options));
        if (options.Iterations < 0)
            throw new ArgumentException($"the number of iterations is {options.Iterations}, expected 0 or more", nameof(options));
        if (codes.Length != rows.Count)
            throw new ArgumentException($"{rows.Count} rows need {rows.Count} codes, the span has {codes.Length}", nameof(codes));
        if (!potentials.IsEmpty && potentials.Length != codewords.Count)
            throw new ArgumentException($"{codewords.Count} codewords need {codewords.Count} potentials, the span has {potentials.Length}", nameof(potentials));
        CheckFinite(rows, "row");
        CheckFinite(codewords, "codeword");
    }

    public static void CheckTopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores)
    {
        if (queries.Dimension != items.Dimension)
            throw new ArgumentException($"the queries have dimension {queries.Dimension}, the items have {items.Dimension}", nameof(items));
        if (count < 1 || count > items.Count)
            throw new ArgumentException($"{count} results per query asked of {items.Count} items, expected 1 … {items.Count}", nameof(count));
        long results = (long)queries.Count * count;
        if (indices.Length != results)
            throw new ArgumentException($"{queries.Count} queries with {count} results need {results} indices, the span has {indices.Length}", nameof(indices));
        if (scores.Length != results)
            throw new ArgumentException($"{queries.Count} queries with {count} results need {results} scores, the span has {scores.Length}", nameof(scores));
        CheckFinite(queries, "query");
    }

    /// <summary>Refuses NaN and infinity; <paramref name="what"/> names a row in the message.</summary>
    /// <exception cref="ArgumentException">With row and column of the first such value.</exception>
    public static void CheckFinite(RowView rows, string what)
    {
        for (int i = 0; i < rows.Count; i++)
            CheckFinite(i, rows[i], what);
    }

    /// <summary>Refuses NaN and infinity in row <paramref name="index"/>.</summary>
    public static void CheckFinite(int index, ReadOnlySpan<float> row, string what)
    {
        if (System.Numerics.Tensors.TensorPrimitives.IsFiniteAll(row))
            return;
        for (int j = 0; j < row.Length; j++)
        {
            if (!float.IsFinite(row[j]))
                throw new ArgumentException($"{what} {index}, column {j} is {row[j]}, expected a finite value");
        }
    }
}
