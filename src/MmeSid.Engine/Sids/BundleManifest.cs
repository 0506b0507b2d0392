using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;

namespace MmeSid.Engine.Sids;

/// <summary>A table that went into a bundle.</summary>
/// <param name="Name">Its file name, for people.</param>
/// <param name="Rows">n.</param>
/// <param name="Dimension">d.</param>
/// <param name="Fingerprint">SHA-256 of <see cref="EmbeddingTable.Fingerprint"/>.</param>
public sealed record BundleInput(string Name, long Rows, int Dimension, string Fingerprint)
{
    /// <summary>Describes a table; reads it once.</summary>
    public static BundleInput Of(EmbeddingTable table)
    {
        ArgumentNullException.ThrowIfNull(table);
        return new BundleInput(Path.GetFileName(table.Name), table.Count, table.Dimension, table.Fingerprint());
    }
}

/// <summary>A file of a bundle.</summary>
/// <param name="Bytes">Length.</param>
/// <param name="Sha256">Hash of the content, lower-case hex.</param>
public sealed record BundleFile(long Bytes, string Sha256);

/// <summary>
/// What <c>manifest.json</c> says. Keys come in a fixed order and nothing depends on time or place, so equal bundles have equal bytes.
/// </summary>
public sealed record BundleManifest
{
    /// <summary>The schema this engine writes and reads.</summary>
    public const int CurrentSchema = 1;

    private const string kFormat = "mmesid-bundle";
    private const string kSeal = "manifest_sha256";

    /// <summary>How codes are searched.</summary>
    public required QuantizerKind Kind { get; init; }

    /// <summary>d.</summary>
    public required int Dimension { get; init; }

    /// <summary>K per level of the quantizer.</summary>
    public required IReadOnlyList<int> CodeCounts { get; init; }

    /// <summary>How the quantizer was trained, as name and value.</summary>
    public required IReadOnlyDictionary<string, string> Options { get; init; }

    /// <summary>How raw tables become rows.</summary>
    public required Preprocessing Preprocessing { get; init; }

    /// <summary>The learned encoder between the rows and the quantizer; null where the rows themselves are quantized.</summary>
    public EncoderDescription? Encoder { get; init; }

    /// <summary>Number of items, n.</summary>
    public required long Items { get; init; }

    /// <summary>Codes per settled SID: L, or L + 1 with an extra digit.</summary>
    public required int SidLevels { get; init; }

    /// <summary>How collisions were settled, and are when items are added.</summary>
    public required CollisionPolicy Collisions { get; init; }

    /// <summary>How <see cref="CollisionPolicy.Resettle"/> chose.</summary>
    public required SettlingMethod Settling { get; init; }

    /// <summary>The tables that items came from, in order.</summary>
    public required IReadOnlyList<BundleInput> Inputs { get; init; }

    /// <summary>Numbers measured when the bundle was written.</summary>
    public required IReadOnlyDictionary<string, double> Metrics { get; init; }

    /// <summary>Every other file of the folder by name.</summary>
    public required IReadOnlyDictionary<string, BundleFile> Files { get; init; }

    /// <summary>
    /// Writes the manifest as JSON, UTF-8, two blanks of indentation, line feeds. Its last member, <c>manifest_sha256</c>, is the SHA-256 of these bytes
    /// with that text empty.
    /// </summary>
    public void Write(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var buffer = new MemoryStream();
        WriteUnsealed(buffer);
        ReadOnlySpan<byte> content = buffer.ToArray();
        int at = content.LastIndexOf(Seal("")) + Seal("").Length - 1;
        stream.Write(content[..at]);
        stream.Write(Encoding.ASCII.GetBytes(Hash(content[..at], content[at..])));
        stream.Write(content[at..]);
    }

