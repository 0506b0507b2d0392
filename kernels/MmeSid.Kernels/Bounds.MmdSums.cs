namespace MmeSid.Kernels;

internal static partial class Bounds
{
    /// <summary>
    /// Relative error of <see cref="Simd.Lanes.Exp"/> on −87.3 … 0, in float32: reduction and polynomial contribute under 2 roundings, the
    /// last product and the rounded sum 1 each. (Over every ninth float32 of the range the largest error is 1.41u, fused or not.)
    /// </summary>
    public const double Exp32 = 4 * Float32;

    /// <summary>
    /// Relative error of each sum of <see cref="IBackend.MmdSums"/>, vector form. Letters: u = 2⁻²⁴, R = largest ‖z − m‖ over both sets, m the
    /// float32 centre, γ = <see cref="Product"/>(d), σ² the smallest bandwidth, D = ‖x − y‖² ≤ 4R².
    /// <code>
    ///   x̂ = fl(x − m): ‖x̂ − (x − m)‖ ≤ uR, so ‖x̂ − ŷ‖² is off by ≤ 2·2R·2uR + 4u²R²             8 u R²
    ///   ‖x̂‖², ‖ŷ‖² from float64, rounded once                                                   2 u R²
    ///   2 x̂·ŷ                                                                                     2 γ R²
    ///   ‖x̂‖² + ‖ŷ‖² ≤ 2R² and the difference, ≤ 4R² + what is above, rounded; max(0, ·) only helps  6 u R²
    ///   δ = |D̂ − D| ≤ (16u + 2γ) R²;    the exponent D/2σ² is off by δ/2σ²
    ///   float32 tiles (smallest exponent ≤ 60): factor and product rounded, exponents ≤ 88 or below e⁻⁸⁷: 2u · 88
    ///   float64 tiles (all exponents > 60, up to 746): 3u₆₄ · 746, covered by the 176u above
    ///   terms below e⁻⁸⁷·³ in a float32 tile are taken for e⁻⁸⁷·³: ≤ 2¹⁶ of them beside one of ≥ e⁻⁶⁰   2¹⁶e⁻²⁷ &lt; 3u, T bandwidths alike
    ///   exponential 4u; a lane adds ≤ 16 terms in float32, lanes are added in 5 steps                     21u
    ///   the mean distance is off by ≤ 4(n + m + d)u₆₄ of itself, exponents ≤ 746
    ///   every term of a sum is positive, so the sum is off by no more than its terms: e^(…) − 1
    /// </code>
    /// The float64 oracle's own error, (d + 4)·u₆₄·D/2σ², is far inside <see cref="Slack"/>.
    /// Where a whole sum is below 1e−290 of its number of pairs, float64 itself underflows and nothing is promised.
    /// </summary>
    /// <param name="dimension">d.</param>
    /// <param name="points">n + m.</param>
    /// <param name="largestSquaredNorm">R².</param>
    /// <param name="smallestVariance">σ².</param>
    public static double MmdSums(int dimension, long points, double largestSquaredNorm, double smallestVariance)
    {
        double distance = (16 * Float32 + 2 * Product(dimension)) * largestSquaredNorm / (2 * smallestVariance);
        double mean = 746 * 4 * (double)(points + dimension) * Float64;
        return Math.Exp(Slack * (distance + mean + 204 * Float32)) - 1;
    }
}
