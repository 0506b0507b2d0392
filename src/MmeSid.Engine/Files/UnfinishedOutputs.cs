namespace MmeSid.Engine.Files;

/// <summary>
/// Temporary files and folders that are still being written. A process that ends in an orderly way without finishing them (a second Ctrl-C, an
/// exit from another thread) deletes them on its way out; a killed one cannot.
/// </summary>
internal static class UnfinishedOutputs
{
    private static readonly HashSet<string> s_paths = new(StringComparer.Ordinal);

    static UnfinishedOutputs() => AppDomain.CurrentDomain.ProcessExit += (_, _) => DeleteAll();

    public static void Add(string path)
    {
        lock (s_paths)
            s_paths.Add(path);
    }

    /// <summary>It is finished or given up; null is nothing.</summary>
    public static void Remove(string? path)
    {
        lock (s_paths)
            s_paths.Remove(path ?? "");
    }

    private static void DeleteAll()
    {
        lock (s_paths)
        {
            foreach (string path in s_paths)
            {
                try
                {
                    if (Directory.Exists(path))
                        Directory.Delete(path, recursive: true);
                    else
                        File.Delete(path);
                }
                catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
                {
                    // The process is ending: what cannot be deleted keeps its temporary name.
                }
            }
        }
    }
}