    private void WriteUnsealed(Stream stream)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        json.WriteString("format", kFormat);
        json.WriteNumber("schema", CurrentSchema);
        json.WriteStartObject("quantizer");
        json.WriteString("kind", QuantizerName.Of(Kind));
        json.WriteNumber("dimension", Dimension);
        json.WriteStartArray("codes");
        foreach (int count in CodeCounts)
            json.WriteNumberValue(count);
        json.WriteEndArray();
        json.WriteStartObject("options");
        foreach ((string name, string value) in Options.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            json.WriteString(name, value);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteStartArray("preprocessing");
        foreach (TablePart part in Preprocessing.Parts)
        {
            json.WriteStartObject();
            json.WriteNumber("dimension", part.Dimension);
            json.WriteBoolean("normalize", part.Normalize);
            json.WriteNumber("weight", part.Weight);
            if (part.Mean is not null)
            {
                json.WriteStartArray("mean");
                foreach (float value in part.Mean)
                    json.WriteNumberValue(value);
                json.WriteEndArray();
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
        if (Encoder is { } encoder)
            WriteEncoder(json, encoder);
        json.WriteNumber("items", Items);
        json.WriteStartObject("sids");
        json.WriteNumber("levels", SidLevels);
        json.WriteString("collisions", CollisionName.Of(Collisions));
        json.WriteString("settling", CollisionName.Of(Settling));
        json.WriteEndObject();
        json.WriteStartArray("inputs");
        foreach (BundleInput input in Inputs)
        {
            json.WriteStartObject();
            json.WriteString("name", input.Name);
            json.WriteNumber("rows", input.Rows);
            json.WriteNumber("dimension", input.Dimension);
            json.WriteString("sha256", input.Fingerprint);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartObject("metrics");
        foreach ((string name, double value) in Metrics.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            json.WriteNumber(name, value);
        json.WriteEndObject();
        json.WriteStartObject("files");
        foreach ((string name, BundleFile file) in Files.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            json.WriteStartObject(name);
            json.WriteNumber("bytes", file.Bytes);
            json.WriteString("sha256", file.Sha256);
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteString(kSeal, "");
        json.WriteEndObject();
        json.Flush();
        stream.WriteByte((byte)'\n');
    }

    private static void WriteEncoder(Utf8JsonWriter json, EncoderDescription encoder)
    {
        json.WriteStartObject("encoder");
        json.WriteString("kind", EncoderName.Of(encoder.Kind));
        json.WriteNumber("input_dimension", encoder.InputDimension);
        if (encoder.Fusion != InputFusion.None)
            json.WriteString("fusion", EncoderName.Of(encoder.Fusion));
        if (encoder.Fusion == InputFusion.Mean)
        {
            json.WriteStartArray("weights");
            foreach (double weight in encoder.FusionWeights)
                json.WriteNumberValue(weight);
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    /// <summary>Reads a manifest.</summary>
    /// <param name="content">The bytes of the file.</param>
    /// <param name="path">Name in messages.</param>
    /// <exception cref="InvalidDataException">The bytes are no manifest of this schema (the message names the key), or were altered.</exception>
    public static BundleManifest Parse(ReadOnlyMemory<byte> content, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(content);
            var root = new ManifestNode(document.RootElement, path, "");
            BundleManifest manifest = Parse(root);
            RequireSeal(content.Span, root[kSeal].Text(), path);
            return manifest;
        }
        catch (Exception problem) when (problem is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a text that is no valid UTF-16, such as half a surrogate pair.
            throw new InvalidDataException($"{path}: is no JSON: {problem.Message}", problem);
        }
    }

    private static byte[] Seal(string hash) => Encoding.UTF8.GetBytes($"\"{kSeal}\": \"{hash}\"");

    private static string Hash(ReadOnlySpan<byte> before, ReadOnlySpan<byte> after)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(before);
        hash.AppendData(after);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void RequireSeal(ReadOnlySpan<byte> content, string stored, string path)
    {
        byte[] seal = Seal(stored);
        int start = content.LastIndexOf(seal), end = start + seal.Length - 1;
        if (start < 0)
            throw new InvalidDataException($"{path}: was altered: its {kSeal} is not written as it was");
        string found = Hash(content[..(end - Encoding.UTF8.GetByteCount(stored))], content[end..]);
        if (found != stored)
            throw new InvalidDataException($"{path}: was altered: its SHA-256 without {kSeal} is {found}, {kSeal} says {(stored.Length > 64 ? stored[..64] + "…" : stored)}");
    }

    private static BundleManifest Parse(ManifestNode root)
    {
        if (root["format"].Text() != kFormat)
            throw root["format"].Wrong($"\"{kFormat}\"");
        int schema = root["schema"].Integer(1, int.MaxValue);
        if (schema != CurrentSchema)
            throw root["schema"].Wrong($"{CurrentSchema}, the schema this version reads");
        ManifestNode quantizer = root["quantizer"], sids = root["sids"];
        return new BundleManifest
        {
            Kind = quantizer["kind"].Named(QuantizerName.Parse),
            Dimension = quantizer["dimension"].Integer(1, int.MaxValue),
            CodeCounts = [.. quantizer["codes"].Elements().Select(count => count.Integer(1, 1 << 16))],
            Options = quantizer["options"].Properties().ToDictionary(entry => entry.Name, entry => entry.Node.Text()),
            Preprocessing = new Preprocessing([.. root["preprocessing"].Elements().Select(ParsePart)]),
            Encoder = root.Optional("encoder") is { } encoder ? ParseEncoder(encoder) : null,
            Items = root["items"].Long(),
            SidLevels = sids["levels"].Integer(1, int.MaxValue),
            Collisions = sids["collisions"].Named(CollisionName.ParsePolicy),
            Settling = sids["settling"].Named(CollisionName.ParseMethod),
            Inputs = [.. root["inputs"].Elements().Select(input =>
                new BundleInput(input["name"].Text(), input["rows"].Long(), input["dimension"].Integer(1, int.MaxValue), input["sha256"].Text()))],
            Metrics = root["metrics"].Properties().ToDictionary(entry => entry.Name, entry => entry.Node.Number()),
            Files = root["files"].Properties().ToDictionary(entry => entry.Name, entry => new BundleFile(entry.Node["bytes"].Long(), entry.Node["sha256"].Text())),
        };
    }

    private static TablePart ParsePart(ManifestNode part) => new(part["dimension"].Integer(1, int.MaxValue), part["normalize"].Boolean(), part["weight"].Number())
    {
        Mean = part.Optional("mean") is { } mean ? [.. mean.Elements().Select(value => (float)value.Number())] : null,
    };

    private static EncoderDescription ParseEncoder(ManifestNode encoder)
    {
        InputFusion fusion = encoder.Optional("fusion") is { } name ? name.Named(EncoderName.ParseFusion) : InputFusion.None;
        return new EncoderDescription(encoder["kind"].Named(EncoderName.ParseKind), encoder["input_dimension"].Integer(1, int.MaxValue), fusion,
            fusion == InputFusion.Mean ? [.. encoder["weights"].Elements().Select(weight => weight.Number())] : []);
    }

    /// <summary>A value of the manifest and where it stands.</summary>
    private readonly struct ManifestNode(JsonElement element, string path, string key)
    {
        public ManifestNode this[string name] => Optional(name) ?? throw new InvalidDataException($"{path}: lacks {Key(name)}");

        public ManifestNode? Optional(string name)
        {
            if (element.ValueKind != JsonValueKind.Object)
                throw Wrong("an object");
            return element.TryGetProperty(name, out JsonElement value) ? new ManifestNode(value, path, Key(name)) : null;
        }

        public List<ManifestNode> Elements()
        {
            if (element.ValueKind != JsonValueKind.Array)
                throw Wrong("an array");
            var nodes = new List<ManifestNode>();
            foreach (JsonElement value in element.EnumerateArray())
                nodes.Add(new ManifestNode(value, path, $"{key}[{nodes.Count}]"));
            return nodes;
        }

        public IEnumerable<(string Name, ManifestNode Node)> Properties()
        {
            if (element.ValueKind != JsonValueKind.Object)
                throw Wrong("an object");
            var nodes = new Dictionary<string, ManifestNode>(StringComparer.Ordinal);
            foreach (JsonProperty property in element.EnumerateObject())
            {
                if (!nodes.TryAdd(property.Name, new ManifestNode(property.Value, path, Key(property.Name))))
                    throw new InvalidDataException($"{path}: {Key(property.Name)} occurs twice");
            }
            return nodes.Select(entry => (entry.Key, entry.Value));
        }

        public string Text() => element.ValueKind == JsonValueKind.String ? element.GetString()! : throw Wrong("a text");

        public bool Boolean() => element.ValueKind is JsonValueKind.True or JsonValueKind.False ? element.GetBoolean() : throw Wrong("true or false");

        public double Number() => element.ValueKind == JsonValueKind.Number && element.TryGetDouble(out double value) && double.IsFinite(value) ? value : throw Wrong("a number");

        public long Long() => element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out long value) && value >= 0 ? value : throw Wrong("a count");

        public int Integer(int least, int most)
        {
            long value = Long();
            return value >= least && value <= most ? (int)value : throw Wrong(string.Create(CultureInfo.InvariantCulture, $"{least} … {most}"));
        }

        public T Named<T>(Func<string, T> parse)
        {
            try
            {
                return parse(Text());
            }
            catch (ArgumentException problem)
            {
                throw new InvalidDataException($"{path}: {key}: {problem.Message}", problem);
            }
        }

        public InvalidDataException Wrong(string expected)
        {
            string found = element.GetRawText();
            return new InvalidDataException($"{path}: {(key.Length == 0 ? "the document" : key)} is {(found.Length > 40 ? found[..40] + "…" : found)}, expected {expected}");
        }

        private string Key(string name) => key.Length == 0 ? name : $"{key}.{name}";
    }
}
