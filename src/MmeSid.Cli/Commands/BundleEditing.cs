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
    // How systems say that somebody else has a file open: EAGAIN of Linux, of macOS, ERROR_SHARING_VIOLATION of Windows.
    private const int kWouldBlock = 11, kWouldBlockMac = 35, kSharingViolation = unchecked((int)0x80070020);

    public static readonly Option<string?> Output = new("--out", "-o")
    {
        Description = "Where the changed bundle goes. It appears whole or not at all. [default: in place of the old one]",
        HelpName = "folder",
    };

    /// <summary><c>append</c> and <c>update</c>: encodes the rows of the tables named on the command line and changes the bundle with them.</summary>
    public static Command CreateByRows(
        string name, string description, Func<SidBundle, EmbeddingTable, SidTable, EmbeddingTable?, int, CancellationToken, BundleChange> change, string counted)
    {
        var command = new Command(name, description) { BundleOptions.Bundle, Output, OutputOptions.Force, BundleOptions.Beam };
        TableOptions.AddReadingForBundle(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Change(run, BundleTables.OfOne(run), change, counted)));
        return command;
    }

    private static void Change(CommandRun run, BundleTables tables, Func<SidBundle, EmbeddingTable, SidTable, EmbeddingTable?, int, CancellationToken, BundleChange> change, string counted)
        => Change(run, tables.Folder, bundle =>
        {
            using EmbeddingTable table = tables.Join(run, bundle);
            using IQuantizerEncoder encoder = BundleOptions.CreateEncoder(run, bundle);
            using EmbeddingTable? encoded = BundleOptions.EncodeRows(run, table, encoder);
            (SidTable codes, _) = Assignment.Collect(run, encoded ?? table, BundleOptions.SearchOf(encoder));
            BundleChange changed = change(bundle, table, codes, encoded, GlobalOptions.ThreadCount(run.Parsed), run.Cancellation);
            run.Results.Value(counted, table.Count);
            run.Results.Value("items", changed.Content.Items.Count);
            Settlement.Report(run.Results, changed.Content, changed.Settling);
            return changed;
        });

    /// <summary>
    /// Opens the bundle and, before any work, the output: a new folder, or the bundle's own, which no other program of ours changes meanwhile.
    /// Writes the changed bundle.
    /// </summary>
    /// <exception cref="IOException">Another program changes the bundle right now, or replaced it meanwhile.</exception>
    public static void Change(CommandRun run, string folder, Func<SidBundle, BundleChange> change)
    {
        string target = run.Get(Output) ?? folder;
        bool inPlace = FullPath(target) == FullPath(folder);
        // Opened under the lock: what another program added a moment ago is in it.
        using FileStream? own = inPlace && Directory.Exists(folder) ? Lock(folder) : null;
        SidBundle bundle = SidBundle.Open(folder);
        using OutputFolder output = OutputFolder.Create(target, run.Force || run.Get(Output) is null, SidBundle.ManifestName);
        BundleChange changed = change(bundle);
        run.Cancellation.ThrowIfCancellationRequested();
        // 'train --force' takes no lock, and what it has put here is not undone.
        if (inPlace && SidBundle.FingerprintOf(folder) != bundle.Fingerprint)
            throw new IOException($"{folder}: another program replaced this bundle meanwhile; run this again");
        SidBundle.Write(output, changed.Content);
        run.Results.Value("out", target);
    }

    /// <summary>A file beside the bundle that one program at a time has open. A killed program leaves it, unlocked.</summary>
    private static FileStream Lock(string folder)
    {
        try
        {
            return new FileStream(FullPath(folder) + ".lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (IOException problem) when (problem.HResult is kWouldBlock or kWouldBlockMac or kSharingViolation)
        {
            throw new IOException($"{folder}: another program is changing this bundle; run this again when it is done", problem);
        }
    }

    private static string FullPath(string folder) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
}
