using System.CommandLine;
using System.Diagnostics;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Synthesis;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid bench</c>: how fast this machine encodes, beside its ceilings, after a check against the oracle.</summary>
internal static class BenchCommand
{
    private const int kTrainingRows = 16_384;
    private const int kTrainingIterations = 4;
    private const int kCheckedRows = 256;

    public static Command Create()
    {
        var items = new Option<int>("--items") { Description = "Rows that are encoded, of the synthetic catalogue.", DefaultValueFactory = _ => 65_536, HelpName = "count" };
        var dimension = new Option<int>("--dimension") { Description = "Values per row.", DefaultValueFactory = _ => 768, HelpName = "count" };
        var levels = new Option<int>("--levels") { Description = "Levels.", DefaultValueFactory = _ => 4, HelpName = "count" };
        var codes = new Option<int>("--codes") { Description = "Codes per level.", DefaultValueFactory = _ => 256, HelpName = "count" };
        var repeats = new Option<int>("--repeats") { Description = "Timed repeats; the median counts.", DefaultValueFactory = _ => 5, HelpName = "count" };
        var command = new Command("bench", "Measure how many rows per second the chosen backend encodes here (rows in memory), beside the machine's ceilings. Codes are checked against the oracle first.")
        {
            items, dimension, levels, codes, repeats,
        };
        command.Subcommands.Add(TuneCommand.Create());
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            if (run.Need(repeats) < 1)
                throw new ArgumentException($"--repeats is {run.Need(repeats)}, expected at least 1");
            if (run.Need(items) < 1)
                throw new ArgumentException($"--items is {run.Need(items)}, expected at least 1");
            IBackend backend = GlobalOptions.CreateBackend(parsed);
            var catalogue = new SyntheticCatalogue(new SyntheticOptions { Items = run.Need(items), Dimension = run.Need(dimension), Seed = run.Seed });
            using RowMatrix rows = run.Progress.Step("synth", catalogue.Count, "rows", step =>
            {
                RowMatrix made = catalogue.ToRows(run.Threads, run.Cancellation);
                step.Advance(made.Count);
                return made;
            });
            Ceiling ceiling = run.Progress.Step("measure the ceilings", () => Ceiling.Measure(run.Threads, rounds: 5, memoryBytes: 256L << 20));
            run.Results.Value("device", $"{backend.Name}: {backend.Device}");
            run.Results.Value("fma_ceiling_gflops", ceiling.Fp32, $"{ceiling.Fp32:N0} GFLOP/s float32");
            run.Results.Value("memory_ceiling_gb_per_second", ceiling.Memory, $"{ceiling.Memory:0.0} GB/s");
            run.Results.Table("encode", ["quantizer", "items", "dimension", "codes", "levels", "milliseconds", "rows_per_second", "gflops", "of_ceiling", "rechecked"],
                [.. ((QuantizerKind[])[QuantizerKind.RqKMeans, QuantizerKind.Psrq]).Select(kind => Measure(run, backend, rows, kind, run.Need(levels), run.Need(codes), run.Need(repeats), ceiling.Fp32))]);
        }));
        return command;
    }

    private static IReadOnlyList<ResultSheet.Cell> Measure(CommandRun run, IBackend backend, RowMatrix rows, QuantizerKind kind, int levels, int codes, int repeats, double ceiling)
    {
        string name = QuantizerName.Of(kind);
        int n = (int)Math.Min(rows.Count, rows.MaximumSpanRows);
        Quantizer quantizer = run.Progress.Step($"train {name}", () =>
        {
            var sample = new RowMatrix(Math.Min(n, Math.Max(kTrainingRows, 4 * codes)), rows.Dimension);
            rows.Rows(0, (int)sample.Count).CopyTo(sample.Rows(0, (int)sample.Count));
            using EmbeddingTable table = EmbeddingTable.FromRows(sample, ItemIds.Sequential(sample.Count), "synth");
            var options = new TrainingOptions { Kind = kind, Levels = levels, Codes = [codes], Seed = run.Seed, Iterations = kTrainingIterations, Initialization = KMeansInitialization.Random, Threads = GlobalOptions.ThreadCount(run.Parsed) };
            return QuantizerTrainer.Train(table, options, backend, progress: null, run.Cancellation).Quantizer;
        });
        using IQuantizerEncoder encoder = quantizer.CreateEncoder(backend, threads: GlobalOptions.ThreadCount(run.Parsed));
        var assigned = new ushort[n * levels];
        Check(run, backend, quantizer, encoder, rows, Math.Min(n, kCheckedRows));

        var times = new double[repeats];
        EncodeReport report = encoder.Encode(rows.View(0, n), assigned);
        run.Progress.Step($"encode {name}", (long)repeats * n, "rows", step =>
        {
            for (int repeat = 0; repeat < repeats; repeat++)
            {
                long start = Stopwatch.GetTimestamp();
                encoder.Encode(rows.View(0, n), assigned);
                times[repeat] = Stopwatch.GetElapsedTime(start).TotalSeconds;
                step.Advance(n);
            }
        });
        Array.Sort(times);
        double median = times[repeats / 2];
        double rate = 2.0 * n * rows.Dimension * codes * levels / median / 1e9;
        return
        [
            name, (long)n, (long)rows.Dimension, (long)codes, (long)levels, Math.Round(median * 1e3, 2), Math.Round(n / median),
            Math.Round(rate, 1), ResultSheet.Cell.Share(rate / ceiling), ResultSheet.Cell.Share(report.RecheckedShare),
        ];
    }

    /// <summary>No time is shown for codes that are wrong.</summary>
    private static void Check(CommandRun run, IBackend backend, Quantizer quantizer, IQuantizerEncoder encoder, RowMatrix rows, int count)
    {
        run.Progress.Step("check against the oracle", count, "rows", step =>
        {
            using IQuantizerEncoder oracle = quantizer.CreateEncoder(new ScalarBackend());
            var expected = new ushort[count * quantizer.Levels];
            var found = new ushort[count * quantizer.Levels];
            oracle.Encode(rows.View(0, count), expected);
            encoder.Encode(rows.View(0, count), found);
            int different = expected.Zip(found).Count(pair => pair.First != pair.Second);
            if (different > 0)
                throw new InvalidDataException($"{backend.Name}: {different} of {expected.Length} codes of {QuantizerName.Of(quantizer.Kind)} differ from the oracle's, expected none");
            step.Advance(count);
        });
    }
}
