using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>The files of a <see cref="SidLlama"/>.</summary>
public static class SidLlamaFiles
{
    /// <summary>Completes an output folder that the caller commits: vectors, SIDs, items and description join the other files, which are there already.</summary>
    /// <param name="model">Trained.</param>
    /// <param name="output">The folder; holds <paramref name="others"/>.</param>
    /// <param name="description">What it is.</param>
    /// <param name="bundle">What it was trained on.</param>
    /// <param name="others">Names of further files, such as <see cref="LanguageModelFiles.BaseName"/>.</param>
    public static void WriteModel(this SidLlama model, OutputFolder output, ModelDescription description, SidBundle bundle, params IReadOnlyList<string> others)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(bundle);
        using (DisposeScope scope = NewDisposeScope())
            TensorFile.Save(Path.Combine(output.Path, ModelFolder.WeightsName), [(SidLanguageModel.EmbeddingsName, model.Embeddings), (SidLanguageModel.HeadName, model.Head)]);
        using (FileStream stream = File.Create(Path.Combine(output.Path, SidLanguageModel.SidsName)))
        {
            var sids = new NpyWriter<ushort>(stream, bundle.Sids.Count, bundle.Levels);
            sids.Write(bundle.Sids.Codes);
            sids.Complete();
        }
        ModelFolder.Write(output, description, bundle.Items, [SidLanguageModel.SidsName, .. others]);
    }

    /// <summary>
    /// Writes transformer and vectors as one GGUF file of float32. Its tokens are the codes by their names (<c>&lt;a_12&gt;</c>) and the begin vector; a token's embedding is the code's
    /// input vector, its row of the output the code's of the head.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="stream">Any writable stream.</param>
    public static void WriteGguf(this SidLlama model, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(model);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        model.Transformer.WriteGguf(stream, SidLanguageModel.Kind, model.Vocabulary.Words(), model.Embeddings, model.Tied ? null : cat([model.Head, zeros_like(model.Embeddings.narrow(0, 0, 1))], 0));
    }
}
