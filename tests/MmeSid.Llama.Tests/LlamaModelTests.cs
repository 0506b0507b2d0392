using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Llama.Tests;

/// <summary>The contract, and what only the own binding has.</summary>
public sealed class LlamaModelTests : LanguageModelContract
{
    protected override string? UnavailableReason => LlamaLibrary.UnavailableReason;

    protected override ILanguageModel Load(string path, LlamaModelOptions? options = null) => LlamaModel.Load(path, options);

    private void RequireLibrary() => Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");

    public static TheoryData<string, string> BadModels() => new()
    {
        { "truncated", "truncated" },
        { "text", "is no GGUF file: it does not start with 'GGUF'" },
        { "architecture", "has architecture 'gpt2', expected 'llama'" },
        { "no architecture", "does not name its architecture: no language model" },
        { "adapter", "is of type 'adapter', expected a model" },
        { "split", "is one of 3 parts of a model: join them first with llama.cpp's gguf-split --merge" },
        { "type", "tensor token_embd.weight is Q8_1, which llama.cpp does not compute with" },
        { "vector type", "tensor output_norm.weight is F16, expected F32 for a vector" },
        { "token twice", "has the token 'a' twice" },
        { "token types", "key 'tokenizer.ggml.token_type' has 3 values for 262 tokens" },
        { "token type type", "key 'tokenizer.ggml.token_type' holds 262 values of UInt32, expected integers of 32 bits" },
        { "no merges", "has a byte-pair tokenizer without merges" },
        { "special token", "key 'tokenizer.ggml.bos_token_id' is 262, the tokens are 0 to 261" },
        { "byte tokens", "has no token for byte 0x00" },
        { "heads", "has 4 heads and 3 of keys and values, expected a divisor" },
        { "no heads", "key 'llama.attention.head_count' is 0, expected 1 to 65536" },
        { "rope", "rotates 3 values of each head, expected an even number" },
        { "scaling", "key 'llama.rope.scaling.type' is 'other', expected none, linear, yarn or longrope" },
        { "epsilon", "key 'llama.attention.layer_norm_rms_epsilon' is negative" },
        { "key type", "key 'llama.block_count' holds a String, expected an integer" },
        { "array", "key 'llama.attention.head_count' holds 2 values of Int64, expected numbers of 32 bits" },
    };

    [Theory]
    [MemberData(nameof(BadModels))]
    public void A_model_that_is_none_is_refused_in_one_line(string what, string message)
    {
        var tiny = new TinyLlama();
        GgufMetadata metadata = tiny.Metadata;
        string path = Folder["bad.gguf"];
        string[] tokens = [.. TinyLlama.Tokens];
        switch (what)
        {
            case "architecture": metadata["general.architecture"] = "gpt2"; break;
            case "no architecture": metadata.Remove("general.architecture"); break;
            case "adapter": metadata["general.type"] = "adapter"; break;
            case "split": metadata["split.count"] = (ushort)3; break;
            case "token twice": tokens[0] = "a"; metadata["tokenizer.ggml.tokens"] = tokens; break;
            case "token types": metadata["tokenizer.ggml.token_type"] = new[] { 1, 1, 1 }; break;
            case "token type type": metadata["tokenizer.ggml.token_type"] = new uint[TinyLlama.VocabularySize]; break;
            case "no merges": metadata.Remove("tokenizer.ggml.merges"); break;
            case "special token": metadata["tokenizer.ggml.bos_token_id"] = (uint)TinyLlama.VocabularySize; break;
            case "byte tokens": metadata["tokenizer.ggml.model"] = "llama"; break;
            case "heads": metadata["llama.attention.head_count_kv"] = 3u; break;
            case "no heads": metadata["llama.attention.head_count"] = 0u; break;
            case "rope": metadata["llama.rope.dimension_count"] = 3u; break;
            case "scaling": metadata["llama.rope.scaling.type"] = "other"; break;
            case "epsilon": metadata["llama.attention.layer_norm_rms_epsilon"] = -1f; break;
            case "key type": metadata["llama.block_count"] = "2"; break;
            case "array": metadata["llama.attention.head_count"] = new[] { 4L, 4L }; break;
        }
        switch (what)
        {
            case "text":
                File.WriteAllText(path, "hello, this is no model");
                File.AppendAllText(path, "\n");
                break;
            case "truncated":
                tiny.Write(path);
                using (FileStream stream = File.OpenWrite(path))
                    stream.SetLength(stream.Length - 100);
                break;
            case "type" or "vector type":
                using (FileStream stream = File.Create(path))
                {
                    GgufWriter.Write(stream, metadata, what == "type"
                        ? [(new GgufTensor("token_embd.weight", GgufTensorType.Q8_1, [1, 32]), new byte[36])]
                        : [(new GgufTensor("output_norm.weight", GgufTensorType.F16, [32]), new byte[64])]);
                }
                break;
            default:
                tiny.Write(path, metadata);
                break;
        }
        string actual = Assert.Throws<InvalidDataException>(() => LlamaModel.Load(path)).Message;
        Assert.StartsWith(path + ": ", actual);
        Assert.Contains(message, actual);
        Assert.DoesNotContain('\n', actual);
    }

