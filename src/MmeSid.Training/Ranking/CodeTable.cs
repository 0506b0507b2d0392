using System.Runtime.InteropServices;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using MmeSid.Training.LanguageModels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>A set of codes of the items.</summary>
/// <param name="Name">Of the modality, or <see cref="RankerOptions.Joint"/>.</param>
/// <param name="Bundle">With the codes.</param>
public sealed record CodeSource(string Name, SidBundle Bundle);

/// <summary>
/// One set of codes z: a table per level, one below the other, and which codes each item has. An item without codes is zero.
/// <code>
/// e^z_i = Σ_l E^z_l[k_l(i)]        E^z_l: [K_l, d']
/// </code>
/// </summary>
internal sealed class CodeTable : nn.Module
{
    private readonly Parameter table;
    private readonly Tensor rows;

    /// <summary>An empty table of a shape, to load weights into.</summary>
    /// <param name="codes">T = Σ K_l.</param>
    /// <param name="items">n.</param>
    /// <param name="levels">L.</param>
    /// <param name="dimension">d'.</param>
    public CodeTable(long codes, long items, int levels, int dimension)
        : this(zeros(codes, dimension), zeros(items, levels, int64))
    {
    }

    private CodeTable(Tensor table, Tensor rows)
        : base(nameof(CodeTable))
    {
        this.table = new Parameter(table.DetachFromDisposeScope());
        this.rows = rows.DetachFromDisposeScope();
        register_buffer(nameof(rows), this.rows);
        RegisterComponents();
    }

    /// <summary>E^z, [T, d'].</summary>
    public Parameter Table => table;

    /// <summary>[n, L] rows of <see cref="Table"/>, int64; T where an item has no codes.</summary>
    public Tensor Rows => rows;

    /// <summary>
    /// The codes of a bundle. Random tables are drawn from libtorch's generator, N(0, s²/L). Those of codebooks are <see cref="SidVectors.DrawSummed"/>, all levels scaled by one factor, so that in both cases
    /// e^z has the root mean square s over the items: as large as item embeddings, whatever the size of the bundle's rows.
    /// </summary>
    /// <param name="source">The bundle.</param>
    /// <param name="items">The catalogue.</param>
    /// <param name="dimension">d'.</param>
    /// <param name="size">s.</param>
    /// <param name="start">Codebooks or random.</param>
    /// <param name="allowUncoded">Whether an item may have no codes.</param>
    /// <param name="seed">Of the projection of codewords.</param>
    /// <exception cref="InvalidDataException">The bundle lacks an item, or none of its codewords differs from zero.</exception>
    public static CodeTable Of(CodeSource source, ItemIds items, int dimension, double size, SidEmbeddingStart start, bool allowUncoded, ulong seed)
    {
        SidVocabulary vocabulary = SidVocabulary.Of(source.Bundle.Quantizer);
        long[] rows = RowsOf(source, items, vocabulary, allowUncoded);
        Tensor indices = tensor(rows, [items.Count, vocabulary.Levels]);
        if (start == SidEmbeddingStart.Random)
            return new CodeTable(nn.init.normal_(empty(vocabulary.Tokens, dimension), 0, size / Math.Sqrt(vocabulary.Levels)), indices);
        using DisposeScope scope = NewDisposeScope();
        Tensor table = tensor(SidVectors.DrawSummed(source.Bundle.Quantizer, dimension, start, seed), [vocabulary.Tokens, dimension]);
        double drawn = Math.Sqrt(Sum(table, indices).square().mean().ToDouble() * items.Count / Math.Max(1, rows.Chunk(vocabulary.Levels).Count(own => own[0] < vocabulary.Tokens)));
        if (!(drawn > 0))
            throw new InvalidDataException($"{source.Bundle.Folder}: the codewords of its items are zero, so that no code table can start at them");
        return new CodeTable(table.mul(size / drawn).MoveToOuterDisposeScope(), indices.MoveToOuterDisposeScope());
    }

    /// <summary>e^z of items, [m, d'], differentiable.</summary>
    /// <param name="items">[m] int64.</param>
    public Tensor Embed(Tensor items) => Sum(table, rows.index_select(0, items));

    /// <summary>The codes of all items, for loops that look up many: they are reached once.</summary>
    public CodeRows OpenRows() => new(MemoryMarshal.Cast<byte, long>(rows.bytes), (int)rows.shape[1], table.shape[0]);

    private static Tensor Sum(Tensor table, Tensor rows)
    {
        using DisposeScope scope = NewDisposeScope();
        // Behind the last code a row of zeros for items that have none.
        Tensor padded = cat([table, zeros(1, table.shape[1], table.dtype, table.device)]);
        return padded.index_select(0, rows.flatten()).view(rows.shape[0], rows.shape[1], -1).sum(1).MoveToOuterDisposeScope();
    }

    private static long[] RowsOf(CodeSource source, ItemIds items, SidVocabulary vocabulary, bool allowUncoded)
    {
        var rows = new long[items.Count * vocabulary.Levels];
        for (long item = 0; item < items.Count; item++)
        {
            Span<long> own = rows.AsSpan((int)item * vocabulary.Levels, vocabulary.Levels);
            if (!source.Bundle.Items.TryFind(items[item], out long row))
            {
                if (!allowUncoded)
                    throw new InvalidDataException($"{source.Bundle.Folder}: has no item '{items[item]}', which other codes or the sequences have: '{source.Name}' must be of the same items, or items go without codes (--uncoded zero)");
                own.Fill(vocabulary.Tokens);
                continue;
            }
            // The quantizer's own: settling moves codes to tell items apart, not to describe them.
            ReadOnlySpan<ushort> chosen = source.Bundle.Codes[row];
            for (int level = 0; level < chosen.Length; level++)
                own[level] = vocabulary.Row(level, chosen[level]);
        }
        return rows;
    }
}

/// <summary>The rows of a <see cref="CodeTable"/> that each item is the sum of.</summary>
/// <param name="rows">[n, L], on the CPU.</param>
/// <param name="levels">L.</param>
/// <param name="none">T, the code of every level where an item has none.</param>
internal readonly ref struct CodeRows(ReadOnlySpan<long> rows, int levels, long none)
{
    private readonly ReadOnlySpan<long> _rows = rows;

    /// <summary>Those of an item; none where it has no codes.</summary>
    public ReadOnlySpan<long> this[int item]
    {
        get
        {
            ReadOnlySpan<long> own = _rows.Slice(item * levels, levels);
            return own[0] < none ? own : [];
        }
    }
}
