using System.Text.Json.Nodes;

namespace MmeSid.Cli.Tests;

/// <summary>The program with the backend <c>cuda</c>, on the driver that runs kernels without a GPU.</summary>
public sealed class CudaCommandTests : IDisposable
{
    private const string kVariable = "MMESID_LIBCUDA";

    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void AssignGivesTheCodesOfSimd()
    {
        string driver = SoftCuda();
        string table = _scratch.Table("x.npy", 300, 40);
        foreach (string quantizer in (string[])["rq-kmeans", "psrq", "pq"])
        {
            Mmesid.Run("train", quantizer, "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force").Succeeded();
            string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--force", "--json", "--out"];
            Mmesid.Run([.. assign, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
            Mmesid.RunWith(kVariable, driver, [.. assign, _scratch["cuda.npy"], "--backend", "cuda"]).Succeeded();
            Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["cuda.npy"]));
        }
    }

    [Fact]
    public void AssignTakesValuesOf16Bits()
    {
        string driver = SoftCuda();
        var random = new MmeSid.Engine.RandomSource(5);
        byte[] values = [.. Enumerable.Range(0, 300 * 24).SelectMany(_ => BitConverter.GetBytes((Half)random.NextGaussian()))];
        string table = _scratch.Npy("h.npy", "{'descr': '<f2', 'fortran_order': False, 'shape': (300, 24), }", values);
        foreach (string[] train in (string[][])[["rq-kmeans"], ["psrq", "--normalize"], ["pq"]])
        {
            Mmesid.Run(["train", .. train, "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force"]).Succeeded();
            string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--force", "--json", "--out"];
            Mmesid.Run([.. assign, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
            Mmesid.RunWith(kVariable, driver, [.. assign, _scratch["cuda.npy"], "--backend", "cuda"]).Succeeded();
            Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["cuda.npy"]));
        }
        values[2 * (24 * 7 + 3) + 1] = 0x7C;
        values[2 * (24 * 7 + 3)] = 0;
        string bad = _scratch.Npy("bad.npy", "{'descr': '<f2', 'fortran_order': False, 'shape': (300, 24), }", values);
        Mmesid.RunWith(kVariable, driver, "assign", "--bundle", _scratch["B"], "--embeddings", bad, "--out", _scratch["c.npy"], "--backend", "cuda").FailedWith("bad.npy: row 7, column 3 is infinity");
    }

    [Fact]
    public void SeveralGpusShareTheRowsAndOneCanBeNamed()
    {
        var two = new Dictionary<string, string> { [kVariable] = SoftCuda(), ["SOFTCUDA_DEVICES"] = "2" };
        JsonNode json = JsonNode.Parse(Mmesid.RunWith(two, "devices", "--backend", "cuda:1", "--json").Succeeded().Output)!;
        Assert.Equal(["cuda:0 no", "cuda:1 yes", "simd no", "scalar no"], json["backends"]!.AsArray().Select(backend => $"{backend!["backend"]} {backend["chosen"]}"));
        Assert.NotNull(json["gpu_1"]);
        Mmesid.RunWith(two, "devices", "--backend", "cuda:2").FailedWith("there is no GPU 2, the driver finds 2");

        string table = _scratch.Table("x.npy", 2500, 8);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--levels", "2", "--codes", "16", "--out", _scratch["B"]).Succeeded();
        string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--out"];
        Mmesid.Run([.. assign, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
        foreach (string backend in (string[])["cuda", "cuda:1"])
        {
            Mmesid.RunWith(two, [.. assign, _scratch["cuda.npy"], "--backend", backend, "--force"]).Succeeded();
            Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["cuda.npy"]));
        }
    }

