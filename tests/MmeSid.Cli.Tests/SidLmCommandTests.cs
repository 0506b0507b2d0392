using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Llama;
using MmeSid.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Cli.Tests;

/// <summary>train sid-lm, and that llama.cpp runs what it wrote as it was trained.</summary>
public sealed class SidLmCommandTests : IDisposable
{
    private static readonly string[] s_small = SmallLanguageModel.Options;

    private readonly ScratchFolder _scratch = new();

    public SidLmCommandTests() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    public void Dispose() => _scratch.Dispose();

    private string Sequences(int users = 60) => SmallLanguageModel.Sequences(_scratch, users);

    private string Bundle(int items = 15)
    {
        string table = _scratch["x.npy"];
        var random = new MmeSid.Engine.RandomSource(1);
        using (FileStream stream = File.Create(table))
        {
            var rows = new NpyWriter<float>(stream, items, 8);
            rows.Write([.. Enumerable.Range(0, items * 8).Select(_ => (float)random.NextGaussian())]);
            rows.Complete();
        }
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "4", "--levels", "3", "--out", _scratch[$"B{items}"]).Succeeded();
        return _scratch[$"B{items}"];
    }

    [Fact]
    public void A_trained_model_becomes_smaller_and_recommends()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string sequences = Sequences();
        Mmesid.Run(["train", "sid-lm", "--bundle", Bundle(), "--sequences", sequences, "--out", _scratch["M"], "--epochs", "20", "--learning-rate", "0.01", "--warm-up", "5", "--patience", "0", .. s_small]).Succeeded();
        JsonNode json = JsonNode.Parse(Mmesid.Run("quantize", "--model", _scratch["M"], "--to", "q8_0", "--out", _scratch["Q"], "--json").Succeeded().Output)!;
        Assert.InRange((long)json["bytes"]!, 1, (long)json["bytes_before"]! - 1);
        ModelFolder quantized = ModelFolder.Open(_scratch["Q"]);
        Assert.Equal("q8_0", quantized.Description.Options["quantize"]);
        Assert.Equal(Directory.GetFiles(_scratch["M"]).Select(Path.GetFileName).Order(StringComparer.Ordinal), Directory.GetFiles(_scratch["Q"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        JsonNode[] tests = [.. ((string[])["M", "Q"]).Select(model => JsonNode.Parse(Mmesid.Run("evaluate", "--model", _scratch[model], "--sequences", sequences, "--json").Succeeded().Output)!)];
        Assert.Equal((double)tests[0]["ndcg@10"]!, (double)tests[1]["ndcg@10"]!, 0.1);

        // Nothing to quantize, and nothing left of a failure.
        Mmesid.Run("quantize", "--model", _scratch["Q"], "--to", "q4_k_m", "--out", _scratch["R"]).FailedWith("base.gguf", "quantized already");
        Assert.DoesNotContain("R", _scratch.Names);
    }

    [Fact]
    public void Vectors_of_a_base_that_knows_the_codes_are_taken()
    {
        string bundle = Bundle(), sequences = Sequences();
        Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--out", _scratch["M"], "--epochs", "1", .. s_small]).Succeeded();
        // Nothing is learned at a rate of next to nothing, so that the vectors are where they started.
        string[] adapted = ["train", "sid-lm", "--sequences", sequences, "--base", _scratch["M/base.gguf"], "--embeddings", "base", "--epochs", "1", "--learning-rate", "1e-12", "--length", "6", "--device", "cpu", "--threads", "1"];
        Mmesid.Run([.. adapted, "--bundle", bundle, "--lora", "--out", _scratch["A"]]).Succeeded();
        using SafetensorsFile trained = SafetensorsFile.Open(_scratch["M/weights.safetensors"]), taken = SafetensorsFile.Open(_scratch["A/weights.safetensors"]);
        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        Assert.True(TensorFile.Read(trained, "sid.embeddings").allclose(TensorFile.Read(taken, "sid.embeddings"), 0, 1e-6));

        string table = _scratch.Table("y.npy", 15, 4);
        Mmesid.Run("train", "rq-kmeans", "--embeddings", table, "--codes", "5", "--levels", "3", "--out", _scratch["other"]).Succeeded();
        Mmesid.Run([.. adapted, "--bundle", _scratch["other"], "--lora", "--out", _scratch["C"]]).FailedWith("base.gguf", "words", "same codes");
        Assert.DoesNotContain("C", _scratch.Names);
        // Committing would delete the base.
        Mmesid.Run([.. adapted, "--bundle", bundle, "--lora", "--out", _scratch["M"], "--force"]).FailedWith("base.gguf", "would be replaced");

        Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--out", _scratch["H"], "--epochs", "1", "--head", "own", .. s_small]).Succeeded();
        string[] own = [.. adapted.Select(argument => argument == _scratch["M/base.gguf"] ? _scratch["H/base.gguf"] : argument), "--bundle", bundle, "--lora", "--out", _scratch["O"]];
        Mmesid.Run(own).FailedWith("vectors of their own", "--head own");
        Mmesid.Run([.. own, "--head", "own"]).Succeeded();
        using SafetensorsFile scored = SafetensorsFile.Open(_scratch["H/weights.safetensors"]), kept = SafetensorsFile.Open(_scratch["O/weights.safetensors"]);
        Assert.True(TensorFile.Read(scored, "sid.head").allclose(TensorFile.Read(kept, "sid.head"), 0, 1e-6));
    }

    [Theory]
    [InlineData("tied", "f32", 1e-5)]
    [InlineData("own", "f32", 1e-5)]
    [InlineData("tied", "q8_0", 3e-2)]
    public void The_file_gives_the_scores_that_were_trained(string head, string quantize, double bound)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string bundle = Bundle(), sequences = Sequences(), path = _scratch["M"];
        JsonNode trained = JsonNode.Parse(Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--out", path, "--epochs", "40", "--learning-rate", "0.01", "--warm-up", "5",
            "--patience", "0", "--dropout", "0.1", "--head", head, "--quantize", quantize, "--json", .. s_small]).Succeeded().Output)!;
        Assert.Equal(40, trained["loss_curve"]!.AsArray().Count);
        Assert.True((double)trained["validation_log_probability"]! > -0.5, trained.ToJsonString());
        Assert.Equal(["base.gguf", "items.txt", "model.json", "sids.npy", "weights.safetensors"], Directory.GetFiles(path).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal));
        ModelFolder folder = ModelFolder.Open(path);
        Assert.Equal("sid-lm", folder.Description.Kind);
        Assert.Equal("4,4,4", folder.Description.Options["codes"]);
        Assert.Equal(ModelFolder.HashOf(folder.PathOf("base.gguf")), folder.Description.Options["base-sha256"]);
        Assert.Equal(File.ReadAllBytes(Path.Combine(bundle, "sids.npy")), File.ReadAllBytes(folder.PathOf("sids.npy")));
        Assert.Equal(File.ReadAllBytes(Path.Combine(bundle, "items.txt")), File.ReadAllBytes(folder.PathOf("items.txt")));

        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        using SafetensorsFile weights = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        Tensor embeddings = TensorFile.Read(weights, "sid.embeddings"), scores = TensorFile.Read(weights, "sid.head");
        Assert.Equal([13L, 32], embeddings.shape);
        Assert.Equal([12L, 32], scores.shape);
        Assert.Equal(head == "tied", embeddings.narrow(0, 0, 12).Equals(scores));
        // The begin vector and codes of the three levels in turn.
        int[] tokens = [12, 1, 6, 9, 3, 4, 11];
        using GgufFile file = GgufFile.Open(folder.PathOf("base.gguf"));
        using MmeSid.Training.LanguageModels.Llama torchModel = MmeSid.Training.LanguageModels.Llama.Load(file);
        Tensor vectors = embeddings.index_select(0, tensor([.. tokens.Select(token => (long)token)]));
        Tensor hidden = torchModel.HiddenStates(vectors.unsqueeze(0), [tokens.Length])[0];
        float[] expectedHidden = hidden[tokens.Length - 1].contiguous().data<float>().ToArray(), expected = hidden.matmul(scores.t())[tokens.Length - 1].contiguous().data<float>().ToArray();

        using LlamaModel model = LlamaModel.Load(folder.PathOf("base.gguf"));
        Assert.Equal(13, model.VocabularySize);
        Assert.Equal("<b_2>", model.Detokenize([6], special: true));
        float[] byVector = Decode(batch =>
        {
            for (int i = 0; i < tokens.Length; i++)
                batch.Add(vectors[i].contiguous().data<float>().ToArray(), 0, output: i == tokens.Length - 1);
        }, out float[] nativeHidden);
        Close(expectedHidden, nativeHidden);
        Close(expected, byVector[..12]);
        // The file alone is the same model.
        float[] byToken = Decode(batch => batch.AddText(tokens, 0, outputLast: true), out _);
        Assert.Equal(byVector, byToken);

        float[] Decode(Action<LanguageModelBatch> fill, out float[] state)
        {
            using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, BatchSize = 64, Threads = 1 });
            var batch = new LanguageModelBatch();
            fill(batch);
            context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
            var logits = new float[model.VocabularySize];
            context.ReadLogits(batch.Count - 1, logits);
            state = new float[model.EmbeddingDimension];
            context.ReadHiddenState(batch.Count - 1, state);
            return logits;
        }

        void Close(float[] wanted, float[] actual)
        {
            Assert.Equal(wanted.Length, actual.Length);
            double largest = wanted.Max(Math.Abs), difference = wanted.Zip(actual, (e, a) => Math.Abs((double)e - a)).Max();
            Assert.True(difference <= bound * largest, $"differs by {difference / largest:E1} of the largest value");
        }
    }

    [Fact]
    public void A_frozen_base_gets_an_adapter()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string bundle = Bundle(), sequences = Sequences(), trunk = _scratch["trunk"], path = _scratch["M"];
        Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--out", trunk, "--epochs", "2", "--quantize", "q8_0", .. s_small]).Succeeded();
        string file = Path.Combine(trunk, "base.gguf");
        string[] tune = ["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--base", file, "--length", "6", "--batch", "32", "--accumulate", "2", "--learning-rate", "0.01",
            "--warm-up", "5", "--epochs", "30", "--patience", "0", "--device", "cpu", "--threads", "1", "--out"];
        JsonNode plain = JsonNode.Parse(Mmesid.Run([.. tune, _scratch["plain"], "--json"]).Succeeded().Output)!, tuned = JsonNode.Parse(Mmesid.Run([.. tune, path, "--lora", "--lora-r", "4", "--json"]).Succeeded().Output)!;
        Assert.True((double)tuned["loss"]! < (double)plain["loss"]!, $"{tuned["loss"]} with LoRA, {plain["loss"]} without");
        Assert.Equal(["items.txt", "model.json", "sids.npy", "weights.safetensors"], Directory.GetFiles(_scratch["plain"]).Select(name => Path.GetFileName(name)!).Order(StringComparer.Ordinal));
        Assert.Equal(["adapter.gguf", "adapter_config.json", "adapter_model.safetensors", "items.txt", "model.json", "sids.npy", "weights.safetensors"],
            Directory.GetFiles(path).Select(name => Path.GetFileName(name)!).Order(StringComparer.Ordinal));
        ModelDescription description = ModelFolder.Open(path).Description;
        Assert.Equal((file, ModelFolder.HashOf(file), ModelFolder.HashOf(file)), (description.Options["base"], description.Options["base-sha256"], description.Inputs["base"]));
        using LlamaModel model = LlamaModel.Load(file);
        _ = model.LoadAdapter(Path.Combine(path, "adapter.gguf"));

        Mmesid.Run([.. tune, _scratch["X"], "--lora", "--lora-targets", "gate,head"]).FailedWith("'head' gets no LoRA");
        Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--base", file, "--out", _scratch["X"], "--length", "60"]).FailedWith("a history of 60 items");
        Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", sequences, "--base", sequences, "--out", _scratch["X"]]).FailedWith("S.txt", "is no GGUF file");
        Assert.Equal(2, Mmesid.Run([.. tune, _scratch["X"], "--layers", "3"]).ExitCode);
        Assert.Equal(2, Mmesid.Run([.. tune, _scratch["X"], "--lora-r", "3"]).ExitCode);
    }

    [Fact]
    public void Words_before_a_history_are_those_that_were_trained()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string file = new MmeSid.Llama.Tests.TinyLlama().Write(_scratch["tiny.gguf"]), path = _scratch["M"], bundle = Bundle();
        Mmesid.Run("train", "sid-lm", "--bundle", bundle, "--sequences", Sequences(), "--base", file, "--prefix", "hello he", "--out", path, "--epochs", "3", "--learning-rate", "0.01", "--length", "6",
            "--batch", "64", "--device", "cpu", "--threads", "1").Succeeded();
        ModelFolder folder = ModelFolder.Open(path);
        Assert.Equal("hello he", folder.Description.Options["prefix"]);
        JsonNode best = JsonNode.Parse(Mmesid.Run("recommend", "--model", path, "--user-history", "4", "--top", "1", "--threads", "1").Succeeded().Output)!;

        // The log-probability of the best SID, from the words, the begin vector, the codes of item 4 and those of the SID.
        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        using GgufFile opened = GgufFile.Open(file);
        using SafetensorsFile weights = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        using MmeSid.Training.LanguageModels.Llama torchModel = MmeSid.Training.LanguageModels.Llama.Load(opened);
        using LlamaModel words = LlamaModel.Load(file);
        int[] prefix = words.Tokenize("hello he", false, true);
        MmeSid.Training.LanguageModels.LlamaPrompt prompt = MmeSid.Training.LanguageModels.LlamaPrompt.Read(opened, prefix, []);
        MmeSid.Engine.Sids.SidTable sids = MmeSid.Engine.Sids.SidTable.ReadNpy(folder.PathOf("sids.npy"));
        int item = int.Parse(best["items"]![0]!.ToString()) - 1;
        long[] rows = [12, .. Rows(3), .. Rows(item)[..2]];
        Tensor embeddings = TensorFile.Read(weights, "sid.embeddings"), head = TensorFile.Read(weights, "sid.head");
        Tensor whole = cat([tensor(prompt.Vectors, [prefix.Length, 32L]), embeddings.index_select(0, tensor(rows))], 0);
        Tensor hidden = torchModel.HiddenStates(whole.unsqueeze(0), [(int)whole.shape[0]])[0];
        double expected = 0;
        for (int level = 0; level < 3; level++)
            expected += hidden.narrow(0, prefix.Length + 3 + level, 1).mm(head.narrow(0, 4 * level, 4).t()).log_softmax(1)[0][sids[item][level]].ToDouble();
        Assert.Equal(expected, (double)best["scores"]![0]!, 1e-3);
        Assert.Equal(2, Mmesid.Run(["train", "sid-lm", "--bundle", bundle, "--sequences", Sequences(), "--prefix", "hello", "--out", _scratch["X"], .. s_small]).ExitCode);

        long[] Rows(int row) => [.. sids[row].ToArray().Select((code, level) => (4L * level) + code)];
    }

    [Fact]
    public void Killed_training_goes_on_to_the_same_bytes()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        Mmesid.InterruptedTrainingEndsWithTheSameBytes(_scratch, ["weights.safetensors", "base.gguf", "model.json"], ["train", "sid-lm", "--bundle", Bundle(), "--sequences", Sequences(1000), "--epochs", "4", .. s_small, "--out"]);
    }

    [Fact]
    public void Wrong_input_is_one_line()
    {
        string bundle = Bundle(), other = Bundle(10), sequences = Sequences();
        string[] train = ["train", "sid-lm", "--out", _scratch["M"], "--epochs", "1", .. s_small];
        Mmesid.Run([.. train, "--sequences", sequences, "--bundle", _scratch["nowhere"]]).FailedWith("nowhere");
        Mmesid.Run([.. train, "--sequences", _scratch["none.txt"], "--bundle", bundle]).FailedWith("none.txt");
        Mmesid.Run([.. train, "--sequences", sequences, "--bundle", other]).FailedWith("5 of the 15 items of the sequences are not in the bundle", "--unknown-items skip");
        Mmesid.Run([.. train, "--sequences", _scratch.Text("empty.txt", ""), "--bundle", bundle]).FailedWith("no user has two events left to train on");
        Mmesid.Run([.. train, "--sequences", _scratch.Text("short.txt", "a 1 2 3\n"), "--bundle", bundle]).FailedWith("no user has two events left to train on");
        string[] right = ["--sequences", sequences, "--bundle", bundle];
        string[] wide = ["train", "sid-lm", "--out", _scratch["M"], "--epochs", "1", "--device", "cpu", .. right];
        Mmesid.Run([.. wide, "--dimension", "30", "--heads", "4"]).FailedWith("4 heads do not divide the dimension 30");
        Mmesid.Run([.. wide, "--dimension", "12", "--heads", "4"]).FailedWith("3 values each, expected an even number");
        Mmesid.Run([.. wide, "--dimension", "48", "--heads", "4", "--quantize", "q8_0"]).FailedWith("multiples of 32 values, --dimension is 48");
        Mmesid.Run([.. wide, "--feed-forward", "688", "--quantize", "q4_k_m"]).FailedWith("multiples of 256 values, --feed-forward is 688");
        Mmesid.Run([.. wide, "--dropout", "1"]).FailedWith("the dropout is 1");
        Mmesid.Run([.. wide, "--layers", "0"]).FailedWith("the number of layers is 0");
        Assert.False(Directory.Exists(_scratch["M"]));
        Mmesid.Run([.. train, "--sequences", sequences, "--bundle", other, "--unknown-items", "skip"]).Succeeded();
    }
}
