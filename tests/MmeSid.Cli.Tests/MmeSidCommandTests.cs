using System.Text.Json.Nodes;
using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Llama;
using MmeSid.Llama.Tests;
using MmeSid.Training;
using MmeSid.Training.LanguageModels;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Cli.Tests;

/// <summary>train mme-sid, and that llama.cpp runs what it wrote as it was trained.</summary>
public sealed class MmeSidCommandTests : IDisposable
{
    private const int kItems = SmallLanguageModel.Items;

    private static readonly string[] s_small = SmallLanguageModel.Options;

    private readonly ScratchFolder _scratch = new();

    public MmeSidCommandTests() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    public void Dispose() => _scratch.Dispose();

    private string Sequences(int users = 60) => SmallLanguageModel.Sequences(_scratch, users);

    private string Table(string name, int dimension, int items = kItems)
    {
        string path = _scratch[$"{name}{items}.npy"];
        var random = new RandomSource((ulong)dimension);
        using FileStream stream = File.Create(path);
        var rows = new NpyWriter<float>(stream, items, dimension);
        rows.Write([.. Enumerable.Range(0, items * dimension).Select(_ => (float)random.NextGaussian())]);
        rows.Complete();
        return path;
    }

    private string Bundle(string name, int dimension, int items = kItems)
    {
        string path = _scratch[$"B{name}{items}"];
        Mmesid.Run("train", "rq-kmeans", "--embeddings", Table(name, dimension, items), "--codes", "4", "--levels", "3", "--out", path).Succeeded();
        return path;
    }

    private string[] Modalities() =>
        ["--table", $"collaborative={Table("c", 8)}", "--table", $"text={Table("t", 12)}", "--bundle", $"collaborative={Bundle("c", 8)}", "--bundle", $"text={Bundle("t", 12)}"];

    private static string[] Files(string folder) => [.. Directory.GetFiles(folder).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];

