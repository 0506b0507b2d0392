using System.Globalization;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>
/// Whole runs of k-means from random rows, over three seeds, beside FAISS with the same number of iterations over the same rows. The
/// objective, mean ‖x − c‖² over all rows, of both sides' final centroids is computed by the same code.
/// </summary>
internal static class KMeansSuite
{
    private static readonly ulong[] s_seeds = [1, 2, 3];

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        int iterations = context.Size(20, 3);
        foreach (Cases.KMeansShape shape in context.Quick ? [new(3000, 24, 32)] : Cases.KMeansBench)
        {
            using RowMatrix rows = BenchData.Synth(shape.Rows, shape.Dimension);
            int threads = BenchContext.AllThreads;
            TrainingResult[] runs = [.. s_seeds.Select(seed => Train(BenchContext.Simd(threads), rows, shape.Codes, iterations, seed, KMeansInitialization.Random, threads))];
            TrainingResult plusPlus = Train(BenchContext.Simd(threads), rows, shape.Codes, iterations, s_seeds[0], KMeansInitialization.KMeansPlusPlus, threads);
            TrainingResult plain = Train(new SimdBackend(threads, SimdScreen.Float32), rows, shape.Codes, iterations, s_seeds[0], KMeansInitialization.Random, threads);
            if (!plain.Quantizer.Codebook(0).SequenceEqual(runs[0].Quantizer.Codebook(0)))
                throw new InvalidOperationException("centroids depend on the screen; nothing is shown");
            double objective = runs.Average(run => Objective(rows, run.Quantizer.Codebook(0)));

            ushort[] codes = new ushort[rows.Count];
            Figure assignment = EncodeRun.Measure(context, $"one assignment of vq {shape.Codes}", BenchData.SynthName, rows, TrainedPlans.Of(runs[0].Quantizer), threads, codes);
            Timing iteration = Timing.Of([.. runs.SelectMany(run => run.Iterations).Where(done => done.Iteration > 1).Select(done => done.Seconds)]);
            bool identical = Train(BenchContext.Simd(1), rows, shape.Codes, iterations, s_seeds[0], KMeansInitialization.Random, threads: 1).Quantizer.Codebook(0)
                .SequenceEqual(runs[0].Quantizer.Codebook(0));
            if (!identical)
                throw new InvalidOperationException("centroids depend on the thread count; nothing is shown");

            PeerTime[] peers = !context.HasFaiss() ? [] :
            [
                .. context.Faiss!.Run(new()
                {
                    ["operation"] = "kmeans",
                    ["rows"] = context.WriteRows("rows.npy", rows),
                    ["codes"] = shape.Codes,
                    ["iterations"] = iterations,
                    ["seeds"] = s_seeds,
                    ["output"] = context.TemporaryFile("centroids."),
                }),
            ];
            Figure[] theirs = [.. peers.GroupBy(peer => peer.Tuned).Select(group => Peer(shape, iterations, rows, [.. group]))];
            double? theirObjective = peers.Length == 0 ? null
                : peers.Where(peer => peer.Tuned).Average(peer => Objective(rows, NpyFile.Read<float>(peer.Output!).Values));

            Figure ours = assignment with
            {
                Operation = $"k-means {shape.Codes}, {iterations} iterations",
                Time = Timing.Of([.. runs.Select(run => run.Seconds)]),
                Operations = assignment.Operations * iterations,
                FirstCall = null,
                OverFloat32 = plain.Seconds / runs[0].Seconds,
                Rechecked = runs.SelectMany(run => run.Iterations).Average(done => done.RecheckedShare),
                Check = "same centroids with 1 thread, and by float32 alone",
                Note = Text($"objective {objective:G6}") + (theirObjective is { } other ? Text($", {100 * (objective / other - 1):+0.000;−0.000} % against FAISS's mean over three seeds") : ""),
                Headline = true,
            };
            yield return PeerFigures.Compare(ours, theirs);
            yield return ours with
            {
                Operation = $"k-means {shape.Codes}, {iterations} iterations, k-means++",
                Time = Timing.Of([plusPlus.Seconds]),
                OverFloat32 = null,
                Check = "",
                Note = Text($"objective {Objective(rows, plusPlus.Quantizer.Codebook(0)):G6}"),
                Headline = false,
            };
            yield return assignment with
            {
                Operation = "one iteration",
                Time = iteration,
                OverFloat32 = Seconds(plain) / Seconds(runs[0]),
                FirstCall = null,
                Check = "",
                Note = Text($"{iteration.Median / assignment.FirstCall:F2} × the time of a new encoder's assignment"),
                Headline = true,
            };
            yield return assignment;
            foreach (Figure figure in theirs)
                yield return figure;
        }
    }

    private static double Seconds(TrainingResult run) => Timing.Of([.. run.Iterations.Where(done => done.Iteration > 1).Select(done => done.Seconds)]).Median;

    /// <summary>One run over all rows.</summary>
    public static TrainingResult Train(IBackend backend, RowMatrix rows, int codes, int iterations, ulong seed, KMeansInitialization initialization, int threads)
    {
        EmbeddingTable table = EmbeddingTable.FromRows(rows, ItemIds.Sequential(rows.Count), "rows");
        var options = new TrainingOptions
        {
            Kind = QuantizerKind.Vq,
            Levels = 1,
            Codes = [codes],
            Seed = seed,
            Initialization = initialization,
            Iterations = iterations,
            Tolerance = 0,
            Threads = threads,
        };
        return QuantizerTrainer.Train(table, options, backend);
    }

    private static double Objective(RowMatrix rows, float[] centroids)
    {
        using IEncoder encoder = BenchContext.Simd(BenchContext.AllThreads).CreateEncoder(new EncodePlan(PlanKind.Residual, rows.Dimension, [centroids]));
        float[] errors = new float[rows.Count];
        encoder.Encode(rows.View(0, (int)rows.Count), new ushort[rows.Count], errors);
        return errors.Average(error => (double)error);
    }

    private static Figure Peer(Cases.KMeansShape shape, int iterations, RowMatrix rows, PeerTime[] seeds) => new()
    {
        Operation = $"k-means {shape.Codes}, {iterations} iterations",
        Backend = seeds[0].Library,
        Device = seeds[0].Device,
        Data = BenchData.SynthName,
        Rows = rows.Count,
        Dimension = rows.Dimension,
        Codes = shape.Codes,
        Time = Timing.Of([.. seeds.Select(seed => seed.Seconds.Single())]),
        Operations = 2.0 * rows.Count * rows.Dimension * shape.Codes * iterations,
        Note = Text($"objective {seeds.Average(seed => Objective(rows, NpyFile.Read<float>(seed.Output!).Values)):G6}, mean over {seeds.Length} {(seeds.Length == 1 ? "seed" : "seeds")}"),
        Headline = true,
    };

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
