namespace MmeSid.Kernels;

/// <summary>The checks every encoder makes at its public edge.</summary>
internal static class EncodeArguments
{
    public static void Check(EncodePlan plan, RowView rows, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> squaredErrors)
    {
        if (rows.Dimension != plan.Dimension)
            throw new ArgumentException($"the codebooks have dimension {plan.Dimension}, the rows have {rows.Dimension}");
        if (codes.Length != (long)rows.Count * plan.Levels)
            throw new ArgumentException($"{rows.Count} rows of {plan.Levels} levels need {(long)rows.Count * plan.Levels} codes, the span has {codes.Length}");
        if (!squaredErrors.IsEmpty && squaredErrors.Length != rows.Count)
            throw new ArgumentException($"{rows.Count} rows need {rows.Count} squared errors, the span has {squaredErrors.Length}");
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
