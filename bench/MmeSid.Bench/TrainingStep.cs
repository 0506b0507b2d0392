using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Kernels.Simd;
using MmeSid.Training;
using MmeSid.Training.Optimization;
using MmeSid.Training.Quantization;

namespace MmeSid.Bench;

/// <summary>A training job of the suite <c>rqvae</c>, the same for both sides.</summary>
/// <param name="Tables">Files of the modalities, the anchor first.</param>
/// <param name="Width">w.</param>
/// <param name="Batch">B.</param>
/// <param name="Levels">L.</param>
/// <param name="Codes">K.</param>
/// <param name="Hidden">Hidden layers.</param>
/// <param name="Steps">Timed ones.</param>
/// <param name="Threads">Of which the fastest is taken.</param>
/// <param name="Variant">Of the peer's MMD.</param>
/// <param name="Memory">Bytes that the peer's MMD may take.</param>
internal sealed record TrainingJob(string[] Tables, int Width, int Batch, int Levels, int Codes, int Hidden, int Steps, int[] Threads, string Variant, double Memory);

/// <summary>
/// Our side of the suite <c>rqvae</c>, in a process of its own so that its memory is its own: the learner and the loop that <c>mmesid train mm-rq-vae</c> runs, but
/// for first codewords, which are drawn. A step's time is from the loop's report of the step before, so that nothing is left out.
/// </summary>
internal static class TrainingStep
{
    /// <summary>How jobs travel.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web);

    /// <summary>Runs a job and prints a <see cref="PeerTime"/>.</summary>
    public static int Run(string text)
    {
        TrainingJob job = JsonSerializer.Deserialize<TrainingJob>(text, Json)!;
        TorchRuntime.Start(job.Threads.Max());
        EmbeddingTable[] tables = [.. job.Tables.Select(EmbeddingTable.Open)];
        using var batches = new ItemBatches(tables, job.Batch, seed: 1);
        Modality[] modalities = [.. tables.Select((table, j) => new Modality(j == 0 ? MmRqVae.AnchorName : $"modality {j}", [table.Dimension]))];
        var options = new LearnedQuantizerOptions
        {
            Width = job.Width, HiddenLayers = job.Hidden, Codebooks = new CodebookOptions { Codes = [.. Enumerable.Repeat(job.Codes, job.Levels)] },
        };
        using var model = new MmRqVae(modalities, options);
        var learner = new QuantizerLearner(model, batches, new CodebookStart { Initialization = CodebookInitialization.Random, Backend = new SimdBackend(1) });
        using var watch = new StepWatch(job.Threads, job.Steps);
        try
        {
            _ = TrainingLoop.Run(learner, QuantizerLearner.PaperLoop with { Epochs = 1 + (watch.StepsInAll / learner.StepsPerEpoch), Patience = 0 }, watch, watch.Done);
        }
        catch (OperationCanceledException)
        {
        }
        foreach (EmbeddingTable table in tables)
            table.Dispose();
        Console.WriteLine(PeerScript.Line(new("ours", $"libtorch {TorchRuntime.Version}", "CPU", watch.Threads, watch.Seconds, -1, null, false, MemoryPeak.Of(Environment.ProcessId))));
        return 0;
    }
}
