using System.Diagnostics;
using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using MmeSid.Kernels;
using MmeSid.Training;

namespace MmeSid.Bench;

/// <summary>
/// Steps of training MM-RQ-VAE (MME-SID's model) against the same step in PyTorch: the same shapes and losses, each side in a process of its own, several times in
/// turn, of which the least disturbed counts. Rows/s counts items, whatever the number of modalities.
/// </summary>
internal static class TrainingSuite
{
    private const int kLevels = 4, kCodes = 256, kHidden = 3, kItems = 12_101, kMovies = 3_256, kRounds = 4;
    private const string kAsItComes = "as it comes";

    private static readonly (string Data, int Items, int[] Dimensions, int Width)[] s_shapes =
    [
        ("like Beauty, 64 + 256", kItems, [64, 256], 256),
        ("like Beauty, 64 + 256", kItems, [64, 256], 512),
        ("like MovieLens-1M, 64 + 256 + 256", kMovies, [64, 256, 256], 256),
    ];

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        if (TorchRuntime.UnavailableReason is { } reason)
        {
            context.Remarks.Add(reason);
            yield break;
        }
        PeerScript? peer = context.Faiss is null ? null : new(Path.Combine(context.Repository, "bench", "peers", "torch_mm_rq_vae.py"), "import torch, numpy");
        if (peer is { IsPresent: false })
            context.Remarks.Add("PyTorch is skipped, it was not found: on Debian, apt-get install python3-torch");
        context.Remarks.Add("Operation names give width and batch; peak: most that a process had resident, runtime and libraries included, at the fastest setting of that side. "
            + $"Both sides: {string.Join(", ", Tuned().Where(variable => variable.Key != "LD_LIBRARY_PATH").Select(variable => $"{variable.Key}={variable.Value}"))}, the OpenMP build of OpenBLAS where there is one; "
            + "PyTorch also once as it comes, and also told, as ours tells itself, to keep freed memory (MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_)");
        foreach ((string data, int items, int[] dimensions, int width) in context.Quick ? [("tiny, 8 + 12", 300, [8, 12], 16)] : s_shapes)
        {
            foreach (Figure figure in Measure(context, peer, data, items, dimensions, width))
                yield return figure;
        }
    }

    private static Figure[] Measure(BenchContext context, PeerScript? peer, string data, int items, int[] dimensions, int width)
    {
        var job = new TrainingJob(
            [.. dimensions.Select((dimension, j) => Table(context, items, dimension, j))], width, context.Size(1024, 64), kLevels, context.Size(kCodes, 8), kHidden, context.Size(10, 3),
            [.. BenchContext.ThreadCounts.Order()], "gram", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2.0);
        var settings = new List<(string Name, TrainingJob Job, Dictionary<string, string>? Environment)> { ("ours", job, Tuned()) };
        if (peer is { IsPresent: true })
        {
            settings.Add((kAsItComes, job with { Steps = context.Size(5, 3) }, []));
            settings.Add(("tuned", job, Tuned()));
            settings.Add(("tuned, keeping freed memory", job, new(Tuned()) { ["MALLOC_MMAP_MAX_"] = "0", ["MALLOC_TRIM_THRESHOLD_"] = int.MaxValue.ToString(CultureInfo.InvariantCulture) }));
            settings.Add(("tuned", job with { Variant = "pairs", Steps = context.Size(3, 1), Threads = [BenchContext.AllThreads] }, Tuned()));
        }
        var times = settings.Select(_ => new List<PeerTime>()).ToArray();
        for (int round = 0; round < context.Size(kRounds, 1); round++)
        {
            for (int i = 0; i < settings.Count; i++)
            {
                (string name, TrainingJob task, Dictionary<string, string>? environment) = settings[i];
                if (round > 0 && (task.Variant == "pairs" || name == kAsItComes || times[i].Count == 0))
                    continue;
                BenchRun.Say($"  {data}, width {width}: {(name == "ours" ? name : $"PyTorch {task.Variant}, {name}")}");
                times[i].AddRange(name == "ours" ? Ours("--training-step", JsonSerializer.Serialize(task, TrainingStep.Json), environment!) : peer!.Run(Arguments(task), environment!));
                if (times[i].Count == 0)
                    context.Remarks.Add($"{data}: PyTorch's MMD over all pairs is left out, its arrays would take more than half of this machine's memory");
            }
        }
        Figure[] figures = [.. settings.Select((setting, i) => (setting, Times: times[i])).Where(entry => entry.Times.Count > 0).Select(entry => Of(entry.setting.Name, entry.Times, data, job, dimensions))];
        if (figures.Length > 1)
        {
            Figure best = figures.Skip(1).MinBy(figure => figure.Time.Median)!;
            long peak = times.Skip(1).First(list => list.Count > 0 && Timing.Of(Quietest(list).Seconds).Median == best.Time.Median).Max(time => time.PeakBytes);
            figures[0] = figures[0] with
            {
                Note = string.Create(CultureInfo.InvariantCulture, $"{figures[0].Note}; {best.Time.Median / figures[0].Time.Median:F2} × the speed of PyTorch at its best, {times[0].Max(time => time.PeakBytes) / (double)peak:F2} × its memory"),
            };
        }
        return figures;
    }

    private static Figure Of(string setting, List<PeerTime> times, string data, TrainingJob job, int[] dimensions)
    {
        PeerTime first = Quietest(times);
        return new Figure
        {
            Operation = $"width {job.Width}, batch {job.Batch}{(setting == "ours" ? "" : $", {first.Variant}, {setting}")}",
            Backend = setting == "ours" ? $"ours over {first.Library}" : first.Library,
            Device = $"CPU, fastest of its thread counts: {first.Threads}",
            Data = data,
            Rows = job.Batch,
            Dimension = dimensions.Sum(),
            Codes = job.Codes,
            Levels = job.Levels,
            Time = Timing.Of(first.Seconds),
            Operations = OperationsPerStep(job, dimensions),
            Note = $"peak {Report.Bytes(times.Max(each => each.PeakBytes))}",
            Headline = true,
        };
    }

    /// <summary>Of the processes of a setting the one with the least median step: what the machine's other guests take from a process is not the setting's.</summary>
    public static PeerTime Quietest(List<PeerTime> times) => times.MinBy(time => Timing.Of(time.Seconds).Median)!;

    /// <summary>
    /// What the step's products take: six per weight and row for networks forwards and backwards (four where rows need no gradient), two for searches, ten B²d for MMD,
    /// six B²w for each alignment.
    /// </summary>
    private static double OperationsPerStep(TrainingJob job, int[] dimensions)
    {
        double rows = job.Batch, width = job.Width;
        double networks = dimensions.Sum(dimension => (4.0 * dimension * width) + (6.0 * width * width * 2 * job.Hidden) + (6.0 * width * dimension)) * rows;
        double searches = dimensions.Length * 2.0 * rows * width * job.Codes * job.Levels;
        return networks + searches + (10 * rows * rows * dimensions.Sum()) + (6 * rows * rows * width * (dimensions.Length - 1));
    }

    /// <summary>Runs a job of ours in a process of its own.</summary>
    /// <param name="option">Of this program: what takes the job.</param>
    /// <param name="job">As <see cref="TrainingStep.Json"/> has it.</param>
    /// <param name="environment">Variables for it alone.</param>
    public static IEnumerable<PeerTime> Ours(string option, string job, IReadOnlyDictionary<string, string> environment) =>
        PeerScript.Run(new ProcessStartInfo(Environment.ProcessPath!, [.. Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? (string[])[typeof(TrainingSuite).Assembly.Location] : [],
            "--results", ".", option, job]), "a step of ours", environment);

    private static Dictionary<string, object> Arguments(TrainingJob job) => JsonSerializer.Deserialize<Dictionary<string, object>>(JsonSerializer.Serialize(job, TrainingStep.Json))!;

    private static string Table(BenchContext context, int items, int dimension, int modality)
    {
        using RowMatrix rows = BenchData.Synth(items, dimension, (ulong)modality + 1);
        return context.WriteRows($"table.{modality}.npy", rows);
    }

    /// <summary>The settings that <see cref="TorchRuntime"/> makes in our own process.</summary>
    public static Dictionary<string, string> Tuned()
    {
        var variables = new Dictionary<string, string> { ["OMP_NUM_THREADS"] = BenchRun.AllThreads.ToString(CultureInfo.InvariantCulture), ["OMP_WAIT_POLICY"] = "PASSIVE" };
        if (Avx512F.IsSupported)
            variables["OPENBLAS_CORETYPE"] = "SkylakeX";
        PeerScript.UseBlas("openblas-openmp", variables);
        return variables;
    }
}
