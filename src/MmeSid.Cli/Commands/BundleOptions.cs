using System.CommandLine;
using System.Globalization;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Training.Quantization;

namespace MmeSid.Cli.Commands;

/// <summary>Options of commands that read a bundle, and what of a bundle they share.</summary>
internal static class BundleOptions
{
    /// <summary>Name of the beam width among the options that a bundle was trained with.</summary>
    public const string BeamName = "beam";

    public static readonly Option<string> Bundle = new("--bundle", "-b")
    {
        Description = "The bundle: a folder that 'train' wrote; with --table also a folder of bundles.",
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

    /// <summary>Prepares what gives rows of a bundle their codes: the quantizer on the chosen backend, behind the bundle's encoder where it has one.</summary>
    public static IQuantizerEncoder CreateEncoder(CommandRun run, SidBundle bundle)
    {
        IBackend backend = GlobalOptions.CreateBackend(run.Parsed);
        int beam = BeamOf(run, bundle), threads = GlobalOptions.ThreadCount(run.Parsed);
        return bundle.Encoder is { } network ? new LearnedEncoder(bundle.Quantizer, network, backend, beam, threads) : bundle.Quantizer.CreateEncoder(backend, beam, threads);
    }

    /// <summary>What an encoder makes of the rows of a table, kept to be read in any order; null where the rows themselves are quantized.</summary>
    public static EmbeddingTable? EncodeRows(CommandRun run, EmbeddingTable rows, IQuantizerEncoder encoder) => encoder is not LearnedEncoder learned ? null
        : run.Progress.Step("encode", rows.Count, "rows", step => learned.EncodeTable(rows).Spool(count => step.Advance(count), run.Cancellation));

    /// <summary>What searches the rows that <see cref="EncodeRows"/> left, or the table's own where it left none.</summary>
    public static IQuantizerEncoder SearchOf(IQuantizerEncoder encoder) => encoder is LearnedEncoder learned ? learned.Search : encoder;
}
