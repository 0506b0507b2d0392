using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>Options that say what happens to items whose codes are equal.</summary>
internal static class SettlingChoice
{
    private const string kAuto = "auto";

    public static readonly Option<string> Collisions = new Option<string>("--collisions")
    {
        Description = "Items with equal codes: none leaves them one SID, extra-digit numbers them in one more level, resettle moves all but one to a free SID nearby. "
            + "auto is resettle where there are more SIDs than items (not for vq), else none. Raw codes stay in codes.npy.",
        DefaultValueFactory = _ => kAuto,
    }.AcceptOnlyFromAmong([kAuto, .. CollisionName.Policies]);

    public static readonly Option<string> Settling = new Option<string>("--settling")
    {
        Description = "How resettle chooses inside a prefix: optimal (least total cost) or greedy (in item order).",
        DefaultValueFactory = _ => CollisionName.Of(SettlingMethod.Optimal),
    }.AcceptOnlyFromAmong([.. CollisionName.Methods]);

    /// <summary>The choice for a quantizer and a number of items.</summary>
    public static SettlingOptions Of(CommandRun run, Quantizer quantizer, long items)
    {
        string name = run.Need(Collisions);
        return new SettlingOptions
        {
            Policy = name == kAuto ? Automatic(quantizer, items) : CollisionName.ParsePolicy(name),
            Method = CollisionName.ParseMethod(run.Need(Settling)),
            Threads = GlobalOptions.ThreadCount(run.Parsed),
        };
    }

    /// <summary>Refuses to resettle more items than there are SIDs, before anything is trained.</summary>
    /// <exception cref="InvalidDataException">There are too many items.</exception>
    public static void RequireRoom(CommandRun run, TrainingOptions options, long items)
    {
        if (run.Need(Collisions) == CollisionName.Of(CollisionPolicy.Resettle))
            CollisionSettling.RequireRoom([.. Enumerable.Range(0, options.Levels).Select(options.CodesOf)], items);
    }

    /// <summary>What <c>auto</c> means: a code of vq is a cluster that items share; elsewhere every item gets its own SID where there are enough.</summary>
    public static CollisionPolicy Automatic(Quantizer quantizer, long items)
    {
        double sids = Enumerable.Range(0, quantizer.Levels).Aggregate(1.0, (product, level) => product * quantizer.CodeCount(level));
        return quantizer.Kind != QuantizerKind.Vq && sids > items ? CollisionPolicy.Resettle : CollisionPolicy.None;
    }
}
