namespace MmeSid.Engine.Quantization;

/// <summary>How far a training run has come: all that is needed to go on.</summary>
internal sealed class TrainingState
{
    /// <summary>OPQ's rotation, [d, d], or empty.</summary>
    public float[] Rotation { get; set; } = [];

    /// <summary>Finished rounds of OPQ's alternation.</summary>
    public int RotationRounds { get; set; }

    /// <summary>Codebooks that belong to <see cref="Rotation"/> while it is learned, one per sub-space.</summary>
    public List<float[]> RotationCodebooks { get; set; } = [];

    /// <summary>Finished levels.</summary>
    public List<float[]> Codebooks { get; init; } = [];

    /// <summary>The level in progress, or null between levels.</summary>
    public KMeansState? Current { get; set; }

    /// <summary>Finished iterations.</summary>
    public List<TrainingIteration> History { get; init; } = [];
}
