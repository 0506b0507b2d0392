using MmeSid.Cli.Terminal;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>Showing what settling collisions did.</summary>
internal static class Settlement
{
    public static void Report(ResultSheet results, BundleContent content, SettlingReport report)
    {
        CollisionPolicy policy = content.Collisions;
        results.Value("collisions", CollisionName.Of(policy));
        results.Value("colliding_items", report.Colliding, $"{report.Colliding:N0} of {report.Items:N0} ({ResultSheet.Percent(report.Items > 0 ? (double)report.Colliding / report.Items : 0)}) before settling");
        if (policy != CollisionPolicy.Resettle)
            return;
        results.Value("moved_items", report.Moved, $"{report.Moved:N0}, {report.Spilled:N0} of them to another prefix");
        results.Value("settling", CollisionName.Of(content.Settling));
        results.Value("greedy_prefixes", report.GreedyPrefixes, $"{report.GreedyPrefixes:N0} prefixes in which items moved greedily");
        results.Value("added_mean_squared_error", report.Items > 0 ? report.AddedSquaredError / report.Items : 0, report.Items > 0 ? $"{report.AddedSquaredError / report.Items:G4}" : "–");
    }
}