    [Theory]
    [InlineData("f32", 1e-3)]
    [InlineData("q8_0", 5e-2)]
    public void Recommended_scores_are_those_that_were_trained(string quantize, double bound)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string sequences = Sequences(), path = _scratch["M"];
        JsonNode trained = JsonNode.Parse(Mmesid.Run(["train", "mme-sid", .. Modalities(), "--sequences", sequences, "--out", path, "--epochs", "30", "--learning-rate", "0.01", "--warm-up", "5",
            "--patience", "0", "--dropout", "0.1", "--quantize", quantize, "--json", .. s_small]).Succeeded().Output)!;
        Assert.True((double)trained["validation_ndcg@10"]! > 0.8, trained.ToJsonString());
        Assert.Equal(["collaborative", "text"], trained["forgetting"]!.AsArray().Select(row => (string)row!["modality"]!));
        Assert.Equal(["item table", "soft tokens"], trained["collapse"]!.AsArray().Select(row => (string)row!["table"]!));
        Assert.Equal(["base.gguf", "items.txt", "model.json", "weights.safetensors"], Files(path));
        ModelFolder folder = ModelFolder.Open(path);
        Assert.Equal(("mme-sid", "6", "", ""), (folder.Description.Kind, folder.Description.Options["length"], folder.Description.Options["prefix"], folder.Description.Options["suffix"]));
        Assert.Equal((double)trained["forgetting"]![1]!["kendall_tau_after"]!, folder.Description.Metrics["kendall tau of text, after"]);
        Assert.Equal(["S.txt", "bundle collaborative", "bundle text", "table collaborative", "table text"], folder.Description.Inputs.Keys.Order(StringComparer.Ordinal));

        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        using GgufFile file = GgufFile.Open(folder.PathOf("base.gguf"));
        using MmeSid.Training.LanguageModels.Llama model = MmeSid.Training.LanguageModels.Llama.Load(file);
        RequireScores(folder, [3, 9, 1, 12], bound, inputs => model.HiddenStates(inputs.unsqueeze(0), [(int)inputs.shape[0]])[0]);
        JsonNode evaluated = JsonNode.Parse(Mmesid.Run("evaluate", "--model", path, "--sequences", sequences, "--split", "validation", "--json").Succeeded().Output)!;
        Assert.Equal((double)trained["validation_ndcg@10"]!, (double)evaluated["ndcg@10"]!, quantize == "f32" ? 1e-6 : 0.2);
    }

    [Fact]
    public void A_frozen_base_gets_an_adapter_and_words_around_histories()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string sequences = Sequences(), file = new TinyLlama().Write(_scratch["base.gguf"]), path = _scratch["M"];
        string[] common = ["train", "mme-sid", .. Modalities(), "--sequences", sequences, "--device", "cpu", "--epochs", "1"], tune = [.. common[..^2], "--base", file, "--length", "6", "--batch", "32", "--learning-rate", "0.01", "--patience", "0", "--epochs", "6",
            "--threads", "1", "--prefix", TinyLlama.Begin + "hello", "--suffix", " he", "--json"];
        JsonNode plain = JsonNode.Parse(Mmesid.Run([.. tune, "--out", _scratch["plain"]]).Succeeded().Output)!, tuned = JsonNode.Parse(Mmesid.Run([.. tune, "--out", path, "--lora", "--lora-r", "4"]).Succeeded().Output)!;
        Assert.True((double)tuned["loss"]! < (double)plain["loss"]!, $"{tuned["loss"]} with LoRA, {plain["loss"]} without");
        Assert.Equal(["items.txt", "model.json", "weights.safetensors"], Files(_scratch["plain"]));
        Assert.Equal(["adapter.gguf", "adapter_config.json", "adapter_model.safetensors", "items.txt", "model.json", "weights.safetensors"], Files(path));
        ModelFolder folder = ModelFolder.Open(_scratch["plain"]), adapted = ModelFolder.Open(path);
        Assert.Equal((TinyLlama.Begin + "hello", " he", ModelFolder.HashOf(file)), (folder.Description.Options["prefix"], folder.Description.Options["suffix"], folder.Description.Options["base-sha256"]));
        // Of LoRA the rate is MME-SID's where none is given, here one is; the warm-up is.
        Assert.Equal(("100", "200", "0.01"), (adapted.Description.Options["warm-up"], folder.Description.Options["warm-up"], adapted.Description.Options["learning-rate"]));

        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        using GgufFile opened = GgufFile.Open(file);
        using MmeSid.Training.LanguageModels.Llama model = MmeSid.Training.LanguageModels.Llama.Load(opened);
        using LlamaModel words = LlamaModel.Load(file);
        int[] prefix = words.Tokenize(TinyLlama.Begin + "hello", false, true), suffix = words.Tokenize(" he", false, true);
        Assert.True(prefix.Length >= 2 && suffix.Length >= 1);
        LlamaPrompt prompt = LlamaPrompt.Read(opened, prefix, suffix);
        RequireScores(folder, [3, 9, 1, 12], 1e-3, inputs =>
        {
            Tensor around = tensor(prompt.Vectors, [prompt.Count, 32L]);
            Tensor whole = cat([around.narrow(0, 0, prompt.Prefix), inputs, around.narrow(0, prompt.Prefix, prompt.Suffix)], 0);
            return model.HiddenStates(whole.unsqueeze(0), [(int)whole.shape[0]])[0];
        });
        JsonNode evaluated = JsonNode.Parse(Mmesid.Run("evaluate", "--model", path, "--sequences", sequences, "--split", "validation", "--json").Succeeded().Output)!;
        Assert.Equal((double)tuned["validation_ndcg@10"]!, (double)evaluated["ndcg@10"]!, 1e-6);

        Assert.Equal(2, Mmesid.Run([.. tune, "--out", _scratch["X"], "--layers", "3"]).ExitCode);
        Mmesid.Run([.. tune, "--out", _scratch["X"], "--lora", "--lora-targets", "gate,head"]).FailedWith("'head' gets no LoRA");
        Mmesid.Run([.. common, "--out", _scratch["X"], "--base", sequences]).FailedWith("S.txt", "is no GGUF file");
        Mmesid.Run([.. common, "--out", _scratch["X"], "--base", file, "--length", "600"]).FailedWith("a history of 600 items have 600");
    }

    [Theory]
    [InlineData("one modality")]
    [InlineData("no codes")]
    [InlineData("random codes")]
    [InlineData("equal weights")]
    [InlineData("item table alone")]
    [InlineData("one-hot gate")]
    public void Parts_are_taken_away_one_by_one(string what)
    {
        string c = $"collaborative={Table("c", 8)}", t = $"text={Table("t", 12)}";
        string[] options = what switch
        {
            "one modality" => ["--table", c, "--bundle", $"collaborative={Bundle("c", 8)}"],
            "no codes" => ["--table", c, "--table", t],
            "random codes" => [.. Modalities(), "--codes", "random"],
            "equal weights" => [.. Modalities(), "--fusion", "equal"],
            "item table alone" => [.. Modalities(), "--fusion", "none"],
            _ => [.. Modalities(), "--temperature", "0.001"],
        };
        JsonNode trained = JsonNode.Parse(Mmesid.Run(["train", "mme-sid", .. options, "--sequences", Sequences(), "--out", _scratch["M"], "--epochs", "2", "--json", .. s_small]).Succeeded().Output)!;
        JsonArray? forgetting = trained["forgetting"]?.AsArray();
        Assert.Equal(what == "no codes" ? 0 : what == "one modality" ? 1 : 2, forgetting?.Count ?? 0);
        // Codewords keep the order of most distances; random ones only that of items that share some.
        if (forgetting is not null)
            Assert.Equal(what != "random codes", (double)forgetting[0]!["kendall_tau_before"]! > 0.5);
        using SafetensorsFile weights = SafetensorsFile.Open(ModelFolder.Open(_scratch["M"]).PathOf(ModelFolder.WeightsName));
        Assert.Equal(what is "equal weights" or "item table alone", !weights.Tensors.ContainsKey("gate.0.weight"));
        Assert.Equal(what != "no codes", weights.Tensors.ContainsKey("codes.collaborative.weight"));
        Assert.Equal(what is not "one modality", weights.Tensors.ContainsKey("projection.text.weight"));
    }

    [Fact]
    public void A_folder_of_bundles_is_taken_whole()
    {
        string c = $"collaborative={Table("c", 8)}", t = $"text={Table("t", 12)}", folder = _scratch["B"];
        Mmesid.Run("train", "mm-rq-vae", "--table", c, "--table", t, "--codes", "4", "--levels", "2", "--width", "8", "--epochs", "3", "--out", folder, "--device", "cpu", "--threads", "1").Succeeded();
        string[] train = ["train", "mme-sid", "--sequences", Sequences(), "--epochs", "1", .. s_small];
        Mmesid.Run([.. train, "--table", c, "--table", t, "--bundle", folder, "--out", _scratch["M"]]).Succeeded();
        Assert.Equal("collaborative,text", ModelFolder.Open(_scratch["M"]).Description.Options["coded"]);
        Mmesid.Run([.. train, "--table", c, "--table", $"image={Table("t", 12)}", "--bundle", folder, "--out", _scratch["X"]]).FailedWith("has no bundle 'image'", "collaborative, text");
        Mmesid.Run([.. train, "--table", c, "--bundle", Path.Combine(folder, "text"), "--out", _scratch["X"]]).FailedWith("without the name of its modality", "--bundle collaborative=");
        Assert.False(Directory.Exists(_scratch["X"]));
    }

    [Fact]
    public void Killed_training_goes_on_to_the_same_bytes()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        Mmesid.InterruptedTrainingEndsWithTheSameBytes(_scratch, ["weights.safetensors", "base.gguf", "model.json"], ["train", "mme-sid", .. Modalities(), "--sequences", Sequences(1000), "--epochs", "4", .. s_small, "--out"]);
    }

    [Fact]
    public void Wrong_input_is_one_line()
    {
        string sequences = Sequences(), c = $"collaborative={Table("c", 8)}", t = $"text={Table("t", 12)}", bundle = Bundle("c", 8);
        string[] common = ["train", "mme-sid", "--out", _scratch["M"], "--epochs", "1", "--device", "cpu", "--threads", "1"], train = [.. common, "--sequences", sequences];
        Mmesid.Run([.. train, "--table", c, "--bundle", $"text={bundle}"]).FailedWith("--bundle is of 'text', which has no --table", "collaborative");
        Mmesid.Run([.. train, "--table", c, "--bundle", $"collaborative={_scratch["nowhere"]}"]).FailedWith("nowhere");
        Mmesid.Run([.. train, "--table", c, "--bundle", $"collaborative={Bundle("c", 8, 20)}"]).FailedWith("has 20 items, the tables have 15");
        Mmesid.Run([.. train, "--table", $"collaborative={Table("c", 8, 20)}", "--bundle", $"collaborative={bundle}"]).FailedWith("has no item '16'");
        Mmesid.Run([.. train, "--table", c, "--table", $"text={Table("t", 12, 20)}"]).FailedWith("lacks 5 items", "'16'");
        Mmesid.Run([.. train, "--table", $"collaborative={Table("c", 8, 10)}"]).FailedWith("5 of the 15 items of the sequences are not in the tables", "--unknown-items skip");
        Mmesid.Run([.. train, "--table", $"collaborative={Table("e", 8, 0)}"]).FailedWith("no item");
        Mmesid.Run([.. train, "--table", c, "--table", c]).FailedWith("--table names two modalities collaborative");
        Mmesid.Run([.. train, "--table", Table("c", 8)]).FailedWith("expected name=file");
        Mmesid.Run([.. common, "--table", c, "--sequences", _scratch.Text("empty.txt", "")]).FailedWith("no user has two events left to train on");
        Mmesid.Run([.. common, "--table", c, "--sequences", _scratch["none.txt"]]).FailedWith("none.txt");
        Mmesid.Run([.. train, "--table", c, "--table", t, "--dimension", "30", "--heads", "4"]).FailedWith("4 heads do not divide the dimension 30");
        Mmesid.Run([.. train, "--table", c, "--temperature", "0"]).FailedWith("the temperature is 0");
        Mmesid.Run([.. train, "--table", c, "--dimension", "48", "--heads", "4", "--quantize", "q8_0"]).FailedWith("multiples of 32 values, --dimension is 48");
        foreach (string[] options in (string[][])[["--lora"], ["--prefix", "hello"], ["--suffix", "hello"], ["--codes", "random"], ["--fusion", "none", "--temperature", "0.5"]])
            Assert.Equal(2, Mmesid.Run([.. train, "--table", c, .. options]).ExitCode);
        Assert.False(Directory.Exists(_scratch["M"]));
        Mmesid.Run([.. train, "--table", $"collaborative={Table("c", 8, 10)}", "--unknown-items", "skip"]).Succeeded();
    }

    /// <summary>What <c>recommend</c> scores against torch on the weights of the folder.</summary>
    private static void RequireScores(ModelFolder folder, int[] history, double bound, Func<Tensor, Tensor> hiddenStates)
    {
        using SafetensorsFile weights = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        Tensor inputs = TensorFile.Read(weights, "items.input"), outputs = TensorFile.Read(weights, "items.output");
        Assert.Equal([kItems, 32L], inputs.shape);
        Tensor hidden = hiddenStates(inputs.index_select(0, tensor([.. history.Select(item => item - 1L)])));
        float[] expected = hidden.narrow(0, hidden.shape[0] - 1, 1).mm(outputs.t()).contiguous().data<float>().ToArray();
        JsonNode line = JsonNode.Parse(Mmesid.Run("recommend", "--model", folder.Path, "--user-history", string.Join(' ', history), "--top", $"{kItems}", "--allow-seen", "--threads", "1").Succeeded().Output)!;
        int[] items = [.. line["items"]!.AsArray().Select(item => int.Parse(item!.ToString()))];
        double[] scores = [.. line["scores"]!.AsArray().Select(score => (double)score!)];
        Assert.Equal(kItems, items.Distinct().Count());
        double largest = expected.Max(Math.Abs);
        for (int i = 0; i < kItems; i++)
            Assert.True(Math.Abs(expected[items[i] - 1] - scores[i]) <= bound * largest, $"item {items[i]} scores {scores[i]}, expected {expected[items[i] - 1]}");
    }
}
