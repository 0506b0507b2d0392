using System.Runtime.InteropServices;
using System.Text.Json;

namespace MmeSid.Engine.Files;

/// <summary>
/// A Llama 3, 3.1 or 3.2 model in a Hugging Face folder (<c>config.json</c>, <c>tokenizer.json</c>, <c>model.safetensors</c> or its parts with
/// <c>model.safetensors.index.json</c>), rewritten as one GGUF file for llama.cpp.
/// <para>
/// Weights keep their type, vectors become float32. Rows of the query and key projections change places: the folder's model rotates pairs of values
/// (i, i + s/2) of a head of size s, llama.cpp pairs (2i, 2i + 1), so row 2i + j of a head comes from row j·s/2 + i.
/// </para>
/// <para>
/// Llama 3.1 and 3.2 stretch slow rotations. With wave length w = 2π·θ^(2i/s), original context C, and factors f, low, high the frequency is divided by
/// 1 where w &lt; C/high; f where w &gt; C/low; else 1/((1 − t)/f + t), t = (C/w − low)/(high − low). These divisors are the tensor <c>rope_freqs.weight</c>.
/// </para>
/// </summary>
public sealed class HuggingFaceLlama
{
    private const string kArchitecture = "llama";
    private const int kBytesPerCopy = 1 << 22;

    private readonly string _folder;
    private readonly string _config;
    private readonly int _dimension, _hidden, _layers, _heads, _keyHeads, _headSize, _context, _vocabulary;
    private readonly double _epsilon, _ropeBase;
    private readonly bool _tied;
    private readonly int? _begin, _end;
    private readonly float[]? _ropeFactors;
    private readonly double? _ropeScale;

    private HuggingFaceLlama(string folder)
    {
        _folder = folder;
        _config = Path.Combine(folder, "config.json");
        using JsonDocument document = HuggingFaceJson.Read(_config);
        JsonElement config = document.RootElement;
        if (HuggingFaceJson.Text(config, "model_type") is var type && type != "llama")
            throw new InvalidDataException($"{_config}: is a model of type '{type}', expected 'llama'");
        int Size(string name, int? otherwise = null, int maximum = 1 << 24)
        {
            int value = HuggingFaceJson.Integer(config, name, _config) ?? otherwise ?? throw new InvalidDataException($"{_config}: lacks '{name}'");
            return value >= 1 && value <= maximum ? value : throw new InvalidDataException($"{_config}: '{name}' is {value}, expected 1 to {maximum}");
        }
        _dimension = Size("hidden_size");
        _hidden = Size("intermediate_size");
        _layers = Size("num_hidden_layers", maximum: 512);
        _heads = Size("num_attention_heads", maximum: 1 << 16);
        _keyHeads = Size("num_key_value_heads", _heads, _heads);
        _headSize = Size("head_dim", Math.Max(1, _dimension / _heads));
        _context = Size("max_position_embeddings", maximum: int.MaxValue);
        _vocabulary = Size("vocab_size");
        if (_heads % _keyHeads != 0 || _headSize % 2 != 0)
            throw new InvalidDataException($"{_config}: {_heads} heads of size {_headSize} with {_keyHeads} of keys and values, expected an even size and a divisor");
        _epsilon = HuggingFaceJson.Number(config, "rms_norm_eps", _config) ?? 1e-6;
        _tied = Flag("tie_word_embeddings");
        if (Flag("attention_bias") || Flag("mlp_bias"))
            throw new InvalidDataException($"{_config}: has biases, which Llama 3 has not");
        _begin = First("bos_token_id");
        _end = First("eos_token_id");
        // Newer versions keep the base among the scaling's parameters.
        JsonElement? scaling = Child("rope_scaling") ?? Child("rope_parameters");
        _ropeBase = HuggingFaceJson.Number(config, "rope_theta", _config) ?? (scaling is { } within ? HuggingFaceJson.Number(within, "rope_theta", _config) : null) ?? 10000;
        if (!(_ropeBase > 0) || !(_epsilon >= 0))
            throw new InvalidDataException($"{_config}: rope_theta {_ropeBase} or rms_norm_eps {_epsilon} is out of range");
        if (scaling is { } parameters)
            (_ropeFactors, _ropeScale) = Scaling(parameters);

        bool Flag(string name) => config.TryGetProperty(name, out JsonElement element) && element.ValueKind == JsonValueKind.True;

        JsonElement? Child(string name) => config.TryGetProperty(name, out JsonElement element) && element.ValueKind == JsonValueKind.Object ? element : null;

        int? First(string name)
        {
            if (!config.TryGetProperty(name, out JsonElement element))
                return null;
            // Several ends of a text: the first is the one that is predicted.
            if (element.ValueKind == JsonValueKind.Array)
                return element.GetArrayLength() > 0 && element[0].ValueKind == JsonValueKind.Number && element[0].TryGetInt32(out int first) ? first : throw new InvalidDataException($"{_config}: '{name}' is {element.GetRawText()}, expected integers");
            return HuggingFaceJson.Integer(config, name, _config);
        }
    }

