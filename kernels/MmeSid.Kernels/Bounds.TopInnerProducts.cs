namespace MmeSid.Kernels;

internal static partial class Bounds
{
    /// <summary>
    /// |ŝ − s| for a product x·q of float32 vectors summed in float64: the d products are exact (24 + 24 bits), the sum makes at most
    /// d − 1 roundings of partial sums no larger than Σ |x_i q_i| ≤ ‖x‖‖q‖, hence (d − 1)·u₆₄·Σ|x_i q_i| to first order.
    /// </summary>
    /// <param name="dimension">d.</param>
    /// <param name="magnitude">Σ |x_i q_i|, or ‖x‖‖q‖, evaluated in float64.</param>
    public static double InnerProduct64(int dimension, double magnitude) => Slack * Float64 * dimension * magnitude;
}
