using System.Globalization;
using System.Text;
using System.Text.Json;

namespace MmeSid.Bench;

/// <summary>A catalogue with its finished runs, as the JSON file keeps them.</summary>
/// <param name="Name">Folder of the data.</param>
/// <param name="Title">As the page calls it.</param>
/// <param name="Items">n.</param>
/// <param name="DroppedItems">Items of the sequences that lack a modality.</param>
/// <param name="Users">Histories that τ is taken over.</param>
/// <param name="DroppedUsers">Users whose test item lacks a modality.</param>
/// <param name="Modalities">Names and columns.</param>
/// <param name="Collaborative">Options of SASRec's training.</param>
/// <param name="CollaborativeNdcg">Its nDCG@10 on validation items.</param>
/// <param name="Results">One per method and seed; of the losses only the epochs that the page shows.</param>
internal sealed record ClaimsResult(
    string Name, string Title, long Items, long DroppedItems, int Users, int DroppedUsers, IReadOnlyDictionary<string, int> Modalities,
    IReadOnlyDictionary<string, string> Collaborative, double CollaborativeNdcg, IReadOnlyList<ClaimResult> Results)
{
    /// <summary>What the page and the file need.</summary>
    public static ClaimsResult Of(ClaimsData data, IEnumerable<ClaimResult> results) => new(
        data.Name, data.Title, data.Tables[0].Count, data.DroppedItems, data.Users.Count, data.DroppedUsers, data.Tables.ToDictionary(table => table.Name, table => table.Dimension),
        data.Collaborative.Options, data.Collaborative.ValidationNdcg,
        [.. results.Select(result => result with { Epochs = [.. result.Epochs.Where(epoch => ClaimsPage.IsShown(epoch.Epoch, result.Epochs.Count))] })]);

    /// <summary>A measure of every seed of a method, in the order of the seeds; empty where it has none.</summary>
    public double[] Values(string method, string modality, Func<ClaimModality, double?> measure) =>
        [.. Results.Where(result => result.Method == method).Select(result => measure(result.Modalities.Single(found => found.Name == modality))).OfType<double>()];
}

/// <summary>Writes <c>mme-sid-claims.md</c> and <c>.json</c>.</summary>
internal sealed class ClaimsPage(string resultsFolder, Machine machine, ClaimSettings settings)
{
    private const string kName = "mme-sid-claims", kNotes = "mme-sid-claims.notes.md";

    private static readonly int[] s_shownEpochs = [1, 10, 50, 100, 200];

    /// <summary>What is not here and why.</summary>
    public List<string> Remarks { get; } = [];

    /// <summary>Of the page.</summary>
    public string Path { get; } = System.IO.Path.Combine(resultsFolder, kName + ".md");

    /// <summary>Whether the table of losses has a row of this epoch.</summary>
    public static bool IsShown(int epoch, int last) => epoch == last || s_shownEpochs.Contains(epoch);

    /// <summary>Writes both files.</summary>
    public string Write(IReadOnlyList<ClaimsResult> sets)
    {
        Directory.CreateDirectory(resultsFolder);
        File.WriteAllText(System.IO.Path.ChangeExtension(Path, ".json"), JsonSerializer.Serialize(new { machine, settings, remarks = Remarks, sets }, Report.Json) + "\n");
        var page = new StringBuilder("# What MME-SID says of MM-RQ-VAE, measured again\n\n");
        page.Append(CultureInfo.InvariantCulture, $"Written by `./build.sh --target Claims`; do not edit (the last section is `{kNotes}`). Commit {machine.Commit}, {machine.Date}; {machine.Processor}, {machine.Cores} cores.\n\n");
        foreach (string remark in Remarks)
            page.Append(remark).Append(".\n\n");
        if (sets.Count > 0)
        {
            AppendDefinitions(page, sets);
            page.Append("## The claims\n\n");
            foreach (ClaimsResult set in sets)
                AppendClaims(page, set);
            foreach (ClaimsResult set in sets)
                AppendSet(page, set);
        }
        string notes = System.IO.Path.Combine(resultsFolder, kNotes);
        if (File.Exists(notes))
            page.Append(File.ReadAllText(notes));
        File.WriteAllText(Path, page.ToString());
        return Path;
    }

