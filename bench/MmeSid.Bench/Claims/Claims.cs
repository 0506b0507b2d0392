using MmeSid.Training;

namespace MmeSid.Bench;

/// <summary>Measures again what the MME-SID paper claims of MM-RQ-VAE, on real data, and writes the page of it.</summary>
internal static class Claims
{
    /// <summary>Runs what is not yet done, seed by seed so that a page can be written after each, and writes the page.</summary>
    /// <param name="resultsFolder">Where <c>mme-sid-claims.md</c> and <c>.json</c> go.</param>
    /// <param name="cache">Where finished runs are kept: a command that was interrupted goes on.</param>
    /// <param name="dataFolder">The real data, or null.</param>
    /// <param name="machine">For the page.</param>
    /// <param name="quick">Tiny sizes.</param>
    /// <param name="train">False writes the page of what is done, and runs nothing.</param>
    /// <returns>The page's path.</returns>
    public static string Run(string resultsFolder, string cache, string? dataFolder, Machine machine, bool quick, bool train)
    {
        var settings = quick ? ClaimSettings.Quick : new ClaimSettings();
        var page = new ClaimsPage(resultsFolder, machine, settings);
        if (TorchRuntime.UnavailableReason is { } reason)
        {
            page.Remarks.Add(reason);
            return page.Write([]);
        }
        TorchRuntime.Start(0);
        // Tables are held for as long as seeds are run.
        ClaimsData[] sets = [.. ClaimsData.All(dataFolder, cache, quick, page.Remarks.Add)];
        try
        {
            (ClaimsData Data, ClaimRun Run, List<ClaimResult> Results)[] runs = [.. sets.Select(data => (data, new ClaimRun(data, settings, Path.Combine(cache, data.Name, "runs")), new List<ClaimResult>()))];
            for (int seed = 1; seed <= settings.Seeds; seed++)
            {
                foreach ((_, ClaimRun run, List<ClaimResult> results) in runs)
                    results.AddRange(ClaimMethod.All.Select(method => train ? run.Get(method, seed) : run.Find(method, seed)).OfType<ClaimResult>());
                page.Write([.. runs.Select(run => ClaimsResult.Of(run.Data, run.Results))]);
            }
            return page.Path;
        }
        finally
        {
            foreach (ClaimsData data in sets)
                data.Dispose();
        }
    }
}
