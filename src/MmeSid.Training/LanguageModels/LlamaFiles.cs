using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>A <see cref="Llama"/> that was trained from scratch as a file that llama.cpp runs.</summary>
internal static class LlamaFiles
{
    /// <summary>Name of the last token, with which a sequence begins.</summary>
    public const string Begin = "<begin>";

    /// <summary>Writes a GGUF file of float32.</summary>
    /// <param name="transformer">All of whose weights are trained.</param>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="name">Of the model.</param>
    /// <param name="tokens">V names, the last <see cref="Begin"/>. All are control tokens: no text from outside spells them.</param>
    /// <param name="embeddings">[V, H].</param>
    /// <param name="output">[V, H], or null where it is the embeddings.</param>
    public static void WriteGguf(this Llama transformer, Stream stream, string name, string[] tokens, Tensor embeddings, Tensor? output)
    {
        var tensors = new List<(string Name, Tensor Rows)> { ("token_embd.weight", embeddings) };
        tensors.AddRange(transformer.Tensors());
        if (output is not null)
            tensors.Add(("output.weight", output));
        var writer = new GgufWriter(stream, Metadata(transformer.Shape, name, tokens), [.. tensors.Select(entry => new GgufTensor(entry.Name, GgufTensorType.F32, entry.Rows.shape))]);
        foreach ((_, Tensor rows) in tensors)
        {
            using Tensor stored = rows.detach().to(float32).cpu().contiguous();
            writer.Write(stored.bytes);
        }
        writer.Complete();
    }

    private static GgufMetadata Metadata(LlamaShape shape, string name, string[] tokens)
    {
        GgufMetadata metadata = shape.Metadata();
        metadata["general.name"] = name;
        metadata[$"{LlamaShape.Architecture}.vocab_size"] = (uint)tokens.Length;
        metadata["tokenizer.ggml.model"] = "gpt2";
        metadata["tokenizer.ggml.pre"] = "llama-bpe";
        metadata["tokenizer.ggml.tokens"] = tokens;
        metadata["tokenizer.ggml.token_type"] = Enumerable.Repeat(3, tokens.Length).ToArray();
        metadata["tokenizer.ggml.merges"] = Array.Empty<string>();
        metadata["tokenizer.ggml.bos_token_id"] = (uint)tokens.Length - 1;
        metadata["tokenizer.ggml.eos_token_id"] = (uint)tokens.Length - 1;
        metadata["tokenizer.ggml.add_bos_token"] = true;
        return metadata;
    }
}