    private void AppendDefinitions(StringBuilder page, IReadOnlyList<ClaimsResult> sets)
    {
        int seeds = sets.Min(set => set.Results.Count == 0 ? 0 : ClaimMethod.All.Where(method => method.Seeds == 0).Min(method => set.Results.Count(result => result.Method == method.Name)));
        page.Append(CultureInfo.InvariantCulture, $"{settings.Levels} × {settings.Codes} codes, width {settings.Width}, batch {settings.Batch}, at most {settings.Epochs} epochs (the paper: width 4096, up to 20,000 epochs), AdamW at 2e-4 with weight decay 1e-4, the rest as the paper has it. ");
        page.Append(CultureInfo.InvariantCulture, $"Every method is trained with {seeds} of {settings.Seeds} planned seeds; SASRec and the other tables are the same for all, so the intervals say how far results move with the seed of the quantizer, not with the data. ");
        page.Append("Numbers are means over the seeds ± half the 95 % confidence interval (t distribution; differences by Welch, no correction for their number). ");
        page.Append("SIDs are plain argmin codes, nothing settled. Each table is centred and divided by one number, so that its values have variance 1.\n\n");
        page.Append("- **τ**: for each user, over the pairs of items of the history, whether the order of their distances to the test item is the same among the raw embeddings and among the vectors that the SIDs stand for (concordant − discordant, ties 0, over pairs), mean over users. *Before*: the encoder's output, not yet quantized. *Decoded*: what the decoder makes of the quantized vector.\n");
        page.Append("- **collisions**: 1 − distinct SIDs/items. **used**, **perplexity**: of each level's codes.\n");
        page.Append("- **retrieval**: share of items whose quantized vector has, by cosine among all items, the same item's collaborative one nearest; where several items share that vector one is drawn (expectation). There is none between spaces of different kinds.\n\n");
    }

    private static void AppendClaims(StringBuilder page, ClaimsResult set)
    {
        page.Append($"**{set.Title}**\n\n");
        foreach (string modality in set.Modalities.Keys)
        {
            Append($"SIDs trained with MMD keep more of the order of distances than with MSE (paper: τ 0.4436 against 0.3714), {modality}", "τ", ClaimMethod.Paper, ClaimMethod.SquaredError, modality, measure => measure.Tau, 1, "F4", 1);
            foreach (string other in new[] { ClaimMethod.RqKMeans, ClaimMethod.Psrq, ClaimMethod.RqVae })
                Append($"… and than {other}, {modality}", "τ", ClaimMethod.Paper, other, modality, measure => measure.Tau, 1, "F4", 1);
        }
        foreach (string modality in set.Modalities.Keys)
        {
            foreach (string other in new[] { ClaimMethod.SquaredError, ClaimMethod.RqVae, ClaimMethod.RqKMeans, ClaimMethod.Psrq })
                Append($"Fewer SIDs collide than under {other}, {modality}", "collisions", ClaimMethod.Paper, other, modality, measure => measure.CollisionRate, -1, "F2", 100, " %");
        }
        foreach (string modality in set.Modalities.Keys.Skip(1))
            Append($"InfoNCE lets a modality find the item's collaborative vector, {modality}", "retrieval", ClaimMethod.Paper, ClaimMethod.Unaligned, modality, measure => measure.Retrieval, 1, "F3", 100, " %");
        foreach (string modality in set.Modalities.Keys)
            Append($"InfoNCE costs no order of distances, {modality}", "τ", ClaimMethod.Paper, ClaimMethod.Unaligned, modality, measure => measure.Tau, 1, "F4", 1);
        page.Append('\n');

        void Append(string claim, string what, string first, string second, string modality, Func<ClaimModality, double?> measure, int sign, string format, double factor, string unit = "")
        {
            double[] one = Scaled(first), other = Scaled(second);
            if (one.Length == 0 || other.Length == 0)
                return;
            Interval difference = Interval.Difference(one, other);
            page.Append($"- {claim}: **{Verdicts.Of(difference, sign).Text()}**: {what} {Number(one.Average(), format)}{unit} against {Number(other.Average(), format)}{unit}, difference {Signed(difference.Mean, format)}");
            page.Append(double.IsFinite(difference.Half) ? $", interval {Signed(difference.Low, format)} to {Signed(difference.High, format)}{unit}.\n" : $"{unit}, a single seed.\n");

            double[] Scaled(string method) => [.. set.Values(method, modality, measure).Select(value => factor * value)];
        }
    }

