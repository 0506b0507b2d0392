using MmeSid.Engine.Files;

namespace MmeSid.Engine.Generation;

/// <summary>The GGUF files that a trained recommender runs on.</summary>
/// <param name="Base">The base model.</param>
/// <param name="Adapter">The LoRA adapter, or null where the base runs as it is.</param>
/// <param name="AdapterScale">s of <see cref="ILanguageModelAdapter"/>.</param>
public sealed record LanguageModelFiles(string Base, string? Adapter, float AdapterScale)
{
    /// <summary>The base that was trained with the model, a whole model that llama.cpp runs.</summary>
    public const string BaseName = "base.gguf";

    /// <summary>The LoRA adapter.</summary>
    public const string AdapterName = "adapter.gguf";

    /// <summary>Option of <c>model.json</c>: path of a base outside of the folder.</summary>
    public const string BaseOption = "base";

    /// <summary>Option of <c>model.json</c>: SHA-256 of the base.</summary>
    public const string HashOption = "base-sha256";

    /// <summary>Option of <c>model.json</c>: <see cref="AdapterScale"/>.</summary>
    public const string ScaleOption = "lora-scale";

    /// <summary>
    /// Finds the files of a model: its own base or one outside of it, which must be the very file that it was trained on, byte for byte. The whole base is read once for that.
    /// </summary>
    /// <param name="folder">A model with the options <c>base-sha256</c>, <c>base</c> where the base is outside, and perhaps <c>lora-scale</c>.</param>
    /// <param name="otherBase">Where the base is now; null takes the model's own, or the path that it was trained with.</param>
    /// <exception cref="InvalidDataException">No base is named, it is not there, or its hash differs.</exception>
    public static LanguageModelFiles Locate(ModelFolder folder, string? otherBase = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        string path = otherBase ?? (folder.Has(BaseName) ? folder.PathOf(BaseName) : folder.Description.Option<string>(BaseOption));
        if (!File.Exists(path))
            throw new InvalidDataException($"{folder.Path}: its base model {path} is not there; --base names it where it is");
        string expected = folder.Description.Option<string>(HashOption), actual = ModelFolder.HashOf(path);
        if (actual != expected)
            throw new InvalidDataException($"{path}: is not the base model that {folder.Path} was trained on (SHA-256 {actual}, expected {expected})");
        float scale = folder.Description.Options.ContainsKey(ScaleOption) ? folder.Description.Option<float>(ScaleOption) : 1;
        return new LanguageModelFiles(path, folder.Has(AdapterName) ? folder.PathOf(AdapterName) : null, scale);
    }
}
