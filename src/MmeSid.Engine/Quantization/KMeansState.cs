namespace MmeSid.Engine.Quantization;

/// <summary>Everything that the next iteration of k-means depends on. Written to checkpoints.</summary>
/// <param name="centroids">[K, width]; where they lie on a device they come from there when they are asked for.</param>
/// <param name="codes">[n], likewise.</param>
internal sealed class KMeansState(Lazy<float[]> centroids, Lazy<ushort[]> codes)
{
    /// <summary>Finished iterations.</summary>
    public required int Iteration { get; init; }

    /// <summary>[K, width].</summary>
    /// <exception cref="InvalidOperationException">The run has gone on or was disposed since, and nobody asked before.</exception>
    public float[] Centroids => centroids.Value;

    /// <summary>[n], of the last assignment.</summary>
    /// <inheritdoc cref="Centroids" path="/exception"/>
    public ushort[] Codes => codes.Value;

    /// <summary>[K] rows seen by each centroid under mini-batches, otherwise empty.</summary>
    public required long[] Seen { get; init; }

    /// <summary>Objective after the last iteration, infinite before the first.</summary>
    public required double Objective { get; init; }

    /// <summary>True when the objective has gone flat or the iterations are used up.</summary>
    public required bool Finished { get; init; }

    /// <summary>Takes centroids and codes into the host's memory, for who needs them when the run is gone.</summary>
    public void Fetch() => _ = (Centroids, Codes);
}