    private static void AppendSet(StringBuilder page, ClaimsResult set)
    {
        page.Append($"## {set.Title}\n\n");
        page.Append(CultureInfo.InvariantCulture, $"{set.Items:N0} items with all modalities ({string.Join(", ", set.Modalities.Select(modality => $"{modality.Key} {modality.Value}"))}); {set.DroppedItems:N0} items of the sequences lack one and are left out. ");
        page.Append(CultureInfo.InvariantCulture, $"τ over {set.Users:N0} users; {set.DroppedUsers:N0} whose test item is left out are not among them. The collaborative table is our SASRec, trained without the last two events of each user");
        page.Append(CultureInfo.InvariantCulture, $" (nDCG@10 on the validation items {set.CollaborativeNdcg:F4}; at most {set.Collaborative.GetValueOrDefault("epochs")} epochs, patience {set.Collaborative.GetValueOrDefault("patience")}, length {set.Collaborative.GetValueOrDefault("length")}); text is LSA.\n\n");
        string[] methods = [.. ClaimMethod.All.Select(method => method.Name).Where(name => set.Results.Any(result => result.Method == name))];
        foreach (string modality in set.Modalities.Keys)
        {
            page.Append($"### {set.Title}, {modality}\n\n| method | seeds | τ | τ before | τ decoded | collisions | largest group | used | perplexity | retrieval |\n|---|---:|---:|---:|---:|---:|---:|---|---|---:|\n");
            foreach (string method in methods)
            {
                ClaimModality[] found = [.. set.Results.Where(result => result.Method == method).Select(result => result.Modalities.Single(one => one.Name == modality))];
                page.Append(CultureInfo.InvariantCulture, $"| {method} | {found.Length} | {Mean(one => one.Tau, "F4")} | {Mean(one => one.EncodedTau, "F4")} | {Mean(one => one.DecodedTau, "F4")} | ");
                page.Append($"{Mean(one => 100 * one.CollisionRate, "F2", " %")} | {found.Max(one => one.LargestGroup)} | ");
                page.AppendJoin(" + ", PerLevel(one => [.. one.Used.Select(used => (double)used)])).Append(" | ").AppendJoin(" · ", PerLevel(one => one.Perplexity)).Append(" | ");
                page.Append($"{Mean(one => 100 * one.Retrieval, "F3", " %")} |\n");

                string Mean(Func<ClaimModality, double?> measure, string format, string unit = "") => Text(set.Values(method, modality, measure), format, unit);

                IEnumerable<string> PerLevel(Func<ClaimModality, double[]> levels) => Enumerable.Range(0, levels(found[0]).Length).Select(level => Number(found.Average(one => levels(one)[level]), "F0"));
            }
            page.Append('\n');
        }
        AppendTimes(page, set, methods);
        AppendLosses(page, set, methods);
    }

    private static void AppendTimes(StringBuilder page, ClaimsResult set, string[] methods)
    {
        page.Append($"### {set.Title}, time\n\nMedians over the seeds; other work ran on the same cores.\n\n| method | training | per epoch | rows/s | best epoch |\n|---|---:|---:|---:|---:|\n");
        foreach (string method in methods)
        {
            ClaimResult[] found = [.. set.Results.Where(result => result.Method == method)];
            double? epoch = found[0].SecondsPerEpoch is null ? null : Timing.Of([.. found.Select(result => result.SecondsPerEpoch!.Value)]).Median;
            page.Append($"| {method} | {Report.Seconds(Timing.Of([.. found.Select(result => result.Seconds)]).Median)} | {(epoch is { } seconds ? Report.Seconds(seconds) : "")} | {(epoch is { } each ? Number(set.Items / each, "N0") : "")} | ");
            page.AppendJoin(", ", found.Select(result => result.BestEpoch).OfType<int>()).Append(" |\n");
        }
        page.Append('\n');
    }

    private static void AppendLosses(StringBuilder page, ClaimsResult set, string[] methods)
    {
        page.Append($"### {set.Title}, losses of seed 1\n\nMeans over an epoch, parts before their weights.\n\n");
        foreach (string method in methods)
        {
            if (set.Results.FirstOrDefault(result => result.Method == method && result.Epochs.Count > 0) is not { } result)
                continue;
            string[] parts = [.. result.Epochs[0].Parts.Keys];
            page.Append($"| {method}: epoch | total | ").AppendJoin(" | ", parts).Append(" |\n|---:|---:|").Insert(page.Length, "---:|", parts.Length).Append('\n');
            foreach (ClaimEpoch epoch in result.Epochs)
                page.Append(CultureInfo.InvariantCulture, $"| {epoch.Epoch} | {epoch.Loss:G4} | ").AppendJoin(" | ", parts.Select(part => Number(epoch.Parts[part], "G4"))).Append(" |\n");
            page.Append('\n');
        }
    }

    private static string Text(double[] values, string format, string unit)
    {
        if (values.Length == 0)
            return "";
        Interval interval = Interval.Of(values);
        return Number(interval.Mean, format) + (double.IsFinite(interval.Half) ? $" ± {Number(interval.Half, format)}" : "") + unit;
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    private static string Signed(double value, string format) => (value < 0 ? "−" : "+") + Number(Math.Abs(value), format);
}
