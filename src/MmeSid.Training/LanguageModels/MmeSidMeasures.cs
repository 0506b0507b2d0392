using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// What MME-SID measures of its items (arXiv 2509.02017): forgetting, as Kendall's τ between the distances of the original embeddings e_j and those of the code embeddings q_j, and collapse, as the singular
/// spectrum of tables in the language model's space. Taken before and after training they say what fine-tuning keeps.
/// </summary>
/// <param name="Distances">τ of each modality that has codes, by name.</param>
/// <param name="Embeddings">Spectrum of the item table E.</param>
/// <param name="Inputs">Spectrum of the soft tokens x.</param>
public sealed record MmeSidMeasures(IReadOnlyList<(string Modality, KendallTau Tau)> Distances, Spectrum Embeddings, Spectrum Inputs)
{
    /// <summary>Measures items as they are now. Deterministic.</summary>
    /// <param name="items">The items.</param>
    /// <param name="sources">The modalities that they were made of.</param>
    /// <param name="users">Histories and targets, as rows of the items.</param>
    /// <param name="threads">0 for all cores; changes nothing in the result.</param>
    public static MmeSidMeasures Measure(MmeSidItems items, IReadOnlyList<ItemModalitySource> sources, IReadOnlyList<UserHistory> users, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(sources);
        using DisposeScope whole = NewDisposeScope();
        ItemIds ids = sources[0].Table.Items;
        var distances = new List<(string, KendallTau)>();
        foreach (string modality in items.Coded)
        {
            using DisposeScope scope = NewDisposeScope();
            using EmbeddingTable codes = TableOf(items.AllCodeEmbeddings(modality), ids, modality);
            distances.Add((modality, KendallTau.Measure(sources.First(source => source.Name == modality).Table, codes, users, threads)));
        }
        return new MmeSidMeasures(distances, SpectrumOf(items.Embeddings.detach()), SpectrumOf(items.AllInputs()));

        Spectrum SpectrumOf(Tensor rows)
        {
            using DisposeScope scope = NewDisposeScope();
            using EmbeddingTable table = TableOf(rows, ids, "items");
            return Spectrum.Measure(table, threads: threads);
        }
    }

    private static EmbeddingTable TableOf(Tensor rows, ItemIds items, string name)
    {
        var matrix = new RowMatrix(rows.shape[0], (int)rows.shape[1]);
        using Tensor stored = rows.to(float32).cpu().contiguous();
        for (long first = 0; first < matrix.Count; first += matrix.MaximumSpanRows)
        {
            int count = (int)Math.Min(matrix.MaximumSpanRows, matrix.Count - first);
            using Tensor part = stored.narrow(0, first, count);
            part.data<float>().CopyTo(matrix.Rows(first, count));
        }
        return EmbeddingTable.FromRows(matrix, items, name);
    }
}