    /// <summary>Heads with a few bytes changed: refused by us or by llama.cpp, or loaded and run; the process lives on.</summary>
    [Fact]
    public void Damaged_models_do_not_end_the_process()
    {
        RequireLibrary();
        string path = new TinyLlama(layers: 1).Write(Folder["tiny.gguf"]);
        byte[] valid = File.ReadAllBytes(path);
        long head;
        using (GgufFile file = GgufFile.Open(path))
            head = file.Tensors.Values.Min(entry => entry.Offset);
        int ran = 0;
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new RandomSource((ulong)seed);
            byte[] damaged = [.. valid];
            for (int count = 1 + random.NextInt(3); count > 0; count--)
            {
                // Half of the damage goes to the front, where the numbers are; tokens fill the rest of the head.
                int at = random.NextInt(2) == 0 ? random.NextInt(900) : random.NextInt((int)head);
                damaged[at] = random.NextInt(3) == 0 ? (byte)random.NextInt(256) : (byte)(damaged[at] ^ (1 << random.NextInt(8)));
            }
            File.WriteAllBytes(path, damaged);
            try
            {
                using LlamaModel model = LlamaModel.Load(path);
                using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, BatchSize = 16, Threads = 1 });
                int[] tokens = model.Tokenize("hello <|end_of_text|>", addSpecial: true, parseSpecial: true);
                _ = model.Detokenize(tokens, special: true);
                var batch = new LanguageModelBatch();
                batch.AddText(tokens.Length == 0 ? [0] : tokens.AsSpan(0, Math.Min(16, tokens.Length)), 0, outputLast: true);
                context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
                ran++;
            }
            catch (Exception problem) when (problem is InvalidDataException or NativeException)
            {
                Assert.DoesNotContain('\n', problem.Message);
            }
        }
        Assert.InRange(ran, 20, 290);
    }

    [Fact]
    public void Damaged_adapters_do_not_end_the_process()
    {
        RequireLibrary();
        using LlamaModel model = LlamaModel.Load(new TinyLlama(layers: 1).Write(Folder["tiny.gguf"]));
        string path = Folder["lora.gguf"];
        using (FileStream stream = File.Create(path))
            GgufLora.Write(stream, "llama", 2, [new LoraUpdate("blk.0.ffn_up.weight", new float[64], new float[96], 2), new LoraUpdate("blk.0.attn_v.weight", new float[64], new float[32], 2)]);
        byte[] valid = File.ReadAllBytes(path);
        int attached = 0;
        for (int seed = 0; seed < 200; seed++)
        {
            var random = new RandomSource((ulong)seed);
            byte[] damaged = [.. valid];
            for (int count = 1 + random.NextInt(3); count > 0; count--)
                damaged[random.NextInt(500)] ^= (byte)(1 << random.NextInt(8));
            File.WriteAllBytes(path, damaged);
            try
            {
                ILanguageModelAdapter adapter = model.LoadAdapter(path);
                using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, BatchSize = 16, Threads = 1 });
                context.Attach((adapter, 1));
                var batch = new LanguageModelBatch();
                batch.AddText([1, 2, 3], 0, outputLast: true);
                context.Decode(batch);
                attached++;
            }
            catch (Exception problem) when (problem is InvalidDataException or NativeException)
            {
                Assert.DoesNotContain('\n', problem.Message);
            }
        }
        Assert.InRange(attached, 5, 195);
    }

    [Theory]
    [InlineData(LlamaFileType.F16, 2e-3)]
    [InlineData(LlamaFileType.Q8_0, 3e-2)]
    [InlineData(LlamaFileType.Q5_K_M, 3e-2)]
    [InlineData(LlamaFileType.Q4_K_M, 3e-2)]
    public void Quantized_models_run_and_widen_to_the_values_that_llama_cpp_computes_with(LlamaFileType type, double bound)
    {
        RequireLibrary();
        var tiny = new TinyLlama(seed: 3, dimension: 256, heads: 4, keyHeads: 2, hidden: 256, layers: 2);
        string original = tiny.Write(Folder["f32.gguf"]), quantized = Folder["quantized.gguf"], widened = Folder["widened.gguf"];
        LlamaQuantizer.Quantize(original, quantized, type, new LlamaQuantizerOptions { Threads = 1 });
        LlamaQuantizer.Quantize(quantized, widened, LlamaFileType.F32, new LlamaQuantizerOptions { Threads = 1, Again = true });
        var types = new HashSet<GgufTensorType>();
        using (GgufFile file = GgufFile.Open(quantized))
        using (GgufFile theirs = GgufFile.Open(widened))
        {
            Assert.Equal(GgufTensorType.F32, file.Entry("token_embd.weight").Type);
            foreach ((string name, GgufEntry entry) in file.Tensors)
            {
                types.Add(entry.Type);
                float[] values = file.ReadSingles(name);
                Assert.Equal(theirs.ReadSingles(name), values);
                // Half a step of the coarsest type, 4 bits over a group's range of at most 7 standard deviations, is a quarter of one.
                float[] before = tiny.Weights[name].Values;
                double deviation = Math.Sqrt(before.Average(value => value * value));
                double error = Math.Sqrt(before.Zip(values, (b, a) => (double)(b - a) * (b - a)).Average());
                Assert.True(error <= deviation * 0.25, $"{name} {entry.Type}: {error / deviation:F3}");
                values.CopyTo(before, 0);
            }
        }
        GgufTensorType[] expected = type switch
        {
            LlamaFileType.F16 => [GgufTensorType.F16],
            LlamaFileType.Q8_0 => [GgufTensorType.Q8_0],
            LlamaFileType.Q4_K_M => [GgufTensorType.Q4_K, GgufTensorType.Q6_K],
            _ => [GgufTensorType.Q5_K, GgufTensorType.Q6_K],
        };
        Assert.Superset(expected.ToHashSet(), types);

        // The reference now has the quantized weights; what is left is that llama.cpp also rounds activations to 8 bits (halves for F16).
        using LlamaModel model = LlamaModel.Load(quantized);
        using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, Threads = 1 });
        var batch = new LanguageModelBatch();
        int last = batch.AddText([1, 2, 3, 4, 5], 0, outputLast: true);
        context.Decode(batch);
        var logits = new float[model.VocabularySize];
        context.ReadLogits(last, logits);
        double[] reference = tiny.Forward(1, 2, 3, 4, 5).Logits[^1];
        double largest = reference.Max(Math.Abs), difference = reference.Zip(logits, (e, a) => Math.Abs(e - a)).Max();
        Assert.True(difference <= bound * largest, $"differs by {difference / largest:E1} of the largest value");
    }

    [Theory]
    [InlineData(LlamaFileType.Q4_K_M, GgufTensorType.Q5_0)]
    [InlineData(LlamaFileType.Q5_K_M, GgufTensorType.Q5_1)]
    public void Rows_that_fit_no_super_block_fall_back(LlamaFileType type, GgufTensorType fallback)
    {
        RequireLibrary();
        string original = new TinyLlama(hidden: 64).Write(Folder["f32.gguf"]), quantized = Folder["quantized.gguf"], widened = Folder["widened.gguf"];
        LlamaQuantizer.Quantize(original, quantized, type, new LlamaQuantizerOptions { Threads = 1 });
        LlamaQuantizer.Quantize(quantized, widened, LlamaFileType.F32, new LlamaQuantizerOptions { Threads = 1, Again = true });
        using GgufFile file = GgufFile.Open(quantized);
        using GgufFile theirs = GgufFile.Open(widened);
        Assert.Contains(file.Tensors.Values, entry => entry.Type == fallback);
        foreach (string name in file.Tensors.Keys)
            Assert.Equal(theirs.ReadSingles(name), file.ReadSingles(name));
    }

    [Fact]
    public void Quantizing_twice_or_over_a_file_is_refused()
    {
        RequireLibrary();
        string original = new TinyLlama(hidden: 64).Write(Folder["f32.gguf"]), quantized = Folder["quantized.gguf"];
        LlamaQuantizer.Quantize(original, quantized, LlamaFileType.Q8_0);
        Assert.Contains("is Q8_0: a model that is quantized already", Assert.Throws<InvalidDataException>(() => LlamaQuantizer.Quantize(quantized, Folder["x.gguf"], LlamaFileType.F16)).Message);
        Assert.Contains("--force", Assert.Throws<IOException>(() => LlamaQuantizer.Quantize(original, quantized, LlamaFileType.Q8_0)).Message);
        byte[] before = File.ReadAllBytes(quantized);
        LlamaQuantizer.Quantize(original, quantized, LlamaFileType.Q8_0, new LlamaQuantizerOptions { Force = true, Threads = 2 });
        Assert.Equal(before, File.ReadAllBytes(quantized));
        new TinyLlama(hidden: 48).Write(original);
        Assert.Equal($"{original}: tensor blk.0.ffn_down.weight has rows of 48 values, Q8_0 takes multiples of 32",
            Assert.Throws<InvalidDataException>(() => LlamaQuantizer.Quantize(original, quantized, LlamaFileType.Q8_0)).Message);
        Assert.Equal(["f32.gguf", "quantized.gguf"], Directory.GetFiles(Folder.Path).Select(Path.GetFileName).Order());
    }

    [Fact]
    public unsafe void A_library_of_another_layout_is_refused()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "lengths are only seen on x64");
        RequireLibrary();
        nint llama = NativeLibrary.Load(LlamaLibrary.FilePath);
        nint Export(string name) => NativeLibrary.GetExport(llama, name);
        Assert.Null(LlamaLibrary.Mismatch(Export));
        Assert.Equal("its parameters take 80, 136 and 56 bytes, expected 72, 136 and 56",
            LlamaLibrary.Mismatch(name => name == "llama_model_default_params" ? (nint)(delegate* unmanaged[Cdecl]<byte*, nint>)&Longer : Export(name)));
        Assert.Equal("its model parameters have other defaults",
            LlamaLibrary.Mismatch(name => name == "llama_model_default_params" ? (nint)(delegate* unmanaged[Cdecl]<byte*, nint>)&Other : Export(name)));
    }

    [Fact]
    public void The_binding_has_the_sizes_of_the_release()
    {
        Assert.Equal(72, Unsafe.SizeOf<LlamaNative.ModelParameters>());
        Assert.Equal(136, Unsafe.SizeOf<LlamaNative.ContextParameters>());
        Assert.Equal(56, Unsafe.SizeOf<LlamaNative.QuantizeParameters>());
        Assert.Equal(56, Unsafe.SizeOf<LlamaNative.Batch>());
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe nint Longer(byte* place)
    {
        new Span<byte>(place, 80).Clear();
        return (nint)place;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe nint Other(byte* place)
    {
        new Span<byte>(place, 72).Clear();
        return (nint)place;
    }
}
