using MmeSid.Engine.Embeddings;
using MmeSid.Training.LanguageModels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>
/// Says how likely a user clicks an item, from the user's last clicks: DIN over item ids and any sets of SID codes, or MCCA over codes of modalities and joint codes.
/// <code>
/// h^z = Σ_j w(e^z_j, q^z) e^z_j for each set of codes z        q^z: of DIN e^z_target, of MCCA e^joint_target
/// h^r = Σ_j w(e^r_j, e^r_target) e^r_j                         e^r: a trained embedding per item
/// logit = MLP([h^z … ; h^r ; e^r_target ; e^z_target …])       the targets of DIN's sets, or of the joint codes alone
/// </code>
/// Each sum has an activation unit of its own. <see cref="forward"/> is these formulas, differentiated by libtorch; on the CPU <see cref="RankerPass{T}"/> computes the same faster.
/// </summary>
public sealed class Ranker : nn.Module<RankerBatch, Tensor>
{
    // Root mean square of embeddings at first.
    private const double kSize = 0.1;
    private const ulong kCodes = 1UL << 41;

    private readonly Parameter items;
    private readonly CodeTables codes;
    private readonly ModuleList<ActivationUnit> units;
    private readonly ModuleList<Linear> layers;

    /// <summary>A ranker to be trained: weights from libtorch's generator, embeddings N(0, 0.1²).</summary>
    /// <param name="catalogue">The items.</param>
    /// <param name="sources">Sets of codes.</param>
    /// <param name="options">Shape.</param>
    /// <param name="allowUncoded">Whether an item may have no codes in a set.</param>
    /// <param name="seed">Of projections of codewords.</param>
    /// <exception cref="ArgumentException">An option is out of range, MCCA lacks a set, or the items are too many.</exception>
    /// <exception cref="InvalidDataException">A bundle lacks an item.</exception>
    public Ranker(ItemIds catalogue, IReadOnlyList<CodeSource> sources, RankerOptions options, bool allowUncoded, ulong seed)
        : this(catalogue?.Count ?? 0, options, Tables(catalogue!, sources, options, allowUncoded, seed))
    {
    }

    private Ranker(long itemCount, RankerOptions options, IReadOnlyList<(string Name, string Query, CodeTable Table)> sets)
        : base(nameof(Ranker))
    {
        Options = options;
        Sets = [.. sets.Select(set => set.Table)];
        SetNames = [.. sets.Select(set => set.Name)];
        // The item embeddings are the last set and their own query.
        QueryOf = [.. sets.Select(set => Array.IndexOf(SetNames.ToArray(), set.Query)), sets.Count];
        TargetSets = [sets.Count, .. QueryOf[..^1].Distinct().Order()];
        items = new Parameter(nn.init.normal_(empty(itemCount, options.Dimension), 0, kSize).DetachFromDisposeScope());
        codes = new CodeTables(sets.Select(set => (set.Name, set.Table)));
        units = nn.ModuleList([.. QueryOf.Select(_ => new ActivationUnit(options.Dimension, options.ActivationWidth))]);
        int[] widths = [(QueryOf.Length + TargetSets.Length) * options.Dimension, .. options.Hidden, 1];
        layers = nn.ModuleList([.. widths.Zip(widths.Skip(1), (inputs, outputs) => nn.Linear(inputs, outputs))]);
        RegisterComponents();
    }

    /// <summary>Its shape.</summary>
    public RankerOptions Options { get; }

    /// <summary>e^r, [n, d'].</summary>
    public Parameter ItemEmbeddings => items;

    /// <summary>Names of the sets of codes that take part.</summary>
    public IReadOnlyList<string> SetNames { get; }

    /// <summary>The sets of codes.</summary>
    internal IReadOnlyList<CodeTable> Sets { get; }

    /// <summary>For each set, the item embeddings behind the codes, the set whose target it is weighed against.</summary>
    internal int[] QueryOf { get; }

    /// <summary>The sets whose targets the layers above see, the item embeddings first.</summary>
    internal int[] TargetSets { get; }

    /// <summary>One per set, that of the item embeddings last.</summary>
    internal IReadOnlyList<ActivationUnit> Units => units;

