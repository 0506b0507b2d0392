using System.CommandLine;
using System.Text;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Engine.Synthesis;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid synth</c>: a made-up catalogue, so that runs of any size need no data.</summary>
internal static class SynthCommand
{
    private const int kBytesPerBlock = 8 << 20;

    public static Command Create()
    {
        var items = new Option<long>("--items") { Description = "Number of items (rows).", HelpName = "count", Required = true };
        var dimension = new Option<int?>("--dimension") { Description = "Values per row, float32. [default: 768; with --modalities 64 collaborative, 384 text, 512 image]", HelpName = "count" };
        Option<string> output = OutputOptions.Out("The table, .npy; with --modalities a folder.");
        var modalities = new Option<bool>("--modalities")
        {
            Description = "Write a folder: collaborative.npy, text.npy and image.npy that agree about each item's cluster, items.tsv (id, title, attributes), "
                + "sequences.txt (user item item …, oldest first) and leaves.npy (true leaf of each item, int32).",
        };
        var users = new Option<long?>("--users") { Description = "With --modalities: number of users. [default: twice the items]", HelpName = "count" };

        var command = new Command("synth", "Make a clustered catalogue with a known hierarchy (16 × 16 × 16 clusters), a power-law spectrum and a mean.")
        {
            items, dimension, output, modalities, users, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            if (run.Get(modalities))
            {
                using OutputFolder folder = OutputFolder.Create(path, run.Force, SyntheticFolder.Sequences);
                SyntheticHierarchy hierarchy = SyntheticFolder.Hierarchy(run.Need(items), run.Seed);
                SyntheticFolder.WriteStore(run, folder.Path, hierarchy, run.Need(items), run.Get(users) ?? 2 * run.Need(items), run.Seed);
                SyntheticFolder.WriteTables(run, folder.Path, hierarchy, run.Need(items), run.Get(dimension), run.Seed);
                run.Cancellation.ThrowIfCancellationRequested();
                folder.Commit();
            }
            else
            {
                var catalogue = new SyntheticCatalogue(new SyntheticOptions { Items = run.Need(items), Dimension = run.Get(dimension) ?? 768, Seed = run.Seed });
                using OutputFile file = OutputFile.Create(path, run.Force);
                WriteTable(run, "synth", catalogue, file.Stream);
                run.Cancellation.ThrowIfCancellationRequested();
                file.Commit();
            }
            run.Results.Value("out", path);
            run.Results.Value("items", run.Need(items));
            run.Results.Value("seed", run.Seed);
        }));
        return command;
    }

    /// <summary>Streams a catalogue into a <c>.npy</c>: a few blocks are made in parallel, then written in order.</summary>
    public static void WriteTable(CommandRun run, string name, SyntheticCatalogue catalogue, Stream stream)
    {
        int perBlock = Math.Max(1, kBytesPerBlock / (catalogue.Dimension * sizeof(float)));
        int threads = run.Threads;
        var writer = new NpyWriter<float>(stream, catalogue.Count, catalogue.Dimension);
        run.Progress.Step(name, catalogue.Count, "rows", step =>
        {
            float[][] blocks = [.. Enumerable.Range(0, threads).Select(_ => new float[(int)Math.Min(perBlock, catalogue.Count) * catalogue.Dimension])];
            float[][] ready = [.. blocks.Select(block => new float[block.Length])];
            Task written = Task.CompletedTask;
            for (long first = 0; first < catalogue.Count; first += (long)threads * perBlock)
            {
                long start = first;
                Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, t =>
                {
                    int rows = Rows(start, t);
                    catalogue.Read(Math.Min(start + (long)t * perBlock, catalogue.Count), rows, blocks[t].AsSpan(0, rows * catalogue.Dimension));
                });
                written.GetAwaiter().GetResult();
                (blocks, ready) = (ready, blocks);
                float[][] full = ready;
                written = Task.Run(() =>
                {
                    for (int t = 0; t < threads; t++)
                    {
                        int rows = Rows(start, t);
                        writer.Write(full[t].AsSpan(0, rows * catalogue.Dimension));
                        step.Advance(rows);
                    }
                });
            }
            written.GetAwaiter().GetResult();
            writer.Complete();
        });

        int Rows(long start, int thread) => (int)Math.Clamp(catalogue.Count - start - (long)thread * perBlock, 0, perBlock);
    }
}
