namespace MmeSid.Engine.Tests.Evaluation;

/// <summary>Real data beside the repository (<c>../shared/data</c>, or the folder that MMESID_DATA names), which not every machine has.</summary>
internal static class RealData
{
    /// <summary>Path of a data file; skips the test where it is absent.</summary>
    public static string Require(string name)
    {
        string path = Path.Combine(Folder(), name);
        Assert.SkipUnless(File.Exists(path) || Directory.Exists(path), $"needs {name} of the shared data, which is not on this machine");
        return path;
    }

    private static string Folder()
    {
        if (Environment.GetEnvironmentVariable("MMESID_DATA") is { Length: > 0 } folder)
            return folder;
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "MmeSid.Engine.sln")))
                return Path.Combine(at.FullName, "..", "shared", "data");
        }
        return Path.Combine("..", "shared", "data");
    }
}
