using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Files;

/// <summary>What <c>model.json</c> says of a trained model.</summary>
public sealed record ModelDescription
{
    /// <summary>Which model, such as <c>sasrec</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>Shape and training, by the names of the command line.</summary>
    public required IReadOnlyDictionary<string, string> Options { get; init; }

    /// <summary>Numbers measured when it was trained; all finite.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();

    /// <summary>SHA-256, lower-case hex, of each file it was trained on, by file name.</summary>
    public IReadOnlyDictionary<string, string> Inputs { get; init; } = new Dictionary<string, string>();

    /// <summary>A number among the options.</summary>
    /// <exception cref="InvalidDataException">There is none of this name.</exception>
    public T Option<T>(string name)
        where T : IParsable<T> => Options.TryGetValue(name, out string? text) && T.TryParse(text, CultureInfo.InvariantCulture, out T? value)
            ? value
            : throw new InvalidDataException($"the model's option '{name}' is {(text is null ? "missing" : $"'{text}'")}, expected {typeof(T).Name}");
}

/// <summary>
/// A trained model as a folder: <c>model.json</c> (kind, options, metrics, hashes), <c>weights.safetensors</c> (parameters and buffers by name),
/// <c>items.txt</c> (one id per line, in the order of the model's rows), and what else its kind needs. Equal models have equal bytes.
/// </summary>
public sealed class ModelFolder
{
    /// <summary>Name of the file that makes a folder a model.</summary>
    public const string DescriptionName = "model.json";

    /// <summary>Name of the file of parameters and buffers.</summary>
    public const string WeightsName = "weights.safetensors";

    private const string kFormat = "mmesid-model";
    private const int kSchema = 1;
    private const string kItems = "items.txt";
    private static readonly JsonWriterOptions s_json = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly HashSet<string> _files;

    private ModelFolder(string path, ModelDescription description, ItemIds items, HashSet<string> files) => (Path, Description, Items, _files) = (path, description, items, files);

    /// <summary>The folder as given.</summary>
    public string Path { get; }

    /// <summary>What it is and how it was trained.</summary>
    public ModelDescription Description { get; }

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Completes an output folder that the caller commits: items and description join the weights, and the other files, that are there already.</summary>
    /// <param name="output">Holds <see cref="WeightsName"/> and the other files.</param>
    /// <param name="description">What it is.</param>
    /// <param name="items">By row.</param>
    /// <param name="others">Names of further files in the folder itself.</param>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    public static void Write(OutputFolder output, ModelDescription description, ItemIds items, params IReadOnlyList<string> others)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(others);
        using (FileStream stream = File.Create(System.IO.Path.Combine(output.Path, kItems)))
            items.Write(stream);
        using FileStream file = File.Create(System.IO.Path.Combine(output.Path, DescriptionName));
        using var json = new Utf8JsonWriter(file, s_json);
        json.WriteStartObject();
        json.WriteString("format", kFormat);
        json.WriteNumber("schema", kSchema);
        json.WriteString("kind", description.Kind);
        Texts("options", description.Options);
        json.WriteStartObject("metrics");
        foreach ((string name, double value) in description.Metrics)
            json.WriteNumber(name, value);
        json.WriteEndObject();
        Texts("inputs", description.Inputs);
        Texts("files", ((string[])[kItems, WeightsName, .. others]).ToDictionary(name => name, name => HashOf(System.IO.Path.Combine(output.Path, name))));
        json.WriteEndObject();

        void Texts(string name, IReadOnlyDictionary<string, string> texts)
        {
            json.WriteStartObject(name);
            foreach ((string key, string text) in texts)
                json.WriteString(key, text);
            json.WriteEndObject();
        }
    }

    /// <summary>Opens a model; its files are checked against their hashes.</summary>
    /// <exception cref="InvalidDataException">The folder is no model, of a newer schema, or damaged.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    public static ModelFolder Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"{folder}: no such folder, expected a model that 'train' wrote");
        string path = System.IO.Path.Combine(folder, DescriptionName);
        if (!File.Exists(path))
            throw new InvalidDataException($"{folder}: is no model (it holds no {DescriptionName})");
        try
        {
            using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
            JsonElement root = json.RootElement;
            if (root.GetProperty("format").GetString() != kFormat)
                throw new InvalidDataException($"{path}: is not of format {kFormat}");
            if (root.GetProperty("schema").GetInt32() != kSchema)
                throw new InvalidDataException($"{path}: schema {root.GetProperty("schema")} is not known, expected {kSchema}");
            Dictionary<string, string> files = Texts(root.GetProperty("files"));
            foreach (string name in (string[])[WeightsName, kItems])
                _ = files[name];
            foreach ((string name, string hash) in files)
            {
                if (System.IO.Path.GetFileName(name) != name)
                    throw new InvalidDataException($"{path}: lists a file '{name}' outside of the folder");
                if (HashOf(System.IO.Path.Combine(folder, name)) != hash)
                    throw new InvalidDataException($"{System.IO.Path.Combine(folder, name)}: is not the file that was written (its SHA-256 differs)");
            }
            var description = new ModelDescription
            {
                Kind = root.GetProperty("kind").GetString()!,
                Options = Texts(root.GetProperty("options")),
                Metrics = root.GetProperty("metrics").EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.GetDouble()),
                Inputs = Texts(root.GetProperty("inputs")),
            };
            return new ModelFolder(folder, description, ItemIds.ReadFile(System.IO.Path.Combine(folder, kItems)), [.. files.Keys]);
        }
        catch (Exception problem) when (problem is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: is no description of a model", problem);
        }
    }

    /// <summary>Names of all files but the description.</summary>
    public IReadOnlyCollection<string> Files => _files;

    /// <summary>The files besides the weights and the items.</summary>
    public IEnumerable<string> Others => _files.Where(name => name is not (kItems or WeightsName));

    /// <summary>Whether the model has a file of this name.</summary>
    public bool Has(string name) => _files.Contains(name);

    /// <summary>Path of a file of the model.</summary>
    /// <exception cref="InvalidDataException">It has none of this name.</exception>
    public string PathOf(string name) => Has(name) ? System.IO.Path.Combine(Path, name) : throw new InvalidDataException($"{Path}: the model has no {name}");

    /// <summary>SHA-256 of a file, lower-case hex.</summary>
    public static string HashOf(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }

    private static Dictionary<string, string> Texts(JsonElement texts) => texts.EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.GetString()!);
}
