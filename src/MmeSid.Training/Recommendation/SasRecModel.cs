using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Training.Recommendation;

/// <summary>A trained <see cref="SasRec"/> from its folder, ready to score.</summary>
public sealed class SasRecModel : IDisposable
{
    /// <summary>Its kind in <c>model.json</c>.</summary>
    public const string Kind = "sasrec";

    private readonly SasRec _module;

    private SasRecModel(SasRec module, ItemIds items, int length) => (_module, Scorer) = (module, new SasRecScorer(module, items, length));

    /// <summary>Scores next items.</summary>
    public SasRecScorer Scorer { get; }

    /// <summary>A copy of the item embeddings, [n, d].</summary>
    public RowMatrix ItemEmbeddings()
    {
        var rows = new RowMatrix(_module.ItemEmbeddings.shape[0], (int)_module.ItemEmbeddings.shape[1]);
        _module.ItemEmbeddings.data<float>().CopyTo(rows.Rows(0, (int)rows.Count));
        return rows;
    }

    /// <summary>Loads a model.</summary>
    /// <exception cref="InvalidDataException">It is of another kind, or its weights do not fit its options.</exception>
    public static SasRecModel Open(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ModelDescription description = folder.Description;
        if (description.Kind != Kind)
            throw new InvalidDataException($"the model is of kind '{description.Kind}', expected '{Kind}'");
        var options = new SasRecOptions
        {
            Dimension = description.Option<int>("dimension"),
            FeedForward = description.Option<int>("feed-forward"),
            Blocks = description.Option<int>("blocks"),
            Heads = description.Option<int>("heads"),
            Length = description.Option<int>("length"),
        };
        var module = new SasRec(folder.Items.Count, options);
        try
        {
            module.LoadModel(folder);
            module.eval();
            return new SasRecModel(module, folder.Items, options.Length);
        }
        catch
        {
            module.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _module.Dispose();
}
