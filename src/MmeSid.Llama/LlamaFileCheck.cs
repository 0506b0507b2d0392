using MmeSid.Engine.Files;

namespace MmeSid.Llama;

/// <summary>
/// What llama.cpp takes for granted in a file, and would end the process over or read beyond an array for, is checked here first, as are the mistakes
/// that it reports less clearly.
/// </summary>
internal static class LlamaFileCheck
{
    /// <summary>The one architecture whose models recommend and are trained.</summary>
    public const string Llama = "llama";

    private const int kBlock = 32;

    /// <summary>Checks a model's head.</summary>
    /// <param name="path">A GGUF file.</param>
    /// <param name="architecture">The one that is expected, or null for any.</param>
    /// <returns>Its architecture.</returns>
    /// <exception cref="InvalidDataException">It is none, or one that llama.cpp cannot run.</exception>
    public static string Model(string path, string? architecture)
    {
        using GgufFile file = GgufFile.Open(path);
        return Named(path, () =>
        {
            string actual = file.Metadata.Text("general.architecture") ?? throw new InvalidDataException("does not name its architecture: no language model");
            if (file.Metadata.TryGetValue("general.type", out object? type) && type is not "model")
                throw new InvalidDataException($"is of type '{type}', expected a model");
            if (architecture is not null && actual != architecture)
                throw new InvalidDataException($"has architecture '{actual}', expected '{architecture}'");
            if (file.Metadata.Integer("split.count") is > 1 and { } parts)
                throw new InvalidDataException($"is one of {parts} parts of a model: join them first with llama.cpp's gguf-split --merge");
            if (file.Tensors.Count == 0)
                throw new InvalidDataException("holds no weights");
            CheckNumbers(file.Metadata, actual);
            CheckTokenizer(file.Metadata);
            foreach ((string name, GgufEntry entry) in file.Tensors)
                CheckTensor(name, entry, actual);
            return actual;
        });
    }

    /// <summary>Checks a LoRA adapter's head against the architecture of the model it is for.</summary>
    /// <exception cref="InvalidDataException">It is none, or one for another architecture.</exception>
    public static void Adapter(string path, string architecture)
    {
        using GgufFile file = GgufFile.Open(path);
        Named(path, () =>
        {
            if (file.Metadata.Text("general.type") != "adapter" || file.Metadata.Text("adapter.type") != "lora")
                throw new InvalidDataException("is no LoRA adapter");
            if (file.Metadata.Text("general.architecture") is var actual && actual != architecture)
                throw new InvalidDataException($"is an adapter for architecture '{actual}', the model has '{architecture}'");
            if (!file.Metadata.TryGetValue("adapter.lora.alpha", out object? alpha) || alpha is not float)
                throw new InvalidDataException("lacks adapter.lora.alpha as a float");
            if (file.Tensors.Count == 0)
                throw new InvalidDataException("holds no weights");
            foreach ((string name, GgufEntry entry) in file.Tensors)
            {
                if (entry.Type is not (GgufTensorType.F32 or GgufTensorType.F16 or GgufTensorType.BF16))
                    throw new InvalidDataException($"tensor {name} is {entry.Type}, expected F32, F16 or BF16");
                if (entry.Shape.Count != 2)
                    throw new InvalidDataException($"tensor {name} has {entry.Shape.Count} dimensions, expected 2");
            }
            return 0;
        });
    }

    /// <summary>
    /// Whether a weight is stored in blocks and a row of it is one block of 32 values. llama.cpp's kernels of repacked weights read beyond such rows (AMX, build b8390: not-a-number for more than a few tokens at
    /// once), so such a model must be loaded without them.
    /// </summary>
    public static bool HasRowsOfOneBlock(string path)
    {
        using GgufFile file = GgufFile.Open(path);
        return file.Tensors.Values.Any(entry => entry.Shape.Count == 2 && entry.Shape[^1] <= kBlock && entry.Type is not (GgufTensorType.F32 or GgufTensorType.F16 or GgufTensorType.BF16));
    }

