using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests.Files;

public sealed class OutputTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string[] Names() => [.. Directory.GetFileSystemEntries(_folder.Path).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal)];

    [Fact]
    public void A_file_appears_at_commit_and_not_before()
    {
        using (OutputFile output = OutputFile.Create(_folder["x"], force: false))
        {
            output.Stream.Write("new"u8);
            Assert.False(File.Exists(_folder["x"]));
            output.Commit();
        }
        Assert.Equal("new", File.ReadAllText(_folder["x"]));
        Assert.Equal(["x"], Names());
    }

    [Fact]
    public void Without_commit_nothing_stays_and_the_old_file_is_untouched()
    {
        _folder.Write("x", "old");
        using (OutputFile output = OutputFile.Create(_folder["x"], force: true))
            output.Stream.Write("new"u8);
        Assert.Equal("old", File.ReadAllText(_folder["x"]));
        Assert.Equal(["x"], Names());
        Assert.Equal($"{_folder["x"]}: exists; use --force to replace it", Assert.Throws<IOException>(() => OutputFile.Create(_folder["x"], force: false)).Message);
        using (OutputFile output = OutputFile.Create(_folder["x"], force: true))
            output.Commit();
        Assert.Equal("", File.ReadAllText(_folder["x"]));
    }

    [Fact]
    public void A_name_that_came_into_being_meanwhile_is_not_replaced_without_force()
    {
        using OutputFile output = OutputFile.Create(_folder["x"], force: false);
        _folder.Write("x", "someone else's");
        Assert.ThrowsAny<IOException>(output.Commit);
        output.Dispose();
        Assert.Equal("someone else's", File.ReadAllText(_folder["x"]));
        Assert.Equal(["x"], Names());
    }

    [Fact]
    public void Paths_that_cannot_be_written_are_refused_at_once()
    {
        Assert.Equal($"{_folder.Path}: is a folder, expected the name of a file", Assert.Throws<IOException>(() => OutputFile.Create(_folder.Path, force: true)).Message);
        Assert.Equal($"{_folder["no/x"]}: folder {_folder["no"]} does not exist", Assert.Throws<DirectoryNotFoundException>(() => OutputFile.Create(_folder["no/x"], force: false)).Message);
        Assert.Equal($"{_folder["no/x"]}: folder {_folder["no"]} does not exist", Assert.Throws<DirectoryNotFoundException>(() => OutputFolder.Create(_folder["no/x"], force: false)).Message);
    }

    [Fact]
    public void A_full_disk_is_an_error_and_leaves_nothing()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "no /dev/full here");
        using OutputFile output = OutputFile.Create("/dev/full", force: true);
        Assert.ThrowsAny<IOException>(() =>
        {
            for (int i = 0; i < 1000; i++)
                output.Stream.Write(new byte[1000]);
            output.Commit();
        });
        output.Dispose();
        Assert.True(File.Exists("/dev/full"));
    }

    [Fact]
    public void A_link_keeps_pointing_to_the_file_that_is_replaced()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links take a privilege on Windows");
        _folder.Write("target", "old");
        File.CreateSymbolicLink(_folder["link"], _folder["target"]);
        using (OutputFile output = OutputFile.Create(_folder["link"], force: true))
        {
            output.Stream.Write("new"u8);
            output.Commit();
        }
        Assert.Equal("new", File.ReadAllText(_folder["target"]));
        Assert.NotNull(new FileInfo(_folder["link"]).LinkTarget);
    }

    [Fact]
    public void A_folder_appears_whole_or_not_at_all()
    {
        using (OutputFolder output = OutputFolder.Create(_folder["b"], force: false))
            File.WriteAllText(Path.Combine(output.Path, "manifest.json"), "1");
        Assert.Empty(Names());
        using (OutputFolder output = OutputFolder.Create(_folder["b"] + "/", force: false))
        {
            File.WriteAllText(Path.Combine(output.Path, "manifest.json"), "2");
            Assert.False(Directory.Exists(_folder["b"]));
            output.Commit();
        }
        Assert.Equal($"{_folder["b"]}: exists; use --force to replace it", Assert.Throws<IOException>(() => OutputFolder.Create(_folder["b"], force: false)).Message);
        using (OutputFolder output = OutputFolder.Create(_folder["b"], force: true))
        {
            File.WriteAllText(Path.Combine(output.Path, "other"), "3");
            Assert.Equal("2", File.ReadAllText(_folder["b/manifest.json"]));
            output.Commit();
        }
        Assert.Equal(["b"], Names());
        Assert.Equal([_folder["b/other"]], Directory.GetFiles(_folder["b"]));
    }

    [Fact]
    public void A_link_keeps_pointing_to_the_folder_that_is_replaced()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links take a privilege on Windows");
        Directory.CreateDirectory(_folder["real"]);
        _folder.Write("real/manifest.json", "old");
        Directory.CreateSymbolicLink(_folder["link"], _folder["real"]);
        using (OutputFolder output = OutputFolder.Create(_folder["link"], force: true))
        {
            File.WriteAllText(Path.Combine(output.Path, "manifest.json"), "new");
            output.Commit();
        }
        Assert.Equal("new", File.ReadAllText(_folder["real/manifest.json"]));
        Assert.NotNull(new DirectoryInfo(_folder["link"]).LinkTarget);
    }

    [Fact]
    public void Force_does_not_replace_a_folder_that_is_not_ours()
    {
        Directory.CreateDirectory(_folder["home"]);
        OutputFolder.Create(_folder["home"], force: true).Dispose();
        _folder.Write("home/photo", "precious");
        Assert.Equal($"{_folder["home"]}: is a folder without manifest.json, so it is not one of ours and is not replaced", Assert.Throws<IOException>(() => OutputFolder.Create(_folder["home"], force: true)).Message);
        Assert.Equal($"{_folder["home/photo"]}: is a file, expected the name of a folder", Assert.Throws<IOException>(() => OutputFolder.Create(_folder["home/photo"], force: true)).Message);
    }
}
