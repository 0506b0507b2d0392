using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Tests;

namespace MmeSid.Llama.Tests;

/// <summary>
/// A tiny model in Hugging Face's layout, converted and run by llama.cpp. Its rows of queries and keys are in that layout's order, where a rotation
/// turns (i, i + s/2); the reference, which turns (2i, 2i + 1), gets them reordered by other code than the converter's.
/// </summary>
public sealed class HuggingFaceLlamaTests : IDisposable
{
    private const string kLlama3Pattern = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string TheirName(string ours) => ours switch
    {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "model.layers." + ours["blk.".Length..].Replace("attn_norm", "input_layernorm", StringComparison.Ordinal).Replace("ffn_norm", "post_attention_layernorm", StringComparison.Ordinal)
            .Replace("attn_output", "self_attn.o_proj", StringComparison.Ordinal).Replace("attn_q", "self_attn.q_proj", StringComparison.Ordinal)
            .Replace("attn_k", "self_attn.k_proj", StringComparison.Ordinal).Replace("attn_v", "self_attn.v_proj", StringComparison.Ordinal)
            .Replace("ffn_gate", "mlp.gate_proj", StringComparison.Ordinal).Replace("ffn_up", "mlp.up_proj", StringComparison.Ordinal).Replace("ffn_down", "mlp.down_proj", StringComparison.Ordinal),
    };

    private static JsonObject Config(TinyLlama tiny, bool tied, JsonObject? scaling)
    {
        var config = new JsonObject
        {
            ["architectures"] = new JsonArray("LlamaForCausalLM"),
            ["model_type"] = "llama",
            ["hidden_size"] = tiny.Dimension,
            ["intermediate_size"] = tiny.Hidden,
            ["num_hidden_layers"] = tiny.Layers,
            ["num_attention_heads"] = tiny.Heads,
            ["num_key_value_heads"] = tiny.KeyHeads,
            ["max_position_embeddings"] = 512,
            ["vocab_size"] = TinyLlama.VocabularySize,
            ["rms_norm_eps"] = 1e-5,
            ["rope_theta"] = tiny.RopeBase,
            ["tie_word_embeddings"] = tied,
            ["bos_token_id"] = TinyLlama.BeginToken,
            ["eos_token_id"] = new JsonArray(TinyLlama.EndToken, TinyLlama.BeginToken),
        };
        if (scaling is not null)
            config["rope_scaling"] = scaling;
        return config;
    }

