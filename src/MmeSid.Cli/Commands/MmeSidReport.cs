using MmeSid.Cli.Terminal;
using MmeSid.Engine.Evaluation;
using MmeSid.Training.LanguageModels;

namespace MmeSid.Cli.Commands;

/// <summary>Forgetting and collapse before and after a training, for people and for <c>model.json</c>.</summary>
/// <param name="Before">Of the items as they started.</param>
/// <param name="After">Of the items that are written.</param>
internal sealed record MmeSidReport(MmeSidMeasures Before, MmeSidMeasures After)
{
    /// <summary>The numbers by name.</summary>
    public IReadOnlyDictionary<string, double> Metrics()
    {
        var metrics = new Dictionary<string, double>();
        foreach ((string when, MmeSidMeasures measures) in ((string, MmeSidMeasures)[])[("before", Before), ("after", After)])
        {
            foreach ((string modality, KendallTau tau) in measures.Distances)
                metrics[$"kendall tau of {modality}, {when}"] = tau.Mean;
            foreach ((string what, Spectrum spectrum) in Tables(measures))
            {
                metrics[$"effective rank of {what}, {when}"] = spectrum.EffectiveRank;
                metrics[$"information abundance of {what}, {when}"] = spectrum.InformationAbundance;
            }
        }
        return metrics;
    }

    /// <summary>Adds two tables to the results.</summary>
    public void Show(ResultSheet results)
    {
        if (Before.Distances.Count > 0)
        {
            results.Table("forgetting", ["modality", "kendall_tau_before", "kendall_tau_after", "standard_error_after", "users"], Before.Distances.Zip(After.Distances, (before, after) =>
                (IReadOnlyList<ResultSheet.Cell>)[before.Modality, before.Tau.Mean, after.Tau.Mean, after.Tau.StandardError, after.Tau.Users]));
        }
        results.Table("collapse", ["table", "dimension", "effective_rank_before", "effective_rank_after", "information_abundance_before", "information_abundance_after"], Tables(Before).Zip(Tables(After), (before, after) =>
            (IReadOnlyList<ResultSheet.Cell>)
            [
                before.What, (long)before.Spectrum.SingularValues.Count, before.Spectrum.EffectiveRank, after.Spectrum.EffectiveRank, before.Spectrum.InformationAbundance, after.Spectrum.InformationAbundance,
            ]));
    }

    private static (string What, Spectrum Spectrum)[] Tables(MmeSidMeasures measures) => [("item table", measures.Embeddings), ("soft tokens", measures.Inputs)];
}
