using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>The bundles of several modalities, as <c>--bundle name=folder</c> or, for all of them, <c>--bundle folder-of-bundles</c> names them.</summary>
internal static class ModalityBundles
{
    /// <summary>Opens the bundles.</summary>
    /// <param name="option">For messages.</param>
    /// <param name="texts">Values of the option.</param>
    /// <param name="modalities">Names that there are.</param>
    /// <returns>For each modality its bundle, or null where none is given.</returns>
    /// <exception cref="ArgumentException">A bundle is of a modality that has no table, or a folder of bundles lacks a modality.</exception>
    /// <exception cref="InvalidDataException">A folder is no bundle.</exception>
    public static IReadOnlyList<SidBundle?> Open(string option, IReadOnlyList<string> texts, IReadOnlyList<string> modalities)
    {
        NamedFile[] named = texts is [var folder] && Directory.Exists(folder) ? InFolder(option, folder, modalities) : NamedFile.ParseModalities(option, texts);
        if (named.FirstOrDefault(bundle => !modalities.Contains(bundle.Name)) is { Name: not null } other)
            throw new ArgumentException($"{option} is of '{other.Name}', which has no --table; the tables are of {string.Join(", ", modalities)}");
        return [.. modalities.Select(modality => named.FirstOrDefault(bundle => bundle.Name == modality) is { Name: not null } found ? SidBundle.Open(found.File) : null)];
    }

    private static NamedFile[] InFolder(string option, string folder, IReadOnlyList<string> modalities)
    {
        if (SidBundle.IsBundle(folder))
            throw new ArgumentException($"{option} {folder} is a bundle without the name of its modality, expected such as {option} {modalities[0]}={folder}");
        IReadOnlyList<(string Name, string Folder)> bundles = SidBundle.List(folder);
        if (modalities.FirstOrDefault(modality => bundles.All(bundle => bundle.Name != modality)) is { } missing)
            throw new ArgumentException($"{folder}: has no bundle '{missing}', it holds {string.Join(", ", bundles.Select(bundle => bundle.Name))}");
        return [.. bundles.Where(bundle => modalities.Contains(bundle.Name)).Select(bundle => new NamedFile(bundle.Name, bundle.Folder))];
    }
}
