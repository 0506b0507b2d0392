using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Tests;

namespace MmeSid.Llama.Tests;

public sealed class LlamaTextEncoderTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Write(TinyLlama tiny, uint? pooling)
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        GgufMetadata metadata = tiny.Metadata;
        if (pooling is { } value)
            metadata["llama.pooling_type"] = value;
        return tiny.Write(_folder["model.gguf"], metadata);
    }

    [Theory]
    [InlineData(1u, LlamaPooling.FromModel, LlamaPooling.Mean)]
    [InlineData(2u, LlamaPooling.FromModel, LlamaPooling.First)]
    [InlineData(3u, LlamaPooling.FromModel, LlamaPooling.Last)]
    [InlineData(1u, LlamaPooling.Last, LlamaPooling.Last)]
    [InlineData(null, LlamaPooling.Mean, LlamaPooling.Mean)]
    public void Token_vectors_are_pooled_as_the_file_or_the_user_says(uint? stored, LlamaPooling asked, LlamaPooling expected)
    {
        var tiny = new TinyLlama();
        using LlamaTextEncoder encoder = LlamaTextEncoder.Load(Write(tiny, stored), new LlamaTextEncoderOptions { Pooling = asked, Threads = 1 });
        Assert.Equal(expected, encoder.Pooling);
        Assert.Equal(32, encoder.Dimension);
        foreach (string text in (string[])["hello", "abc", ""])
        {
            int[] tokens = [TinyLlama.BeginToken, .. text == "hello" ? [259] : text.Select(letter => (int)letter)];
            double[][] hidden = tiny.Forward(tokens).Hidden;
            double[] reference = expected switch
            {
                LlamaPooling.First => hidden[0],
                LlamaPooling.Last => hidden[^1],
                _ => [.. Enumerable.Range(0, 32).Select(i => hidden.Average(row => row[i]))],
            };
            var actual = new float[32];
            Assert.Equal(0, encoder.Encode(text, actual));
            Assert.All(reference.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }
    }

    [Fact]
    public void Long_texts_lose_their_end()
    {
        var tiny = new TinyLlama();
        using LlamaTextEncoder encoder = LlamaTextEncoder.Load(Write(tiny, 3), new LlamaTextEncoderOptions { MaximumTokens = 4, Threads = 1 });
        Assert.Equal(4, encoder.MaximumTokens);
        float[] cut = new float[32], whole = new float[32];
        Assert.Equal(2, encoder.Encode("abcde", cut));
        Assert.Equal(0, encoder.Encode("abc", whole));
        Assert.Equal(whole, cut);
    }

    [Fact]
    public void A_model_without_pooling_or_that_ranks_is_refused()
    {
        var tiny = new TinyLlama();
        string path = Write(tiny, null);
        Assert.Equal($"{path}: does not say how the vectors of tokens become one: it was not made for embeddings; name a pooling (mean, first or last)",
            Assert.Throws<InvalidDataException>(() => LlamaTextEncoder.Load(path)).Message);
        Write(tiny, 4);
        Assert.Equal($"{path}: ranks pairs of texts, it does not embed them", Assert.Throws<InvalidDataException>(() => LlamaTextEncoder.Load(path)).Message);
    }

    /// <summary>A BERT reads both ways and has no memory: the other path through llama.cpp.</summary>
    [Fact]
    public void A_bert_embeds()
    {
        Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");
        const int size = 16, hidden = 32;
        string[] tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁world", .. Enumerable.Range('a', 26).Select(letter => $"▁{(char)letter}"), .. Enumerable.Range('a', 26).Select(letter => $"{(char)letter}")];
        var random = new RandomSource(4);
        var tensors = new List<(GgufTensor, ReadOnlyMemory<byte>)>();
        void Add(string name, params long[] shape)
            => tensors.Add(GgufWriter.Singles(name, [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (product, length) => product * length)).Select(_ => (float)random.NextGaussian())], shape));
        void AddNorm(string name)
        {
            Add(name + ".weight", size);
            Add(name + ".bias", size);
        }
        Add("token_embd.weight", tokens.Length, size);
        Add("token_types.weight", 2, size);
        Add("position_embd.weight", 64, size);
        AddNorm("token_embd_norm");
        foreach (string name in (string[])["attn_q", "attn_k", "attn_v", "attn_output"])
        {
            Add($"blk.0.{name}.weight", size, size);
            Add($"blk.0.{name}.bias", size);
        }
        AddNorm("blk.0.attn_output_norm");
        Add("blk.0.ffn_up.weight", hidden, size);
        Add("blk.0.ffn_up.bias", hidden);
        Add("blk.0.ffn_down.weight", size, hidden);
        Add("blk.0.ffn_down.bias", size);
        AddNorm("blk.0.layer_output_norm");
        using (FileStream stream = File.Create(_folder["bert.gguf"]))
        {
            GgufWriter.Write(stream, new GgufMetadata
            {
                ["general.architecture"] = "bert",
                ["bert.context_length"] = 64u,
                ["bert.embedding_length"] = (uint)size,
                ["bert.block_count"] = 1u,
                ["bert.feed_forward_length"] = (uint)hidden,
                ["bert.attention.head_count"] = 2u,
                ["bert.attention.layer_norm_epsilon"] = 1e-12f,
                ["bert.attention.causal"] = false,
                ["bert.pooling_type"] = 1u,
                ["tokenizer.ggml.model"] = "bert",
                ["tokenizer.ggml.tokens"] = tokens,
                ["tokenizer.ggml.token_type"] = tokens.Select(token => token[0] == '[' ? 3 : 1).ToArray(),
                ["tokenizer.ggml.token_type_count"] = 2u,
                ["tokenizer.ggml.padding_token_id"] = 0u,
                ["tokenizer.ggml.unknown_token_id"] = 1u,
                ["tokenizer.ggml.cls_token_id"] = 2u,
                ["tokenizer.ggml.bos_token_id"] = 2u,
                ["tokenizer.ggml.seperator_token_id"] = 3u,
                ["tokenizer.ggml.mask_token_id"] = 4u,
            }, tensors);
        }
        using LlamaTextEncoder encoder = LlamaTextEncoder.Load(_folder["bert.gguf"], new LlamaTextEncoderOptions { Threads = 1, MaximumTokens = 8 });
        float[] first = new float[size], again = new float[size], other = new float[size], longer = new float[size];
        Assert.Equal(0, encoder.Encode("Hello world", first));
        Assert.Equal(0, encoder.Encode("world", other));
        Assert.Equal(0, encoder.Encode("hello world", again));
        Assert.Equal(5, encoder.Encode("a b c d e f g h i j k", longer));
        Assert.Equal(first, again);
        Assert.NotEqual(first, other);
        Assert.All(first.Concat(longer), value => Assert.True(float.IsFinite(value)));
        using LlamaModel model = LlamaModel.Load(_folder["bert.gguf"], new LlamaModelOptions { AnyArchitecture = true });
        Assert.Contains("only embeds texts", Assert.Throws<ArgumentException>(() => model.CreateContext()).Message);
    }
}
