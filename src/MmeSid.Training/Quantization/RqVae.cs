using MmeSid.Engine.Quantization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// The RQ-VAE of one modality: <c>z = Enc(e), q = Σ_l C_l[k_l]</c> by residual quantization of z, <c>ê = Dec(q)</c>. Where the modality is several tables,
/// they are fused before the encoder, and the decoder gives all of them back, side by side.
/// </summary>
public sealed class RqVae : nn.Module
{
    private readonly TableFusion? _fusion;
    private readonly MlpCoder _encoder;
    private readonly MlpCoder? _decoder;
    private readonly ResidualCodebooks _codebooks;

    /// <summary>Draws the weights from libtorch's generator.</summary>
    /// <param name="modality">What goes in.</param>
    /// <param name="options">Shape.</param>
    public RqVae(Modality modality, LearnedQuantizerOptions options)
        : base(nameof(RqVae))
    {
        ArgumentNullException.ThrowIfNull(modality);
        ArgumentNullException.ThrowIfNull(options);
        int width = options.Width;
        if (options.Fusion != InputFusion.None)
            _fusion = new TableFusion(modality.Parts, width, options.Fusion, options.FusionWeights);
        _encoder = new MlpCoder(_fusion is null ? modality.Dimension : width, width, width, options.HiddenLayers);
        if (options.Reconstruction != ReconstructionLoss.None)
            _decoder = new MlpCoder(width, width, modality.Dimension, options.HiddenLayers);
        _codebooks = new ResidualCodebooks(width, options.Codebooks);
        RegisterComponents();
    }

    /// <summary>The levels.</summary>
    public ResidualCodebooks Codebooks => _codebooks;

    /// <summary>The tables' projections before the encoder, or null.</summary>
    public TableFusion? Fusion => _fusion;

    /// <summary>The encoder after the fusion.</summary>
    public MlpCoder Encoder => _encoder;

    /// <summary>The decoder, or null.</summary>
    public MlpCoder? Decoder => _decoder;

    /// <summary>z of rows, [n, w].</summary>
    /// <param name="rows">[n, d].</param>
    public Tensor Encode(Tensor rows) => _encoder.call(_fusion is null ? rows : _fusion.call(rows));

    /// <summary>ê of quantized rows, [n, d].</summary>
    /// <exception cref="InvalidOperationException">There is no decoder.</exception>
    public Tensor Decode(Tensor quantized) => (_decoder ?? throw new InvalidOperationException("there is no decoder")).call(quantized);
}
