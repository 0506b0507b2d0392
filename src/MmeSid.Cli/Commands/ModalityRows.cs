using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary>The tables of several modalities, joined by item id and taken apart again: the same items in the same order.</summary>
internal sealed class ModalityRows : IDisposable
{
    private ModalityRows(IReadOnlyList<Modality> shapes, IReadOnlyList<EmbeddingTable> tables, IReadOnlyList<Preprocessing> preprocessing, IReadOnlyList<BundleInput> inputs) =>
        (Shapes, Tables, Preprocessing, Inputs) = (shapes, tables, preprocessing, inputs);

    /// <summary>Names and dimensions.</summary>
    public IReadOnlyList<Modality> Shapes { get; }

    /// <summary>[n, d_j] after preprocessing.</summary>
    public IReadOnlyList<EmbeddingTable> Tables { get; }

    /// <summary>How each raw table became these rows.</summary>
    public IReadOnlyList<Preprocessing> Preprocessing { get; }

    /// <summary>The raw tables.</summary>
    public IReadOnlyList<BundleInput> Inputs { get; }

    /// <summary>Reads the files as <see cref="TableOptions"/> say.</summary>
    /// <param name="run">The options.</param>
    /// <param name="named">A table per modality.</param>
    /// <exception cref="InvalidDataException">The tables have no item in common, or items are missing that must not be.</exception>
    public static ModalityRows Read(CommandRun run, IReadOnlyList<NamedFile> named)
    {
        IReadOnlyList<EmbeddingTable> tables = TableOptions.Open(run, [.. named.Select(table => table.File)], [.. Enumerable.Range(0, named.Count)]);
        Modality[] shapes = [.. named.Select((table, j) => new Modality(table.Name, [tables[j].Dimension]))];
        Preprocessing preprocessing = Engine.Embeddings.Preprocessing.Of(tables, run.Get(TableOptions.Normalize));
        if (TableOptions.MissingItemsOf(run) == MissingItems.Mean)
            preprocessing = preprocessing.WithMeans(tables);
        using EmbeddingTable joined = TableOptions.Join(run, tables, preprocessing);
        if (joined.Count == 0)
            throw new InvalidDataException($"{string.Join(", ", tables.Select(table => table.Name))}: have no item in common");
        BundleInput[] inputs = [.. tables.Select(BundleInput.Of)];
        return new ModalityRows(shapes, ModalityTables.Split(joined, shapes), [.. preprocessing.Parts.Select(part => new Preprocessing([part]))], inputs);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (EmbeddingTable table in Tables)
            table.Dispose();
    }
}
