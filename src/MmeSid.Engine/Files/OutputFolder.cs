namespace MmeSid.Engine.Files;

/// <summary>
/// An output folder that appears whole or not at all: files are written into a temporary folder beside it, which <see cref="Commit"/>
/// flushes and renames. Disposing without a commit deletes it.
/// </summary>
public sealed class OutputFolder : IDisposable
{
    private readonly bool _force;
    private bool _closed;

    private OutputFolder(string target, string temporary, bool force)
    {
        Target = target;
        Path = temporary;
        _force = force;
    }

    /// <summary>Final path of the folder; a link is followed and stays.</summary>
    public string Target { get; }

    /// <summary>The temporary folder: write the files here.</summary>
    public string Path { get; }

    /// <summary>Creates the temporary folder.</summary>
    /// <param name="path">Final path; the folder that holds it must exist.</param>
    /// <param name="force">Replace an existing folder at commit.</param>
    /// <param name="marker">With force, only a folder that is empty or holds this file is replaced: a wrong path must not delete someone's data.</param>
    /// <exception cref="IOException">The path exists without <paramref name="force"/> or is not such a folder; or the parent folder does not exist.</exception>
    /// <exception cref="UnauthorizedAccessException">The parent folder cannot be written to.</exception>
    public static OutputFolder Create(string path, bool force, string marker = "manifest.json")
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string target = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        if (new DirectoryInfo(target).LinkTarget is not null && Directory.ResolveLinkTarget(target, returnFinalTarget: true) is { } link)
            target = link.FullName;
        string parent = System.IO.Path.GetDirectoryName(target) ?? throw new IOException($"{path}: is the root folder, expected the name of a new folder");
        if (File.Exists(target))
            throw new IOException($"{path}: is a file, expected the name of a folder");
        if (Directory.Exists(target))
        {
            if (!force)
                throw new IOException($"{path}: exists; use --force to replace it");
            if (!File.Exists(System.IO.Path.Combine(target, marker)) && Directory.EnumerateFileSystemEntries(target).Any())
                throw new IOException($"{path}: is a folder without {marker}, so it is not one of ours and is not replaced");
        }
        if (!Directory.Exists(parent))
            throw new DirectoryNotFoundException($"{path}: folder {parent} does not exist");
        string temporary = OutputFile.TemporaryName(target);
        try
        {
            UnfinishedOutputs.Add(temporary);
            Directory.CreateDirectory(temporary);
        }
        catch (Exception problem) when (problem is UnauthorizedAccessException or FileNotFoundException or DirectoryNotFoundException)
        {
            throw new UnauthorizedAccessException($"{path}: no folder can be created in folder {parent}; expected a folder with write permission", problem);
        }
        return new OutputFolder(target, temporary, force);
    }

    /// <summary>Refuses an input that committing would delete with the folder that is replaced.</summary>
    /// <param name="input">A file or folder that what is written refers to.</param>
    /// <exception cref="IOException">It lies in the final folder.</exception>
    public void RequireOutside(string input)
    {
        ArgumentException.ThrowIfNullOrEmpty(input);
        string path = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(input));
        if (path == Target || path.StartsWith(Target + System.IO.Path.DirectorySeparatorChar, StringComparison.Ordinal))
            throw new IOException($"{input}: lies in {Target}, which would be replaced: choose another folder for the output");
    }

    /// <summary>
    /// Flushes every file and renames the folder to its final name. An existing folder changes places with it in one step where the system
    /// can (Linux), else it is moved aside first; then it is deleted.
    /// </summary>
    /// <exception cref="IOException">The disk is full, or the final name has come into being meanwhile without force.</exception>
    public void Commit()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        foreach (string file in Directory.EnumerateFiles(Path, "*", SearchOption.AllDirectories))
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, FileAccess.Write);
            RandomAccess.FlushToDisk(handle);
        }
        if (_force && Directory.Exists(Target))
        {
            if (FolderExchange.TryExchange(Path, Target))
            {
                Close();
                DeleteReplaced(Path);
                return;
            }
            string old = OutputFile.TemporaryName(Target);
            Directory.Move(Target, old);
            try
            {
                Directory.Move(Path, Target);
            }
            catch (IOException)
            {
                Directory.Move(old, Target);
                throw;
            }
            Close();
            DeleteReplaced(old);
        }
        else
        {
            Directory.Move(Path, Target);
            Close();
        }
    }

    private void Close()
    {
        _closed = true;
        UnfinishedOutputs.Remove(Path);
    }

    private static void DeleteReplaced(string old)
    {
        try
        {
            Directory.Delete(old, recursive: true);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            // The new folder is in place, and that is what was asked for; what cannot be deleted keeps its temporary name.
        }
    }

    /// <summary>Without a commit: deletes the temporary folder.</summary>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        Directory.Delete(Path, recursive: true);
        UnfinishedOutputs.Remove(Path);
    }
}
