namespace MmeSid.Engine.Files;

/// <summary>The low-rank update of one weight W [outputs, inputs]: W x becomes W x + (α/r) · B A x.</summary>
/// <param name="Weight">Name of W in the model's GGUF file, such as <c>blk.0.ffn_gate.weight</c>.</param>
/// <param name="A">[r, inputs], row-major.</param>
/// <param name="B">[outputs, r], row-major.</param>
/// <param name="Rank">r.</param>
public sealed record LoraUpdate(string Weight, ReadOnlyMemory<float> A, ReadOnlyMemory<float> B, int Rank);

/// <summary>LoRA adapters as GGUF files, which llama.cpp applies to a model that stays as it is.</summary>
public static class GgufLora
{
    /// <summary>Ending of the name of A.</summary>
    public const string SuffixA = ".lora_a";

    /// <summary>Ending of the name of B.</summary>
    public const string SuffixB = ".lora_b";

    /// <summary>Writes an adapter.</summary>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="architecture">Architecture of the model, such as <c>llama</c>.</param>
    /// <param name="alpha">α.</param>
    /// <param name="updates">At least one, uniquely named.</param>
    /// <exception cref="ArgumentException">There is none, or lengths do not fit the rank, or α is not a finite positive number.</exception>
    public static void Write(Stream stream, string architecture, float alpha, IReadOnlyList<LoraUpdate> updates)
    {
        ArgumentException.ThrowIfNullOrEmpty(architecture);
        ArgumentNullException.ThrowIfNull(updates);
        if (updates.Count == 0)
            throw new ArgumentException("an adapter has at least one update", nameof(updates));
        if (!float.IsFinite(alpha) || alpha <= 0)
            throw new ArgumentOutOfRangeException(nameof(alpha), $"alpha is {alpha}, expected a positive number");
        var tensors = new List<(GgufTensor, ReadOnlyMemory<byte>)>(2 * updates.Count);
        foreach (LoraUpdate update in updates)
        {
            if (update.Rank < 1 || update.A.Length == 0 || update.B.Length == 0 || update.A.Length % update.Rank != 0 || update.B.Length % update.Rank != 0)
                throw new ArgumentException($"{update.Weight}: {update.A.Length} and {update.B.Length} values are no matrices of rank {update.Rank}", nameof(updates));
            tensors.Add(GgufWriter.Singles(update.Weight + SuffixA, update.A.Span, update.Rank, update.A.Length / update.Rank));
            tensors.Add(GgufWriter.Singles(update.Weight + SuffixB, update.B.Span, update.B.Length / update.Rank, update.Rank));
        }
        GgufWriter.Write(stream, new GgufMetadata
        {
            ["general.type"] = "adapter",
            ["general.architecture"] = architecture,
            ["adapter.type"] = "lora",
            ["adapter.lora.alpha"] = alpha,
        }, tensors);
    }
}
