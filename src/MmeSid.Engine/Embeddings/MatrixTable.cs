using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>A table whose rows are in memory.</summary>
internal sealed class MatrixTable : EmbeddingTable
{
    private readonly RowMatrix _rows;

    public MatrixTable(RowMatrix rows, ItemIds items, string name)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(items);
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (rows.Count != items.Count)
            throw new ArgumentException($"{name}: {rows.Count} rows and {items.Count} item ids", nameof(items));
        _rows = rows;
        Items = items;
        Name = name;
    }

    public override string Name { get; }

    public override long Count => _rows.Count;

    public override int Dimension => _rows.Dimension;

    public override ItemIds Items { get; }

    protected override void ReadRows(long firstRow, int rows, Span<float> destination)
    {
        _rows.Rows(firstRow, rows).CopyTo(destination);
        int bad = Finiteness.IndexOfNonFinite(destination);
        if (bad >= 0)
            throw Finiteness.Refusal(Place(firstRow + bad / Dimension), bad % Dimension, destination[bad]);
    }

    protected override void Dispose(bool disposing) => _rows.Dispose();
}
