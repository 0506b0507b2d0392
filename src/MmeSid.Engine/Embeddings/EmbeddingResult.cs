using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>What an embedder made.</summary>
/// <param name="Rows">[n, d].</param>
/// <param name="Items">n ids.</param>
/// <param name="SingularValues">d, largest first; zero beyond the rank.</param>
/// <param name="EmptyCount">Items it knew nothing about: zero rows, or left out.</param>
/// <param name="Features">Columns of the decomposed matrix: terms, or items as contexts.</param>
/// <param name="Entries">Its non-zero entries.</param>
public sealed record EmbeddingResult(RowMatrix Rows, ItemIds Items, IReadOnlyList<double> SingularValues, long EmptyCount, int Features, long Entries);

/// <summary>What an embedder does with an item it knows nothing about: no known term in its text, no event left of it.</summary>
public enum EmptyItems
{
    /// <summary>A row of zeros. Such a row cannot be normalised later.</summary>
    Zero,

    /// <summary>No row: whoever joins tables says how the missing item is handled.</summary>
    Drop,

    /// <summary>It is an error that names the first such item.</summary>
    Refuse,
}
