using System.Text;
using System.Text.Json;

namespace MmeSid.Engine.Files;

/// <summary>The tokenizer of a Hugging Face model folder (<c>tokenizer.json</c>, byte-level BPE) as keys of a GGUF file.</summary>
internal static class HuggingFaceTokenizer
{
    // How Llama 3 splits a text into words before merging, and the name that llama.cpp gives to it.
    private const string kLlama3Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    // llama.cpp's numbers for kinds of tokens.
    private const int kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

    /// <summary>Adds the tokenizer's keys.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="vocabularySize">Rows of the embedding table: tokens that the tokenizer does not know fill it up.</param>
    /// <param name="begin">Token that starts a text, or null.</param>
    /// <param name="end">Token that ends a text, or null.</param>
    /// <param name="metadata">Where they go.</param>
    /// <exception cref="InvalidDataException">The tokenizer is corrupt, or of another kind.</exception>
    public static void AddTo(GgufMetadata metadata, string folder, int vocabularySize, int? begin, int? end)
    {
        string path = Path.Combine(folder, "tokenizer.json");
        using JsonDocument document = HuggingFaceJson.Read(path);
        JsonElement model = HuggingFaceJson.Object(document.RootElement, "model", path);
        if (HuggingFaceJson.Text(model, "type") is not (null or "BPE") || !model.TryGetProperty("merges", out JsonElement mergeList) || mergeList.ValueKind != JsonValueKind.Array)
            throw new InvalidDataException($"{path}: is a tokenizer of type '{HuggingFaceJson.Text(model, "type")}', expected byte-level BPE as in Llama 3");
        if (model.TryGetProperty("byte_fallback", out JsonElement fallback) && fallback.ValueKind == JsonValueKind.True)
            throw new InvalidDataException($"{path}: is a SentencePiece tokenizer as in Llama 2, expected byte-level BPE as in Llama 3");
        string splitting = Splitting(document.RootElement, path);

        string?[] tokens = new string?[vocabularySize];
        int[] kinds = new int[vocabularySize];
        kinds.AsSpan().Fill(kUnused);
        foreach (JsonProperty token in HuggingFaceJson.Object(model, "vocab", path).EnumerateObject())
        {
            if (token.Value.ValueKind != JsonValueKind.Number || !token.Value.TryGetInt32(out int id))
                throw new InvalidDataException($"{path}: token '{token.Name}' has no number");
            Place(id, token.Name, kNormal);
        }
        if (document.RootElement.TryGetProperty("added_tokens", out JsonElement added) && added.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement token in added.EnumerateArray())
            {
                if (HuggingFaceJson.Text(token, "content") is not { } text || HuggingFaceJson.Integer(token, "id", path) is not { } id)
                    throw new InvalidDataException($"{path}: an added token lacks its text or number");
                Place(id, text, token.TryGetProperty("special", out JsonElement special) && special.ValueKind == JsonValueKind.True ? kControl : kUserDefined);
            }
        }
        for (int id = 0; id < tokens.Length; id++)
            tokens[id] ??= $"[PAD{id}]";

        metadata["tokenizer.ggml.model"] = "gpt2";
        metadata["tokenizer.ggml.pre"] = splitting;
        metadata["tokenizer.ggml.tokens"] = tokens;
        metadata["tokenizer.ggml.token_type"] = kinds;
        metadata["tokenizer.ggml.merges"] = Merges(mergeList, path);
        AddSpecial("bos", begin);
        AddSpecial("eos", end);
        AddSettings(metadata, folder);

        void Place(int id, string text, int kind)
        {
            if (id < 0 || id >= tokens.Length)
                throw new InvalidDataException($"{path}: token '{text}' has number {id}, the model has {tokens.Length} embeddings");
            if (tokens[id] is { } other && other != text)
                throw new InvalidDataException($"{path}: tokens '{other}' and '{text}' have the same number {id}");
            tokens[id] = text;
            kinds[id] = kind;
        }

