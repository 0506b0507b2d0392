using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// The items of MME-SID (arXiv 2509.02017): the soft token that stands for an item in a history, and the vector that scores it. Both depend on the item alone. With M modalities of which C have codes:
/// <code>
/// x_i = GELU(W2 ReLU(W1 [P_j e_j + b_j ; q_j] + b1) + b2)        W1: (M + C)·H → M·H,  W2: M·H → H;  j over the modalities
/// z_i = w_x E_i + Σ_j w_j (P_j e_j + b_j)                         w = <see cref="FrequencyGate"/>, or 1/(M + 1) each, or (1, 0 … 0)
/// </code>
/// e is frozen; the projections of x and z are the same ones. ŷ_i = w_x (h·E_i) + Σ_j w_j h·(P_j e_j + b_j) = h·z_i.
/// </summary>
public sealed class MmeSidItems : nn.Module
{
    // Rows whose soft tokens are made at once, when all of them are.
    private const int kRowsPerBlock = 4096;
    private const ulong kCodes = 1UL << 35;

    private readonly Parameter embeddings;
    private readonly ModuleList<ItemModality> modalities;
    private readonly Linear expand, contract;
    private readonly FrequencyGate? gate;
    private readonly ScoreFusion _fusion;

    /// <summary>Draws E from N(0, 0.02²) and all layers from libtorch's generator.</summary>
    /// <param name="sources">The modalities, of the same items in the same order; at least one.</param>
    /// <param name="frequencies">How often each item occurs in training, [n].</param>
    /// <param name="dimension">H.</param>
    /// <param name="options">Fusion, temperature, start of the codes.</param>
    /// <param name="seed">Of the code tables.</param>
    /// <exception cref="InvalidDataException">There is no item, or a bundle is one of other items.</exception>
    public MmeSidItems(IReadOnlyList<ItemModalitySource> sources, IReadOnlyList<long> frequencies, int dimension, MmeSidOptions options, ulong seed)
        : base(nameof(MmeSidItems))
    {
        ArgumentNullException.ThrowIfNull(sources);
        ArgumentNullException.ThrowIfNull(frequencies);
        ArgumentNullException.ThrowIfNull(options);
        if (frequencies.Count == 0)
            throw new InvalidDataException("the tables have no items");
        if (sources.FirstOrDefault(source => source.Table.Count != frequencies.Count) is { } other)
            throw new ArgumentException($"there are {frequencies.Count} items, {other.Table.Name} has {other.Table.Count}", nameof(sources));
        _fusion = options.Fusion;
        embeddings = new Parameter(empty(frequencies.Count, dimension).DetachFromDisposeScope());
        _ = nn.init.normal_(embeddings, 0, SidVectors.StandardDeviation);
        var random = new Engine.RandomSource(seed);
        modalities = nn.ModuleList([.. sources.Select((source, j) => new ItemModality(source, dimension, options.Start, random.Split(kCodes + (ulong)j).NextUInt64()))]);
        int parts = sources.Count + sources.Count(source => source.Bundle is not null);
        expand = nn.Linear((long)parts * dimension, (long)sources.Count * dimension);
        contract = nn.Linear((long)sources.Count * dimension, dimension);
        gate = _fusion == ScoreFusion.Frequency ? new FrequencyGate(frequencies, 1 + sources.Count, options.Temperature) : null;
        RegisterComponents();
    }

    /// <summary>n.</summary>
    public long Count => embeddings.shape[0];

    /// <summary>E, the trained item table, [n, H].</summary>
    public Parameter Embeddings => embeddings;

    /// <summary>Names of the modalities that have codes.</summary>
    public IReadOnlyList<string> Coded => [.. modalities.Where(modality => modality.CodeTable is not null).Select(modality => modality.Name)];

    /// <summary>x of some items, [m, H], with a graph behind it where gradients are on.</summary>
    /// <param name="items">[m] int64 rows.</param>
    public Tensor Inputs(Tensor items)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor parts = cat([.. modalities.SelectMany(modality => modality.Parts(items))], 1);
        return contract.call(expand.call(parts).relu()).gelu().MoveToOuterDisposeScope();
    }

    /// <summary>x of all items, [n, H], without a graph.</summary>
    public Tensor AllInputs() => InBlocks(Inputs);

    /// <summary>q_j of all items in a modality that has codes, [n, H], without a graph.</summary>
    /// <param name="modality">Its name.</param>
    public Tensor AllCodeEmbeddings(string modality) => InBlocks(modalities.First(candidate => candidate.Name == modality).CodeEmbeddings);

    /// <summary>z of all items, [n, H], with a graph behind it where gradients are on; without fusion it is E itself.</summary>
    public Tensor Outputs()
    {
        if (_fusion == ScoreFusion.None)
            return embeddings.alias();
        using DisposeScope scope = NewDisposeScope();
        Tensor? weights = gate?.Weights();
        Tensor result = Weighted(embeddings, 0);
        foreach ((int j, ItemModality modality) in modalities.Index())
            result = result + Weighted(modality.Projected(), j + 1);
        return result.MoveToOuterDisposeScope();

        Tensor Weighted(Tensor part, int place) => weights is null ? part / (modalities.Count + 1) : part * weights.narrow(1, place, 1);
    }

    /// <summary>All that x and z are folded from but the embeddings e, by the names of a model's weights.</summary>
    internal IEnumerable<(string Name, Tensor Tensor)> FoldedFrom()
    {
        yield return ("items.embeddings", embeddings);
        foreach (ItemModality modality in modalities)
        {
            foreach ((string name, Tensor tensor) in Layer($"projection.{modality.Name}", modality.Projection))
                yield return (name, tensor);
            if (modality.CodeTable is { } codes)
            {
                yield return ($"codes.{modality.Name}.weight", codes);
                yield return ($"codes.{modality.Name}.rows", modality.CodeRowsOfItems!);
            }
        }
        foreach ((string name, Tensor tensor) in Layer("fusion.0", expand).Concat(Layer("fusion.1", contract)))
            yield return (name, tensor);
        if (gate is null)
            yield break;
        foreach ((string name, Tensor tensor) in gate.Layers.SelectMany((layer, i) => Layer($"gate.{i}", layer)))
            yield return (name, tensor);
        yield return ("gate.frequency", gate.Frequency);

        static (string, Tensor)[] Layer(string name, Linear layer) => [($"{name}.weight", layer.weight!), ($"{name}.bias", layer.bias!)];
    }

    private Tensor InBlocks(Func<Tensor, Tensor> rows)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable frozen = no_grad();
        var blocks = new List<Tensor>();
        for (long first = 0; first < Count; first += kRowsPerBlock)
            blocks.Add(rows(arange(first, Math.Min(Count, first + kRowsPerBlock), ScalarType.Int64, embeddings.device)));
        return cat(blocks, 0).MoveToOuterDisposeScope();
    }
}
