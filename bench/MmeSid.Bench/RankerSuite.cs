using System.Globalization;
using System.Text;
using System.Text.Json;
using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Training;
using MmeSid.Training.Ranking;

namespace MmeSid.Bench;

/// <summary>
/// Steps of training DIN and MCCA against the same step in PyTorch: the same shapes, loss and optimizer, each side in a process of its own, several times in turn, of which the least disturbed counts.
/// Rows/s counts samples. Ours draws its negatives inside the step; the peer has all samples of an epoch of ours before the clock starts. Before
/// it is timed, the peer computes loss and gradients of our first batch at our weights, and stops where they are not ours.
/// </summary>
internal static class RankerSuite
{
    private const int kLevels = 3, kCodes = 128, kRounds = 3;

    private static readonly (string Data, int Items, int Users, int Events)[] s_data =
    [
        ("like MovieLens-1M: 16 clicks before a click", 3_706, 2_000, 60),
        ("like Beauty: 3 clicks before a click", 12_101, 20_000, 9),
    ];

    private static readonly (RankerKind Kind, string[] Names, int[] Queries, int[] Targets)[] s_models =
    [
        (RankerKind.Din, [], [], []),
        (RankerKind.Din, ["text"], [0], [0]),
        (RankerKind.Mcca, ["text", "audio", "joint"], [2, 2, 2], [2]),
    ];

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        if (TorchRuntime.UnavailableReason is { } reason)
        {
            context.Remarks.Add(reason);
            yield break;
        }
        PeerScript? peer = context.Faiss is null ? null : new(Path.Combine(context.Repository, "bench", "peers", "torch_ranker.py"), "import torch, numpy");
        if (peer is { IsPresent: false })
            context.Remarks.Add("PyTorch is skipped, it was not found: on Debian, apt-get install python3-torch");
        context.Remarks.Add("Batches of 512 samples, 64 values per embedding, histories of up to 20 (PyTorch's are padded to the longest of a batch), activation units of 64, layers of 200 and 80; both sides with the same settings of OpenBLAS, PyTorch also once as it comes. Ours draws its negatives inside the step");
        if (peer is { IsPresent: true })
            context.Remarks.Add("Checked before timing: PyTorch's loss and gradients of one batch at the same weights, in float64, are ours within 1e-4 of each one's norm");
        foreach ((string data, int items, int users, int events) in context.Quick ? [("tiny", 60, 80, 6)] : s_data)
        {
            string sequences = Sequences(context, items, users, events);
            foreach ((RankerKind kind, string[] names, int[] queries, int[] targets) in s_models)
            {
                (string Bundle, string Codes)[] sets = [.. names.Select(name => Set(context, name, items))];
                var job = new RankerJob(sequences, context.TemporaryFile($"start.{items}.{OptionName.Of(kind)}.{names.Length}"), kind, [.. sets.Select(set => set.Bundle)], [.. sets.Select(set => set.Codes)], names, queries, targets, 64, 64, [200, 80], 20, items, kCodes, context.Size(512, 64), 1,
                    context.Size(30, 2), [.. BenchContext.ThreadCounts.Order()]);
                foreach (Figure figure in Measure(context, peer, data, items, job))
                    yield return figure;
            }
        }
    }

    private static Figure[] Measure(BenchContext context, PeerScript? peer, string data, int items, RankerJob job)
    {
        string what = $"{OptionName.Of(job.Kind)}{(job.Names.Length > 0 ? $" over {string.Join(", ", job.Names)}" : "")}", text = JsonSerializer.Serialize(job, TrainingStep.Json);
        Dictionary<string, string> tuned = TrainingSuite.Tuned();
        var settings = new List<(string Name, Dictionary<string, string> Environment)> { ("ours", tuned) };
        if (peer is { IsPresent: true })
        {
            settings.AddRange([("as it comes", []), ("tuned", tuned)]);
            _ = TrainingSuite.Ours("--ranker-step", JsonSerializer.Serialize(job with { Steps = 0 }, TrainingStep.Json), tuned).Count();
        }
        var times = settings.Select(_ => new List<PeerTime>()).ToArray();
        for (int round = 0; round < context.Size(kRounds, 1); round++)
        {
            foreach ((int i, (string name, Dictionary<string, string> environment)) in settings.Index())
            {
                BenchRun.Say($"  {data}, {what}: {name}");
                times[i].AddRange(name == "ours" ? TrainingSuite.Ours("--ranker-step", text, environment) : peer!.Run(JsonSerializer.Deserialize<Dictionary<string, object>>(text)!, environment));
            }
        }
        Figure[] figures = [.. settings.Zip(times, (setting, found) => Of(setting.Name, TrainingSuite.Quietest(found)))];
        if (figures.Length > 1)
        {
            double best = figures.Skip(1).Min(figure => figure.Time.Median);
            figures[0] = figures[0] with { Note = string.Create(CultureInfo.InvariantCulture, $"{figures[0].Note}; {best / figures[0].Time.Median:F2} × the speed of PyTorch at its best") };
        }
        return figures;

        Figure Of(string setting, PeerTime time) => new()
        {
            Operation = $"{what}, batch {job.Batch}{(setting == "ours" ? "" : $", {time.Variant}, {setting}")}",
            Backend = setting == "ours" ? $"ours over {time.Library}" : time.Library,
            Device = $"CPU, fastest of its thread counts: {time.Threads}",
            Data = $"{data}, {items.ToString("N0", CultureInfo.InvariantCulture)} items",
            Rows = job.Batch,
            Dimension = job.Dimension,
            Codes = job.Names.Length > 0 ? job.Codes : 0,
            Levels = job.Names.Length > 0 ? kLevels : 1,
            Time = Timing.Of(time.Seconds),
            Note = $"peak {Report.Bytes(time.PeakBytes)}",
            Headline = true,
        };
    }

    // Items fall off as 1/rank, as popularity does.
    private static string Sequences(BenchContext context, int items, int users, int events)
    {
        var random = new RandomSource(1);
        var text = new StringBuilder();
        for (int user = 0; user < users; user++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{user + 1}");
            // Everything once, so that both sides know all items.
            for (int i = 0; i < events; i++)
                text.Append(CultureInfo.InvariantCulture, $" {((user * events) + i < items ? (user * events) + i + 1 : (int)Math.Pow(items, random.NextDouble()))}");
            text.Append('\n');
        }
        string path = context.TemporaryFile($"sequences.{items}.txt");
        File.WriteAllText(path, text.ToString());
        return path;
    }

    private static (string Bundle, string Codes) Set(BenchContext context, string name, int items)
    {
        const int Dimension = 8;
        // Of the whole name: sets differ.
        var random = new RandomSource(name.Aggregate(0UL, (seed, letter) => (31 * seed) + letter));
        var codes = new ushort[items * kLevels];
        foreach (ref ushort code in codes.AsSpan())
            code = (ushort)random.NextInt(kCodes);
        var sids = new SidTable(kLevels, codes);
        string bundle = context.TemporaryFile($"{name}.{items}");
        SidBundle.Write(bundle, new BundleContent
        {
            Quantizer = new Quantizer(QuantizerKind.RqKMeans, Dimension, [.. Enumerable.Range(0, kLevels).Select(_ => Enumerable.Range(0, kCodes * Dimension).Select(_ => (float)random.NextGaussian()).ToArray())]),
            Preprocessing = new Preprocessing([new TablePart(Dimension, false, 1)]),
            Items = ItemIds.Sequential(items),
            Codes = sids,
            Sids = sids,
        }, force: true);
        return (bundle, context.WriteArray<long>($"{name}.{items}.npy", [.. codes.Select(code => (long)code)], items, kLevels));
    }
}
