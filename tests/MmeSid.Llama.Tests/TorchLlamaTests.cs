using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Tests;
using MmeSid.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Llama.Tests;

/// <summary>The Llama that is trained against llama.cpp and the float64 loops, on the same files.</summary>
public sealed class TorchLlamaTests : IDisposable
{
    /// <summary>As for llama.cpp: two layers of float32 sums of up to 48 products each, in units of the largest value.</summary>
    private const double kFloat32 = 1e-5;

    private readonly ScratchFolder _folder = new();

    public TorchLlamaTests()
    {
        Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");
        TorchRuntime.Start(1);
    }

    public void Dispose() => _folder.Dispose();

    public static TheoryData<int, int, bool, bool> Shapes() => new()
    {
        { 4, 2, false, false },
        { 4, 1, true, false },
        { 4, 4, false, true },
        { 2, 2, true, true },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Logits_and_hidden_states_are_those_of_llama_cpp(int heads, int keyHeads, bool tied, bool factors)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        var tiny = new TinyLlama(heads: heads, keyHeads: keyHeads, tied: tied) { RopeBase = factors ? 500000 : 10000, RopeFactors = factors ? [.. Enumerable.Range(0, 16 / heads).Select(i => 1 + (i * 0.75f))] : null };
        string path = tiny.Write(_folder["tiny.gguf"]);
        int[][] prompts = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], [7], [20, 30, 40, 50, 60]];
        (float[][] hidden, float[][] logits) = Torch(path, prompts);
        using LlamaModel model = LlamaModel.Load(path);
        for (int i = 0; i < prompts.Length; i++)
        {
            (double[][] expectedHidden, double[][] expectedLogits) = tiny.Forward(prompts[i]);
            Close([.. expectedHidden.SelectMany(row => row)], hidden[i], "hidden states against the loops");
            Close([.. expectedLogits.SelectMany(row => row)], logits[i], "logits against the loops");
            Close([.. Native(model, prompts[i]).Select(value => (double)value)], logits[i], "logits against llama.cpp");
        }
    }

    [Theory]
    [InlineData(LlamaFileType.F16)]
    [InlineData(LlamaFileType.Q8_0)]
    [InlineData(LlamaFileType.Q4_K_M)]
    public void A_quantized_file_is_read_too(LlamaFileType type)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string whole = new TinyLlama(dimension: 256, hidden: 256).Write(_folder["whole.gguf"]), path = _folder["small.gguf"];
        LlamaQuantizer.Quantize(whole, path, type, new LlamaQuantizerOptions { Threads = 1 });
        int[] prompt = [3, 1, 4, 1, 5];
        float[] logits = Torch(path, [prompt]).Logits[0];
        using LlamaModel model = LlamaModel.Load(path);
        // llama.cpp rounds what it multiplies with quantized weights to as few bits: 2⁻⁸ of the largest value of a block.
        Close([.. Native(model, prompt).Select(value => (double)value)], logits, "logits", type == LlamaFileType.F16 ? 2e-3 : 3e-2);
    }

    [Theory]
    [InlineData(null, 1e-5)]
    [InlineData(LlamaFileType.Q8_0, 3e-2)]
    public void An_adapter_does_in_llama_cpp_what_was_trained(LlamaFileType? type, double bound)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        string path = new TinyLlama(hidden: 64).Write(_folder["tiny.gguf"]);
        if (type is { } size)
            LlamaQuantizer.Quantize(path, path = _folder["small.gguf"], size, new LlamaQuantizerOptions { Threads = 1 });
        var options = new MmeSid.Training.LanguageModels.LoraOptions { Rank = 3, Alpha = 5, Targets = MmeSid.Training.LanguageModels.LoraOptions.Known };
        using DisposeScope scope = NewDisposeScope();
        using GgufFile file = GgufFile.Open(path);
        using MmeSid.Training.LanguageModels.Llama frozen = MmeSid.Training.LanguageModels.Llama.Freeze(file, options);
        manual_seed(1);
        using (no_grad())
        {
            foreach (TorchSharp.Modules.Parameter parameter in frozen.parameters().Where(parameter => parameter.requires_grad))
                parameter.copy_(randn(parameter.shape) * 0.2);
        }
        Assert.Equal(["adapter.gguf", "adapter_model.safetensors", "adapter_config.json"], MmeSid.Training.LanguageModels.LoraFiles.WriteAdapter(frozen, _folder[""], options, "tiny"));
        using SafetensorsFile peft = SafetensorsFile.Open(_folder["adapter_model.safetensors"]);
        Assert.Equal(2 * 2 * 7, peft.Tensors.Count);
        Assert.Equal([64L, 3], peft.Entry("base_model.model.model.layers.1.mlp.gate_proj.lora_B.weight").Shape);

        int[] prompt = [3, 1, 4, 1, 5, 9];
        float[] embeddings = file.ReadSingles("token_embd.weight");
        Tensor vectors = tensor(embeddings).view(-1, 32).index_select(0, tensor([.. prompt.Select(token => (long)token)]));
        Tensor logits = frozen.HiddenStates(vectors.unsqueeze(0), [prompt.Length])[0].matmul(tensor(file.ReadSingles("output.weight")).view(-1, 32).t());
        using LlamaModel model = LlamaModel.Load(path);
        float[] plain = Native(model, prompt);
        ILanguageModelAdapter adapter = model.LoadAdapter(_folder["adapter.gguf"]);
        float[] adapted = Native(model, prompt, adapter);
        Close([.. adapted.Select(value => (double)value)], logits.contiguous().data<float>().ToArray(), "logits", bound);
        Assert.True(plain.Zip(adapted, (p, a) => Math.Abs(p - a)).Max() > 0.1 * adapted.Max(Math.Abs));
    }

    [Fact]
    public void What_is_no_Llama_of_this_kind_is_refused()
    {
        Refused(metadata => metadata["general.architecture"] = "qwen2", "has architecture 'qwen2', expected 'llama'");
        Refused(metadata => metadata["llama.rope.dimension_count"] = 4u, "rotates 4 of the 8 values of a head");
        Refused(metadata => metadata["llama.expert_count"] = 4u, "has experts");
        Refused(metadata => metadata["llama.rope.scaling.type"] = "yarn", "rotary scaling 'yarn'");
        Refused(metadata => metadata["llama.attention.head_count_kv"] = 3u, "3 heads of keys do not divide the 4 heads");
        Refused(metadata => metadata["llama.feed_forward_length"] = 40u, "tensor blk.0.ffn_gate.weight has shape [48, 32], expected [40, 32]");
        Refused(metadata => metadata["llama.block_count"] = 3u, "blk.2");
        // llama.cpp would add it.
        Refused(_ => { }, "has the tensor blk.1.attn_q.bias", tiny => tiny.Weights.Add("blk.1.attn_q.bias", (new float[32], [32])));

        void Refused(Action<GgufMetadata> change, string message, Action<TinyLlama>? weights = null)
        {
            var tiny = new TinyLlama();
            weights?.Invoke(tiny);
            GgufMetadata metadata = tiny.Metadata;
            change(metadata);
            using GgufFile file = GgufFile.Open(tiny.Write(_folder["bad.gguf"], metadata));
            Assert.Contains(message, Assert.Throws<InvalidDataException>(() => MmeSid.Training.LanguageModels.Llama.Load(file)).Message, StringComparison.Ordinal);
        }
    }

    /// <summary>Hidden states and logits of every position of each prompt; the prompts are one padded batch.</summary>
    private static (float[][] Hidden, float[][] Logits) Torch(string path, int[][] prompts)
    {
        using DisposeScope scope = NewDisposeScope();
        using GgufFile file = GgufFile.Open(path);
        using MmeSid.Training.LanguageModels.Llama model = MmeSid.Training.LanguageModels.Llama.Load(file);
        int width = model.Shape.Dimension, longest = prompts.Max(prompt => prompt.Length);
        float[] embeddings = file.ReadSingles("token_embd.weight");
        var vectors = new float[prompts.Length * longest * width];
        for (int i = 0; i < prompts.Length; i++)
        {
            for (int position = 0; position < longest; position++)
                embeddings.AsSpan(prompts[i][Math.Min(position, prompts[i].Length - 1)] * width, width).CopyTo(vectors.AsSpan(((i * longest) + position) * width));
        }
        string head = file.Tensors.ContainsKey("output.weight") ? "output.weight" : "token_embd.weight";
        Tensor hidden = model.HiddenStates(tensor(vectors, [prompts.Length, longest, width]), [.. prompts.Select(prompt => prompt.Length)]);
        Tensor logits = hidden.matmul(tensor(file.ReadSingles(head)).view(-1, width).t());
        return ([.. prompts.Select((prompt, i) => Values(hidden[i].narrow(0, 0, prompt.Length)))], [.. prompts.Select((prompt, i) => Values(logits[i].narrow(0, 0, prompt.Length)))]);

        static float[] Values(Tensor tensor) => tensor.contiguous().data<float>().ToArray();
    }

    private static float[] Native(LlamaModel model, int[] prompt, ILanguageModelAdapter? adapter = null)
    {
        using ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = 256, BatchSize = 64, Threads = 1 });
        if (adapter is not null)
            context.Attach((adapter, 1));
        var batch = new LanguageModelBatch();
        foreach (int token in prompt)
            batch.Add(token, 0, output: true);
        context.Decode(batch);
        var logits = new float[prompt.Length * model.VocabularySize];
        for (int i = 0; i < prompt.Length; i++)
            context.ReadLogits(i, logits.AsSpan(i * model.VocabularySize, model.VocabularySize));
        return logits;
    }

    private static void Close(double[] expected, float[] actual, string what, double bound = kFloat32)
    {
        Assert.Equal(expected.Length, actual.Length);
        double largest = expected.Max(Math.Abs), difference = expected.Zip(actual, (e, a) => Math.Abs(e - a)).Max();
        Assert.True(difference <= bound * largest, $"{what}: differ by {difference / largest:E1} of the largest value");
    }
}
