using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>How one raw table enters x.</summary>
/// <param name="Dimension">Its d.</param>
/// <param name="Normalize">Divide each row by its Euclidean norm; a row of zeros is refused.</param>
/// <param name="Weight">Factor after that, finite and positive.</param>
public sealed record TablePart(int Dimension, bool Normalize, double Weight)
{
    /// <summary>The raw row that stands in for items the table lacks under <see cref="MissingItems.Mean"/>; null: the mean of the table at hand.</summary>
    public IReadOnlyList<float>? Mean { get; init; }

    /// <inheritdoc/>
    public bool Equals(TablePart? other)
        => other is not null && Dimension == other.Dimension && Normalize == other.Normalize && Weight.Equals(other.Weight)
            && (Mean is null ? other.Mean is null : other.Mean is not null && Mean.SequenceEqual(other.Mean));

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Dimension, Normalize, Weight);
}

/// <summary>
/// How raw tables become x, the row that is quantized: part by part <c>x_p = w_p·v_p/‖v_p‖</c> (or <c>w_p·v_p</c>), concatenated.
/// Norm and product are float64 and rounded once to float32; a part that is neither normalised nor weighted is copied. It is stored with
/// a quantizer, so that later rows are treated the same.
/// </summary>
/// <param name="Parts">One per table, in order.</param>
public sealed record Preprocessing(IReadOnlyList<TablePart> Parts)
{
    /// <summary>d of x: the sum of the parts'.</summary>
    public int Dimension => Parts.Sum(part => part.Dimension);

    /// <summary>The preprocessing of these tables.</summary>
    /// <param name="tables">In order.</param>
    /// <param name="normalize">For every part.</param>
    /// <param name="weights">One per table; null or empty: all 1.</param>
    /// <exception cref="ArgumentException">Weights and tables differ in number, or a weight is not positive and finite.</exception>
    public static Preprocessing Of(IReadOnlyList<EmbeddingTable> tables, bool normalize, IReadOnlyList<double>? weights = null)
    {
        ArgumentNullException.ThrowIfNull(tables);
        if (weights is { Count: > 0 } && weights.Count != tables.Count)
            throw new ArgumentException($"{weights.Count} weights for {tables.Count} tables", nameof(weights));
        var parts = new TablePart[tables.Count];
        for (int i = 0; i < parts.Length; i++)
        {
            double weight = weights is { Count: > 0 } ? weights[i] : 1;
            if (!double.IsFinite(weight) || weight <= 0)
                throw new ArgumentException($"weight {i + 1} is {weight}, expected a positive number", nameof(weights));
            parts[i] = new TablePart(tables[i].Dimension, normalize, weight);
        }
        return new Preprocessing(parts);
    }

    /// <summary>The same with <see cref="TablePart.Mean"/> filled in from these tables: float64 means of the raw rows, rounded once. Reads every table once.</summary>
    public Preprocessing WithMeans(IReadOnlyList<EmbeddingTable> tables)
    {
        ArgumentNullException.ThrowIfNull(tables);
        if (tables.Count != Parts.Count)
            throw new ArgumentException($"{tables.Count} tables for {Parts.Count} parts", nameof(tables));
        return new Preprocessing([.. Parts.Select((part, i) => part with { Mean = MeanRow(tables[i]) })]);
    }

    /// <inheritdoc/>
    public bool Equals(Preprocessing? other) => other is not null && Parts.SequenceEqual(other.Parts);

    /// <inheritdoc/>
    public override int GetHashCode() => Parts.Aggregate(17, HashCode.Combine);

    internal static float[] MeanRow(EmbeddingTable table)
    {
        if (table.Count == 0)
            throw new InvalidDataException($"{table.Name}: has no rows, so it has no mean to stand in for missing items");
        int block = Math.Max(1, (1 << 18) / table.Dimension);
        var sums = new double[table.Dimension];
        using var buffer = new RowMatrix(Math.Min(block, table.Count), table.Dimension);
        for (long first = 0; first < table.Count; first += block)
        {
            int rows = (int)Math.Min(block, table.Count - first);
            Span<float> values = buffer.Rows(0, rows);
            table.Read(first, rows, values);
            for (int row = 0; row < rows; row++)
            {
                ReadOnlySpan<float> source = values.Slice(row * sums.Length, sums.Length);
                for (int column = 0; column < sums.Length; column++)
                    sums[column] += source[column];
            }
        }
        return Array.ConvertAll(sums, sum => (float)(sum / table.Count));
    }
}

/// <summary>What happens to items that some of several tables lack.</summary>
public enum MissingItems
{
    /// <summary>It is an error that names the first such item.</summary>
    Refuse,

    /// <summary>They are left out.</summary>
    Drop,

    /// <summary>Their part is zeros (also under normalisation).</summary>
    Zero,

    /// <summary>Their part is the mean of that table's raw rows, then treated as any other row.</summary>
    Mean,
}
