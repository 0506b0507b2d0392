using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training;

/// <summary>Modules in and out of the weights of a <see cref="ModelFolder"/>.</summary>
public static class ModuleWeights
{
    /// <summary>Writes the files of a model into an output folder that the caller commits.</summary>
    public static void WriteModel(this nn.Module module, OutputFolder output, ModelDescription description, ItemIds items, params IReadOnlyList<string> others)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(output);
        using DisposeScope scope = NewDisposeScope();
        TensorFile.Save(Path.Combine(output.Path, ModelFolder.WeightsName), module.state_dict().Select(entry => (entry.Key, entry.Value)));
        ModelFolder.Write(output, description, items, others);
    }

    /// <summary>Reads the weights into a module made as the trained one was.</summary>
    /// <exception cref="InvalidDataException">Names, shapes or types differ.</exception>
    public static void LoadModel(this nn.Module module, ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(folder);
        using DisposeScope scope = NewDisposeScope();
        using SafetensorsFile file = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        Dictionary<string, Tensor> tensors = TensorFile.Load(file);
        using IDisposable frozen = no_grad();
        foreach ((string name, Tensor target) in module.state_dict())
            TensorFile.Take(file.Path, tensors, name, target);
        if (tensors.Count > 0)
            throw new InvalidDataException($"{file.Path}: holds {tensors.Keys.Order(StringComparer.Ordinal).First()}, which the model has not");
    }
}
