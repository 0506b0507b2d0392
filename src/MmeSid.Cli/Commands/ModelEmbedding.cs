using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels;
using MmeSid.Llama;

namespace MmeSid.Cli.Commands;

/// <summary>Vectors of items' texts by a language model.</summary>
/// <param name="Rows">One row per item that is left; the caller disposes of it.</param>
/// <param name="Items">Their ids.</param>
/// <param name="EmptyCount">Items without a text.</param>
/// <param name="CutCount">Items whose text is longer than what the model reads.</param>
internal sealed record ModelEmbedding(RowMatrix Rows, ItemIds Items, long EmptyCount, long CutCount)
{
    /// <summary>Embeds texts one after the other; the model's own threads share the work on each.</summary>
    /// <exception cref="InvalidDataException">An item has no text under <see cref="EmptyItems.Refuse"/>, or none has one.</exception>
    public static ModelEmbedding Of(TextItems items, LlamaTextEncoder encoder, EmptyItems empty, ProgressStep step, CancellationToken cancellation)
    {
        bool[] silent = [.. items.Texts.Select(string.IsNullOrWhiteSpace)];
        long emptyCount = silent.LongCount(without => without);
        if (emptyCount == silent.Length)
            throw new InvalidDataException("no item has a text");
        if (emptyCount > 0 && empty == EmptyItems.Refuse)
            throw new InvalidDataException($"{emptyCount} items have no text, the first is '{items.Items[Array.IndexOf(silent, true)]}'");
        bool drop = emptyCount > 0 && empty == EmptyItems.Drop;
        ItemIds left = drop ? ItemIds.FromStrings(items.Items.Where((_, row) => !silent[row])) : items.Items;
        var rows = new RowMatrix(drop ? silent.Length - emptyCount : silent.Length, encoder.Dimension);
        try
        {
            long row = 0, cut = 0;
            for (int item = 0; item < silent.Length; item++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!silent[item])
                    cut += encoder.Encode(items.Texts[item], rows.Rows(row++, 1)) > 0 ? 1 : 0;
                else if (!drop)
                    rows.Rows(row++, 1).Clear();
                step.Advance(1);
            }
            return new ModelEmbedding(rows, left, emptyCount, cut);
        }
        catch
        {
            rows.Dispose();
            throw;
        }
    }
}