    private static JsonObject Tokenizer(bool pairs)
    {
        var vocabulary = new JsonObject();
        for (int token = 0; token < TinyLlama.VocabularySize - 2; token++)
            vocabulary[TinyLlama.Tokens[token]] = token;
        return new JsonObject
        {
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray([.. TinyLlama.Merges.Select(merge => pairs ? (JsonNode)new JsonArray([.. merge.Split(' ').Select(part => JsonValue.Create(part))]) : JsonValue.Create(merge))]),
            },
            ["added_tokens"] = new JsonArray(
                new JsonObject { ["id"] = TinyLlama.BeginToken, ["content"] = TinyLlama.Begin, ["special"] = true },
                new JsonObject { ["id"] = TinyLlama.EndToken, ["content"] = TinyLlama.End, ["special"] = true }),
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject { ["type"] = "Split", ["pattern"] = new JsonObject { ["Regex"] = kLlama3Pattern }, ["behavior"] = "Isolated", ["invert"] = false },
                    new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = false }),
            },
        };
    }

    /// <summary>Writes the folder with the model's weights as they are, taken to be in Hugging Face's order, and leaves the model in llama.cpp's.</summary>
    private void WriteFolder(TinyLlama tiny, bool tied = false, JsonObject? scaling = null, bool split = false, bool half = false, bool pairs = false)
    {
        if (half)
        {
            foreach ((float[] values, _) in tiny.Weights.Values)
            {
                for (int i = 0; i < values.Length; i++)
                    values[i] = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(values[i]) & 0xFFFF0000);
            }
        }
        SafetensorsTensor[] tensors = [.. tiny.Weights.Select(weight => half
            ? new SafetensorsTensor(TheirName(weight.Key), ElementType.BFloat16, weight.Value.Shape, MemoryMarshal.AsBytes(weight.Value.Values.Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)).ToArray().AsSpan()).ToArray())
            : SafetensorsTensor.From<float>(TheirName(weight.Key), weight.Value.Values, weight.Value.Shape))];
        if (split)
        {
            var map = new JsonObject();
            for (int part = 0; part < 2; part++)
            {
                string name = $"model-0000{part + 1}-of-00002.safetensors";
                SafetensorsTensor[] some = [.. tensors.Where((_, i) => i % 2 == part)];
                using FileStream stream = File.Create(_folder[name]);
                SafetensorsFile.Write(stream, some);
                foreach (SafetensorsTensor tensor in some)
                    map[tensor.Name] = name;
            }
            _folder.Write("model.safetensors.index.json", new JsonObject { ["weight_map"] = map }.ToJsonString());
        }
        else
        {
            using FileStream stream = File.Create(_folder["model.safetensors"]);
            SafetensorsFile.Write(stream, tensors);
        }
        _folder.Write("config.json", Config(tiny, tied, scaling).ToJsonString());
        _folder.Write("tokenizer.json", Tokenizer(pairs).ToJsonString());
        _folder.Write("tokenizer_config.json", """{"add_bos_token": true, "chat_template": "{{ messages }}"}""");

        foreach (string name in tiny.Weights.Keys.Where(name => name.Contains("attn_q", StringComparison.Ordinal) || name.Contains("attn_k", StringComparison.Ordinal)))
        {
            (float[] values, long[] shape) = tiny.Weights[name];
            float[] before = [.. values];
            int size = tiny.HeadSize, columns = (int)shape[1];
            for (int head = 0; head < shape[0] / size; head++)
            {
                // The value that was turned with its partner half a head away now lies beside it.
                for (int i = 0; i < size / 2; i++)
                {
                    Array.Copy(before, ((head * size) + i) * columns, values, ((head * size) + (2 * i)) * columns, columns);
                    Array.Copy(before, ((head * size) + i + (size / 2)) * columns, values, ((head * size) + (2 * i) + 1) * columns, columns);
                }
            }
        }
    }

    private string Convert()
    {
        using (FileStream stream = File.Create(_folder["model.gguf"]))
            HuggingFaceLlama.WriteGguf(_folder.Path, stream, TestContext.Current.CancellationToken);
        return _folder["model.gguf"];
    }

    private static void Runs(TinyLlama tiny, string path)
    {
        using LlamaModel model = LlamaModel.Load(path);
        using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, Threads = 1 });
        int[] tokens = model.Tokenize("hello Größe", addSpecial: true, parseSpecial: false);
        Assert.Equal(TinyLlama.BeginToken, tokens[0]);
        Assert.Equal(259, tokens[1]);
        Assert.Equal("hello Größe", model.Detokenize(tokens));
        var batch = new LanguageModelBatch();
        int last = batch.AddText(tokens, 0, outputLast: true);
        context.Decode(batch);
        var logits = new float[model.VocabularySize];
        context.ReadLogits(last, logits);
        double[] reference = tiny.Forward(tokens).Logits[^1];
        double largest = reference.Max(Math.Abs), difference = reference.Zip(logits, (e, a) => Math.Abs(e - a)).Max();
        // bfloat16 weights make llama.cpp round activations to bfloat16 too, 8 bits.
        double bound = model.Path.EndsWith("half.gguf", StringComparison.Ordinal) ? 3e-2 : 1e-5;
        Assert.True(difference <= bound * largest, $"differs by {difference / largest:E1} of the largest value");
    }

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(true, false, true)]
    [InlineData(false, true, true)]
    public void A_converted_model_gives_the_logits_of_the_original(bool tied, bool split, bool pairs)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        var tiny = new TinyLlama(seed: 7, tied: tied);
        WriteFolder(tiny, tied, split: split, pairs: pairs);
        Runs(tiny, Convert());
        using GgufFile file = GgufFile.Open(_folder["model.gguf"]);
        Assert.Equal("{{ messages }}", file.Metadata.Text("tokenizer.chat_template"));
        Assert.Equal(TinyLlama.EndToken, file.Metadata.Integer("tokenizer.ggml.eos_token_id"));
    }

    [Fact]
    public void Llama_3_1_scaling_becomes_factors()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        // Wave lengths 6, 35, 199 and 1118 around 16 … 64 of a short original context.
        var scaling = new JsonObject { ["rope_type"] = "llama3", ["factor"] = 8.0, ["low_freq_factor"] = 1.0, ["high_freq_factor"] = 4.0, ["original_max_position_embeddings"] = 64 };
        var tiny = new TinyLlama(seed: 8) { RopeBase = 1000, RopeFactors = [1, (float)(1 / (((1 - Smooth(1)) / 8) + Smooth(1))), 8, 8] };
        WriteFolder(tiny, scaling: scaling);
        string path = Convert();
        using (GgufFile file = GgufFile.Open(path))
            Assert.Equal(tiny.RopeFactors, file.ReadSingles("rope_freqs.weight"));
        Runs(tiny, path);

        static double Smooth(int pair) => ((64 / (2 * Math.PI * Math.Pow(1000, pair / 4.0))) - 1) / 3;
    }

    [Fact]
    public void Bfloat16_stays_and_quantizes()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        var tiny = new TinyLlama(seed: 9, hidden: 64);
        WriteFolder(tiny, half: true);
        File.Move(Convert(), _folder["half.gguf"]);
        using (GgufFile file = GgufFile.Open(_folder["half.gguf"]))
        {
            Assert.Equal(GgufTensorType.BF16, file.Entry("blk.0.attn_q.weight").Type);
            Assert.Equal(GgufTensorType.F32, file.Entry("blk.0.attn_norm.weight").Type);
            foreach (string name in file.Tensors.Keys)
                Assert.Equal(tiny.Weights[name].Values, file.ReadSingles(name));
        }
        Runs(tiny, _folder["half.gguf"]);
        LlamaQuantizer.Quantize(_folder["half.gguf"], _folder["q8.gguf"], LlamaFileType.Q8_0);
        using LlamaModel model = LlamaModel.Load(_folder["q8.gguf"]);
        Assert.Equal(32, model.EmbeddingDimension);
    }

    public static TheoryData<string, string> Refusals() => new()
    {
        { "no config", "config.json: is missing" },
        { "other type", "config.json: is a model of type 'mistral', expected 'llama'" },
        { "no size", "config.json: lacks 'hidden_size'" },
        { "bad size", "config.json: 'hidden_size' is \"x\", expected an integer" },
        { "bias", "config.json: has biases, which Llama 3 has not" },
        { "scaling", "config.json: rope_scaling of type 'yarn' is not supported, expected llama3, linear or default" },
        { "shape", "tensor model.layers.0.mlp.gate_proj.weight has shape [48, 32], expected [40, 32] by config.json" },
        { "missing", "lacks the tensor 'model.layers.2.input_layernorm.weight'" },
        { "extra", "holds 'model.layers.1.input_layernorm.weight', which a Llama 3 has not" },
        { "sentencepiece", "tokenizer.json: is a SentencePiece tokenizer as in Llama 2, expected byte-level BPE as in Llama 3" },
        { "pattern", "tokenizer.json: splits texts by another pattern than Llama 3's, which is not supported" },
        { "vocabulary", "has number 261, the model has 200 embeddings" },
        { "json", "config.json: is no valid JSON, line 1" },
        { "unicode", "config.json: holds a text that is no valid Unicode" },
        { "index", "model.safetensors.index.json: tensor 'x' has no proper file name" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void A_folder_that_is_no_llama_is_refused_in_one_line(string what, string message)
    {
        var tiny = new TinyLlama();
        WriteFolder(tiny);
        JsonObject config = JsonNode.Parse(File.ReadAllText(_folder["config.json"]))!.AsObject(), tokenizer = JsonNode.Parse(File.ReadAllText(_folder["tokenizer.json"]))!.AsObject();
        switch (what)
        {
            case "no config": File.Delete(_folder["config.json"]); break;
            case "other type": config["model_type"] = "mistral"; break;
            case "no size": config.Remove("hidden_size"); break;
            case "bad size": config["hidden_size"] = "x"; break;
            case "bias": config["attention_bias"] = true; break;
            case "scaling": config["rope_scaling"] = new JsonObject { ["type"] = "yarn" }; break;
            case "shape": config["intermediate_size"] = 40; break;
            case "missing": config["num_hidden_layers"] = 3; break;
            case "extra": config["num_hidden_layers"] = 1; break;
            case "sentencepiece": tokenizer["model"]!["byte_fallback"] = true; break;
            case "pattern": tokenizer["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = "x"; break;
            case "vocabulary": tokenizer["model"]!["vocab"] = new JsonObject { ["a"] = 261 }; break;
            case "index": _folder.Write("model.safetensors.index.json", """{"weight_map": {"x": "../x"}}"""); break;
        }
        if (what == "vocabulary")
        {
            config["vocab_size"] = 200;
            tiny.Weights["token_embd.weight"] = (new float[200 * 32], [200, 32]);
            tiny.Weights["output.weight"] = (new float[200 * 32], [200, 32]);
            WriteFolder(tiny);
        }
        if (what != "no config")
            _folder.Write("config.json", what switch
            {
                "json" => "{",
                "unicode" => """{"model_type": "\ud800"}""",
                _ => config.ToJsonString(),
            });
        _folder.Write("tokenizer.json", tokenizer.ToJsonString(new JsonSerializerOptions()));
        string actual = Assert.ThrowsAny<SystemException>(() => HuggingFaceLlama.WriteGguf(_folder.Path, Stream.Null, TestContext.Current.CancellationToken)).Message;
        Assert.StartsWith(_folder.Path, actual);
        Assert.Contains(message, actual);
        Assert.DoesNotContain('\n', actual);
    }

    /// <summary>Damaged texts: refused in one line, or converted.</summary>
    [Fact]
    public void Damaged_folders_are_refused_or_converted()
    {
        const string syntax = "0123456789[]{}',\\\":-";
        WriteFolder(new TinyLlama());
        string[] names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
        byte[][] valid = [.. names.Select(name => File.ReadAllBytes(_folder[name]))];
        for (int seed = 0; seed < 400; seed++)
        {
            var random = new RandomSource((ulong)seed);
            int which = random.NextInt(names.Length);
            byte[] damaged = [.. valid[which]];
            for (int count = 1 + random.NextInt(3); count > 0; count--)
            {
                int at = random.NextInt(Math.Min(damaged.Length, 4000));
                damaged[at] = random.NextInt(2) == 0 ? (byte)syntax[random.NextInt(syntax.Length)] : (byte)random.NextInt(256);
            }
            File.WriteAllBytes(_folder[names[which]], damaged);
            try
            {
                HuggingFaceLlama.WriteGguf(_folder.Path, Stream.Null, TestContext.Current.CancellationToken);
            }
            catch (InvalidDataException problem)
            {
                Assert.StartsWith(_folder.Path, problem.Message);
                Assert.DoesNotContain('\n', problem.Message);
            }
            File.WriteAllBytes(_folder[names[which]], valid[which]);
        }
    }
}
