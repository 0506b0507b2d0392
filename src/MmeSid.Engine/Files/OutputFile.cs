using System.Security.Cryptography;
using System.Text.RegularExpressions;

namespace MmeSid.Engine.Files;

/// <summary>
/// An output file that appears whole or not at all: it is written under a temporary name in the same folder, flushed to the disk and
/// renamed by <see cref="Commit"/>. Disposing without a commit deletes the temporary file. A killed process leaves nothing under the final name.
/// A path directly in <c>/dev</c> is a device and is written in place.
/// </summary>
public sealed partial class OutputFile : IDisposable
{
    private readonly string? _temporary;
    private readonly bool _force;
    private bool _closed;

    private OutputFile(string path, string? temporary, bool force, FileStream stream)
    {
        Path = path;
        _temporary = temporary;
        _force = force;
        Stream = stream;
    }

    /// <summary>Final path.</summary>
    public string Path { get; }

    /// <summary>Where to write. Do not dispose it; <see cref="Commit"/> does.</summary>
    public FileStream Stream { get; }

    /// <summary>Opens the temporary file.</summary>
    /// <param name="path">Final path; its folder must exist.</param>
    /// <param name="force">Replace an existing file at commit.</param>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, is a folder, or its folder does not exist.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder cannot be written to.</exception>
    public static OutputFile Create(string path, bool force)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string target = TargetOf(path);
        string folder = System.IO.Path.GetDirectoryName(target) ?? throw new IOException($"{path}: is a folder, expected the name of a file");
        if (Directory.Exists(target))
            throw new IOException($"{path}: is a folder, expected the name of a file");
        if (!OperatingSystem.IsWindows() && folder == "/dev")
            return new OutputFile(target, temporary: null, force, new FileStream(target, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1 << 16));
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"{path}: folder {folder} does not exist");
        if (!force && File.Exists(target))
            throw new IOException($"{path}: exists; use --force to replace it");
        string temporary = TemporaryName(target);
        try
        {
            UnfinishedOutputs.Add(temporary);
            return new OutputFile(target, temporary, force, new FileStream(temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Read, 1 << 16));
        }
        catch (Exception problem) when (problem is UnauthorizedAccessException or FileNotFoundException)
        {
            // The system names the temporary file, which means nothing to the user; /proc says that a new file is not found.
            throw new UnauthorizedAccessException($"{path}: no file can be created in folder {folder}; expected a folder with write permission", problem);
        }
    }

    /// <summary>Refuses an input that committing would replace.</summary>
    /// <param name="input">A file that is read.</param>
    /// <exception cref="IOException">It is the final file.</exception>
    public void RequireOther(string input)
    {
        ArgumentException.ThrowIfNullOrEmpty(input);
        if (TargetOf(input) == Path)
            throw new IOException($"{input}: is read here and would be replaced: choose another file for the output");
    }

    /// <summary>Closes <see cref="Stream"/> for a library that writes files by name; <see cref="Commit"/> then only renames.</summary>
    /// <returns>The name to write to.</returns>
    public string HandOver()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        Stream.Dispose();
        return Stream.Name;
    }

    /// <summary>Flushes, closes and renames to the final name.</summary>
    /// <exception cref="IOException">The disk is full, or the final name has come into being meanwhile without force.</exception>
    public void Commit()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        if (Stream.CanWrite)
        {
            Stream.Flush(flushToDisk: _temporary is not null);
            Stream.Dispose();
        }
        if (_temporary is not null)
            File.Move(_temporary, Path, _force);
        UnfinishedOutputs.Remove(_temporary);
        _closed = true;
    }

    /// <summary>Without a commit: closes and deletes the temporary file.</summary>
    public void Dispose()
    {
        if (_closed)
            return;
        _closed = true;
        try
        {
            Stream.Dispose();
        }
        catch (IOException)
        {
            // The rest of the buffer did not fit on a full disk; the file is given up anyway and the first error is already on its way.
        }
        if (_temporary is not null)
            File.Delete(_temporary);
        UnfinishedOutputs.Remove(_temporary);
    }

    /// <summary>A message of the system with final names in place of the temporary ones, which mean nothing to who reads it.</summary>
    public static string WithFinalNames(string message) => Temporary().Replace(message, "$1");

    // A link is followed and stays.
    private static string TargetOf(string path)
    {
        string target = System.IO.Path.GetFullPath(path);
        return new FileInfo(target).LinkTarget is not null && File.ResolveLinkTarget(target, returnFinalTarget: true) is { } link ? link.FullName : target;
    }

    [GeneratedRegex(@"(?<=[/\\])\.([^/\\]+)\.[0-9a-f]{12}\.tmp")]
    private static partial Regex Temporary();

    /// <summary>A name that nobody else uses, in the same folder, hidden on Unix.</summary>
    internal static string TemporaryName(string target)
    {
        string folder = System.IO.Path.GetDirectoryName(target)!;
        return System.IO.Path.Combine(folder, $".{System.IO.Path.GetFileName(target)}.{RandomNumberGenerator.GetHexString(12, lowercase: true)}.tmp");
    }
}
