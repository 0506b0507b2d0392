namespace MmeSid.Engine.Embeddings;

/// <summary>A copy of a table's rows, in memory up to a budget and beyond it in a temporary file.</summary>
internal sealed class SpooledTable(RowSpool spool, ItemIds items, string name) : EmbeddingTable
{
    public override string Name => name;

    public override long Count => spool.Count;

    public override int Dimension => spool.Dimension;

    public override ItemIds Items => items;

    protected override void ReadRows(long firstRow, int rows, Span<float> destination) => spool.Read(firstRow, rows, destination);

    protected override void Dispose(bool disposing) => spool.Dispose();
}
