using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>What <c>append</c>, <c>update</c> and <c>remove</c> share: a bundle is opened, changed and written as a whole.</summary>
internal static class BundleEditing
{
    public static readonly Option<string?> Output = new("--out", "-o")
    {
        Description = "Where the changed bundle goes. It appears whole or not at all. [default: in place of the old one]",
        HelpName = "folder",
    };

    /// <summary>Opens the output before any work: a new folder, or the bundle's own.</summary>
    public static OutputFolder CreateOutput(CommandRun run) => run.Get(Output) is string path
        ? OutputFolder.Create(path, run.Force, SidBundle.ManifestName)
        : OutputFolder.Create(run.Need(BundleOptions.Bundle), force: true, SidBundle.ManifestName);

    /// <summary>Encodes the rows of the tables named on the command line and changes the bundle with them.</summary>
    public static void ChangeByRows(CommandRun run, Func<SidBundle, EmbeddingTable, SidTable, BundleChange> change, string verb)
    {
        SidBundle bundle = SidBundle.Open(run.Need(BundleOptions.Bundle));
        using OutputFolder output = CreateOutput(run);
        using EmbeddingTable table = TableOptions.Join(run, TableOptions.Open(run), bundle.Preprocessing);
        using IQuantizerEncoder encoder = BundleOptions.CreateEncoder(run, bundle.Quantizer, BundleOptions.BeamOf(run, bundle));
        (SidTable codes, _) = Assignment.Collect(run, table, encoder);
        BundleChange changed = change(bundle, table, codes);
        Write(run, output, changed);
        run.Results.Value(verb, table.Count);
        run.Results.Value("items", changed.Content.Items.Count);
        Settlement.Report(run.Results, changed.Content, changed.Settling);
    }

    /// <summary>Writes a changed bundle.</summary>
    public static void Write(CommandRun run, OutputFolder output, BundleChange changed)
    {
        run.Cancellation.ThrowIfCancellationRequested();
        SidBundle.Write(output, changed.Content);
        run.Results.Value("out", run.Get(Output) ?? run.Need(BundleOptions.Bundle));
    }
}
