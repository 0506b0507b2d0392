using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid assign</c>: embeddings of any number of items in, raw codes out. The main job.</summary>
internal static class AssignCommand
{
    public static Command Create()
    {
        Option<string> output = OutputOptions.Out("The raw codes, .npy, uint16 [n, L], in the order of the rows. Where several tables are joined, the ids of their rows go beside them: x.items.txt for x.npy.");
        var shadow = new Option<string?>("--shadow")
        {
            Description = "A shadow of the table, from 'mmesid shadow': simd (float16, int8) and cuda (float16) read it instead, and the table itself only where the shadow proves nothing. Same codes; for disks that are slower than the search.",
            HelpName = "file",
        };
        var command = new Command("assign", "Assign codes to the rows of a table with the quantizer of a bundle: streaming, exact, any number of rows.")
        {
            BundleOptions.Bundle, output, shadow, BundleOptions.Beam, OutputOptions.Force,
        };
        TableOptions.AddReadingForBundle(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            BundleTables tables = BundleTables.OfOne(run);
            using OutputFile file = OutputFile.Create(path, run.Force);
            // Which rows a join leaves, and in which order, only their ids tell.
            using OutputFile? ids = tables.Files.Count > 1 ? OutputFile.Create(EmbeddingFiles.ItemsPath(path), run.Force) : null;
            SidBundle bundle = SidBundle.Open(tables.Folder);
            using EmbeddingTable table = run.Get(shadow) is { } shadowPath ? OpenShadowed(run, bundle, tables, shadowPath) : tables.Join(run, bundle);
            using IQuantizerEncoder encoder = BundleOptions.CreateEncoder(run, bundle);
            if (table is ShadowedTable shadowed && !encoder.TakesShadows(shadowed.Format))
                run.Progress.Note($"{run.Get(shadow)} is not read: this search takes no {OptionName.Of(shadowed.Format)} shadow, the table itself is read instead");
            var writer = new NpyWriter<ushort>(file.Stream, table.Count, bundle.Quantizer.Levels);
            AssignmentReport report = Assignment.Run(run, table, encoder, (_, codes, _) => writer.Write(codes));
            writer.Complete();
            run.Cancellation.ThrowIfCancellationRequested();
            if (ids is not null)
            {
                table.Items.Write(ids.Stream);
                ids.Commit();
            }
            file.Commit();
            // Ids of an earlier join would now stand beside codes that are not theirs.
            if (ids is null && run.Force)
                File.Delete(EmbeddingFiles.ItemsPath(path));
            run.Results.Value("out", path);
            if (ids is not null)
                run.Results.Value("items", EmbeddingFiles.ItemsPath(path));
            Assignment.Report(run, report);
        }));
        return command;
    }

    /// <exception cref="ArgumentException">The bundle does something to the rows, which the shadow knows nothing of.</exception>
    private static ShadowedTable OpenShadowed(CommandRun run, SidBundle bundle, BundleTables tables, string shadow)
    {
        if (bundle.Encoder is not null)
            throw new ArgumentException($"--shadow needs a bundle that quantizes the rows themselves; this one is {QuantizerName.Of(bundle.Quantizer.Kind)}, with a learned encoder before it");
        if (bundle.Preprocessing.Parts is not [{ Normalize: false, Weight: 1 }])
            throw new ArgumentException("--shadow needs a bundle that takes the rows of one table as they are; this one joins, normalises or weights them");
        EmbeddingTable table = ShadowCommand.OnlyOne(tables.Open(run, tables.Folder));
        try
        {
            return ShadowedTable.Open(table, shadow);
        }
        catch
        {
            table.Dispose();
            throw;
        }
    }
}
