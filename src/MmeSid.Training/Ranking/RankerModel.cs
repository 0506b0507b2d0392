using System.Globalization;
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

    private RankerModel(Ranker module, ItemIds items, NegativeItems? negatives) => (_module, Items, Negatives, Scorer) = (module, items, negatives, new RankerScorer(module));

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Scores samples.</summary>
    public RankerScorer Scorer { get; }

    /// <summary>Its shape.</summary>
    public RankerOptions Options => _module.Options;

    /// <summary>What was drawn in its training; null where the samples said what was not clicked.</summary>
    public NegativeItems? Negatives { get; }

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
            Hidden = [.. Parts("hidden").Select(Number)],
        };
        NegativeItems? negatives = description.Option<string>("negatives") == GivenNegatives ? null : Named<NegativeItems>("negatives");
        using SafetensorsFile file = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        Ranker module;
        try
        {
            options.Validate();
            module = Ranker.Empty(folder.Items.Count, options, [.. Parts("sets").Select(name => (name, Shape(name, "table")[0], (int)Shape(name, "rows")[1]))]);
        }
        catch (ArgumentException problem)
        {
            throw new InvalidDataException($"{folder.Path}: {problem.Message}", problem);
        }
        try
        {
            module.LoadModel(folder);
            RequireRows(folder.Path, module);
            module.eval();
            return new RankerModel(module, folder.Items, negatives);
        }
        catch
        {
            module.Dispose();
            throw;
        }

        string[] Parts(string name) => description.Option<string>(name).Split(',', StringSplitOptions.RemoveEmptyEntries);

        int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            ? number : throw new InvalidDataException($"{folder.Path}: its option 'hidden' is '{description.Option<string>("hidden")}', expected numbers separated by commas");

        IReadOnlyList<long> Shape(string set, string part)
        {
            IReadOnlyList<long> shape = file.Entry($"codes.{set}.{part}").Shape;
            return shape.Count == 2 ? shape : throw new InvalidDataException($"{file.Path}: 'codes.{set}.{part}' has {shape.Count} dimensions, expected 2");
        }

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
