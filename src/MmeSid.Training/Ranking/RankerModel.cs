using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>A trained <see cref="Ranker"/> from its folder. The codes of the items are among its weights: no bundle is needed.</summary>
public sealed class RankerModel : IDisposable
{
    /// <summary>Its kind in <c>model.json</c>.</summary>
    public const string Kind = "ranker";

    /// <summary>What its option <c>negatives</c> says where the samples of the training had their own.</summary>
    public const string GivenNegatives = "given";

    private readonly Ranker _module;

    private RankerModel(Ranker module, ItemIds items) => (_module, Items, Scorer) = (module, items, new RankerScorer(module));

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Scores samples.</summary>
    public RankerScorer Scorer { get; }

    /// <summary>Its shape.</summary>
    public RankerOptions Options => _module.Options;

    /// <summary>Loads a model.</summary>
    /// <exception cref="InvalidDataException">It is of another kind, or its weights do not fit its options.</exception>
    public static RankerModel Open(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ModelDescription description = folder.Description;
        if (description.Kind != Kind)
            throw new InvalidDataException($"{folder.Path}: is a model of kind '{description.Kind}', expected '{Kind}'");
        var options = new RankerOptions
        {
            Kind = Named<RankerKind>("kind"),
            Without = Named<RankerAblation>("without"),
            Dimension = description.Option<int>("dimension"),
            History = description.Option<int>("history"),
            ActivationWidth = description.Option<int>("activation-width"),
            Hidden = [.. Parts("hidden").Select(int.Parse)],
            Negatives = description.Option<string>("negatives") == GivenNegatives ? default : Named<NegativeItems>("negatives"),
        };
        using SafetensorsFile file = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        (string, long, int)[] sets = [.. Parts("sets").Select(name => (name, file.Entry($"codes.{name}.table").Shape[0], (int)file.Entry($"codes.{name}.rows").Shape[1]))];
        Ranker module = Ranker.Empty(folder.Items.Count, options, sets);
        try
        {
            module.LoadModel(folder);
            RequireRows(folder.Path, module);
            module.eval();
            return new RankerModel(module, folder.Items);
        }
        catch
        {
            module.Dispose();
            throw;
        }

        string[] Parts(string name) => description.Option<string>(name).Split(',', StringSplitOptions.RemoveEmptyEntries);

        T Named<T>(string name)
            where T : struct, Enum => OptionName.Parse<T>(description.Option<string>(name)) ?? throw new InvalidDataException($"{folder.Path}: its option '{name}' is '{description.Option<string>(name)}'");
    }

    /// <inheritdoc/>
    public void Dispose() => _module.Dispose();

    // Codes are looked up without a check afterwards.
    private static void RequireRows(string path, Ranker module)
    {
        using DisposeScope scope = NewDisposeScope();
        foreach ((string name, CodeTable set) in module.SetNames.Zip(module.Sets))
        {
            long codes = set.Table.shape[0];
            if (set.Rows.numel() == 0)
                continue;
            if (set.Rows.min().item<long>() < 0 || set.Rows.max().item<long>() > codes)
                throw new InvalidDataException($"{path}: an item has a '{name}' code outside of the table of {codes}");
            Tensor lacks = set.Rows.eq(codes);
            if (lacks.any(1).ne(lacks.all(1)).any().ToBoolean())
                throw new InvalidDataException($"{path}: an item has '{name}' codes of some levels alone, expected all or none");
        }
    }
}