    /// <summary>Writes the model of a folder as a GGUF file.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="cancellation">Stops between pieces.</param>
    /// <exception cref="InvalidDataException">The folder holds no Llama model, or one of another layout.</exception>
    /// <exception cref="FileNotFoundException">One of its files is missing.</exception>
    public static void WriteGguf(string folder, Stream stream, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(stream);
        try
        {
            new HuggingFaceLlama(folder).Write(stream, cancellation);
        }
        catch (InvalidDataException exception) when (exception.Message != OneLine.Of(exception.Message))
        {
            throw new InvalidDataException(OneLine.Of(exception.Message), exception);
        }
    }

    /// <summary>What each rotary frequency is divided by under <c>llama3</c> scaling; see the class.</summary>
    internal static float[] Llama3Factors(int headSize, double ropeBase, double factor, double low, double high, double originalContext)
    {
        var factors = new float[headSize / 2];
        for (int i = 0; i < factors.Length; i++)
        {
            double wave = 2 * Math.PI * Math.Pow(ropeBase, 2.0 * i / headSize);
            double t = ((originalContext / wave) - low) / (high - low);
            factors[i] = (float)(wave < originalContext / high ? 1 : wave > originalContext / low ? factor : 1 / (((1 - t) / factor) + t));
        }
        return factors;
    }

    private (float[]? Factors, double? Scale) Scaling(JsonElement parameters)
    {
        string type = HuggingFaceJson.Text(parameters, "rope_type") ?? HuggingFaceJson.Text(parameters, "type") ?? "default";
        double Positive(string name, double? otherwise = null)
        {
            double value = HuggingFaceJson.Number(parameters, name, _config) ?? otherwise ?? throw new InvalidDataException($"{_config}: rope_scaling lacks '{name}'");
            return value > 0 ? value : throw new InvalidDataException($"{_config}: rope_scaling: '{name}' is {value}, expected a positive number");
        }
        switch (type)
        {
            case "default":
                return (null, null);
            case "linear":
                return (null, Positive("factor"));
            case "llama3":
                double low = Positive("low_freq_factor"), high = Positive("high_freq_factor");
                return high > low
                    ? (Llama3Factors(_headSize, _ropeBase, Positive("factor"), low, high, Positive("original_max_position_embeddings", 8192)), null)
                    : throw new InvalidDataException($"{_config}: rope_scaling: high_freq_factor {high} is not above low_freq_factor {low}");
            default:
                throw new InvalidDataException($"{_config}: rope_scaling of type '{type}' is not supported, expected llama3, linear or default");
        }
    }

    private void Write(Stream stream, CancellationToken cancellation)
    {
        Dictionary<string, SafetensorsFile> parts = OpenParts();
        try
        {
            List<Piece> pieces = Plan(parts);
            GgufTensorType weights = pieces[0].Tensor.Type;
            var writer = new GgufWriter(stream, Metadata(weights), [.. pieces.Select(piece => piece.Tensor)]);
            foreach (Piece piece in pieces)
                Copy(writer, piece, cancellation);
            writer.Complete();
        }
        finally
        {
            foreach (SafetensorsFile file in parts.Values.Distinct())
                file.Dispose();
        }
    }

