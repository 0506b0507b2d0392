using System.Globalization;
using System.Text;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>
/// What the SIDs are worth, on real data: collisions beside SIDs that others published, and how far deeper levels still follow the
/// original space. The same numbers on every machine, so there is one page.
/// </summary>
internal static class QualityPage
{
    private static readonly string[] s_published =
        ["letter", "collisiongenrec_quasid_native", "iba_rqvae", "collisiongenrec_rqvae_native", "collisiongenrec_rkmeans_native"];

    private const int kSeeds = 5;

    /// <summary>Writes <c>quality.md</c>; a section whose data are absent says so.</summary>
    public static void Write(string resultsFolder, string? dataFolder, Machine machine)
    {
        var page = new StringBuilder("# What the SIDs are worth\n\nWritten by `./build.sh --target Bench --suites none --quality`; do not edit. ");
        page.Append(CultureInfo.InvariantCulture, $"Commit {machine.Commit}, {machine.Date}.\n\n");
        AppendBeauty(page, Folder(dataFolder, "amazon-beauty"));
        AppendDegradation(page, Folder(dataFolder, "lastfm-2k"));
        Directory.CreateDirectory(resultsFolder);
        File.WriteAllText(Path.Combine(resultsFolder, "quality.md"), page.ToString());
    }

    private static string? Folder(string? dataFolder, string name) =>
        dataFolder is not null && Directory.Exists(Path.Combine(dataFolder, name)) ? Path.Combine(dataFolder, name) : null;

    private static void AppendBeauty(StringBuilder page, string? folder)
    {
        page.Append("## Collisions, Amazon Beauty (12,101 items, 4 × 256)\n\n");
        if (folder is null)
        {
            page.Append("The data are not here.\n\n");
            return;
        }
        page.Append("Ours: text (LSA over title and attributes, d 256) and collaborative (SASRec, d 64) tables, each normalised, side by side; `rq-kmeans`, seed 1. ");
        page.Append("The others are the SIDs their authors published for the same items. Rate = 1 − distinct/items.\n\n");
        page.Append("| SIDs | collision rate | largest group | codes used per level | perplexity per level |\n|---|---:|---:|---|---|\n");
        IBackend backend = BenchContext.Simd(0);
        EmbeddingResult text = TextEmbedder.Embed(TextItems.ReadFile(Path.Combine(folder, "items.tsv"), textColumns: ["title", "attributes"]), new TextOptions { Dimension = 256 });
        EmbeddingTable[] tables =
        [
            EmbeddingTable.FromRows(text.Rows, text.Items, "text"),
            EmbeddingTable.Open([Path.Combine(folder, "collaborative_sasrec64.npy")], new EmbeddingOptions { SkipRows = 1 }),
        ];
        using EmbeddingTable joined = EmbeddingTable.Combine(tables, Preprocessing.Of(tables, normalize: true));
        Quantizer quantizer = QuantizerTrainer.Train(joined, new TrainingOptions { Seed = 1 }, backend).Quantizer;
        SidTable codes = Encode(joined, quantizer, backend);
        AppendRow(page, "**ours, raw**", HealthReport.Measure(codes));
        SettlingResult settled = CollisionSettling.Settle(codes, quantizer, joined, new SettlingOptions { Policy = CollisionPolicy.Resettle });
        AppendRow(page, "**ours, `resettle`**", HealthReport.Measure(settled.Sids));
        foreach (string name in s_published)
            AppendRow(page, name, HealthReport.Measure(SidTable.ReadNpy(Path.Combine(folder, "published-sids", name + ".npy"))));
        page.Append(CultureInfo.InvariantCulture, $"\nResettling moved {settled.Report.Moved} of {settled.Report.Items:N0} items, {settled.Report.Spilled} of them to another prefix, and added ");
        page.Append(CultureInfo.InvariantCulture, $"{settled.Report.AddedSquaredError / settled.Report.Items:G3} to the mean squared error.\n\n");
    }

