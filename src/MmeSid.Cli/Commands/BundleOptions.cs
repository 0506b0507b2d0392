using System.CommandLine;
using System.Globalization;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary>Options of commands that read a bundle, and what of a bundle they share.</summary>
internal static class BundleOptions
{
    /// <summary>Name of the beam width among the options that a bundle was trained with.</summary>
    public const string BeamName = "beam";

    public static readonly Option<string> Bundle = new("--bundle", "-b")
    {
        Description = "The bundle: a folder that 'train' wrote.",
        HelpName = "folder",
        Required = true,
    };

    public static readonly Option<int?> Beam = new("--beam")
    {
        Description = "Beam width of the encoding, in prefixes kept per level; 1 is greedy. [default: as the bundle was trained]",
        HelpName = "count",
    };

    /// <summary>The beam width that rows of a bundle are encoded with.</summary>
    public static int BeamOf(CommandRun run, SidBundle bundle) => run.Get(Beam)
        ?? (bundle.Manifest.Options.TryGetValue(BeamName, out string? text) && int.TryParse(text, CultureInfo.InvariantCulture, out int beam) ? beam : 1);

    /// <summary>Prepares the quantizer on the chosen backend.</summary>
    public static IQuantizerEncoder CreateEncoder(CommandRun run, Quantizer quantizer, int beam)
    {
        IBackend backend = GlobalOptions.CreateBackend(run.Parsed);
        return quantizer.CreateEncoder(backend, beam, GlobalOptions.ThreadCount(run.Parsed));
    }
}