        void AddSpecial(string name, int? id)
        {
            if (id is not { } value)
                return;
            if (value < 0 || value >= tokens.Length)
                throw new InvalidDataException($"{Path.Combine(folder, "config.json")}: {name}_token_id is {value}, the model has {tokens.Length} embeddings");
            metadata[$"tokenizer.ggml.{name}_token_id"] = (uint)value;
        }
    }

    private static string[] Merges(JsonElement list, string path)
    {
        var merges = new string[list.GetArrayLength()];
        int i = 0;
        foreach (JsonElement merge in list.EnumerateArray())
        {
            // Written as one text or, by newer versions, as a pair.
            merges[i++] = merge.ValueKind == JsonValueKind.String ? merge.GetString()!
                : merge.ValueKind == JsonValueKind.Array && merge.GetArrayLength() == 2 && merge[0].ValueKind == JsonValueKind.String && merge[1].ValueKind == JsonValueKind.String
                    ? $"{merge[0].GetString()} {merge[1].GetString()}"
                    : throw new InvalidDataException($"{path}: merge {i} is no pair of texts");
        }
        return merges;
    }

    /// <summary>llama.cpp's name for the way in which texts are split before merging.</summary>
    private static string Splitting(JsonElement root, string path)
    {
        if (!root.TryGetProperty("pre_tokenizer", out JsonElement splitter) || splitter.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException($"{path}: has no pre_tokenizer, expected that of Llama 3 or GPT-2");
        JsonElement[] steps = splitter.TryGetProperty("pretokenizers", out JsonElement list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray()] : [splitter];
        foreach (JsonElement step in steps)
        {
            if (HuggingFaceJson.Text(step, "type") == "Split" && step.TryGetProperty("pattern", out JsonElement pattern) && HuggingFaceJson.Text(pattern, "Regex") is { } expression)
            {
                return expression == kLlama3Pattern ? "llama-bpe"
                    : throw new InvalidDataException($"{path}: splits texts by another pattern than Llama 3's, which is not supported");
            }
        }
        bool own = steps.Any(step => HuggingFaceJson.Text(step, "type") == "ByteLevel" && !(step.TryGetProperty("use_regex", out JsonElement regex) && regex.ValueKind == JsonValueKind.False));
        return own ? "gpt-2" : throw new InvalidDataException($"{path}: has a pre_tokenizer that is neither Llama 3's nor GPT-2's");
    }

    private static void AddSettings(GgufMetadata metadata, string folder)
    {
        string path = Path.Combine(folder, "tokenizer_config.json"), template = Path.Combine(folder, "chat_template.jinja");
        if (File.Exists(path))
        {
            using JsonDocument document = HuggingFaceJson.Read(path);
            if (document.RootElement.TryGetProperty("add_bos_token", out JsonElement addBegin) && addBegin.ValueKind is JsonValueKind.True or JsonValueKind.False)
                metadata["tokenizer.ggml.add_bos_token"] = addBegin.GetBoolean();
            if (HuggingFaceJson.Text(document.RootElement, "chat_template") is { } text)
                metadata["tokenizer.chat_template"] = text;
        }
        if (File.Exists(template))
            metadata["tokenizer.chat_template"] = File.ReadAllText(template, Encoding.UTF8);
    }
}

/// <summary>Reading the JSON files of a model folder, with one line about what is wrong.</summary>
internal static class HuggingFaceJson
{
    public static JsonDocument Read(string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"{path}: is missing; a Hugging Face model folder has config.json, tokenizer.json and model.safetensors", path);
        byte[] bytes = File.ReadAllBytes(path);
        try
        {
            // Texts that are no valid Unicode only fail when they are asked for; ask for all of them here.
            var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = 64 });
            while (reader.Read())
            {
                if (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName)
                    _ = reader.GetString();
            }
            var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 64 });
            return document.RootElement.ValueKind == JsonValueKind.Object ? document : throw new InvalidDataException($"{path}: is no JSON object");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path}: is no valid JSON, line {exception.LineNumber + 1}", exception);
        }
        catch (InvalidOperationException exception)
        {
            throw new InvalidDataException($"{path}: holds a text that is no valid Unicode", exception);
        }
    }

    public static JsonElement Object(JsonElement parent, string name, string path)
        => parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out JsonElement element) && element.ValueKind == JsonValueKind.Object
            ? element : throw new InvalidDataException($"{path}: lacks the object '{name}'");

    public static string? Text(JsonElement parent, string name)
        => parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out JsonElement element) && element.ValueKind == JsonValueKind.String ? element.GetString() : null;

    public static int? Integer(JsonElement parent, string name, string path)
    {
        if (!parent.TryGetProperty(name, out JsonElement element) || element.ValueKind == JsonValueKind.Null)
            return null;
        return element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int value) ? value : throw new InvalidDataException($"{path}: '{name}' is {element.GetRawText()}, expected an integer");
    }

    public static double? Number(JsonElement parent, string name, string path)
    {
        if (!parent.TryGetProperty(name, out JsonElement element) || element.ValueKind == JsonValueKind.Null)
            return null;
        return element.ValueKind == JsonValueKind.Number && element.TryGetDouble(out double value) && double.IsFinite(value) ? value : throw new InvalidDataException($"{path}: '{name}' is {element.GetRawText()}, expected a number");
    }
}
