namespace MmeSid.Engine.Tests;

/// <summary>Real data beside the repository, or where MMESID_DATA says. Tests that want them are skipped where they are absent.</summary>
public static class SharedData
{
    /// <summary>Path of a file, after skipping the running test when it is not there.</summary>
    public static string Require(string relativePath)
    {
        string? root = Environment.GetEnvironmentVariable("MMESID_DATA");
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); root is null && folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "MmeSid.Engine.sln")))
                root = Path.GetFullPath(Path.Combine(folder.FullName, "..", "shared", "data"));
        }
        string path = Path.Combine(root ?? "shared/data", relativePath);
        Assert.SkipUnless(File.Exists(path), $"real data are not here: shared/data/{relativePath} beside the repository, or MMESID_DATA");
        return path;
    }
}