    private static void AppendRow(StringBuilder page, string name, HealthReport report)
    {
        page.Append(CultureInfo.InvariantCulture, $"| {name} | {100 * report.Collisions.Rate:F2} % | {report.Collisions.LargestGroup} | ");
        page.AppendJoin(" + ", report.CodeUse.Select(use => use.Used)).Append(" | ");
        page.AppendJoin(" · ", report.CodeUse.Select(use => use.Perplexity.ToString("F0", CultureInfo.InvariantCulture))).Append(" |\n");
    }

    private static void AppendDegradation(StringBuilder page, string? folder)
    {
        page.Append("## Do deeper levels follow the original space? lastfm-2k (1,425 artists, K 64, 3 levels)\n\n");
        if (folder is null)
        {
            page.Append("The data are not here.\n\n");
            return;
        }
        page.Append("The \"semantic degradation\" of PSRQ (arXiv 2508.20359, shown there as scatter plots) as numbers. *AMI*: adjusted mutual information of a level's codes alone with a k-means clustering ");
        page.Append("(another seed) of the original rows into as many clusters. *Purity*: share of a row's 10 nearest neighbours, in the original space, that have its code at that level. ");
        page.Append(CultureInfo.InvariantCulture, $"Mean ± standard deviation over {kSeeds} seeds; *random* deals the level's codes out anew. The joint table is text beside audio, each normalised.\n\n");
        page.Append("| table | quantizer | AMI 1 | AMI 2 | AMI 3 | AMI random | purity 1 | purity 2 | purity 3 | purity random | relative error |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        IBackend backend = BenchContext.Simd(0);
        string text = Path.Combine(folder, "text_minilm.npy"), audio = Path.Combine(folder, "audio_whisper.npy");
        foreach ((string name, string[] files) in new (string, string[])[] { ("text (MiniLM)", [text]), ("audio (Whisper)", [audio]), ("joint", [text, audio]) })
        {
            EmbeddingTable[] tables = [.. files.Select(EmbeddingTable.Open)];
            using EmbeddingTable rows = EmbeddingTable.Combine(tables, Preprocessing.Of(tables, normalize: true));
            foreach (QuantizerKind kind in (QuantizerKind[])[QuantizerKind.RqKMeans, QuantizerKind.Psrq])
            {
                List<SpaceAgreement> agreements = [];
                List<double> errors = [];
                for (ulong seed = 1; seed <= kSeeds; seed++)
                {
                    Quantizer quantizer = QuantizerTrainer.Train(rows, new TrainingOptions { Kind = kind, Levels = 3, Codes = [64], Seed = seed }, backend).Quantizer;
                    SidTable codes = Encode(rows, quantizer, backend);
                    agreements.Add(SpaceAgreement.Measure(rows, codes, new AgreementOptions { Seed = 1000 + seed, Clusters = 64 }, backend));
                    errors.Add(ReconstructionError.Measure(rows, quantizer, codes).Relative);
                }
                page.Append($"| {name} | {QuantizerName.Of(kind)}");
                for (int level = 0; level < 3; level++)
                    AppendCell(page, agreements.Select(agreement => agreement.Levels[level].AdjustedMutualInformation));
                AppendCell(page, agreements.Select(agreement => agreement.Levels[2].RandomBaseline));
                for (int level = 0; level < 3; level++)
                    AppendCell(page, agreements.Select(agreement => agreement.Levels[level].Purity.Share));
                AppendCell(page, agreements.Select(agreement => agreement.Levels[2].Purity.Baseline));
                AppendCell(page, errors);
                page.Append(" |\n");
            }
        }
        page.Append('\n');
    }

    private static void AppendCell(StringBuilder page, IEnumerable<double> values)
    {
        double[] all = [.. values];
        double mean = all.Average();
        page.Append(CultureInfo.InvariantCulture, $" | {mean:F3} ± {Math.Sqrt(all.Sum(value => (value - mean) * (value - mean)) / (all.Length - 1)):F3}");
    }

    private static SidTable Encode(EmbeddingTable table, Quantizer quantizer, IBackend backend)
    {
        using RowMatrix rows = table.ReadAll();
        using IQuantizerEncoder encoder = quantizer.CreateEncoder(backend);
        ushort[] codes = new ushort[rows.Count * quantizer.Levels];
        encoder.Encode(rows.View(0, (int)rows.Count), codes);
        return new SidTable(quantizer.Levels, codes);
    }
}
