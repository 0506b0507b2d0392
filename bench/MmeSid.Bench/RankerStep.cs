using System.Runtime.InteropServices;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Training;
using MmeSid.Training.Optimization;
using MmeSid.Training.Ranking;

namespace MmeSid.Bench;

/// <summary>A training job of the suite <c>ranker</c>, the same for both sides.</summary>
/// <param name="Sequences">Lines 'user item item …'.</param>
/// <param name="Start">Folder of what the peer starts from: the samples of our first epoch, our weights, and the loss and the gradients of the first batch at them.</param>
/// <param name="Kind">DIN or MCCA.</param>
/// <param name="Bundles">Of the sets of codes, for us.</param>
/// <param name="Sets">The codes alone, for the peer, int64 [items, L].</param>
/// <param name="Names">Of the sets.</param>
/// <param name="Queries">The set that each is weighed against.</param>
/// <param name="Targets">The sets that stand for the target.</param>
/// <param name="Dimension">d'.</param>
/// <param name="ActivationWidth">H.</param>
/// <param name="Hidden">Of the layers above.</param>
/// <param name="History">Items looked at.</param>
/// <param name="Items">n.</param>
/// <param name="Codes">K.</param>
/// <param name="Batch">Samples of a step.</param>
/// <param name="Negatives">Per click.</param>
/// <param name="Steps">Timed ones; 0 writes <paramref name="Start"/> instead.</param>
/// <param name="Threads">Of which the fastest is taken.</param>
internal sealed record RankerJob(
    string Sequences, string Start, RankerKind Kind, string[] Bundles, string[] Sets, string[] Names, int[] Queries, int[] Targets, int Dimension, int ActivationWidth, int[] Hidden, int History, int Items, int Codes, int Batch,
    int Negatives, int Steps, int[] Threads);

/// <summary>Our side of the suite <c>ranker</c>, in a process of its own: the learner and the loop that <c>mmesid train ranker</c> runs, the draws of negatives and the laying out of batches included.</summary>
internal static class RankerStep
{
    /// <summary>Runs a job and prints a <see cref="PeerTime"/>; one of no steps writes what the peer starts from.</summary>
    public static int Run(string text)
    {
        RankerJob job = JsonSerializer.Deserialize<RankerJob>(text, TrainingStep.Json)!;
        TorchRuntime.Start(job.Threads.Max());
        ClickLog log = ClickLog.Of(InteractionSequences.ReadFile(job.Sequences));
        CodeSource[] sources = [.. job.Names.Zip(job.Bundles, (name, folder) => new CodeSource(name, SidBundle.Open(folder)))];
        RankerCatalogue catalogue = RankerCatalogue.Of(log, sources, allowUncoded: false);
        using var model = new Ranker(catalogue.Items, sources, new RankerOptions
        {
            Kind = job.Kind, Dimension = job.Dimension, ActivationWidth = job.ActivationWidth, Hidden = job.Hidden, History = job.History,
        }, allowUncoded: false, seed: 1);
        var learner = new RankerLearner(model, log, catalogue, new RankerSampling { Batch = job.Batch, NegativesPerClick = job.Negatives }, seed: 1);
        if (job.Steps == 0)
        {
            WriteStart(job, model, learner, log, catalogue);
            return 0;
        }
        using var watch = new StepWatch(job.Threads, job.Steps);
        try
        {
            _ = TrainingLoop.Run(learner, new LoopOptions { Epochs = 1 + (watch.StepsInAll / learner.StepsPerEpoch) }, watch, watch.Done);
        }
        catch (OperationCanceledException)
        {
        }
        Console.WriteLine(PeerScript.Line(new("ours", $"libtorch {TorchRuntime.Version}", "CPU", watch.Threads, watch.Seconds, -1, null, false, MemoryPeak.Of(Environment.ProcessId))));
        return 0;
    }

    private static void WriteStart(RankerJob job, Ranker model, RankerLearner learner, ClickLog log, RankerCatalogue catalogue)
    {
        Directory.CreateDirectory(job.Start);
        // Label, target and history of each, the first batch first; items from 1, zeros behind them.
        int width = 2 + job.History;
        var samples = new long[learner.SamplesPerEpoch * width];
        foreach ((int i, ClickSample sample) in Enumerable.Range(0, learner.StepsPerEpoch).SelectMany(step => learner.Samples(0, step)).Index())
        {
            ReadOnlySpan<int> seen = log.Clicks[sample.User][Math.Max(0, sample.Seen - job.History)..sample.Seen];
            (samples[i * width], samples[(i * width) + 1]) = (sample.IsClicked ? 1 : 0, catalogue.Rows[sample.Item] + 1);
            for (int j = 0; j < seen.Length; j++)
                samples[(i * width) + 2 + j] = catalogue.Rows[seen[j]] + 1;
        }
        Write<long>("samples", samples, learner.SamplesPerEpoch, width);
        using TorchSharp.torch.Tensor loss = learner.Loss(0, 0).Total;
        loss.backward();
        Write<float>("loss", [loss.item<float>()], 1);
        foreach ((string name, TorchSharp.Modules.Parameter parameter) in model.named_parameters())
        {
            Write(name, MemoryMarshal.Cast<byte, float>(parameter.bytes), parameter.shape);
            Write($"{name}.gradient", MemoryMarshal.Cast<byte, float>(parameter.grad!.bytes), parameter.shape);
        }

        void Write<T>(string name, ReadOnlySpan<T> values, params ReadOnlySpan<long> shape)
            where T : unmanaged
        {
            using FileStream stream = File.Create(Path.Combine(job.Start, $"{name}.npy"));
            NpyFile.Write(stream, values, shape);
        }
    }
}
