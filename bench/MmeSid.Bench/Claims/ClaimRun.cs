using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Training.Optimization;
using MmeSid.Training.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Bench;

/// <summary>What a run says of one modality.</summary>
/// <param name="Name">Of the modality.</param>
/// <param name="Tau">Kendall's τ between the rows and the vectors that the SIDs stand for.</param>
/// <param name="EncodedTau">The same of the encoder's output before it is quantized; null without an encoder.</param>
/// <param name="DecodedTau">The same of what the decoder makes of the quantized vectors; null without a decoder.</param>
/// <param name="CollisionRate">1 − distinct/items, raw codes.</param>
/// <param name="LargestGroup">Items of the most shared SID.</param>
/// <param name="Used">Codes used per level.</param>
/// <param name="Perplexity">2^entropy of the codes per level.</param>
/// <param name="Retrieval">Top-1 of finding the item in the collaborative modality; null in that one and where the spaces differ.</param>
internal sealed record ClaimModality(
    string Name, double Tau, double? EncodedTau, double? DecodedTau, double CollisionRate, long LargestGroup, int[] Used, double[] Perplexity, double? Retrieval);

/// <summary>Mean losses of an epoch.</summary>
/// <param name="Epoch">From 1.</param>
/// <param name="Loss">The total.</param>
/// <param name="Parts">Before weights.</param>
internal sealed record ClaimEpoch(int Epoch, double Loss, IReadOnlyDictionary<string, double> Parts);

/// <summary>A finished run.</summary>
/// <param name="Method">Name of the method.</param>
/// <param name="Seed">Of everything random.</param>
/// <param name="Modalities">Measures.</param>
/// <param name="Seconds">Of training, first codewords included.</param>
/// <param name="SecondsPerEpoch">Median, without the first epoch, which clusters the first codewords; null without epochs.</param>
/// <param name="LowestLoss">The epoch of the lowest loss, the largest one where models were trained one by one; null without epochs. The last epoch is kept.</param>
/// <param name="Epochs">Losses; empty without epochs.</param>
internal sealed record ClaimResult(
    string Method, int Seed, IReadOnlyList<ClaimModality> Modalities, double Seconds, double? SecondsPerEpoch, int? LowestLoss, IReadOnlyList<ClaimEpoch> Epochs);

/// <summary>Trains and measures one method with one seed on one catalogue; what is done once is read from its file.</summary>
internal sealed class ClaimRun(ClaimsData data, ClaimSettings settings, string cache)
{
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly string _tables = string.Join(' ', data.Tables.Select(table => table.Fingerprint())) + $" {data.Users.Count}";

    /// <summary>The result where it is done, else null.</summary>
    public ClaimResult? Find(ClaimMethod method, int seed) =>
        File.Exists(PathOf(method, seed)) ? JsonSerializer.Deserialize<ClaimResult>(File.ReadAllText(PathOf(method, seed)), s_json) : null;

    /// <summary>The result, from its file where there is one.</summary>
    public ClaimResult Get(ClaimMethod method, int seed)
    {
        if (Find(method, seed) is { } done)
            return done;
        BenchRun.Say($"  {data.Title}, {method.Name}, seed {seed}");
        ClaimResult result = method.Learned is null ? Cluster(method, seed) : Learn(method, seed);
        Directory.CreateDirectory(cache);
        using OutputFile file = OutputFile.Create(PathOf(method, seed), force: true);
        JsonSerializer.Serialize(file.Stream, result, s_json);
        file.Commit();
        BenchRun.Say(FormattableString.Invariant($"    {result.Seconds:F0} s, τ {string.Join(" ", result.Modalities.Select(modality => modality.Tau.ToString("F3")))}"));
        return result;
    }

    // The number of seeds is no part of a run.
    private string PathOf(ClaimMethod method, int seed)
    {
        string text = method.Learned is null
            ? JsonSerializer.Serialize(new { method.Kind, settings.Levels, settings.Codes, Tables = _tables }, s_json)
            : JsonSerializer.Serialize(new { Method = method, Settings = settings with { Seeds = 0 }, Tables = _tables }, s_json);
        return Path.Combine(cache, $"{Machine.FileName(method.Name)}.{seed}.{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..8]}.json");
    }

