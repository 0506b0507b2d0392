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

    private static readonly int[] s_shownEpochs = [1, 10, 20, 50, 100, 200];

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
            AppendClaims(page, sets);
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
        int seeds = sets.Min(set => set.Results.Count == 0 ? 0 : ClaimMethod.All.Min(method => set.Results.Count(result => result.Method == method.Name)));
        page.Append(CultureInfo.InvariantCulture, $"{settings.Levels} × {settings.Codes} codes, width {settings.Width}, batch {settings.Batch}, {settings.Steps} steps of AdamW from a rate of {settings.LearningRate} along half a cosine to zero, weight decay 1e-4 (the paper: width 4096, up to 20,000 epochs at 2e-4); the last epoch is kept. Codewords are moving averages (γ 0.95), unused ones restart after 20 steps; *gradients*: trained as the paper has it. The rest is the paper's. ");
        page.Append(CultureInfo.InvariantCulture, $"{settings.Seeds} seeds are planned, {seeds} of them done by every method (the tables say how many each has); SASRec and the other tables are the same for all, so the intervals say how far results move with the seed of the quantizer, not with the data. ");
        page.Append("Numbers are means over the seeds ± half the 95 % confidence interval (t distribution; differences by Welch, no correction for their number). ");
        page.Append("SIDs are plain argmin codes, nothing settled. Each table is centred and divided by one number, so that its values have variance 1.\n\n");
        page.Append("- **τ**: for each user, over the pairs of items of the history, whether the order of their distances to the test item is the same among the raw embeddings and among the vectors that the SIDs stand for (concordant − discordant, ties 0, over pairs), mean over users. *Before*: the encoder's output, not yet quantized. *Decoded*: what the decoder makes of the quantized vector.\n");
        page.Append("- **collisions**: 1 − distinct SIDs/items. **used**, **perplexity**: of each level's codes.\n");
        page.Append("- **retrieval**: share of items whose quantized vector has, by cosine among all items, the same item's collaborative one nearest; where several items share that vector one is drawn (expectation). There is none between spaces of different kinds.\n\n");
    }

    /// <summary>A claim: a measure of one method lies on one side of that of others.</summary>
    private sealed record Claim(string Text, string Measured, string Method, string[] Others, Func<ClaimModality, double?> Measure, int Sign, string Format, string Unit = "");

    private static readonly Claim[] s_claims =
    [
        new("SIDs trained with MMD keep more of the order of distances than SIDs trained with MSE (the paper: τ 0.4436 against 0.3714)", "τ", ClaimMethod.Mmd, [ClaimMethod.SquaredError, ClaimMethod.RqVae], one => one.Tau, 1, "F4"),
        new("The same where codewords are trained by gradients, as the paper has it", "τ", ClaimMethod.MmdGradients, [ClaimMethod.SquaredErrorGradients], one => one.Tau, 1, "F4"),
        new("They keep more of it than codebooks of the raw rows do (ours: the paper does not compare them)", "τ", ClaimMethod.Mmd, [ClaimMethod.RqKMeans, ClaimMethod.Psrq], one => one.Tau, 1, "F4"),
        new("Fewer of them collide", "collisions", ClaimMethod.Mmd, [ClaimMethod.SquaredError, ClaimMethod.RqVae, ClaimMethod.RqKMeans, ClaimMethod.Psrq], one => 100 * one.CollisionRate, -1, "F2", " %"),
        new("InfoNCE lets a modality find an item's collaborative vector", "retrieval", ClaimMethod.Mmd, [ClaimMethod.Unaligned], one => 100 * one.Retrieval, 1, "F3", " %"),
        new("The same with a hundred times its weight", "retrieval", ClaimMethod.Aligned, [ClaimMethod.Unaligned], one => 100 * one.Retrieval, 1, "F3", " %"),
        new("InfoNCE raises τ", "τ", ClaimMethod.Mmd, [ClaimMethod.Unaligned], one => one.Tau, 1, "F4"),
        new("The same with a hundred times its weight", "τ", ClaimMethod.Aligned, [ClaimMethod.Unaligned], one => one.Tau, 1, "F4"),
    ];

    private static void AppendClaims(StringBuilder page, IReadOnlyList<ClaimsResult> sets)
    {
        for (int i = 0; i < s_claims.Length; i++)
        {
            Claim claim = s_claims[i];
            var lines = new List<string>();
            var verdicts = new List<Verdict>();
            foreach (ClaimsResult set in sets)
            {
                foreach ((string modality, string other) in set.Modalities.Keys.SelectMany(modality => claim.Others.Select(other => (modality, other))))
                {
                    double[] ours = set.Values(claim.Method, modality, claim.Measure), theirs = set.Values(other, modality, claim.Measure);
                    if (ours.Length == 0 || theirs.Length == 0)
                        continue;
                    Interval difference = Interval.Difference(ours, theirs);
                    Verdict verdict = Verdicts.Of(difference, claim.Sign);
                    verdicts.Add(verdict);
                    string ends = double.IsFinite(difference.Half) ? $"{Signed(difference.Low, claim.Format)} to {Signed(difference.High, claim.Format)}" : "a single seed";
                    lines.Add($"| {set.Title} | {modality} | {other} | **{verdict.Text()}** | {Number(ours.Average(), claim.Format)}{claim.Unit} | {Number(theirs.Average(), claim.Format)}{claim.Unit} | {Signed(difference.Mean, claim.Format)} | {ends} |\n");
                }
            }
            page.Append(CultureInfo.InvariantCulture, $"**{i + 1}. {claim.Text}.** Of {verdicts.Count} comparisons it holds in {verdicts.Count(verdict => verdict == Verdict.Holds)}, does not hold in {verdicts.Count(verdict => verdict == Verdict.DoesNotHold)}, and {verdicts.Count(verdict => verdict == Verdict.NotDecided)} are not decided.\n\n");
            page.Append($"| data | modality | against | verdict | {claim.Measured}: {claim.Method} | the other | difference | 95 % interval |\n|---|---|---|---|---:|---:|---:|---|\n").AppendJoin("", lines).Append('\n');
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
        page.Append($"### {set.Title}, time\n\nMedians over the seeds; other work ran on the same cores.\n\n| method | training | per epoch | rows/s | epochs | lowest loss at epoch |\n|---|---:|---:|---:|---:|---|\n");
        foreach (string method in methods)
        {
            ClaimResult[] found = [.. set.Results.Where(result => result.Method == method)];
            double? epoch = found[0].SecondsPerEpoch is null ? null : Timing.Of([.. found.Select(result => result.SecondsPerEpoch!.Value)]).Median;
            page.Append($"| {method} | {Report.Seconds(Timing.Of([.. found.Select(result => result.Seconds)]).Median)} | {(epoch is { } seconds ? Report.Seconds(seconds) : "")} | {(epoch is { } each ? Number(set.Items / each, "N0") : "")} | ");
            page.Append(found[0].Epochs.Count == 0 ? "" : Number(found[0].Epochs[^1].Epoch, "F0")).Append(" | ").AppendJoin(", ", found.Select(result => result.LowestLoss).OfType<int>()).Append(" |\n");
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
