namespace MmeSid.Engine.Quantization;

/// <summary>Everything that the next iteration of k-means depends on. Written to checkpoints.</summary>
internal sealed class KMeansState
{
    /// <summary>Finished iterations.</summary>
    public required int Iteration { get; init; }

    /// <summary>[K, width].</summary>
    public required float[] Centroids { get; init; }

    /// <summary>[n], of the last assignment.</summary>
    public required ushort[] Codes { get; init; }

    /// <summary>[K] rows seen by each centroid under mini-batches, otherwise empty.</summary>
    public required long[] Seen { get; init; }

    /// <summary>Objective after the last iteration, infinite before the first.</summary>
    public required double Objective { get; init; }

    /// <summary>True when the objective has gone flat or the iterations are used up.</summary>
    public required bool Finished { get; init; }
}
