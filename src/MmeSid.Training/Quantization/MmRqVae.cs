using MmeSid.Engine.Quantization;
using MmeSid.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// MM-RQ-VAE (arXiv 2509.02017): an RQ-VAE per modality, trained together. With z_j, q_j, ê_j of modality j as in <see cref="RqVae"/>,
/// <code>
///   L = w_recon Σ_j recon(ê_j, e_j) + w_rq Σ_j L_rq,j + w_align Σ_{j ≠ a} InfoNCE(q_a, q_j)
/// </code>
/// where recon is <see cref="MmdLoss"/> in the paper, L_rq <see cref="ResidualLoss"/>, and a the anchor: the modality named <c>collaborative</c>, else the first.
/// There is no term between two modalities that are not the anchor. The q in InfoNCE and in the decoder are straight-through. A single modality has no
/// alignment; with <see cref="ReconstructionLoss.Mse"/> that is RQ-VAE.
/// </summary>
public sealed class MmRqVae : QuantizerModel
{
    /// <summary>Name of the modality that the others are aligned to, where there is one of this name.</summary>
    public const string AnchorName = "collaborative";

    private readonly Modality[] _modalities;
    private readonly LearnedQuantizerOptions _options;
    private readonly QuantizerKind _kind;
    private readonly ModuleList<RqVae> _vaes;
    private QuantizedRows[] _last = [];

    /// <summary>Draws the weights by the options' seed, which becomes the seed of libtorch's generator.</summary>
    /// <param name="modalities">At least one, with different names.</param>
    /// <param name="options">Shape and loss.</param>
    /// <param name="kind">What the result is called: <see cref="QuantizerKind.MmRqVae"/> or <see cref="QuantizerKind.RqVae"/>.</param>
    /// <exception cref="ArgumentException">An option is out of range, or modalities are missing or share a name.</exception>
    public MmRqVae(IReadOnlyList<Modality> modalities, LearnedQuantizerOptions options, QuantizerKind kind = QuantizerKind.MmRqVae)
        : base(nameof(MmRqVae))
    {
        ArgumentNullException.ThrowIfNull(modalities);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (modalities.Count == 0)
            throw new ArgumentException("there is no modality, expected at least one", nameof(modalities));
        if (modalities.GroupBy(modality => modality.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"two modalities are named {twice.Key}", nameof(modalities));
        _modalities = [.. modalities];
        _options = options;
        _kind = kind;
        Anchor = Math.Max(0, Array.FindIndex(_modalities, modality => modality.Name == AnchorName));
        random.manual_seed(unchecked((long)options.Seed));
        _vaes = nn.ModuleList(_modalities.Select(modality => new RqVae(modality, options)).ToArray());
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Modality> Modalities => _modalities;

    /// <summary>Index of the modality that the others are aligned to.</summary>
    public int Anchor { get; }

    /// <summary>The RQ-VAE of each modality.</summary>
    public IReadOnlyList<RqVae> Vaes => _vaes;

    /// <inheritdoc/>
    public override StepLoss Loss(IReadOnlyList<Tensor> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        var parts = new List<(string Name, Tensor Value)>();
        Tensor total = zeros(1, rows[0].dtype, rows[0].device).squeeze();
        _last = [.. _vaes.Select((vae, j) => vae.Codebooks.Quantize(vae.Encode(rows[j])))];
        for (int j = 0; j < _vaes.Count; j++)
        {
            if (_options.Reconstruction != ReconstructionLoss.None)
                Add("reconstruction", j, Reconstruction(_vaes[j].Decode(_last[j].Value), rows[j], _options), _options.ReconstructionWeight);
            Add("rq", j, _vaes[j].Codebooks.Loss(_last[j], _options.Commitment), _options.ResidualWeight);
        }
        for (int j = 0; j < _vaes.Count && _options.AlignmentWeight > 0; j++)
        {
            if (j != Anchor)
                Add("alignment", j, InfoNceLoss.Of(_last[Anchor].Value, _last[j].Value, _options.Temperature), _options.AlignmentWeight);
        }
        return new StepLoss(total, parts);

        void Add(string name, int modality, Tensor value, double weight)
        {
            parts.Add((_vaes.Count > 1 ? $"{name} {_modalities[modality].Name}" : name, value));
            total += value * weight;
        }
    }

    /// <inheritdoc/>
    public override void AfterStep()
    {
        for (int j = 0; j < _last.Length; j++)
            _vaes[j].Codebooks.AfterStep(_last[j]);
        _last = [];
    }

    /// <inheritdoc/>
    public override void Start(IReadOnlyList<Tensor> tables, CodebookStart start)
    {
        ArgumentNullException.ThrowIfNull(tables);
        for (int j = 0; j < _vaes.Count; j++)
        {
            using DisposeScope scope = NewDisposeScope();
            _vaes[j].Codebooks.Start(Apply(tables[j], _vaes[j].Encode), start, _vaes.Count > 1 ? $"{_modalities[j].Name}, " : "");
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<LearnedQuantizer> Result() => [.. _vaes.Select((vae, j) => new LearnedQuantizer(
        _modalities[j].Name,
        new EncoderNetwork(EncoderKind.Mlp, [Layers(vae.Encoder.Layers)], vae.Decoder is null ? null : Layers(vae.Decoder.Layers),
            vae.Fusion is null ? InputFusion.None : _options.Fusion, vae.Fusion is null ? null : Layers(vae.Fusion.Projections), vae.Fusion?.Weights is { Count: > 0 } weights ? weights : null),
        Codebooks(_kind, vae.Codebooks.Levels)))];
}
