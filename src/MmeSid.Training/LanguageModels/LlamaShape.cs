using MmeSid.Engine.Files;

namespace MmeSid.Training.LanguageModels;

/// <summary>Sizes and constants of a model of the Llama architecture.</summary>
public sealed record LlamaShape
{
    /// <summary>The architecture's name in GGUF files.</summary>
    public const string Architecture = "llama";

    // Of a layer.
    private static readonly string[] s_weights =
        ["attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"];

    /// <summary>H, values of an embedding and of a hidden state.</summary>
    public required int Dimension { get; init; }

    /// <summary>Transformer layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Heads of queries.</summary>
    public required int Heads { get; init; }

    /// <summary>Heads of keys and values, a divisor of <see cref="Heads"/>: as many queries share one (grouped-query attention).</summary>
    public required int KeyHeads { get; init; }

    /// <summary>s, values of a head; even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>F, hidden values of the feed-forward part.</summary>
    public required int FeedForward { get; init; }

    /// <summary>ε of the norms.</summary>
    public double Epsilon { get; init; } = 1e-5;

    /// <summary>θ: pair i of a head turns by θ^(−2i/s) per position.</summary>
    public double RopeBase { get; init; } = 10000;

    /// <summary>What each of the s/2 rotary frequencies is divided by (<c>rope_freqs.weight</c>), or null.</summary>
    public IReadOnlyList<float>? RopeFactors { get; init; }

    /// <summary>Longest sequence.</summary>
    public int Context { get; init; } = 2048;

    /// <summary>Parameters of the layers and of the final norm, without embeddings and output.</summary>
    public long Parameters => Layers * ((long)Dimension * HeadSize * 2 * (Heads + KeyHeads) + 3L * Dimension * FeedForward + 2L * Dimension) + Dimension;

    /// <summary>Refuses sizes outside their range.</summary>
    /// <exception cref="ArgumentException">Which one, its value, what was expected.</exception>
    public void Validate()
    {
        AtLeastOne(Dimension, "the dimension");
        AtLeastOne(Layers, "the number of layers");
        AtLeastOne(Heads, "the number of heads");
        AtLeastOne(KeyHeads, "the number of heads of keys");
        AtLeastOne(FeedForward, "the width of the feed-forward part");
        AtLeastOne(Context, "the context");
        if (Heads % KeyHeads != 0)
            throw new ArgumentException($"{KeyHeads} heads of keys do not divide the {Heads} heads");
        if (HeadSize < 2 || HeadSize % 2 != 0)
            throw new ArgumentException($"the size of a head is {HeadSize}, expected an even number: its values are rotated in pairs");
        if (RopeFactors is { } factors && factors.Count != HeadSize / 2)
            throw new ArgumentException($"there are {factors.Count} rotary factors, a head of size {HeadSize} has {HeadSize / 2} pairs");
    }

    /// <summary>The keys of a GGUF file of float32 weights of this shape; name and tokenizer are the caller's to add. Rotary factors are a tensor, not keys.</summary>
    public GgufMetadata Metadata() => new()
    {
        ["general.architecture"] = Architecture,
        ["general.type"] = "model",
        ["general.file_type"] = 0u,
        [$"{Architecture}.context_length"] = (uint)Context,
        [$"{Architecture}.embedding_length"] = (uint)Dimension,
        [$"{Architecture}.block_count"] = (uint)Layers,
        [$"{Architecture}.feed_forward_length"] = (uint)FeedForward,
        [$"{Architecture}.attention.head_count"] = (uint)Heads,
        [$"{Architecture}.attention.head_count_kv"] = (uint)KeyHeads,
        [$"{Architecture}.attention.key_length"] = (uint)HeadSize,
        [$"{Architecture}.attention.value_length"] = (uint)HeadSize,
        [$"{Architecture}.attention.layer_norm_rms_epsilon"] = (float)Epsilon,
        [$"{Architecture}.rope.dimension_count"] = (uint)HeadSize,
        [$"{Architecture}.rope.freq_base"] = (float)RopeBase,
    };

