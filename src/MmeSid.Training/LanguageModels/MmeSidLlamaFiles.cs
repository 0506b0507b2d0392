using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>The files of a <see cref="MmeSidLlama"/>.</summary>
public static class MmeSidLlamaFiles
{
    /// <summary>
    /// Completes an output folder that the caller commits: the folded x and z of all items, what they were folded from, items and description join the other files, which are there already.
    /// </summary>
    /// <param name="model">Trained.</param>
    /// <param name="output">The folder; holds <paramref name="others"/>.</param>
    /// <param name="description">What it is.</param>
    /// <param name="items">By row.</param>
    /// <param name="others">Names of further files, such as <see cref="LanguageModelFiles.BaseName"/>.</param>
    public static void WriteModel(this MmeSidLlama model, OutputFolder output, ModelDescription description, ItemIds items, params IReadOnlyList<string> others)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(output);
        using (DisposeScope scope = NewDisposeScope())
        using (no_grad())
        {
            TensorFile.Save(Path.Combine(output.Path, ModelFolder.WeightsName),
                [(MmeSidModel.InputsName, model.Items.AllInputs()), (MmeSidModel.OutputsName, model.Items.Outputs()), .. model.Items.FoldedFrom()]);
        }
        ModelFolder.Write(output, description, items, others);
    }

    /// <summary>Writes the transformer as one GGUF file of float32. It reads vectors alone: its one token stands for nothing.</summary>
    /// <param name="model">The model, trained from scratch.</param>
    /// <param name="stream">Any writable stream.</param>
    public static void WriteGguf(this MmeSidLlama model, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(model);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        model.Transformer.WriteGguf(stream, MmeSidModel.Kind, [LlamaFiles.Begin], zeros(1, model.Transformer.Shape.Dimension), output: null);
    }
}
