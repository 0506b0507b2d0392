using MmeSid.Engine.Files;

namespace MmeSid.Engine.Generation;

/// <summary>The GGUF files that a trained recommender runs on.</summary>
/// <param name="Base">The base model.</param>
/// <param name="Adapter">The LoRA adapter, or null where the base runs as it is.</param>
/// <param name="AdapterScale">s of <see cref="ILanguageModelAdapter"/>.</param>
public sealed record LanguageModelFiles(string Base, string? Adapter, float AdapterScale)
{
    private const string kBase = "base.gguf", kAdapter = "adapter.gguf";
    private const string kBaseOption = "base", kHashOption = "base-sha256", kScaleOption = "lora-scale";

    /// <summary>
    /// Finds the files of a model: its own base or one outside of it, which must be the very file that it was trained on, byte for byte. The whole base is read once for that.
    /// </summary>
    /// <param name="folder">A model with the options <c>base-sha256</c>, <c>base</c> where the base is outside, and perhaps <c>lora-scale</c>.</param>
    /// <param name="otherBase">Where the base is now; null takes the model's own, or the path that it was trained with.</param>
    /// <exception cref="InvalidDataException">No base is named, it is not there, or its hash differs.</exception>
    public static LanguageModelFiles Locate(ModelFolder folder, string? otherBase = null)
    {
        ArgumentNullException.ThrowIfNull(folder);
        string path = otherBase ?? (folder.Has(kBase) ? folder.PathOf(kBase) : folder.Description.Option<string>(kBaseOption));
        if (!File.Exists(path))
            throw new InvalidDataException($"{folder.Path}: its base model {path} is not there; --base names it where it is");
        string expected = folder.Description.Option<string>(kHashOption), actual = ModelFolder.HashOf(path);
        if (actual != expected)
            throw new InvalidDataException($"{path}: is not the base model that {folder.Path} was trained on (SHA-256 {actual}, expected {expected})");
        float scale = folder.Description.Options.ContainsKey(kScaleOption) ? folder.Description.Option<float>(kScaleOption) : 1;
        return new LanguageModelFiles(path, folder.Has(kAdapter) ? folder.PathOf(kAdapter) : null, scale);
    }
}
