namespace MmeSid.Kernels;

internal static partial class Bounds
{
    /// <summary>
    /// |ŝ − s| for a product x·q of float32 vectors summed in float64: the d products are exact (24 + 24 bits), the sum makes at most
    /// d − 1 roundings of partial sums no larger than Σ |x_i q_i| ≤ ‖x‖‖q‖, hence (d − 1)·u₆₄·Σ|x_i q_i| to first order; three more
    /// roundings pay for ŝ ± this bound itself.
    /// </summary>
    /// <param name="dimension">d.</param>
    /// <param name="magnitude">Σ |x_i q_i|, or ‖x‖‖q‖, evaluated in float64.</param>
    public static double InnerProduct64(int dimension, double magnitude) => Slack * Float64 * (dimension + 2) * magnitude;

    /// <summary>
    /// |ŝ − s| for a product x·q in float32, added in any order, with or without fused multiply-add: no term takes part in more than
    /// d + 8 roundings (d terms, their product, and the few sums of lanes, blocks and tail).
    /// </summary>
    /// <param name="dimension">d.</param>
    /// <param name="magnitude">‖x‖‖q‖ or more, norms from float32 sums of squares raised by <see cref="NormSlack"/>.</param>
    public static double InnerProduct32(int dimension, double magnitude)
    {
        double roundings = (dimension + 8) * Float32;
        return Slack * roundings / (1 - roundings) * magnitude + Underflow(dimension);
    }
}
