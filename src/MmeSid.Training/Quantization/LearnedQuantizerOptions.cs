using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Training.Quantization;

/// <summary>What a decoder is judged by.</summary>
public enum ReconstructionLoss
{
    /// <summary><see cref="MmdLoss"/>: batches as sets (MME-SID).</summary>
    Mmd,

    /// <summary>Mean squared error, row by row (RQ-VAE).</summary>
    Mse,

    /// <summary>The sum of both.</summary>
    Both,

    /// <summary>Nothing: there is no decoder.</summary>
    None,
}

/// <summary>What reaches the encoder from the levels of a residual quantizer; see <see cref="ResidualCodebooks"/>.</summary>
public enum ResidualPath
{
    /// <summary>The paper's formula: every level commits the encoder.</summary>
    EveryLevel,

    /// <summary>The released code: only the first level does.</summary>
    FirstLevel,
}

/// <summary>Codebooks of a learned quantizer.</summary>
public sealed record CodebookOptions
{
    /// <summary>K of each level, at least one level, each 2 … 65,536.</summary>
    public IReadOnlyList<int> Codes { get; init; } = [256, 256, 256, 256];

    /// <summary>What the levels send back to the encoder.</summary>
    public ResidualPath Path { get; init; }

    /// <summary>Balances the codes of the last level over each batch, in training only; null leaves them nearest. MME-SID: ε 0.003, 50 iterations.</summary>
    public SinkhornOptions? LastLevel { get; init; } = new();

    /// <summary>Decay γ of the moving averages that codewords are instead of being trained by gradients, in (0, 1); 0 trains them by gradients.</summary>
    public double MovingAverage { get; init; }

    /// <summary>A code that no row of so many consecutive batches chose is moved onto a row of the batch; 0 leaves it.</summary>
    public int RestartAfter { get; init; }

    /// <summary>
    /// Codewords that keep up with the encoder: moving averages (γ 0.95), unused codes restarted after 20 batches. The paper's gradients move a value of a codeword by
    /// at most the learning rate a step, while an encoder's layers move together: in hundreds of steps instead of the paper's tens of thousands the encoder
    /// leaves its codewords behind, and most items share a SID.
    /// </summary>
    public static CodebookOptions Following { get; } = new() { MovingAverage = 0.95, RestartAfter = 20 };

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        if (Codes.Count == 0)
            throw new ArgumentException("the number of levels is 0, expected at least 1");
        for (int level = 0; level < Codes.Count; level++)
        {
            if (Codes[level] is < 2 or > EncodePlan.MaximumCodes)
                throw new ArgumentException($"level {level} has {Codes[level]} codes, expected 2 to {EncodePlan.MaximumCodes}");
        }
        if (MovingAverage is not (>= 0 and < 1))
            throw new ArgumentException(FormattableString.Invariant($"the decay of the moving averages is {MovingAverage}, expected 0 (none) or a number below 1"));
        if (RestartAfter < 0)
            throw new ArgumentException($"unused codes restart after {RestartAfter} steps, expected at least 0");
        if (LastLevel is { } sinkhorn && (!(sinkhorn.Epsilon > 0) || double.IsInfinity(sinkhorn.Epsilon) || sinkhorn.Iterations < 1))
            throw new ArgumentException(FormattableString.Invariant($"Sinkhorn has ε {sinkhorn.Epsilon} and {sinkhorn.Iterations} iterations, expected a positive ε and at least 1 iteration"));
        // Distances are scaled to a span of 2; float64 must hold e^(−2/ε) and sums of its reciprocals.
        if (LastLevel is { Epsilon: < 0.003 } small)
            throw new ArgumentException(FormattableString.Invariant($"Sinkhorn has ε {small.Epsilon}, expected at least 0.003"));
    }
}

/// <summary>Shape and loss of a learned quantizer: <c>L = w_recon · L_recon + w_rq · Σ_j L_rq,j + w_align · L_align</c> (arXiv 2509.02017). The defaults are the paper's but for the width.</summary>
public sealed record LearnedQuantizerOptions
{
    /// <summary>Width w of hidden layers and codewords. The paper's is 4096, the hidden size of its language model.</summary>
    public int Width { get; init; } = 512;

    /// <summary>Hidden layers of encoder and decoder, at least 0.</summary>
    public int HiddenLayers { get; init; } = 3;

    /// <summary>Levels, codes, what happens to them in training.</summary>
    public CodebookOptions Codebooks { get; init; } = new();

    /// <summary>L_recon.</summary>
    public ReconstructionLoss Reconstruction { get; init; }

    /// <summary>α of the kernels of MMD.</summary>
    public IReadOnlyList<double> Bandwidths { get; init; } = MmdLoss.PaperBandwidths;

    /// <summary>Whether these kernels are averaged instead of summed.</summary>
    public bool AverageKernels { get; init; }

    /// <summary>w_recon.</summary>
    public double ReconstructionWeight { get; init; } = 3;

    /// <summary>w_rq.</summary>
    public double ResidualWeight { get; init; } = 1;

    /// <summary>w_align.</summary>
    public double AlignmentWeight { get; init; } = 0.01;

    /// <summary>μ of <see cref="ResidualLoss"/>.</summary>
    public double Commitment { get; init; } = 0.01;

    /// <summary>τ of <see cref="InfoNceLoss"/>.</summary>
    public double Temperature { get; init; } = 0.1;

    /// <summary>How several tables become one row before the first network. <see cref="InputFusion.None"/>: side by side, so that the first layer sees them all.</summary>
    public InputFusion Fusion { get; init; }

    /// <summary>Weights of <see cref="InputFusion.Mean"/>, one per table, positive; null: all 1.</summary>
    public IReadOnlyList<double>? FusionWeights { get; init; }

    /// <summary>Seed of the first weights.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        if (Width < 1)
            throw new ArgumentException($"the width is {Width}, expected at least 1");
        if (HiddenLayers < 0)
            throw new ArgumentException($"the number of hidden layers is {HiddenLayers}, expected at least 0");
        Codebooks.Validate();
        MmdLoss.RequireBandwidths(Bandwidths);
        RequireWeight(ReconstructionWeight, "the weight of the reconstruction");
        RequireWeight(ResidualWeight, "the weight of the residual quantization");
        RequireWeight(AlignmentWeight, "the weight of the alignment");
        RequireWeight(Commitment, "the commitment");
        TableFusion.RequireWeights(FusionWeights ?? []);
        if (!(Temperature > 0) || double.IsInfinity(Temperature))
            throw new ArgumentException(FormattableString.Invariant($"the temperature is {Temperature}, expected a positive number"));
    }

    private static void RequireWeight(double weight, string what)
    {
        if (!(weight >= 0) || double.IsInfinity(weight))
            throw new ArgumentException(FormattableString.Invariant($"{what} is {weight}, expected a number of at least 0"));
    }
}
