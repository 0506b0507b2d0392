using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;

namespace MmeSid.Training.Quantization;

/// <summary>Joined tables, taken apart again: one table in memory per modality, all with the joined items in the joined order.</summary>
public static class ModalityTables
{
    // Values of the joined table that are read at once.
    private const int kValuesPerBlock = 1 << 22;

    /// <summary>Splits the columns.</summary>
    /// <param name="joined">[n, Σ d_j], the modalities side by side.</param>
    /// <param name="modalities">In the order of the columns.</param>
    /// <returns>[n, d_j] each, named as the modalities; the caller's to dispose.</returns>
    /// <exception cref="ArgumentException">The columns of the modalities are not those of the table.</exception>
    /// <exception cref="InvalidDataException">A value is not finite.</exception>
    public static IReadOnlyList<EmbeddingTable> Split(EmbeddingTable joined, IReadOnlyList<Modality> modalities)
    {
        ArgumentNullException.ThrowIfNull(joined);
        ArgumentNullException.ThrowIfNull(modalities);
        if (modalities.Sum(modality => modality.Dimension) != joined.Dimension)
            throw new ArgumentException($"the modalities have {modalities.Sum(modality => modality.Dimension)} columns, the table has {joined.Dimension}", nameof(modalities));
        RowMatrix[] matrices = [.. modalities.Select(modality => new RowMatrix(joined.Count, modality.Dimension))];
        try
        {
            int block = Math.Max(1, kValuesPerBlock / joined.Dimension);
            using var buffer = new RowMatrix(Math.Min(block, joined.Count), joined.Dimension);
            for (long first = 0; first < joined.Count; first += block)
            {
                int count = (int)Math.Min(block, joined.Count - first);
                joined.Read(first, count, buffer.Rows(0, count));
                for (int row = 0; row < count; row++)
                {
                    ReadOnlySpan<float> values = buffer.Rows(row, 1);
                    foreach (RowMatrix matrix in matrices)
                    {
                        values[..matrix.Dimension].CopyTo(matrix.Rows(first + row, 1));
                        values = values[matrix.Dimension..];
                    }
                }
            }
        }
        catch
        {
            foreach (RowMatrix matrix in matrices)
                matrix.Dispose();
            throw;
        }
        return [.. matrices.Select((matrix, j) => EmbeddingTable.FromRows(matrix, joined.Items, modalities[j].Name))];
    }
}
