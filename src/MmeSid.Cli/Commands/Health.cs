using System.Globalization;
using System.Text.Json.Nodes;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary>The health numbers of SIDs as tables. Used by <c>inspect</c> and <c>demo</c>.</summary>
internal static class Health
{
    /// <summary>One line per set of SIDs: collisions, codes used, what is lost.</summary>
    public static void Compare(ResultSheet results, IReadOnlyList<(string Name, HealthReport Report)> sets)
    {
        results.Table("sids", ["name", "items", "levels", "collision_rate", "settled_collision_rate", "largest_group", "codes_used", "relative_error"], sets.Select(set =>
        {
            HealthReport report = set.Report;
            return (IReadOnlyList<ResultSheet.Cell>)
            [
                set.Name,
                report.Items,
                (long)report.CodeUse.Count,
                ResultSheet.Cell.Share(report.RawCollisions.Rate),
                ResultSheet.Cell.Share(report.Collisions.Rate),
                report.RawCollisions.LargestGroup,
                new ResultSheet.Cell(new JsonArray([.. report.CodeUse.Select(use => (JsonNode?)use.Used)]), $"{string.Join(' ', report.CodeUse.Select(use => use.Used))} of {string.Join(' ', report.CodeUse.Select(use => use.Codes).Distinct())}", false),
                report.RawError is { } error ? ResultSheet.Cell.Share(error.Relative) : ResultSheet.Cell.None,
            ];
        }));
    }

    /// <summary>One line per level of each set: how evenly codes are used and whether the level follows the original space.</summary>
    public static void Levels(ResultSheet results, IReadOnlyList<(string Name, HealthReport Report)> sets)
    {
        results.Table("levels", ["name", "level", "codes", "used", "perplexity", "entropy_bits", "gini", "largest", "mutual_information", "random_mutual_information", "neighbour_purity", "random_purity"],
            sets.SelectMany(set => set.Report.CodeUse.Select((use, level) =>
            {
                LevelAgreement? agreement = set.Report.Agreement?.Levels[level];
                return (IReadOnlyList<ResultSheet.Cell>)
                [
                    set.Name, (long)level, (long)use.Codes, (long)use.Used, Rounded(use.Perplexity), Rounded(use.Entropy), Rounded(use.Gini), use.Largest,
                    agreement is null ? ResultSheet.Cell.None : new ResultSheet.Cell(agreement.AdjustedMutualInformation, WithError(agreement.AdjustedMutualInformation, agreement.StandardError), true),
                    agreement is null ? ResultSheet.Cell.None : Rounded(agreement.RandomBaseline),
                    agreement is null ? ResultSheet.Cell.None : new ResultSheet.Cell(agreement.Purity.Share, WithError(agreement.Purity.Share, agreement.Purity.StandardError), true),
                    agreement is null ? ResultSheet.Cell.None : Rounded(agreement.Purity.Baseline),
                ];
            })));
    }

    /// <summary>What is known of the rows themselves and of what SIDs keep of them.</summary>
    public static void Rows(ResultSheet results, HealthReport report)
    {
        if (report.RawError is { } raw && report.Error is { } settled)
        {
            results.Value("mean_squared_error", raw.MeanSquared, $"{raw.MeanSquared:G6}, {ResultSheet.Percent(raw.Relative)} of the variance");
            results.Value("settled_mean_squared_error", settled.MeanSquared, $"{settled.MeanSquared:G6}");
        }
        if (report.Spectrum is { } spectrum)
        {
            string sampled = spectrum.Rows < spectrum.TotalRows ? ", from a sample of the rows" : "";
            results.Value("effective_rank", spectrum.EffectiveRank, $"{spectrum.EffectiveRank:0.0} of {spectrum.SingularValues.Count}{sampled}");
            results.Value("information_abundance", spectrum.InformationAbundance, $"{spectrum.InformationAbundance:0.0} of {spectrum.SingularValues.Count}{sampled}");
            results.Value("spectrum_rows", spectrum.Rows, $"{spectrum.Rows:N0} of {spectrum.TotalRows:N0}");
        }
        if (report.Distances is { } tau)
            results.Value("kendall_tau", tau.Mean, $"{WithError(tau.Mean, tau.StandardError)} over {tau.Users:N0} users");
        if (report.Agreement is { } agreement)
        {
            results.Value("reference_clusters", agreement.Clusters, $"{agreement.Clusters:N0}, {agreement.Rows:N0} rows in mutual information, {agreement.Neighbours.Neighbours} neighbours of {agreement.Neighbours.Queries:N0} items among {agreement.Neighbours.Pool:N0}");
        }
    }

    /// <summary>The rows of a table in a bundle's order: the table itself where it has that order already.</summary>
    /// <exception cref="InvalidDataException">The table lacks an item of the bundle.</exception>
    public static EmbeddingTable InOrderOf(SidBundle bundle, EmbeddingTable table)
    {
        if (table.Items.SameAs(bundle.Items))
            return table;
        using (table)
        {
            var rows = new RowMatrix(bundle.Count, table.Dimension);
            try
            {
                for (long row = 0; row < bundle.Count; row++)
                {
                    if (!table.Items.TryFind(bundle.Items[row], out long source))
                        throw new InvalidDataException($"{table.Name}: lacks item '{bundle.Items[row]}' of {bundle.Folder}");
                    table.Read(source, 1, rows.Rows(row, 1));
                }
                return EmbeddingTable.FromRows(rows, bundle.Items, table.Name);
            }
            catch
            {
                rows.Dispose();
                throw;
            }
        }
    }

    /// <summary>Each user's last item as target, the ones before as history, both as rows of a catalogue; items it lacks are left out.</summary>
    public static IReadOnlyList<UserHistory> Histories(ItemIds items, InteractionSequences sequences)
    {
        var rows = new long[sequences.Items.Count];
        for (int item = 0; item < rows.Length; item++)
            rows[item] = items.TryFind(sequences.Items[item], out long row) ? row : -1;
        var users = new List<UserHistory>();
        for (int user = 0; user < sequences.Users.Count; user++)
        {
            ReadOnlySpan<int> events = sequences[user];
            if (events.Length == 0 || rows[events[^1]] < 0)
                continue;
            var history = new List<long>();
            foreach (int item in events[..^1])
            {
                if (rows[item] >= 0)
                    history.Add(rows[item]);
            }
            users.Add(new UserHistory(history, rows[events[^1]]));
        }
        return users;
    }

    private static ResultSheet.Cell Rounded(double value) => new(value, value.ToString(Math.Abs(value) >= 10 ? "0.0" : "0.000", CultureInfo.InvariantCulture), true);

    private static string WithError(double value, double error) => error > 0 ? $"{value:0.000} ± {error:0.000}" : $"{value:0.000}";
}
