using System.Text.Json;
using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Llama;

namespace MmeSid.Cli.Tests;

/// <summary><c>import model</c> and <c>embed text --model</c> as users run them, on a model of one layer.</summary>
public sealed class LanguageModelCommandTests : IDisposable
{
    private const int kSize = 32;
    private readonly ScratchFolder _scratch = new();

    public void Dispose() => _scratch.Dispose();

    private static JsonElement Json(Outcome outcome) => JsonDocument.Parse(outcome.Output).RootElement;

    private static void RequireLlama() => Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");

    private string WriteFolder()
    {
        string folder = _scratch["hf"];
        Directory.CreateDirectory(folder);
        var random = new MmeSid.Engine.RandomSource(1);
        string[] tokens = [.. Enumerable.Range(0, 26).Select(i => ((char)('a' + i)).ToString()), "Ġ", "<|begin_of_text|>"];
        SafetensorsTensor Tensor(string name, params long[] shape)
            => SafetensorsTensor.From<float>(name, [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (product, size) => product * size)).Select(_ => (float)random.NextGaussian() / 4)], shape);
        using (FileStream stream = File.Create(Path.Combine(folder, "model.safetensors")))
        {
            SafetensorsFile.Write(stream,
            [
                Tensor("model.embed_tokens.weight", tokens.Length, kSize), Tensor("model.norm.weight", kSize),
                Tensor("model.layers.0.input_layernorm.weight", kSize), Tensor("model.layers.0.post_attention_layernorm.weight", kSize),
                Tensor("model.layers.0.self_attn.q_proj.weight", kSize, kSize), Tensor("model.layers.0.self_attn.k_proj.weight", kSize / 2, kSize),
                Tensor("model.layers.0.self_attn.v_proj.weight", kSize / 2, kSize), Tensor("model.layers.0.self_attn.o_proj.weight", kSize, kSize),
                Tensor("model.layers.0.mlp.gate_proj.weight", 64, kSize), Tensor("model.layers.0.mlp.up_proj.weight", 64, kSize), Tensor("model.layers.0.mlp.down_proj.weight", kSize, 64),
            ]);
        }
        var vocabulary = new JsonObject();
        for (int i = 0; i < tokens.Length - 1; i++)
            vocabulary[tokens[i]] = i;
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), new JsonObject
        {
            ["model"] = new JsonObject { ["type"] = "BPE", ["vocab"] = vocabulary, ["merges"] = new JsonArray() },
            ["added_tokens"] = new JsonArray(new JsonObject { ["id"] = tokens.Length - 1, ["content"] = tokens[^1], ["special"] = true }),
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel" },
        }.ToJsonString());
        File.WriteAllText(Path.Combine(folder, "config.json"), new JsonObject
        {
            ["model_type"] = "llama",
            ["hidden_size"] = kSize,
            ["intermediate_size"] = 64,
            ["num_hidden_layers"] = 1,
            ["num_attention_heads"] = 4,
            ["num_key_value_heads"] = 2,
            ["max_position_embeddings"] = 64,
            ["vocab_size"] = tokens.Length,
            ["rms_norm_eps"] = 1e-5,
            ["tie_word_embeddings"] = true,
            ["bos_token_id"] = tokens.Length - 1,
            ["eos_token_id"] = tokens.Length - 1,
        }.ToJsonString());
        return folder;
    }

    [Fact]
    public void A_folder_becomes_a_file_and_texts_become_rows()
    {
        RequireLlama();
        string folder = WriteFolder();
        JsonElement imported = Json(Mmesid.Run("import", "model", "--from", folder, "--out", _scratch["m.gguf"], "--json").Succeeded());
        Assert.Equal(11, imported.GetProperty("tensors").GetInt32());
        Mmesid.Run("import", "model", "--from", folder, "--out", _scratch["direct.gguf"], "--quantize", "q8_0").Succeeded();
        Mmesid.Run("import", "model", "--from", _scratch["m.gguf"], "--out", _scratch["q.gguf"], "--quantize", "q8_0").Succeeded();
        Assert.Equal(File.ReadAllBytes(_scratch["q.gguf"]), File.ReadAllBytes(_scratch["direct.gguf"]));
        Assert.Equal(["direct.gguf", "hf", "m.gguf", "q.gguf"], _scratch.Names);

        File.WriteAllText(_scratch["items.csv"], "item,title\nx,hello\ny,\nz,hello world\n");
        string[] embed = ["embed", "text", "--input", _scratch["items.csv"], "--model", _scratch["q.gguf"], "--out", _scratch["t.npy"], "--json"];
        Mmesid.Run(embed).FailedWith("q.gguf", "name a pooling");
        JsonElement made = Json(Mmesid.Run([.. embed, "--pooling", "mean", "--max-tokens", "8"]).Succeeded());
        Assert.Equal(3, made.GetProperty("items").GetInt32());
        Assert.Equal(kSize, made.GetProperty("dimension").GetInt32());
        Assert.Equal(1, made.GetProperty("empty_items").GetInt32());
        Assert.Equal(1, made.GetProperty("cut_items").GetInt32());
        Mmesid.Run([.. embed, "--pooling", "mean", "--empty", "drop", "--force"]).Succeeded();
        Assert.Equal(["x", "z"], File.ReadAllLines(_scratch["t.items.txt"]));
        Mmesid.Run([.. embed, "--pooling", "mean", "--empty", "refuse", "--force"]).FailedWith("1 items have no text", "'y'");
    }

    [Fact]
    public void What_cannot_be_imported_or_run_is_one_line()
    {
        RequireLlama();
        Mmesid.Run("import", "model", "--from", _scratch["nowhere"], "--out", _scratch["m.gguf"]).FailedWith("nowhere", "Hugging Face folder or a GGUF file");
        Directory.CreateDirectory(_scratch["empty"]);
        Mmesid.Run("import", "model", "--from", _scratch["empty"], "--out", _scratch["m.gguf"]).FailedWith("config.json", "is missing");
        File.WriteAllText(_scratch["items.csv"], "item,title\nx,hello\n");
        File.WriteAllText(_scratch["text.gguf"], "this is a text and no model");
        Mmesid.Run("import", "model", "--from", _scratch["text.gguf"], "--out", _scratch["m.gguf"], "--quantize", "q8_0").FailedWith("text.gguf", "is no GGUF file");
        Mmesid.Run("embed", "text", "--input", _scratch["items.csv"], "--model", _scratch["text.gguf"], "--out", _scratch["t.npy"]).FailedWith("text.gguf", "is no GGUF file");
        Mmesid.RunWith(LlamaLibrary.PathVariable, _scratch["items.csv"], "import", "model", "--from", WriteFolder(), "--out", _scratch["m.gguf"], "--quantize", "f16").FailedWith("items.csv", "cannot be loaded", "./build.sh --target Llama");
        Assert.False(File.Exists(_scratch["m.gguf"]));
    }

    [Fact]
    public void Options_of_the_other_way_are_usage_errors()
    {
        Assert.Equal(2, Mmesid.Run("embed", "text", "--input", "x.csv", "--pooling", "mean", "--out", "t.npy").ExitCode);
        Assert.Equal(2, Mmesid.Run("embed", "text", "--input", "x.csv", "--model", "m.gguf", "--dimension", "5", "--out", "t.npy").ExitCode);
    }
}
