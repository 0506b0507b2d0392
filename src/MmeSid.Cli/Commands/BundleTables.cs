using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>The tables of a command line and the bundles they are for, as <c>--embeddings</c> or <c>--table name=file</c> says.</summary>
/// <param name="Files">All that were given, in order.</param>
/// <param name="Places">For each bundle that has some, its folder and their places among <paramref name="Files"/>.</param>
internal sealed record BundleTables(IReadOnlyList<string> Files, IReadOnlyList<(string Folder, IReadOnlyList<int> Places)> Places)
{
    /// <summary>Reads <c>--bundle</c> with <see cref="TableOptions.NewRows"/> or <see cref="TableOptions.Table"/>, which must speak of one bundle.</summary>
    /// <exception cref="ArgumentException">Both are given, or the tables are for several bundles.</exception>
    public static BundleTables OfOne(CommandRun run)
    {
        string folder = run.Need(BundleOptions.Bundle);
        string[] files = run.Get(TableOptions.NewRows) ?? [], named = run.Get(TableOptions.Table) ?? [];
        RequireOneKind(files, named);
        if (named.Length == 0)
            return new BundleTables(files, [(folder, [.. Enumerable.Range(0, files.Length)])]);
        BundleTables tables = Named(folder, named);
        return tables.Places.Count == 1 ? tables
            : throw new ArgumentException($"{TableOptions.Table.Name} names {tables.Places.Count} bundles ({string.Join(", ", tables.Places.Select(entry => Path.GetFileName(entry.Folder)))}), expected one at a time");
    }

    /// <summary>Reads values of <see cref="TableOptions.Table"/>.</summary>
    /// <param name="folder">A folder of bundles, or a bundle, which then is called by the name of its folder.</param>
    /// <param name="named">Texts <c>name=file</c>.</param>
    /// <exception cref="ArgumentException">A text is not <c>name=file</c>, or the folder has no bundle of that name (the message lists those it has).</exception>
    public static BundleTables Named(string folder, IReadOnlyList<string> named)
    {
        NamedFile[] tables = [.. named.Select(text => NamedFile.Parse(TableOptions.Table.Name, text))];
        bool single = SidBundle.IsBundle(folder);
        IReadOnlyList<(string Name, string Folder)> bundles = single ? [(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))), folder)] : SidBundle.List(folder);
        foreach (string name in tables.Select(table => table.Name))
        {
            if (bundles.All(bundle => bundle.Name != name))
            {
                throw new ArgumentException(single
                    ? $"{folder}: is a bundle itself, {TableOptions.Table.Name} can only call it '{bundles[0].Name}', got '{name}'; {TableOptions.NewRows.Name} takes its tables without a name"
                    : $"{folder}: has no bundle '{name}', it holds {string.Join(", ", bundles.Select(bundle => bundle.Name))}");
            }
        }
        return new BundleTables([.. tables.Select(table => table.File)], [.. bundles.Where(bundle => tables.Any(table => table.Name == bundle.Name)).Select(bundle =>
            (bundle.Folder, (IReadOnlyList<int>)[.. Enumerable.Range(0, tables.Length).Where(place => tables[place].Name == bundle.Name)]))]);
    }

    /// <exception cref="ArgumentException">Tables are given with and without names.</exception>
    public static void RequireOneKind(IReadOnlyList<string> files, IReadOnlyList<string> named)
    {
        if (files.Count > 0 && named.Count > 0)
            throw new ArgumentException($"{TableOptions.NewRows.Name} and {TableOptions.Table.Name} are both given, expected one of them");
    }

    /// <summary>Folder of the one bundle that tables are for.</summary>
    public string Folder => Places[0].Folder;

    /// <summary>Opens the tables of a bundle; on failure none stays open.</summary>
    /// <param name="run">The options.</param>
    /// <param name="folder">The bundle's folder; one of <see cref="Places"/>.</param>
    public IReadOnlyList<EmbeddingTable> Open(CommandRun run, string folder) => TableOptions.Open(run, Files, Places.First(entry => entry.Folder == folder).Places);

    /// <summary>Opens the tables of the one bundle and joins them as it asks for.</summary>
    public EmbeddingTable Join(CommandRun run, SidBundle bundle) => TableOptions.Join(run, Open(run, Folder), bundle.Preprocessing);
}
