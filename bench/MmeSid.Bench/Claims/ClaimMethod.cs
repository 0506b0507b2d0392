using MmeSid.Engine.Quantization;
using MmeSid.Training.Quantization;

namespace MmeSid.Bench;

/// <summary>One way of making SIDs that the claims compare.</summary>
/// <param name="Name">As the page calls it; a part of file names.</param>
/// <param name="Kind">What is trained.</param>
/// <param name="Learned">Loss of a learned kind without seed and sizes, else null.</param>
/// <param name="Joint">Whether the modalities are trained together; else each by itself.</param>
internal sealed record ClaimMethod(string Name, QuantizerKind Kind, LearnedQuantizerOptions? Learned = null, bool Joint = false)
{
    /// <summary>MM-RQ-VAE with the paper's loss.</summary>
    public const string Mmd = "MM-RQ-VAE, MMD";

    /// <summary>The paper's comparison.</summary>
    public const string SquaredError = "MM-RQ-VAE, MSE";

    /// <summary>Without alignment.</summary>
    public const string Unaligned = "MM-RQ-VAE, MMD, no InfoNCE";

    /// <summary>A hundred times the paper's weight of the alignment.</summary>
    public const string Aligned = "MM-RQ-VAE, MMD, InfoNCE × 100";

    /// <summary>As the paper trains codewords.</summary>
    public const string MmdGradients = "MM-RQ-VAE, MMD, gradients";

    /// <summary>The same of its comparison.</summary>
    public const string SquaredErrorGradients = "MM-RQ-VAE, MSE, gradients";

    /// <summary>Codebooks of the raw rows.</summary>
    public const string RqKMeans = "RQ-KMeans";

    /// <summary>The same of PSRQ.</summary>
    public const string Psrq = "PSRQ";

    /// <summary>One RQ-VAE per modality.</summary>
    public const string RqVae = "RQ-VAE";

    private static readonly LearnedQuantizerOptions s_gradients = new();
    private static readonly LearnedQuantizerOptions s_following = s_gradients with { Codebooks = CodebookOptions.Following };

    /// <summary>All, in the order of the tables. Weights of losses are the command line's defaults of the kind.</summary>
    public static IReadOnlyList<ClaimMethod> All { get; } =
    [
        new(RqKMeans, QuantizerKind.RqKMeans),
        new(Psrq, QuantizerKind.Psrq),
        new(RqVae, QuantizerKind.RqVae, s_following with { Reconstruction = ReconstructionLoss.Mse, ReconstructionWeight = 1, Commitment = 0.25 }),
        new(SquaredError, QuantizerKind.MmRqVae, s_following with { Reconstruction = ReconstructionLoss.Mse }, Joint: true),
        new(Mmd, QuantizerKind.MmRqVae, s_following, Joint: true),
        new(Unaligned, QuantizerKind.MmRqVae, s_following with { AlignmentWeight = 0 }, Joint: true),
        new(Aligned, QuantizerKind.MmRqVae, s_following with { AlignmentWeight = 1 }, Joint: true),
        new(SquaredErrorGradients, QuantizerKind.MmRqVae, s_gradients with { Reconstruction = ReconstructionLoss.Mse }, Joint: true),
        new(MmdGradients, QuantizerKind.MmRqVae, s_gradients, Joint: true),
    ];
}

/// <summary>Sizes that all methods share.</summary>
internal sealed record ClaimSettings
{
    /// <summary>Seeds of each method, from 1.</summary>
    public int Seeds { get; init; } = 5;

    /// <summary>L.</summary>
    public int Levels { get; init; } = 4;

    /// <summary>K.</summary>
    public int Codes { get; init; } = 256;

    /// <summary>Width of the networks.</summary>
    public int Width { get; init; } = 256;

    /// <summary>Rows of a batch.</summary>
    public int Batch { get; init; } = 256;

    /// <summary>Steps of training, rounded to whole epochs. The same for every catalogue, as small ones have few steps to an epoch.</summary>
    public int Steps { get; init; } = 600;

    /// <summary>Of AdamW, falling to zero along half a cosine; five times the paper's, whose steps are hundreds of times as many and whose width is 4096.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>A run that shows that the program works.</summary>
    public static ClaimSettings Quick { get; } = new() { Seeds = 2, Levels = 2, Codes = 16, Width = 16, Batch = 256, Steps = 10 };
}
