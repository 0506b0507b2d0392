using System.Runtime.InteropServices;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>What is known of the items in one modality.</summary>
/// <param name="Name">Of the modality.</param>
/// <param name="Table">e, [n, d]; read once.</param>
/// <param name="Bundle">With the codes of the same items in any order; null where there are none.</param>
public sealed record ItemModalitySource(string Name, EmbeddingTable Table, SidBundle? Bundle);

/// <summary>
/// One modality j of the items: frozen embeddings e_j behind a trained projection, and code embeddings.
/// <code>
/// P_j e_j + b_j        q_j = Σ_l C_{j,l}[k_l]        both in H values
/// </code>
/// </summary>
internal sealed class ItemModality : nn.Module
{
    // Values of the table that are read at once.
    private const int kValuesPerBlock = 1 << 22;

    private readonly Linear projection;
    private readonly Parameter? codes;
    private readonly Tensor table;
    private readonly Tensor? rows;

    /// <summary>Draws the projection from libtorch's generator.</summary>
    /// <param name="source">The modality.</param>
    /// <param name="dimension">H.</param>
    /// <param name="start">Where code tables start.</param>
    /// <param name="seed">Of the code tables.</param>
    /// <exception cref="InvalidDataException">The bundle is one of other items, or a value of the table is not finite.</exception>
    public ItemModality(ItemModalitySource source, int dimension, SidEmbeddingStart start, ulong seed)
        : base(nameof(ItemModality))
    {
        Name = source.Name;
        projection = nn.Linear(source.Table.Dimension, dimension);
        table = Read(source.Table).DetachFromDisposeScope();
        // They are data, not state: a checkpoint and a model do without them.
        register_buffer(nameof(table), table, persistent: false);
        if (source.Bundle is { } bundle)
        {
            SidVocabulary vocabulary = SidVocabulary.Of(bundle.Quantizer);
            codes = new Parameter(tensor(SidVectors.DrawSummed(bundle.Quantizer, dimension, start, seed), [vocabulary.Tokens, dimension]).DetachFromDisposeScope());
            rows = tensor(CodeRows(source, bundle, vocabulary), [source.Table.Count, vocabulary.Levels]).DetachFromDisposeScope();
            register_buffer(nameof(rows), rows, persistent: false);
        }
        RegisterComponents();
    }

    /// <summary>Of the modality.</summary>
    public string Name { get; }

    /// <summary>P_j and b_j.</summary>
    public Linear Projection => projection;

    /// <summary>C_j, the tables of all levels one below the other, [T, H]; null where there are no codes.</summary>
    public Parameter? CodeTable => codes;

    /// <summary>[n, L] int64 rows of <see cref="CodeTable"/>; null where there are no codes.</summary>
    public Tensor? CodeRowsOfItems => rows;

    /// <summary>P_j e_j + b_j of all items, [n, H].</summary>
    public Tensor Projected() => projection.call(table);

    /// <summary>P_j e_j + b_j, and q_j where there are codes, each [m, H].</summary>
    /// <param name="items">[m] int64.</param>
    public IEnumerable<Tensor> Parts(Tensor items) => codes is null ? [projection.call(table.index_select(0, items))] : [projection.call(table.index_select(0, items)), CodeEmbeddings(items)];

    /// <summary>q_j, [m, H].</summary>
    /// <param name="items">[m] int64.</param>
    /// <exception cref="InvalidOperationException">There are no codes.</exception>
    public Tensor CodeEmbeddings(Tensor items)
    {
        if (codes is null || rows is null)
            throw new InvalidOperationException($"{Name} has no codes");
        using DisposeScope scope = NewDisposeScope();
        return codes.index_select(0, rows.index_select(0, items).flatten()).view(items.shape[0], rows.shape[1], -1).sum(1).MoveToOuterDisposeScope();
    }

    private static long[] CodeRows(ItemModalitySource source, SidBundle bundle, SidVocabulary vocabulary)
    {
        ItemIds items = source.Table.Items;
        var found = new long[items.Count * vocabulary.Levels];
        for (long item = 0; item < items.Count; item++)
        {
            if (!bundle.Items.TryFind(items[item], out long row))
                throw new InvalidDataException($"{bundle.Folder}: has no item '{items[item]}', which the tables have: the bundle of '{source.Name}' must be of the same items");
            // The quantizer's own: settling moves codes to tell items apart, not to describe them.
            ReadOnlySpan<ushort> chosen = bundle.Codes[row];
            for (int level = 0; level < chosen.Length; level++)
                found[(item * vocabulary.Levels) + level] = vocabulary.Row(level, chosen[level]);
        }
        if (bundle.Count != items.Count)
            throw new InvalidDataException($"{bundle.Folder}: has {bundle.Count} items, the tables have {items.Count}: the bundle of '{source.Name}' must be of the same items");
        return found;
    }

    private static Tensor Read(EmbeddingTable source)
    {
        Tensor values = empty(source.Count, source.Dimension);
        int block = Math.Max(1, kValuesPerBlock / source.Dimension);
        for (long first = 0; first < source.Count; first += block)
        {
            int count = (int)Math.Min(block, source.Count - first);
            using Tensor part = values.narrow(0, first, count);
            source.Read(first, count, MemoryMarshal.Cast<byte, float>(part.bytes));
        }
        return values;
    }
}
