using MmeSid.Engine.Quantization;
using MmeSid.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// HVQ: a network before each level's quantization, coarse to fine, that hands the error of the original vector to the next level:
/// <code>
///   x_1 = x   z_l = MLP_l(x_l)   k_l = argmin_k ‖z_l − C_l[k]‖²   q_l = C_l[k_l]   x_{l+1} = x_l − sg(q_l)
///   L = w_recon · MSE(x̂, x) + w_rq · 1/L Σ_l [ MSE(sg(z_l), q_l) + μ MSE(z_l, sg(q_l)) ],   x̂ = Σ_l z_l + sg(q_l − z_l)
/// </code>
/// Codewords lie in the space of x. Where several tables are fused, x is what the fusion makes of the row, of the options' width; a linear decoder then
/// gives back the tables, and MSE is between these: a loss on a trained x could be met by making x small.
/// </summary>
public sealed class Hvq : QuantizerModel
{
    private readonly Modality _modality;
    private readonly LearnedQuantizerOptions _options;
    private readonly TableFusion? _fusion;
    private readonly ModuleList<MlpCoder> _networks;
    private readonly Linear? _decoder;
    private readonly ResidualCodebooks _codebooks;
    private QuantizedRows? _last;

    /// <summary>Draws the weights by the options' seed, which becomes the seed of libtorch's generator.</summary>
    /// <param name="modality">What goes in.</param>
    /// <param name="options">Shape and loss; the width is that of hidden layers, and of x where tables are fused.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public Hvq(Modality modality, LearnedQuantizerOptions options)
        : base(nameof(Hvq))
    {
        ArgumentNullException.ThrowIfNull(modality);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (options.Reconstruction == ReconstructionLoss.None)
            throw new ArgumentException("hvq learns from its reconstruction, which cannot be none");
        _modality = modality;
        _options = options;
        random.manual_seed(unchecked((long)options.Seed));
        int inner = options.Fusion == InputFusion.None ? modality.Dimension : options.Width;
        if (options.Fusion != InputFusion.None)
        {
            _fusion = new TableFusion(modality.Parts, inner, options.Fusion, options.FusionWeights);
            _decoder = MlpCoder.Layer(inner, modality.Dimension);
        }
        _networks = nn.ModuleList(options.Codebooks.Codes.Select(_ => new MlpCoder(inner, options.Width, inner, options.HiddenLayers)).ToArray());
        _codebooks = new ResidualCodebooks(inner, options.Codebooks);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Modality> Modalities => [_modality];

    /// <inheritdoc/>
    public override StepLoss Loss(IReadOnlyList<Tensor> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        _last = Quantize(rows[0]);
        Tensor reconstruction = Reconstruction(_decoder is null ? _last.Value : _decoder.call(_last.Value), rows[0], _options);
        Tensor residual = ResidualLoss.Of(_last.Levels, _options.Commitment);
        return new StepLoss((reconstruction * _options.ReconstructionWeight) + (residual * _options.ResidualWeight), ("reconstruction", reconstruction), ("rq", residual));
    }

    /// <summary>Σ_l z_l + sg(q_l − z_l), with z_l in the place of the residuals.</summary>
    /// <param name="rows">[n, d].</param>
    public QuantizedRows Quantize(Tensor rows)
    {
        var levels = new List<(Tensor, Tensor)>();
        var codes = new List<Tensor>();
        Tensor left = _fusion is null ? rows : _fusion.call(rows);
        Tensor? sum = null;
        for (int level = 0; level < _networks.Count; level++)
        {
            Tensor seen = _networks[level].call(left);
            Tensor code = _codebooks.Choose(_codebooks.Levels[level], seen, level);
            Tensor codeword = _codebooks.Levels[level].Codewords(code);
            Tensor value = seen + (codeword.detach() - seen.detach());
            sum = sum is null ? value : sum + value;
            left -= codeword.detach();
            levels.Add((seen, codeword));
            codes.Add(code);
        }
        return new QuantizedRows(sum!, levels, codes);
    }

    /// <inheritdoc/>
    public override void AfterStep()
    {
        if (_last is not null)
            _codebooks.AfterStep(_last);
        _last = null;
    }

    /// <inheritdoc/>
    public override void Start(IReadOnlyList<Tensor> tables, CodebookStart start)
    {
        ArgumentNullException.ThrowIfNull(tables);
        ArgumentNullException.ThrowIfNull(start);
        using DisposeScope scope = NewDisposeScope();
        Tensor left = Apply(tables[0], rows => _fusion is null ? rows.clone() : _fusion.call(rows));
        for (int level = 0; level < _networks.Count; level++)
        {
            using DisposeScope inner = NewDisposeScope();
            Codebook codebook = _codebooks.Levels[level];
            Tensor seen = Apply(left, _networks[level].call);
            start.Set(codebook, seen, level, $"level {level + 1} of {_networks.Count}");
            left.sub_(Apply(seen, rows => codebook.Codewords(codebook.Nearest(rows))));
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyList<LearnedQuantizer> Result() => [new LearnedQuantizer(
        _modality.Name,
        new EncoderNetwork(EncoderKind.Hierarchical, [.. _networks.Select(network => Layers(network.Layers))], _decoder is null ? null : Layers([_decoder]),
            _fusion is null ? InputFusion.None : _options.Fusion, _fusion is null ? null : Layers(_fusion.Projections), _fusion?.Weights is { Count: > 0 } weights ? weights : null),
        Codebooks(QuantizerKind.Hvq, _codebooks.Levels))];
}