    private ClaimResult Cluster(ClaimMethod method, int seed)
    {
        var clock = Stopwatch.StartNew();
        IBackend backend = BenchContext.Simd(0);
        var options = new TrainingOptions { Kind = method.Kind, Levels = settings.Levels, Codes = [settings.Codes], Seed = (ulong)seed };
        Quantizer[] quantizers = [.. data.Tables.Select(table => QuantizerTrainer.Train(table, options, backend).Quantizer)];
        double seconds = clock.Elapsed.TotalSeconds;
        var modalities = new List<ClaimModality>();
        for (int j = 0; j < quantizers.Length; j++)
        {
            using IQuantizerEncoder encoder = quantizers[j].CreateEncoder(backend);
            using RowMatrix rows = data.Tables[j].ReadAll();
            var quantized = new QuantizedModality(encoder, rows.View(0, (int)rows.Count));
            modalities.Add(Measure(j, quantized, null, null, null));
            quantized.Dispose();
        }
        return new(method.Name, seed, modalities, seconds, null, null, []);
    }

    private ClaimResult Learn(ClaimMethod method, int seed)
    {
        IReadOnlyList<int>[] trained = method.Joint ? [[.. Enumerable.Range(0, data.Tables.Count)]] : [.. Enumerable.Range(0, data.Tables.Count).Select(j => (int[])[j])];
        LearnedQuantizerOptions options = method.Learned! with
        {
            Width = settings.Width, Seed = (ulong)seed,
            Codebooks = method.Learned!.Codebooks with { Codes = [.. Enumerable.Repeat(settings.Codes, settings.Levels)] },
        };
        var modalities = new List<ClaimModality>();
        var loops = new List<LoopResult>();
        double seconds = 0;
        QuantizedModality? anchor = null;
        foreach (IReadOnlyList<int> group in trained)
        {
            using DisposeScope scope = NewDisposeScope();
            var clock = Stopwatch.StartNew();
            using var batches = new ItemBatches([.. group.Select(j => data.Tables[j])], (int)Math.Min(settings.Batch, data.Tables[0].Count), (ulong)seed);
            using var model = new MmRqVae([.. group.Select(j => data.Modalities[j])], options, method.Kind);
            var start = new CodebookStart { Seed = (ulong)seed, Backend = BenchContext.Simd(0) };
            LoopOptions loop = QuantizerLearner.PaperLoop with
            {
                Epochs = Math.Max(1, (int)Math.Round(settings.Steps / (double)batches.PerEpoch)), LearningRate = settings.LearningRate, Schedule = LearningRateSchedule.Cosine, Patience = 0,
            };
            loops.Add(TrainingLoop.Run(new QuantizerLearner(model, batches, start), loop, new Losses()));
            seconds += clock.Elapsed.TotalSeconds;
            IReadOnlyList<LearnedQuantizer> learned = model.Result();
            for (int i = 0; i < group.Count; i++)
            {
                using RowMatrix rows = data.Tables[group[i]].ReadAll();
                using var encoder = new LearnedEncoder(learned[i].Quantizer, learned[i].Encoder, BenchContext.Simd(0));
                using var encoded = new RowMatrix(rows.Count, settings.Width);
                encoder.EncodeRows(rows.View(0, (int)rows.Count), encoded.Rows(0, (int)rows.Count));
                var quantized = new QuantizedModality(encoder.Search, encoded.View(0, (int)rows.Count));
                using RowMatrix? decoded = options.Reconstruction == ReconstructionLoss.None ? null : Decode(model.Vaes[i], quantized.Vectors, rows.Dimension);
                modalities.Add(Measure(group[i], quantized, anchor, encoded, decoded));
                // The collaborative modality comes first.
                if (anchor is null)
                    anchor = quantized;
                else
                    quantized.Dispose();
            }
        }
        anchor?.Dispose();
        double epoch = loops.Sum(loop => Median([.. loop.Epochs.Skip(1).Select(report => report.Seconds).DefaultIfEmpty(loop.Epochs[0].Seconds)]));
        return new(method.Name, seed, modalities, seconds, epoch, loops.Max(loop => loop.Epochs.MinBy(report => report.Loss)!.Epoch), Curve(loops, trained));
    }