    [Fact]
    public void AssignFromAShadowGivesTheSameCodes()
    {
        string driver = SoftCuda();
        string table = _scratch.Table("x.npy", 600, 24), half = _scratch["half.npy"];
        Mmesid.Run("shadow", "--embeddings", table, "--out", half).Succeeded();
        foreach ((string[] train, bool fits) in new (string[], bool)[] { (["psrq"], true), (["pq"], true), (["rq-kmeans", "--normalize"], false) })
        {
            Mmesid.Run(["train", .. train, "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force"]).Succeeded();
            string[] assign = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--force", "--out"];
            Mmesid.Run([.. assign, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
            Outcome shadowed = Mmesid.RunWith(kVariable, driver, [.. assign, _scratch["cuda.npy"], "--shadow", half, "--backend", "cuda"]);
            if (!fits)
            {
                shadowed.FailedWith("--shadow needs a bundle that takes the rows of one table as they are");
                continue;
            }
            shadowed.Succeeded();
            Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["cuda.npy"]));
        }
        // int8 is for simd: here the table is read, with a line that says so.
        string bytes = _scratch["bytes.npy"];
        Mmesid.Run("shadow", "--embeddings", table, "--format", "int8", "--out", bytes).Succeeded();
        Mmesid.Run("train", "psrq", "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force").Succeeded();
        string[] both = ["assign", "--bundle", _scratch["B"], "--embeddings", table, "--force", "--out"];
        Mmesid.Run([.. both, _scratch["simd.npy"], "--backend", "simd"]).Succeeded();
        Mmesid.RunWith(kVariable, driver, [.. both, _scratch["cuda.npy"], "--shadow", bytes, "--backend", "cuda"]).Succeeded();
        Assert.Equal(File.ReadAllBytes(_scratch["simd.npy"]), File.ReadAllBytes(_scratch["cuda.npy"]));
        Mmesid.Run("train", "vq", "--embeddings", table, "--codes", "16", "--out", _scratch["B"], "--force").Succeeded();
        _scratch.Table("x.npy", 600, 24, seed: 2);
        Mmesid.RunWith(kVariable, driver, "assign", "--bundle", _scratch["B"], "--embeddings", table, "--shadow", half, "--out", _scratch["c.npy"], "--backend", "cuda")
            .FailedWith("half.npy: is no shadow of these rows", "x.npy has changed since", "make it again with 'mmesid shadow'");
    }

    [Fact]
    public void TrainingGivesTheSameBundle()
    {
        string driver = SoftCuda();
        string table = _scratch.Table("x.npy", 200, 12);
        string[] train = ["train", "rq-kmeans", "--embeddings", table, "--levels", "2", "--codes", "8", "--iterations", "4", "--out"];
        Mmesid.Run([.. train, _scratch["simd"], "--backend", "simd"]).Succeeded();
        Mmesid.RunWith(kVariable, driver, [.. train, _scratch["cuda"], "--backend", "cuda"]).Succeeded();
        foreach (string file in (string[])["codebooks.safetensors", "codes.npy"])
            Assert.Equal(File.ReadAllBytes(_scratch["simd/" + file]), File.ReadAllBytes(_scratch["cuda/" + file]));
    }

    [Fact]
    public void DevicesShowsTheGpu()
    {
        JsonNode json = JsonNode.Parse(Mmesid.RunWith(kVariable, SoftCuda(), "devices", "--backend", "cuda", "--json").Succeeded().Output)!;
        Assert.Contains("softcuda", json.ToJsonString(), StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void AMissingDriverIsSaidInOneLine() =>
        Mmesid.RunWith(kVariable, _scratch["none.so"], "devices", "--backend", "cuda").FailedWith("cuda: no NVIDIA driver", "none.so");

    [Fact]
    public void AutoNeverTakesADriverForTests()
    {
        JsonNode json = JsonNode.Parse(Mmesid.RunWith(kVariable, SoftCuda(), "devices", "--json").Succeeded().Output)!;
        Assert.Equal("simd", json["backends"]!.AsArray().Single(backend => (string)backend!["chosen"]! == "yes")!["backend"]!.ToString());
    }

    private static string SoftCuda()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string library = Path.Combine(folder.FullName, "artifacts", "softcuda", "libcuda.so.1");
            if (File.Exists(Path.Combine(folder.FullName, "MmeSid.Engine.sln")) && File.Exists(library))
                return library;
        }
        Assert.Skip("softcuda is not built: the target Kernels builds it where cmake and g++ are");
        return "";
    }
}
