using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Generation;

public sealed class TrainedFolderTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    private ModelFolder SidFolder(
        string kind = "sid-lm", string codes = "3,4", ushort[]? sids = null, int levels = 2, string length = "9", long embeddings = 8, long head = 7, int headDimension = 6, string headName = "sid.head",
        Action<Dictionary<string, string>>? options = null, string? file = null)
    {
        var texts = new Dictionary<string, string> { ["codes"] = codes, ["length"] = length, ["prefix"] = "hi" };
        options?.Invoke(texts);
        return ModelFolder.Open(TrainedFolders.Write(_scratch["M"], kind, ItemIds.FromStrings(["x", "y", "z"]), texts,
            [TrainedFolders.Gaussian("sid.embeddings", 1, embeddings, 6), TrainedFolders.Gaussian(headName, 2, head, headDimension)],
            new SidTable(levels, sids ?? [0, 3, 2, 0, 1, 1]), file is null ? null : new Dictionary<string, string> { ["base.gguf"] = file }));
    }

    [Fact]
    public void A_SID_language_model_comes_back_from_its_folder()
    {
        ModelFolder folder = SidFolder();
        using SidLanguageModel model = SidLanguageModel.Open(folder);
        Assert.Equal(["x", "y", "z"], model.Items);
        Assert.Equal((2, 6, 9, "hi"), (model.Levels, model.Dimension, model.Length, model.Prefix));
        Assert.Equal((3, 4), (model.Codes(0), model.Codes(1)));
        using SafetensorsFile file = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        float[] embeddings = file.Read<float>("sid.embeddings"), head = file.Read<float>("sid.head");
        Assert.Equal(embeddings[^6..], model.BeginVector.ToArray());
        Assert.Equal(embeddings[(5 * 6)..(6 * 6)], model.CodeVector(1, 2).ToArray());
        Assert.Equal(head[(3 * 6)..], model.Head(1).Values.ToArray());
        Assert.True(model.Trie.Contains([2, 0]));
        Assert.False(model.Trie.Contains([2, 1]));
    }

    [Fact]
    public void A_SID_language_model_that_does_not_fit_is_one_line()
    {
        void Refused(ModelFolder folder, params string[] fragments)
        {
            string message = Assert.Throws<InvalidDataException>(() => SidLanguageModel.Open(folder)).Message;
            Assert.DoesNotContain('\n', message);
            foreach (string fragment in fragments)
                Assert.Contains(fragment, message);
        }
        Refused(SidFolder(kind: "sasrec"), "kind 'sasrec', expected 'sid-lm'");
        Refused(SidFolder(levels: 3, sids: [0, 3, 0, 2, 0, 0, 1, 1, 1]), "3 levels, the model has 2 (3, 4 codes)");
        Refused(SidFolder(sids: [0, 3, 2, 0]), "2 SIDs for 3 items");
        Refused(SidFolder(sids: [0, 4, 2, 0, 1, 1]), "code 4 on level 1", "0 to 3");
        Refused(SidFolder(codes: "3,x"), "'codes' is '3,x'");
        Refused(SidFolder(codes: "3,5"), "sid.embeddings", "[8, 6]", "[9, H]");
        Refused(SidFolder(head: 8), "sid.head", "[8, 6]", "[7, 6]");
        Refused(SidFolder(headDimension: 5), "sid.head", "[7, 5]", "[7, 6]");
        Refused(SidFolder(headName: "head"), "has no tensor 'sid.head'");
        Refused(SidFolder(length: "0"), "length", "0");
        Refused(SidFolder(length: "ten"), "'length' is 'ten'");
    }

    [Fact]
    public void Weights_that_are_no_numbers_are_refused()
    {
        TrainedFolders.Write(_scratch["M"], "mme-sid", ItemIds.Sequential(2), new Dictionary<string, string> { ["length"] = "5" },
            [TrainedFolders.Gaussian("items.input", 1, 2, 4), SafetensorsTensor.From<float>("items.output", [1, 2, 3, 4, 5, float.NaN, 7, 8], 2, 4)]);
        Assert.Contains("items.output holds values that are not finite", Assert.Throws<InvalidDataException>(() => MmeSidModel.Open(ModelFolder.Open(_scratch["M"]))).Message);
    }

    [Fact]
    public void An_MME_SID_model_comes_back_from_its_folder()
    {
        string Write(string kind, long outputs) => TrainedFolders.Write(_scratch["M"], kind, ItemIds.Sequential(3), new Dictionary<string, string> { ["length"] = "5", ["suffix"] = "!" },
            [TrainedFolders.Gaussian("items.input", 1, 3, 4), TrainedFolders.Gaussian("items.output", 2, outputs, 4)]);
        using (MmeSidModel model = MmeSidModel.Open(ModelFolder.Open(Write("mme-sid", 3))))
        {
            using SafetensorsFile file = SafetensorsFile.Open(_scratch["M/weights.safetensors"]);
            Assert.Equal((3, 4, 5, "", "!"), (model.Items.Count, model.Dimension, model.Length, model.Prefix, model.Suffix));
            Assert.Equal(file.Read<float>("items.input")[4..8], model.Input(1).ToArray());
            Assert.Equal(file.Read<float>("items.output"), model.Outputs().Values.ToArray());
        }
        Assert.Contains("[2, 4]", Assert.Throws<InvalidDataException>(() => MmeSidModel.Open(ModelFolder.Open(Write("mme-sid", 2)))).Message);
        Assert.Contains("expected 'mme-sid'", Assert.Throws<InvalidDataException>(() => MmeSidModel.Open(ModelFolder.Open(Write("sid-lm", 3)))).Message);
    }

    [Fact]
    public void The_base_must_be_the_file_of_the_training()
    {
        File.WriteAllText(_scratch["a.gguf"], "a");
        File.WriteAllText(_scratch["b.gguf"], "b");
        string hash = ModelFolder.HashOf(_scratch["a.gguf"]);
        void Named(Dictionary<string, string> options)
        {
            options["base"] = _scratch["a.gguf"];
            options["base-sha256"] = hash;
            options["lora-scale"] = "0.5";
        }
        ModelFolder outside = SidFolder(options: Named);
        Assert.Equal(new LanguageModelFiles(_scratch["a.gguf"], null, 0.5f), LanguageModelFiles.Locate(outside));
        string message = Assert.Throws<InvalidDataException>(() => LanguageModelFiles.Locate(outside, _scratch["b.gguf"])).Message;
        Assert.StartsWith($"{_scratch["b.gguf"]}: is not the base model that", message);
        Assert.Contains(hash, message);
        File.Move(_scratch["a.gguf"], _scratch["c.gguf"]);
        Assert.Contains("a.gguf is not there; --base", Assert.Throws<InvalidDataException>(() => LanguageModelFiles.Locate(outside)).Message);
        Assert.Equal(_scratch["c.gguf"], LanguageModelFiles.Locate(outside, _scratch["c.gguf"]).Base);
        ModelFolder inside = SidFolder(options: options => options["base-sha256"] = hash, file: _scratch["c.gguf"]);
        Assert.Equal(new LanguageModelFiles(Path.Combine(inside.Path, "base.gguf"), null, 1), LanguageModelFiles.Locate(inside));
        Assert.Contains("'base' is missing", Assert.Throws<InvalidDataException>(() => LanguageModelFiles.Locate(SidFolder())).Message);
    }
}
