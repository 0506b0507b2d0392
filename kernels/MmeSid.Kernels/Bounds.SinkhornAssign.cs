namespace MmeSid.Kernels;

internal static partial class Bounds
{
    /// <summary>
    /// Error of a squared distance in Gram form from centred float32 operands, up to a term that is the same for all codewords of a row.
    /// u = 2⁻²⁴, ρ = largest ‖x − m‖ over rows and codewords: conversion 8uρ² (see <see cref="MmdSums"/>), product 2γρ², and up to
    /// 4uρ² where ‖c‖² − 2x·c itself is rounded.
    /// </summary>
    public static double GramDistance(int dimension, double largestSquaredNorm) => Slack * (12 * Float32 + 2 * Product(dimension)) * largestSquaredNorm;

    /// <summary>
    /// How far the vector form of <see cref="IBackend.SinkhornAssign"/> can be from the real-number iteration, in units of the scaled
    /// distance C. Log-sum-exp moves by no more than its largest argument does, so errors of the iterations add up, never multiply.
    /// <code>
    ///   δ = GramDistance;  C = (D − middle)/half with half from distances of the same error:        η_C = 2δ/half
    ///   z = (g − C)/ε as b + s·x·c, each rounded: ε|z| ≤ Z = |g| + 3ρ²/half;  b, s, z, z − LSE:       η_z = 6u Z
    ///   per half-step g and f move by ≤ η = η_C + η_z, and by ε times the relative error of a sum of exponentials:
    ///   arguments z − max ≥ −87.3 rounded 88u, exponentials 4u, row sum K + 8, normalisation 2, column sums of a block 224, floor e⁻⁸⁷·³
    ///   beside sums of ≥ 1e−30·n: &lt; 1u                                                            η_s = ε(K + 420)u
    ///   potentials after T iterations: T(2η + η_s);   a difference of two g[k] − C[i, k]: twice that and twice η
    /// </code>
    /// </summary>
    /// <param name="dimension">d.</param>
    /// <param name="codeCount">K.</param>
    /// <param name="options">ε and T.</param>
    /// <param name="largestSquaredNorm">ρ².</param>
    /// <param name="half">Half of the range of the squared distances; 1 when they are not scaled.</param>
    /// <param name="largestPotential">max |g| over codes and iterations.</param>
    /// <returns>The error of a potential, and of the difference of two transported masses' logarithms times ε.</returns>
    public static (double Potential, double Margin) SinkhornAssign(
        int dimension, int codeCount, SinkhornOptions options, double largestSquaredNorm, double half, double largestPotential)
    {
        double rounding = 6 * Float32 * (largestPotential + 3 * largestSquaredNorm / half);
        double step = Slack * (2 * GramDistance(dimension, largestSquaredNorm) / half + rounding);
        double potential = options.Iterations * (2 * step + Slack * options.Epsilon * (codeCount + 420) * Float32);
        return (potential, 2 * (potential + step));
    }
}
