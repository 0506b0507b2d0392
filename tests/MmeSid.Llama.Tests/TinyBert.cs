using MmeSid.Engine;
using MmeSid.Engine.Files;

namespace MmeSid.Llama.Tests;

/// <summary>A BERT of one layer and random weights that embeds texts: it reads both ways and has no memory.</summary>
internal static class TinyBert
{
    public const int Dimension = 16;
    private const int kHidden = 32;

    public static string Write(string path)
    {
        string[] tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁world", .. Enumerable.Range('a', 26).Select(letter => $"▁{(char)letter}"), .. Enumerable.Range('a', 26).Select(letter => $"{(char)letter}")];
        var random = new RandomSource(4);
        var tensors = new List<(GgufTensor, ReadOnlyMemory<byte>)>();
        void Add(string name, params long[] shape)
            => tensors.Add(GgufWriter.Singles(name, [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (product, length) => product * length)).Select(_ => (float)random.NextGaussian())], shape));
        void AddNorm(string name)
        {
            Add(name + ".weight", Dimension);
            Add(name + ".bias", Dimension);
        }
        Add("token_embd.weight", tokens.Length, Dimension);
        Add("token_types.weight", 2, Dimension);
        Add("position_embd.weight", 64, Dimension);
        AddNorm("token_embd_norm");
        foreach (string name in (string[])["attn_q", "attn_k", "attn_v", "attn_output"])
        {
            Add($"blk.0.{name}.weight", Dimension, Dimension);
            Add($"blk.0.{name}.bias", Dimension);
        }
        AddNorm("blk.0.attn_output_norm");
        Add("blk.0.ffn_up.weight", kHidden, Dimension);
        Add("blk.0.ffn_up.bias", kHidden);
        Add("blk.0.ffn_down.weight", Dimension, kHidden);
        Add("blk.0.ffn_down.bias", Dimension);
        AddNorm("blk.0.layer_output_norm");
        using FileStream stream = File.Create(path);
        GgufWriter.Write(stream, new GgufMetadata
        {
            ["general.architecture"] = "bert",
            ["bert.context_length"] = 64u,
            ["bert.embedding_length"] = (uint)Dimension,
            ["bert.block_count"] = 1u,
            ["bert.feed_forward_length"] = (uint)kHidden,
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
        return path;
    }
}