    private GgufMetadata Metadata(GgufTensorType weights)
    {
        var metadata = new GgufMetadata
        {
            ["general.architecture"] = kArchitecture,
            ["general.type"] = "model",
            ["general.name"] = Path.GetFileName(Path.GetFullPath(_folder).TrimEnd(Path.DirectorySeparatorChar)),
            // llama.cpp's numbers for whole files.
            ["general.file_type"] = weights switch { GgufTensorType.F16 => 1u, GgufTensorType.BF16 => 32u, _ => 0u },
            [$"{kArchitecture}.context_length"] = (uint)_context,
            [$"{kArchitecture}.embedding_length"] = (uint)_dimension,
            [$"{kArchitecture}.block_count"] = (uint)_layers,
            [$"{kArchitecture}.feed_forward_length"] = (uint)_hidden,
            [$"{kArchitecture}.attention.head_count"] = (uint)_heads,
            [$"{kArchitecture}.attention.head_count_kv"] = (uint)_keyHeads,
            [$"{kArchitecture}.attention.key_length"] = (uint)_headSize,
            [$"{kArchitecture}.attention.value_length"] = (uint)_headSize,
            [$"{kArchitecture}.attention.layer_norm_rms_epsilon"] = (float)_epsilon,
            [$"{kArchitecture}.rope.dimension_count"] = (uint)_headSize,
            [$"{kArchitecture}.rope.freq_base"] = (float)_ropeBase,
            [$"{kArchitecture}.vocab_size"] = (uint)_vocabulary,
        };
        if (_ropeScale is { } scale)
        {
            metadata[$"{kArchitecture}.rope.scaling.type"] = "linear";
            metadata[$"{kArchitecture}.rope.scaling.factor"] = (float)scale;
        }
        HuggingFaceTokenizer.AddTo(metadata, _folder, _vocabulary, _begin, _end);
        return metadata;
    }

    /// <summary>The file that holds each tensor.</summary>
    private Dictionary<string, SafetensorsFile> OpenParts()
    {
        var parts = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        string index = Path.Combine(_folder, "model.safetensors.index.json"), single = Path.Combine(_folder, "model.safetensors");
        var opened = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        try
        {
            if (!File.Exists(index))
            {
                if (!File.Exists(single))
                    throw new FileNotFoundException($"{single}: is missing, and so is its index; a Hugging Face model folder has config.json, tokenizer.json and model.safetensors", single);
                opened.Add(single, SafetensorsFile.Open(single));
                foreach (string name in opened[single].Tensors.Keys)
                    parts.Add(name, opened[single]);
                return parts;
            }
            using JsonDocument document = HuggingFaceJson.Read(index);
            foreach (JsonProperty entry in HuggingFaceJson.Object(document.RootElement, "weight_map", index).EnumerateObject())
            {
                string? file = entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString() : null;
                // A part lies beside its index, nowhere else.
                if (string.IsNullOrEmpty(file) || Path.GetFileName(file) != file)
                    throw new InvalidDataException($"{index}: tensor '{entry.Name}' has no proper file name");
                if (!opened.TryGetValue(file, out SafetensorsFile? part))
                    opened.Add(file, part = SafetensorsFile.Open(Path.Combine(_folder, file)));
                if (!parts.TryAdd(entry.Name, part))
                    throw new InvalidDataException($"{index}: lists tensor '{entry.Name}' twice");
            }
            return parts;
        }
        catch
        {
            foreach (SafetensorsFile file in opened.Values)
                file.Dispose();
            throw;
        }
    }

    /// <summary>Every tensor that a Llama has, checked for its shape; one that a Llama has not is an error.</summary>
    private List<Piece> Plan(Dictionary<string, SafetensorsFile> parts)
    {
        var pieces = new List<Piece>();
        var left = parts.Keys.Where(name => !name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal)).ToHashSet(StringComparer.Ordinal);
        int queries = _heads * _headSize, keys = _keyHeads * _headSize;
        Add("token_embd", "model.embed_tokens", 0, _vocabulary, _dimension);
        for (int layer = 0; layer < _layers; layer++)
        {
            string theirs = $"model.layers.{layer}.", ours = $"blk.{layer}.";
            Add(ours + "attn_norm", theirs + "input_layernorm", 0, _dimension);
            Add(ours + "attn_q", theirs + "self_attn.q_proj", _heads, queries, _dimension);
            Add(ours + "attn_k", theirs + "self_attn.k_proj", _keyHeads, keys, _dimension);
            Add(ours + "attn_v", theirs + "self_attn.v_proj", 0, keys, _dimension);
            Add(ours + "attn_output", theirs + "self_attn.o_proj", 0, _dimension, queries);
            Add(ours + "ffn_norm", theirs + "post_attention_layernorm", 0, _dimension);
            Add(ours + "ffn_gate", theirs + "mlp.gate_proj", 0, _hidden, _dimension);
            Add(ours + "ffn_up", theirs + "mlp.up_proj", 0, _hidden, _dimension);
            Add(ours + "ffn_down", theirs + "mlp.down_proj", 0, _dimension, _hidden);
        }
        Add("output_norm", "model.norm", 0, _dimension);
        if (!_tied)
            Add("output", "lm_head", 0, _vocabulary, _dimension);
        else
            left.Remove("lm_head.weight");
        if (left.Count > 0)
            throw new InvalidDataException($"{_folder}: holds '{left.Order(StringComparer.Ordinal).First()}', which a Llama 3 has not");
        if (_ropeFactors is not null)
            pieces.Add(new Piece(new GgufTensor("rope_freqs.weight", GgufTensorType.F32, [_ropeFactors.Length]), null, "", 0));
        return pieces;

