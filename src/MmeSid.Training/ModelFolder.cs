using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training;

/// <summary>What <c>model.json</c> says of a trained model.</summary>
public sealed record ModelDescription
{
    /// <summary>Which model: <c>sasrec</c>.</summary>
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
/// A trained model as a folder: <c>model.json</c> (kind, options, metrics, hashes), <c>weights.safetensors</c> (parameters and buffers by name) and
/// <c>items.txt</c> (one id per line, in the order of the model's rows). Equal models have equal bytes.
/// </summary>
public sealed class ModelFolder
{
    /// <summary>Name of the file that makes a folder a model.</summary>
    public const string DescriptionName = "model.json";

    private const string kFormat = "mmesid-model";
    private const int kSchema = 1;
    private const string kWeights = "weights.safetensors", kItems = "items.txt";
    private static readonly JsonWriterOptions s_json = new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly string _folder;

    private ModelFolder(string folder, ModelDescription description, ItemIds items) => (_folder, Description, Items) = (folder, description, items);

    /// <summary>What it is and how it was trained.</summary>
    public ModelDescription Description { get; }

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Writes the files of a model into an output folder that the caller commits.</summary>
    public static void Write(OutputFolder output, ModelDescription description, nn.Module module, ItemIds items)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(description);
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(items);
        using DisposeScope scope = NewDisposeScope();
        TensorFile.Save(Path.Combine(output.Path, kWeights), module.state_dict().Select(entry => (entry.Key, entry.Value)));
        using (FileStream stream = File.Create(Path.Combine(output.Path, kItems)))
            items.Write(stream);
        using FileStream file = File.Create(Path.Combine(output.Path, DescriptionName));
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
        Texts("files", new[] { kItems, kWeights }.ToDictionary(name => name, name => HashOf(Path.Combine(output.Path, name))));
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
        string path = Path.Combine(folder, DescriptionName);
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
            foreach (string name in (string[])[kWeights, kItems])
            {
                if (HashOf(Path.Combine(folder, name)) != root.GetProperty("files").GetProperty(name).GetString())
                    throw new InvalidDataException($"{Path.Combine(folder, name)}: is not the file that was written (its SHA-256 differs)");
            }
            var description = new ModelDescription
            {
                Kind = root.GetProperty("kind").GetString()!,
                Options = Texts(root.GetProperty("options")),
                Metrics = root.GetProperty("metrics").EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.GetDouble()),
                Inputs = Texts(root.GetProperty("inputs")),
            };
            return new ModelFolder(folder, description, ItemIds.ReadFile(Path.Combine(folder, kItems)));
        }
        catch (Exception problem) when (problem is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: is no description of a model", problem);
        }
    }

    /// <summary>Reads the weights into a module made as the trained one was.</summary>
    /// <exception cref="InvalidDataException">Names, shapes or types differ.</exception>
    public void LoadInto(nn.Module module)
    {
        ArgumentNullException.ThrowIfNull(module);
        using DisposeScope scope = NewDisposeScope();
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(_folder, kWeights));
        Dictionary<string, Tensor> tensors = TensorFile.Load(file);
        using IDisposable frozen = no_grad();
        foreach ((string name, Tensor target) in module.state_dict())
        {
            if (!tensors.Remove(name, out Tensor? source) || !source.shape.SequenceEqual(target.shape) || source.dtype != target.dtype)
                throw new InvalidDataException($"{file.Path}: {name} is {(source is null ? "missing" : $"{source.dtype} [{string.Join(", ", source.shape)}]")}, the model has {target.dtype} [{string.Join(", ", target.shape)}]");
            target.copy_(source);
        }
        if (tensors.Count > 0)
            throw new InvalidDataException($"{file.Path}: holds {tensors.Keys.Order(StringComparer.Ordinal).First()}, which the model has not");
    }

    /// <summary>SHA-256 of a file, lower-case hex.</summary>
    public static string HashOf(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }

    private static Dictionary<string, string> Texts(JsonElement texts) => texts.EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.GetString()!);
}
