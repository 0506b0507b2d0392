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
        const int size = TinyBert.Dimension;
        using LlamaTextEncoder encoder = LlamaTextEncoder.Load(TinyBert.Write(_folder["bert.gguf"]), new LlamaTextEncoderOptions { Threads = 1, MaximumTokens = 8 });
        float[] first = new float[size], again = new float[size], other = new float[size], longer = new float[size];
        Assert.Equal(0, encoder.Encode("Hello world", first));
        Assert.Equal(0, encoder.Encode("world", other));
        Assert.Equal(0, encoder.Encode("hello world", again));
        Assert.Equal(5, encoder.Encode("a b c d e f g h i j k", longer));
        Assert.Equal(first, again);
        Assert.NotEqual(first, other);
        Assert.All(first.Concat(longer), value => Assert.True(float.IsFinite(value)));
    }
}
