namespace MmeSid.Kernels;

/// <summary>The checks every encoder makes at its public edge.</summary>
internal static class EncodeArguments
{
    public static void Check(EncodePlan plan, RowView rows, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> squaredErrors)
        => Check(plan, rows.Count, rows.Dimension, codes, squaredErrors);

    public static void Check(EncodePlan plan, int count, int dimension, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> squaredErrors)
    {
        if (dimension != plan.Dimension)
            throw new ArgumentException($"the codebooks have dimension {plan.Dimension}, the rows have {dimension}");
        if (codes.Length != (long)count * plan.Levels)
            throw new ArgumentException($"{count} rows of {plan.Levels} levels need {(long)count * plan.Levels} codes, the span has {codes.Length}");
        if (!squaredErrors.IsEmpty && squaredErrors.Length != count)
            throw new ArgumentException($"{count} rows need {count} squared errors, the span has {squaredErrors.Length}");
    }

    public static void CheckFinite(ReadOnlySpan<float> row, int index)
    {
        for (int i = 0; i < row.Length; i++)
        {
            if (!float.IsFinite(row[i]))
                throw new ArgumentException($"row {index}, column {i} is {row[i]}, expected a finite value");
        }
    }
}