    /// <summary>The shape of a model's file.</summary>
    /// <exception cref="InvalidDataException">It is no Llama, lacks a size, or does what <see cref="Llama"/> does not: experts, other rotary scalings, rotations of a part of a head, sizes that change by layer.</exception>
    public static LlamaShape Of(GgufFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        GgufMetadata keys = file.Metadata;
        string architecture = keys.Text("general.architecture") ?? "none";
        if (architecture != Architecture)
            throw new InvalidDataException($"{file.Path}: has architecture '{architecture}', expected '{Architecture}'");
        int Size(string name, int? otherwise = null)
        {
            string key = $"{Architecture}.{name}";
            if (keys.TryGetValue(key, out object? value) && value is Array)
                throw new InvalidDataException($"{file.Path}: key '{key}' changes by layer, expected one number");
            long number = keys.Integer(key) ?? otherwise ?? throw new InvalidDataException($"{file.Path}: lacks the key '{key}'");
            return number is >= 1 and <= int.MaxValue ? (int)number : throw new InvalidDataException($"{file.Path}: key '{key}' is {number}, expected a positive number");
        }
        int dimension = Size("embedding_length"), heads = Size("attention.head_count"), headSize = Size("attention.key_length", Math.Max(1, dimension / heads));
        if (Size("attention.value_length", headSize) != headSize)
            throw new InvalidDataException($"{file.Path}: values have {Size("attention.value_length")} values per head, keys {headSize}: expected the same");
        if (Size("rope.dimension_count", headSize) != headSize)
            throw new InvalidDataException($"{file.Path}: rotates {Size("rope.dimension_count")} of the {headSize} values of a head, expected all");
        if (keys.Integer($"{Architecture}.expert_count") is > 0)
            throw new InvalidDataException($"{file.Path}: has experts, which training does not know");
        // llama.cpp would apply what the forward pass here leaves out: biases, scales, sub-norms.
        if (file.Tensors.Keys.FirstOrDefault(name => name.StartsWith("blk.", StringComparison.Ordinal) && !s_weights.Contains(name[(name.IndexOf('.', 4) + 1)..])) is { } unknown)
            throw new InvalidDataException($"{file.Path}: has the tensor {unknown}, which training does not know");
        // A linear scaling divides every frequency alike.
        double linear = keys.Text($"{Architecture}.rope.scaling.type") switch
        {
            null or "none" => 1,
            "linear" => keys.Number($"{Architecture}.rope.scaling.factor") ?? 1,
            string other => throw new InvalidDataException($"{file.Path}: rotary scaling '{other}' is not known to training, expected none, linear or rope_freqs.weight"),
        };
        float[]? factors = file.Tensors.ContainsKey("rope_freqs.weight") ? file.ReadSingles("rope_freqs.weight") : null;
        if (linear != 1)
            factors = [.. (factors ?? Enumerable.Repeat(1f, headSize / 2)).Select(factor => (float)(factor * linear))];
        var shape = new LlamaShape
        {
            Dimension = dimension,
            Layers = Size("block_count"),
            Heads = heads,
            KeyHeads = Size("attention.head_count_kv", heads),
            HeadSize = headSize,
            FeedForward = Size("feed_forward_length"),
            Epsilon = keys.Number($"{Architecture}.attention.layer_norm_rms_epsilon") ?? 1e-5,
            RopeBase = keys.Number($"{Architecture}.rope.freq_base") ?? 10000,
            RopeFactors = factors,
            Context = Size("context_length"),
        };
        try
        {
            shape.Validate();
        }
        catch (ArgumentException problem)
        {
            throw new InvalidDataException($"{file.Path}: {problem.Message}", problem);
        }
        return shape;
    }

    private static void AtLeastOne(int value, string what)
    {
        if (value < 1)
            throw new ArgumentException($"{what} is {value}, expected at least 1");
    }
}