    /// <summary>The layers above, ReLU between them.</summary>
    internal IReadOnlyList<Linear> Layers => layers;

    /// <summary>A ranker whose weights are loaded next.</summary>
    /// <param name="itemCount">n.</param>
    /// <param name="options">Its shape.</param>
    /// <param name="sets">Name, number of codes T and levels L of each set that takes part, in order.</param>
    internal static Ranker Empty(long itemCount, RankerOptions options, IReadOnlyList<(string Name, long Codes, int Levels)> sets)
    {
        Require(itemCount, options, sets.Select(set => set.Levels));
        IReadOnlyList<(string Set, string Query)> weighed = options.Weighed([.. sets.Select(set => set.Name)]);
        return new Ranker(itemCount, options, [.. weighed.Select(pair => (pair.Set, pair.Query, Table(sets.Single(set => set.Name == pair.Set))))]);

        CodeTable Table((string, long Codes, int Levels) set) => new(set.Codes, itemCount, set.Levels, options.Dimension);
    }

    /// <summary>Logits by the formulas, [B].</summary>
    public override Tensor forward(RankerBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using DisposeScope scope = NewDisposeScope();
        Device device = items.device;
        Tensor all = tensor([.. batch.Items.Select(item => (long)item)], device: device), targets = Places(batch.Targets), history = Places(batch.History);
        Tensor owners = tensor([.. Enumerable.Range(0, batch.Count).SelectMany(sample => Enumerable.Repeat((long)sample, batch.Starts[sample + 1] - batch.Starts[sample]))], device: device);
        Tensor[] embedded = [.. Sets.Select(set => set.Embed(all)), items.index_select(0, all)];
        Tensor[] features =
        [
            .. embedded.Select((own, set) => units[set].Sum(own.index_select(0, history), embedded[QueryOf[set]].index_select(0, targets), owners)),
            .. TargetSets.Select(set => embedded[set].index_select(0, targets)),
        ];
        return Above(cat(features, 1)).MoveToOuterDisposeScope();

        Tensor Places(int[] places) => tensor([.. places.Select(place => (long)place)], device: device);
    }

    /// <summary>The layers above, [B] logits of [B, F] features.</summary>
    internal Tensor Above(Tensor features)
    {
        Tensor x = features;
        for (int layer = 0; layer < layers.Count; layer++)
            x = layer + 1 < layers.Count ? layers[layer].call(x).relu() : layers[layer].call(x);
        return x.squeeze(1);
    }

    private static (string, string, CodeTable)[] Tables(ItemIds catalogue, IReadOnlyList<CodeSource> sources, RankerOptions options, bool allowUncoded, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(catalogue);
        ArgumentNullException.ThrowIfNull(sources);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Require(catalogue.Count, options, sources.Select(source => source.Bundle.Quantizer.Levels));
        var random = new Engine.RandomSource(seed);
        return [.. options.Weighed([.. sources.Select(source => source.Name)]).Select((pair, i) => (pair.Set, pair.Query,
            CodeTable.Of(sources.Single(source => source.Name == pair.Set), catalogue, options.Dimension, kSize, options.Codes, allowUncoded, random.Split(kCodes + (ulong)i).NextUInt64())))];
    }

    // The loops on the CPU reach a tensor as one span.
    private static void Require(long items, RankerOptions options, IEnumerable<int> levels)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(items, 1);
        Fits(items, options.Dimension, sizeof(float), "values");
        foreach (int own in levels)
            Fits(items, own, sizeof(long), "codes");

        static void Fits(long items, int each, int size, string what)
        {
            if (items > int.MaxValue / size / each)
                throw new ArgumentException($"{items} items of {each} {what} each take {(Int128)items * each * size} bytes, a ranker holds at most {int.MaxValue} of them");
        }
    }

    /// <summary>The sets by their names.</summary>
    private sealed class CodeTables : nn.Module
    {
        public CodeTables(IEnumerable<(string Name, CodeTable Table)> sets)
            : base(nameof(CodeTables))
        {
            foreach ((string name, CodeTable table) in sets)
                register_module(name, table);
        }
    }
}