    // Models that were trained one by one lose in sum.
    private IReadOnlyList<ClaimEpoch> Curve(List<LoopResult> loops, IReadOnlyList<int>[] trained) =>
    [
        .. Enumerable.Range(0, loops.Min(loop => loop.Epochs.Count)).Select(epoch => new ClaimEpoch(epoch + 1, loops.Sum(loop => loop.Epochs[epoch].Loss), loops
            .SelectMany((loop, i) => loop.Epochs[epoch].Parts.Select(part => (Name: trained[i].Count > 1 ? part.Key : $"{part.Key} {data.Tables[trained[i][0]].Name}", part.Value)))
            .ToDictionary(part => part.Name, part => part.Value))),
    ];

    private ClaimModality Measure(int modality, QuantizedModality quantized, QuantizedModality? anchor, RowMatrix? encoded, RowMatrix? decoded)
    {
        EmbeddingTable rows = data.Tables[modality];
        CollisionRate collisions = CollisionRate.Measure(quantized.Sids);
        CodeUse[] use = [.. Enumerable.Range(0, settings.Levels).Select(level => CodeUse.Measure(quantized.Sids, level, settings.Codes))];
        return new(rows.Name, Tau(quantized.Vectors)!.Value, Tau(encoded), Tau(decoded), collisions.Rate, collisions.LargestGroup, [.. use.Select(level => level.Used)],
            [.. use.Select(level => level.Perplexity)], anchor is null ? null : CrossModalRetrieval.TopOne(quantized.Sids, quantized.Vectors, anchor.Sids, anchor.Vectors));

        // The table would own the rows, so it is not disposed.
        double? Tau(RowMatrix? other) => other is null ? null : KendallTau.Measure(rows, EmbeddingTable.FromRows(other, rows.Items, rows.Name), data.Users).Mean;
    }

    private static RowMatrix Decode(RqVae vae, RowMatrix vectors, int dimension)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        Tensor decoded = vae.Decode(tensor(vectors.Rows(0, (int)vectors.Count).ToArray(), [vectors.Count, vectors.Dimension]));
        var rows = new RowMatrix(vectors.Count, dimension);
        decoded.contiguous().data<float>().CopyTo(rows.Rows(0, (int)rows.Count));
        return rows;
    }

    /// <summary>Says now and then how a run goes.</summary>
    private sealed class Losses : IProgress<LoopProgress>
    {
        private const int kEpochs = 10;

        public void Report(LoopProgress value)
        {
            if (value.Finished is { } epoch && epoch.Epoch % kEpochs == 0)
                BenchRun.Say(FormattableString.Invariant($"    epoch {epoch.Epoch}: {epoch.Seconds:F1} s, loss {epoch.Loss:G4}, {string.Join(", ", epoch.Parts.Select(part => FormattableString.Invariant($"{part.Key} {part.Value:G3}")))}"));
        }
    }

    private static double Median(double[] values) => Timing.Of(values).Median;

    /// <summary>SIDs of a modality and the vectors that they stand for.</summary>
    private sealed class QuantizedModality : IDisposable
    {
        public QuantizedModality(IQuantizerEncoder encoder, RowView rows)
        {
            var codes = new ushort[rows.Count * encoder.Quantizer.Levels];
            _ = encoder.Encode(rows, codes);
            Sids = new SidTable(encoder.Quantizer.Levels, codes);
            Vectors = new RowMatrix(rows.Count, encoder.Quantizer.Dimension);
            encoder.Quantizer.Reconstruct(codes, Vectors.Rows(0, rows.Count));
        }

        public SidTable Sids { get; }

        public RowMatrix Vectors { get; }

        public void Dispose() => Vectors.Dispose();
    }
}
