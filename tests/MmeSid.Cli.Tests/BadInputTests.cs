using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using MmeSid.Engine;

namespace MmeSid.Cli.Tests;

/// <summary>
/// Every kind of bad input through the real executable: exit 1, one line that says what, where and what was expected, no output and
/// nothing half-written beside it.
/// </summary>
public sealed class BadInputTests(BadInputTests.Bundles bundles) : IClassFixture<BadInputTests.Bundles>, IDisposable
{
    private const string kRows = "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 3), }";

    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.PositiveInfinity, "infinity")]
    [InlineData(float.NegativeInfinity, "infinity")]
    public void ValuesThatAreNotFinite(float value, string shown)
    {
        string table = _scratch.Table("x.npy", 20, 3, (row, column) => (row, column) == (13, 2) ? value : row + column);
        TrainFails(table, "x.npy", "row 13", "column 2", shown, "expected a finite number");
        AssignFails(3, table, "x.npy", "row 13", "column 2");
    }

    [Fact]
    public void ValuesThatOverflowFloat32()
    {
        byte[] values = [.. Enumerable.Range(0, 60).SelectMany(i => BitConverter.GetBytes(i == 40 ? 1e300 : i))];
        string table = _scratch.Npy("x.npy", kRows.Replace("<f4", "<f8", StringComparison.Ordinal), values);
        TrainFails(table, "x.npy", "row 13", "column 1", "1E+300", "float32");
        AssignFails(3, table, "x.npy", "row 13", "column 1");
    }

    /// <summary>Their squares overflow float32, so errors are infinite; the codes are not.</summary>
    [Fact]
    public void ValuesWhoseSquaresOverflowFloat32()
    {
        var random = new RandomSource(5);
        string table = _scratch.Table("x.npy", 40, 3, (_, _) => (float)(random.NextGaussian() * 1e20));
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "5", "--out", _scratch["B"], "--json").Succeeded();
        Outcome assigned = Mmesid.Run("assign", "--bundle", _scratch["B"], "--embeddings", table, "--out", _scratch["c.npy"], "--json").Succeeded();
        Assert.Equal(40, (int)System.Text.Json.Nodes.JsonNode.Parse(assigned.Output)!["rows"]!);
    }

    [Fact]
    public void NoRowsToTrainOn() => TrainFails(_scratch.Table("x.npy", 0, 3), "x.npy", "no rows");

    [Fact]
    public void ZeroRowsUnderNormalize()
    {
        string table = _scratch.Table("x.npy", 20, 3, (row, column) => row == 7 ? 0 : row + column + 1);
        TrainWithFails(table, ["--normalize"], "x.npy", "row 7", "zero");
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "3", "--out", _scratch["allowed"]).Succeeded();
    }

    [Theory]
    [InlineData("vq")]
    [InlineData("pq")]
    [InlineData("opq")]
    [InlineData("rq-kmeans")]
    [InlineData("psrq")]
    public void FewerDifferentRowsThanCodes(string quantizer)
    {
        string table = _scratch.Table("x.npy", 20, 4, (row, column) => row % 3);
        Mmesid.Run("train", quantizer, "--embeddings", table, "--codes", "4", "--out", _scratch["B"]).FailedWith("x.npy", "3 different rows", "4");
        Assert.Equal(["x.npy"], _scratch.Names);
    }

    [Theory]
    [InlineData("1", "1", "2 to 65536")]
    [InlineData("0", "0", "2 to 65536")]
    [InlineData("65537", "65537", "2 to 65536")]
    [InlineData("4,1,4,4", "level 1", "2 to 65536")]
    [InlineData("4,4", "2 numbers of codes for 4 levels")]
    [InlineData("4,x", "'x' is no number")]
    public void NumbersOfCodesOutOfRange(string codes, params string[] fragments) =>
        TrainWithFails(_scratch.Table("x.npy", 20, 3), ["--codes", codes], fragments);

    [Theory]
    [InlineData("--levels", "0", "levels is 0")]
    [InlineData("--iterations", "0", "iterations is 0")]
    [InlineData("--beam", "0", "beam is 0")]
    [InlineData("--weights", "0", "weight")]
    [InlineData("--weights", "1,2", "2 weights for 1 tables")]
    [InlineData("--train-rows", "0", "training rows is 0")]
    [InlineData("--skip-rows", "21", "21", "20")]
    [InlineData("--checkpoint", "/nowhere/at/all", "/nowhere/at/all", "does not exist")]
    [InlineData("--skip-rows", "-1", "-1")]
    public void OptionsOutOfRange(string option, string value, params string[] fragments) =>
        TrainWithFails(_scratch.Table("x.npy", 20, 3), [option, value], fragments);

    /// <summary>An impossible settlement is refused before training, not after it.</summary>
    [Fact]
    public void MoreItemsThanSids() => TrainWithFails(_scratch.Table("x.npy", 20, 3), ["--levels", "2", "--codes", "4", "--collisions", "resettle"], "20 items", "4 × 4", "16");

    [Theory]
    [InlineData("--neighbours", "0")]
    [InlineData("--neighbours", "-1")]
    [InlineData("--clusters", "0")]
    [InlineData("--clusters", "-1")]
    public void MeasuresOutOfRange(string option, string value) =>
        Mmesid.Run("inspect", bundles.Of(3), "--embeddings", _scratch.Table("3.npy", 9, 3), option, value).FailedWith(option, value, "expected");

    [Fact]
    public void AppendWithoutIds() =>
        Mmesid.Run("append", "--bundle", bundles.Of(3), "--embeddings", _scratch.Table("3.npy", 9, 3), "--out", _scratch["C"]).FailedWith("3.npy", "row 0", "'1'", "name the rows with --items");

    [Fact]
    public void NoColumns() => TrainFails(_scratch.Npy("x.npy", kRows.Replace("(20, 3)", "(20, 0)", StringComparison.Ordinal), []), "x.npy", "dimension 0");

    [Fact]
    public void AnotherDimensionThanTheBundles() => AssignFails(5, _scratch.Table("x.npy", 20, 3), "x.npy", "3", "5");

    [Theory]
    [InlineData("'fortran_order': False", "'fortran_order': True", "Fortran")]
    [InlineData("'<f4'", "'>f4'", "big-endian")]
    [InlineData("'<f4'", "'|O'", "object")]
    [InlineData("'<f4'", "'<c8'", "<c8")]
    [InlineData("(20, 3)", "(20, 3, 1)", "(20, 3, 1)")]
    [InlineData("(20, 3)", "(60,)", "60")]
    [InlineData("(20, 3)", "(-20, 3)", "shape that is no tuple of sizes")]
    [InlineData("(20, 3)", "(99999999999999999999, 3)", "shape")]
    [InlineData("(20, 3)", "(4611686018427387904, 4)", "too large")]
    [InlineData("{'descr'", "['descr'", "lacks '{'")]
    public void ArraysOfOtherKinds(string was, string becomes, string fragment)
    {
        string table = _scratch.Npy("x.npy", kRows.Replace(was, becomes, StringComparison.Ordinal), new byte[240]);
        TrainFails(table, "x.npy", fragment);
        AssignFails(3, table, "x.npy", fragment);
    }

    [Theory]
    [InlineData(239)]
    [InlineData(0)]
    [InlineData(241)]
    [InlineData(480)]
    public void FilesOfAnotherLength(int bytes)
    {
        string table = _scratch.Npy("x.npy", kRows, new byte[bytes]);
        TrainFails(table, "x.npy", "bytes");
        AssignFails(3, table, "x.npy", "bytes");
    }

    [Fact]
    public void NoSuchFile()
    {
        TrainFails(_scratch["nowhere.npy"], "nowhere.npy");
        TrainFails(_scratch["nowhere-*.npy"], "nowhere-*.npy");
        Mmesid.Run("assign", "--bundle", _scratch["no-bundle"], "--embeddings", _scratch["x.npy"], "--out", _scratch["c.npy"]).FailedWith("no-bundle");
        Mmesid.Run("embed", "text", "--input", _scratch["no.tsv"], "--out", _scratch["t.npy"]).FailedWith("no.tsv");
        Mmesid.Run("embed", "interactions", "--input", _scratch["no.txt"], "--out", _scratch["t.npy"]).FailedWith("no.txt");
        Assert.Empty(_scratch.Names);
    }

    /// <summary>Random damage to head and body: the program refuses or succeeds, and never crashes or takes memory by a size it has not checked.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void DamagedHeaders(ulong seed)
    {
        var random = new RandomSource(seed);
        string good = _scratch.Table("good.npy", 20, 3);
        byte[] bytes = File.ReadAllBytes(good);
        for (int trial = 0; trial < 8; trial++)
        {
            byte[] damaged = [.. bytes];
            for (int hits = random.NextInt(3) + 1; hits > 0; hits--)
                damaged[random.NextInt(128)] = (byte)random.NextInt(256);
            if (random.NextInt(4) == 0)
                damaged = damaged[..random.NextInt(damaged.Length)];
            File.WriteAllBytes(_scratch["x.npy"], damaged);
            Outcome outcome = Mmesid.Run("train", "vq", "--embeddings", _scratch["x.npy"], "--codes", "4", "--out", _scratch["B"], "--force");
            if (outcome.ExitCode != 0)
                outcome.FailedWith("x.npy");
        }
    }

    /// <summary>Files of the other formats, cut off or with changed bytes: read as they are, or refused in one line that names them.</summary>
    [Theory]
    [InlineData("x.fvecs")]
    [InlineData("x.fbin")]
    [InlineData("x.safetensors")]
    [InlineData("x.csv")]
    public void DamagedFiles(string name)
    {
        byte[] whole = Content(name);
        File.WriteAllBytes(_scratch[name], whole);
        string[] train = ["train", "vq", "--embeddings", _scratch[name], "--codes", "4", "--out", _scratch["B"], "--force"];
        Mmesid.Run(train).Succeeded();
        var random = new RandomSource(11);
        for (int sample = 0; sample < 12; sample++)
        {
            byte[] damaged = [.. whole];
            // Half of the samples hit what says how large things are.
            for (int i = 0; i < 3; i++)
                damaged[random.NextInt(sample % 2 == 0 ? Math.Min(60, whole.Length) : whole.Length)] = (byte)random.NextInt(256);
            File.WriteAllBytes(_scratch[name], sample % 3 == 0 ? damaged[..random.NextInt(damaged.Length)] : damaged);
            Outcome outcome = Mmesid.Run(train);
            if (outcome.ExitCode != 0)
                outcome.FailedWith(name);
            Assert.DoesNotContain(_scratch.Names, left => left.StartsWith('.'));
        }

        static byte[] Content(string name)
        {
            var random = new RandomSource(3);
            float[] values = [.. Enumerable.Range(0, 60).Select(_ => (float)random.NextGaussian())];
            byte[] bytes = MemoryMarshal.AsBytes<float>(values).ToArray();
            switch (Path.GetExtension(name))
            {
                case ".fvecs":
                    return [.. bytes.Chunk(3 * sizeof(float)).SelectMany(row => (byte[])[3, 0, 0, 0, .. row])];
                case ".fbin":
                    return [20, 0, 0, 0, 3, 0, 0, 0, .. bytes];
                case ".safetensors":
                    string header = "{\"x\":{\"dtype\":\"F32\",\"shape\":[20,3],\"data_offsets\":[0,240]}}";
                    return [.. BitConverter.GetBytes((long)header.Length), .. Encoding.ASCII.GetBytes(header), .. bytes];
                default:
                    return Encoding.ASCII.GetBytes("item,a,b,c\n" + string.Concat(values.Chunk(3).Select((row, i) => FormattableString.Invariant($"i{i},{row[0]},{row[1]},{row[2]}\n"))));
            }
        }
    }

    [Fact]
    public void DuplicateItems()
    {
        TrainFails(_scratch.Text("x.csv", "item,a,b\n7,1,2\n8,2,3\n9,4,4\n7,3,4\n"), "x.csv", "7");
        string table = _scratch.Table("x.npy", 20, 3);
        string items = _scratch.Text("ids.txt", string.Join('\n', Enumerable.Range(0, 20).Select(i => i == 17 ? "item4" : $"item{i}")));
        TrainWithFails(table, ["--items", items], "ids.txt", "line 18", "'item4'", "line 5");
        string few = _scratch.Text("few.txt", "a\nb\n");
        TrainWithFails(table, ["--items", few], "2", "20");
    }

    [Fact]
    public void MissingColumns()
    {
        string items = _scratch.Text("items.tsv", "item_id\ttitle\n1\tred shoe\n2\tblue shoe\n");
        Mmesid.Run("embed", "text", "--input", items, "--columns", "title,colour", "--out", _scratch["t.npy"]).FailedWith("items.tsv", "colour", "title");
        string table = _scratch.Text("x.csv", "item,a,b\n1,2,3\n2,3,4\n");
        TrainWithFails(table, ["--id-column", "sku"], "x.csv", "sku");
        TrainFails(_scratch.Text("y.csv", "item,a,b\n1,2,3\n2,3\n"), "y.csv", "3");
        TrainFails(_scratch.Text("z.csv", "item,a,b\n1,2,3\n2,3,four\n"), "z.csv", "four");
    }

    [Fact]
    public void OutputThatExists()
    {
        string table = _scratch.Table("x.npy", 20, 3);
        string[] train = ["train", "vq", "--embeddings", table, "--codes", "3", "--out", _scratch["B"]];
        Mmesid.Run(train).Succeeded();
        byte[] before = File.ReadAllBytes(_scratch["B/manifest.json"]);
        Mmesid.Run([.. train, "--seed", "7"]).FailedWith("B", "exists", "--force");
        Assert.Equal(before, File.ReadAllBytes(_scratch["B/manifest.json"]));
        Mmesid.Run([.. train, "--seed", "7", "--force"]).Succeeded();
        string codes = _scratch.Text("codes.npy", "precious");
        string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--out", codes];
        Mmesid.Run(assign).FailedWith("codes.npy", "exists", "--force");
        Assert.Equal("precious", File.ReadAllText(codes));
        Mmesid.Run([.. assign, "--force"]).Succeeded();

        Directory.CreateDirectory(_scratch["diary"]);
        File.WriteAllText(_scratch["diary/today.txt"], "precious");
        Mmesid.Run("train", "vq", "--embeddings", table, "--codes", "3", "--out", _scratch["diary"], "--force").FailedWith("diary");
        Assert.True(File.Exists(_scratch["diary/today.txt"]));
        Mmesid.Run("assign", "--bundle", _scratch["B"], "--embeddings", table, "--out", _scratch["nowhere/codes.npy"]).FailedWith("nowhere");
    }

    [Fact]
    public void FullDisk()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "there is no /dev/full on this system");
        Mmesid.Run("synth", "--items", "5000", "--dimension", "64", "--out", "/dev/full").FailedWith("/dev/full", "space");
        string table = _scratch.Table("x.npy", 20000, 3);
        Mmesid.Run("train", "vq", "--embeddings", table, "--codes", "3", "--out", _scratch["B"]).Succeeded();
        Mmesid.Run("assign", "--bundle", _scratch["B"], "--embeddings", table, "--out", "/dev/full").FailedWith("/dev/full", "space");
    }

    [Fact]
    public void FullDiskLeavesNoFile()
    {
        string small = _scratch["small"];
        Directory.CreateDirectory(small);
        Assert.SkipUnless(OperatingSystem.IsLinux() && Mount("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small), "mounting a small tmpfs needs Linux and root");
        try
        {
            Mmesid.Run("synth", "--items", "5000", "--dimension", "64", "--out", Path.Combine(small, "x.npy")).FailedWith("x.npy", "space");
            Assert.Empty(Directory.EnumerateFileSystemEntries(small));
            Mmesid.Run("synth", "--modalities", "--items", "5000", "--out", Path.Combine(small, "shop")).FailedWith("space");
            Assert.Empty(Directory.EnumerateFileSystemEntries(small));

            string wide = _scratch.Table("wide.npy", 300, 400), more = _scratch.Table("more.npy", 20000, 4), text = _scratch.Text("t.tsv",
                "item_id\ttitle\n" + string.Concat(Enumerable.Range(0, 800).Select(i => $"{i}\tword{i % 97} word{i % 89} word{i % 83}\n")));
            string names = _scratch.Text("names.txt", string.Concat(Enumerable.Range(0, 20000).Select(i => $"new-{i}\n")));
            Mmesid.Run("train", "vq", "--embeddings", wide, "--codes", "256", "--out", Path.Combine(small, "B")).FailedWith(Path.Combine(small, "B/codebooks.safetensors"), "space");
            Assert.Empty(Directory.EnumerateFileSystemEntries(small));
            Mmesid.Run("embed", "text", "--input", text, "--dimension", "90", "--out", Path.Combine(small, "t.npy")).FailedWith(Path.Combine(small, "t.npy"), "space");
            Assert.Empty(Directory.EnumerateFileSystemEntries(small));
            Mmesid.Run("train", "vq", "--embeddings", _scratch.Table("x.npy", 50, 4), "--codes", "4", "--out", Path.Combine(small, "B")).Succeeded();
            Mmesid.Run("append", "--bundle", Path.Combine(small, "B"), "--embeddings", more, "--items", names).FailedWith(small, "space");
            Assert.Equal(["B"], Directory.EnumerateFileSystemEntries(small).Select(Path.GetFileName));
            Mmesid.Run("lookup", "--bundle", Path.Combine(small, "B"), "--item", "50").Succeeded();
        }
        finally
        {
            Mount("umount", small);
        }
    }

    [Fact]
    public void FolderWithoutPermission()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "/proc, where nobody may write, is Linux's");
        Mmesid.Run("synth", "--items", "5", "--dimension", "6", "--out", "/proc/x.npy").FailedWith("/proc/x.npy", "permission");
        Mmesid.Run("train", "vq", "--embeddings", _scratch.Table("x.npy", 9, 2), "--codes", "3", "--out", "/proc/B").FailedWith("/proc/B", "permission");
    }

    [Fact]
    public void FolderThatTheUserMayNotEnter()
    {
        Assert.SkipWhen(Environment.IsPrivilegedProcess, "root may write everywhere");
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has other permissions");
        Directory.CreateDirectory(_scratch["locked"]);
        SetMode(UnixFileMode.UserRead);
        Mmesid.Run("synth", "--items", "5", "--dimension", "6", "--out", _scratch["locked/x.npy"]).FailedWith("locked", "permission");
        SetMode(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

        void SetMode(UnixFileMode mode)
        {
            if (!OperatingSystem.IsWindows())
                File.SetUnixFileMode(_scratch["locked"], mode);
        }
    }

    [Theory]
    [InlineData("codes.npy")]
    [InlineData("sids.npy")]
    [InlineData("items.txt")]
    [InlineData("codebooks.safetensors")]
    [InlineData("manifest.json")]
    public void AlteredBundle(string file)
    {
        PipelineTests.Train(_scratch);
        byte[] bytes = File.ReadAllBytes(_scratch[$"B/{file}"]);
        // The manifest ends with its own hash, a quote and a brace.
        bytes[file == "manifest.json" ? ^6 : ^2] ^= 1;
        File.WriteAllBytes(_scratch[$"B/{file}"], bytes);
        Mmesid.Run("assign", "--bundle", _scratch["B"], "--embeddings", _scratch["x.npy"], "--out", _scratch["c.npy"]).FailedWith(file, "altered");
        Mmesid.Run("lookup", "--bundle", _scratch["B"], "--item", "1").FailedWith(file, "altered");
        Assert.Equal(["B", "x.npy"], _scratch.Names);
    }

    private Outcome TrainFails(string table, params string[] fragments) => TrainWithFails(table, [], fragments);

    private Outcome TrainWithFails(string table, string[] options, params string[] fragments)
    {
        string[] codes = options.Contains("--codes") ? [] : ["--codes", "3"];
        Outcome outcome = Mmesid.Run(["train", "rq-kmeans", "--embeddings", table, .. codes, .. options, "--out", _scratch["B"]]).FailedWith(fragments);
        Assert.DoesNotContain(_scratch.Names, name => name.StartsWith('.') || name == "B");
        return outcome;
    }

    private void AssignFails(int dimension, string table, params string[] fragments)
    {
        Mmesid.Run("assign", "--bundle", bundles.Of(dimension), "--embeddings", table, "--out", _scratch["codes.npy"]).FailedWith(fragments);
        Assert.DoesNotContain(_scratch.Names, name => name.StartsWith('.') || name == "codes.npy");
    }

    private static bool Mount(string command, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    /// <summary>Good bundles that bad tables are assigned with, made once.</summary>
    public sealed class Bundles : IDisposable
    {
        private readonly ScratchFolder _scratch = new();

        public Bundles()
        {
            foreach (int dimension in (int[])[3, 5])
                Mmesid.Run("train", "vq", "--embeddings", _scratch.Table($"{dimension}.npy", 9, dimension), "--codes", "3", "--out", Of(dimension)).Succeeded();
        }

        public string Of(int dimension) => _scratch[$"bundle-{dimension}"];

        public void Dispose() => _scratch.Dispose();
    }
}