    private static void CheckNumbers(GgufMetadata metadata, string architecture)
    {
        string Key(string name) => $"{architecture}.{name}";
        void Range(string name, long minimum, long maximum)
        {
            if (metadata.TryGetValue(Key(name), out object? value) && value is not Array && metadata.Integer(Key(name)) is { } number && (number < minimum || number > maximum))
                throw new InvalidDataException($"key '{Key(name)}' is {number}, expected {minimum} to {maximum}");
        }

        foreach ((string key, object value) in metadata)
        {
            // Read as numbers of 32 bits whatever they are.
            if (key.StartsWith(architecture + ".", StringComparison.Ordinal) && value is Array and not (int[] or uint[] or float[] or bool[] or string[]))
                throw GgufMetadata.Unexpected(key, value, "numbers of 32 bits");
        }
        Range("block_count", 1, 512);
        Range("embedding_length", 1, 1 << 20);
        Range("context_length", 1, int.MaxValue);
        Range("attention.head_count", 1, 1 << 16);
        Range("attention.head_count_kv", architecture == Llama ? 1 : 0, 1 << 16);
        Range("expert_count", 0, 512);
        Range("expert_used_count", 0, metadata.TryGetValue(Key("expert_count"), out object? experts) && experts is not Array ? metadata.Integer(Key("expert_count")) ?? 0 : 0);
        if (metadata.Number(Key("attention.layer_norm_rms_epsilon")) is < 0 or double.NaN)
            throw new InvalidDataException($"key '{Key("attention.layer_norm_rms_epsilon")}' is negative");
        if (metadata.Text(Key("rope.scaling.type")) is { } scaling and not ("none" or "linear" or "yarn" or "longrope"))
            throw new InvalidDataException($"key '{Key("rope.scaling.type")}' is '{scaling}', expected none, linear, yarn or longrope");
        if (architecture != Llama)
            return;
        foreach (string required in (string[])["block_count", "embedding_length", "context_length", "feed_forward_length", "attention.head_count"])
        {
            if (!metadata.ContainsKey(Key(required)))
                throw new InvalidDataException($"lacks the key '{Key(required)}'");
        }
        if (metadata[Key("attention.head_count")] is Array || (metadata.TryGetValue(Key("attention.head_count_kv"), out object? perLayer) && perLayer is Array))
            return;
        long heads = metadata.Integer(Key("attention.head_count"))!.Value, keyHeads = metadata.Integer(Key("attention.head_count_kv")) ?? heads;
        if (heads % keyHeads != 0)
            throw new InvalidDataException($"has {heads} heads and {keyHeads} of keys and values, expected a divisor");
        long rotated = metadata.Integer(Key("rope.dimension_count")) ?? (metadata.Integer(Key("embedding_length"))!.Value / heads);
        if (rotated < 2 || rotated % 2 != 0)
            throw new InvalidDataException($"rotates {rotated} values of each head, expected an even number");
    }

    private static void CheckTokenizer(GgufMetadata metadata)
    {
        string model = metadata.Text("tokenizer.ggml.model") ?? throw new InvalidDataException("has no tokenizer");
        if (model is "no_vocab" or "none")
            throw new InvalidDataException("has no tokenizer");
        string[] tokens = metadata.Texts("tokenizer.ggml.tokens") ?? throw new InvalidDataException("has a tokenizer without tokens");
        if (tokens.Length == 0)
            throw new InvalidDataException("has a tokenizer without tokens");
        var distinct = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < tokens.Length; i++)
        {
            // As llama.cpp calls a token without text.
            if (!distinct.Add(tokens[i].Length == 0 ? $"[EMPTY_{i}]" : tokens[i]))
                throw new InvalidDataException($"has the token '{tokens[i]}' twice");
        }
        Parallel<float>("scores", "numbers of 32 bits");
        Parallel<int>("token_type", "integers of 32 bits");
        if (model == "gpt2" && metadata.Texts("tokenizer.ggml.merges") is null)
            throw new InvalidDataException("has a byte-pair tokenizer without merges");
        if (metadata.TryGetValue("tokenizer.ggml.precompiled_charsmap", out object? map) && map is not (byte[] or sbyte[]))
            throw GgufMetadata.Unexpected("tokenizer.ggml.precompiled_charsmap", map, "bytes");
        foreach ((string key, object value) in metadata)
        {
            if (key.StartsWith("tokenizer.ggml.", StringComparison.Ordinal) && key.EndsWith("_token_id", StringComparison.Ordinal)
                && value is not Array && metadata.Integer(key) is { } id && (id < 0 || id >= tokens.Length))
            {
                throw new InvalidDataException($"key '{key}' is {id}, the tokens are 0 to {tokens.Length - 1}");
            }
        }
        if (model == "llama")
        {
            // Letters that are no token are spelled in bytes; one that is missing ends the process.
            for (int letter = 0; letter < 256; letter++)
            {
                if (!distinct.Contains($"<0x{letter:X2}>") && !(letter is > 0 and < 128 && distinct.Contains(((char)letter).ToString())))
                    throw new InvalidDataException($"has no token for byte 0x{letter:X2}");
            }
        }

        void Parallel<T>(string name, string expected)
        {
            string key = "tokenizer.ggml." + name;
            if (!metadata.TryGetValue(key, out object? value))
                return;
            // Not 'is': to the runtime an array of unsigned numbers is one of signed ones.
            if (value.GetType() != typeof(T[]))
                throw GgufMetadata.Unexpected(key, value, expected);
            if (((T[])value).Length != tokens.Length)
                throw new InvalidDataException($"key '{key}' has {((T[])value).Length} values for {tokens.Length} tokens");
        }
    }

    private static void CheckTensor(string name, GgufEntry entry, string architecture)
    {
        if (entry.Type is GgufTensorType.Q8_1 or GgufTensorType.Q8_K or GgufTensorType.I8 or GgufTensorType.I16 or GgufTensorType.I64 or GgufTensorType.F64
            || (entry.Type == GgufTensorType.I32 && architecture == Llama))
        {
            throw new InvalidDataException($"tensor {name} is {entry.Type}, which llama.cpp does not compute with");
        }
        if (architecture == Llama && entry.Shape.Count < 2 && entry.Type != GgufTensorType.F32)
            throw new InvalidDataException($"tensor {name} is {entry.Type}, expected F32 for a vector");
    }

    /// <summary>Messages begin with the path and are one line.</summary>
    private static T Named<T>(string path, Func<T> check)
    {
        try
        {
            return check();
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidDataException($"{path}: {OneLine.Of(exception.Message)}", exception);
        }
    }
}
