using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary>A table of an embedder as files: <c>name.npy</c> and, beside it, <c>name.items.txt</c>.</summary>
internal static class EmbeddingFiles
{
    /// <summary>Where the item ids of a table go.</summary>
    public static string ItemsPath(string table) => Path.ChangeExtension(table, ".items.txt");

    /// <summary>The same for what an embedder makes, whose rows are disposed.</summary>
    public static EmbeddingResult Write(CommandRun run, string path, Func<EmbeddingResult> embed)
    {
        EmbeddingResult? result = null;
        Write(run, path, () =>
        {
            result = embed();
            return (result.Rows, result.Items);
        });
        result!.Rows.Dispose();
        if (result.EmptyCount > 0)
            run.Progress.Note($"  {result.EmptyCount:N0} items of which nothing is known: a row of zeros each, or left out under --empty drop (then train with --missing)");
        return result;
    }

    /// <summary>Opens both files before the work, so that a bad path is found first, and writes them after it.</summary>
    /// <param name="run">The command.</param>
    /// <param name="path">Of the table.</param>
    /// <param name="embed">Makes the rows, which stay the caller's, and their ids.</param>
    public static void Write(CommandRun run, string path, Func<(RowMatrix Rows, ItemIds Items)> embed)
    {
        using OutputFile table = OutputFile.Create(path, run.Force);
        using OutputFile items = OutputFile.Create(ItemsPath(path), run.Force);
        (RowMatrix rows, ItemIds ids) = embed();
        var writer = new NpyWriter<float>(table.Stream, rows.Count, rows.Dimension);
        int block = Math.Max(1, (1 << 24) / rows.Dimension);
        for (long first = 0; first < rows.Count; first += block)
            writer.Write(rows.Rows(first, (int)Math.Min(block, rows.Count - first)));
        writer.Complete();
        ids.Write(items.Stream);
        run.Cancellation.ThrowIfCancellationRequested();
        items.Commit();
        table.Commit();
    }
}