        void Add(string ours, string theirs, int rotatedHeads, params long[] shape)
        {
            string name = theirs + ".weight";
            left.Remove(name);
            if (!parts.TryGetValue(name, out SafetensorsFile? file))
                throw new InvalidDataException($"{_folder}: lacks the tensor '{name}'");
            SafetensorsEntry entry = file.Entry(name);
            if (!entry.Shape.SequenceEqual(shape))
                throw new InvalidDataException($"{file.Path}: tensor {name} has shape [{string.Join(", ", entry.Shape)}], expected [{string.Join(", ", shape)}] by config.json");
            GgufTensorType stored = TypeOf(file, name, entry);
            pieces.Add(new Piece(new GgufTensor(ours + ".weight", shape.Length == 1 ? GgufTensorType.F32 : stored, shape), file, name, rotatedHeads));
        }
    }

    private static GgufTensorType TypeOf(SafetensorsFile file, string name, SafetensorsEntry entry) => entry.Type switch
    {
        ElementType.Float32 => GgufTensorType.F32,
        ElementType.Float16 => GgufTensorType.F16,
        ElementType.BFloat16 => GgufTensorType.BF16,
        _ => throw new InvalidDataException($"{file.Path}: tensor {name} is {entry.Type}, expected float32, float16 or bfloat16"),
    };

    private void Copy(GgufWriter writer, Piece piece, CancellationToken cancellation)
    {
        if (piece.File is not { } file)
        {
            writer.Write(MemoryMarshal.AsBytes(_ropeFactors.AsSpan()));
            return;
        }
        SafetensorsEntry entry = file.Entry(piece.Source);
        if (entry.Shape.Count == 1)
        {
            byte[] stored = new byte[entry.Bytes];
            file.ReadBytes(piece.Source, stored);
            var values = new float[entry.Shape[0]];
            GgufBlocks.Dequantize(TypeOf(file, piece.Source, entry), stored, values);
            writer.Write(MemoryMarshal.AsBytes(values.AsSpan()));
        }
        else if (piece.RotatedHeads > 0)
        {
            int rowBytes = (int)(entry.Bytes / entry.Shape[0]);
            byte[] head = new byte[checked(rowBytes * _headSize)], turned = new byte[head.Length];
            for (int number = 0; number < piece.RotatedHeads; number++)
            {
                cancellation.ThrowIfCancellationRequested();
                file.ReadBytes(piece.Source, (long)number * head.Length, head);
                for (int row = 0; row < _headSize; row++)
                    head.AsSpan(((row % 2 * (_headSize / 2)) + (row / 2)) * rowBytes, rowBytes).CopyTo(turned.AsSpan(row * rowBytes));
                writer.Write(turned);
            }
        }
        else
        {
            byte[] buffer = new byte[Math.Min(kBytesPerCopy, entry.Bytes)];
            for (long done = 0; done < entry.Bytes; done += buffer.Length)
            {
                cancellation.ThrowIfCancellationRequested();
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, entry.Bytes - done));
                file.ReadBytes(piece.Source, done, part);
                writer.Write(part);
            }
        }
    }

    /// <summary>A tensor and where it comes from; no file for the rotary factors. Heads that are rotated have their rows reordered.</summary>
    private sealed record Piece(GgufTensor Tensor, SafetensorsFile? File, string Source, int RotatedHeads);
}
