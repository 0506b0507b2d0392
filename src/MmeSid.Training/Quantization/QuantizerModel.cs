using MmeSid.Engine.Quantization;
using MmeSid.Training.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>What training made of one modality.</summary>
/// <param name="Name">Of the modality.</param>
/// <param name="Encoder">Rows to code space, with the decoder where there is one.</param>
/// <param name="Quantizer">The codebooks.</param>
public sealed record LearnedQuantizer(string Name, EncoderNetwork Encoder, Quantizer Quantizer);

/// <summary>A modality that goes in.</summary>
/// <param name="Name">Unique.</param>
/// <param name="Parts">Columns of its tables, which lie side by side in its rows.</param>
public sealed record Modality(string Name, IReadOnlyList<int> Parts)
{
    /// <summary>Columns of its rows, d.</summary>
    public int Dimension => Parts.Sum();
}

/// <summary>A quantizer that is learned together with encoders, as <see cref="QuantizerLearner"/> trains it.</summary>
public abstract class QuantizerModel(string name) : nn.Module(name)
{
    // Of a whole table that passes an encoder: always the same blocks, so that rows come out the same.
    private const int kRowsPerBlock = 1024;

    /// <summary>Its modalities, in the order of the rows that <see cref="Loss"/> takes.</summary>
    public abstract IReadOnlyList<Modality> Modalities { get; }

    /// <summary>The loss of a batch.</summary>
    /// <param name="rows">One [B, d_j] per modality, the same items in the same order.</param>
    public abstract StepLoss Loss(IReadOnlyList<Tensor> rows);

    /// <summary>After the optimizer's step on the batch of the last <see cref="Loss"/>, without gradients: moving averages, restarts.</summary>
    public abstract void AfterStep();

    /// <summary>Sets the first codewords from all rows.</summary>
    /// <param name="tables">One [n, d_j] per modality.</param>
    /// <param name="start">How.</param>
    /// <exception cref="ArgumentException">There are fewer different rows than codes at some level.</exception>
    public abstract void Start(IReadOnlyList<Tensor> tables, CodebookStart start);

    /// <summary>Encoder and codebooks of each modality as they are now.</summary>
    public abstract IReadOnlyList<LearnedQuantizer> Result();

    /// <summary>Applies a network to a whole table, block by block, without gradient.</summary>
    private protected static Tensor Apply(Tensor table, Func<Tensor, Tensor> network)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable constant = no_grad();
        var blocks = new List<Tensor>();
        for (long first = 0; first < table.shape[0]; first += kRowsPerBlock)
        {
            using DisposeScope block = NewDisposeScope();
            blocks.Add(network(table.narrow(0, first, Math.Min(kRowsPerBlock, table.shape[0] - first))).MoveToOuterDisposeScope());
        }
        return cat(blocks).MoveToOuterDisposeScope();
    }

    /// <summary>L_recon of one modality.</summary>
    private protected static Tensor Reconstruction(Tensor reconstruction, Tensor rows, LearnedQuantizerOptions options) => options.Reconstruction switch
    {
        ReconstructionLoss.Mmd => MmdLoss.Of(reconstruction, rows, options.Bandwidths, options.AverageKernels),
        ReconstructionLoss.Mse => nn.functional.mse_loss(reconstruction, rows),
        ReconstructionLoss.Both => MmdLoss.Of(reconstruction, rows, options.Bandwidths, options.AverageKernels) + nn.functional.mse_loss(reconstruction, rows),
        _ => throw new InvalidOperationException("there is no decoder"),
    };

    /// <summary>The layers as data.</summary>
    private protected static LinearLayer[] Layers(IEnumerable<Linear> layers) =>
        [.. layers.Select(layer => new LinearLayer((int)layer.weight!.shape[1], (int)layer.weight.shape[0], Values(layer.weight), Values(layer.bias!)))];

    /// <summary>The codebooks as data.</summary>
    private protected static Quantizer Codebooks(QuantizerKind kind, IReadOnlyList<Codebook> levels) =>
        new(kind, (int)levels[0].Table.shape[1], [.. levels.Select(level => Values(level.Table))]);

    private static float[] Values(Tensor tensor)
    {
        using DisposeScope scope = NewDisposeScope();
        return tensor.detach().cpu().data<float>().ToArray();
    }
}
