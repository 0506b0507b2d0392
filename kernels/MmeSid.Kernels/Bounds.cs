namespace MmeSid.Kernels;

/// <summary>
/// Every rounding bound that a proof or a test relies on, with its derivation in docs/exactness.md. All are upper bounds in the
/// strict sense: they hold for every input, in any order of summation, with or without fused multiply-add.
/// </summary>
internal static partial class Bounds
{
    /// <summary>Unit roundoff of float32, 2⁻²⁴.</summary>
    public const double Float32 = 1.0 / (1 << 24);

    /// <summary>Unit roundoff of float64, 2⁻⁵³.</summary>
    public const double Float64 = 1.0 / (1L << 53);

    /// <summary>
    /// Covers the roundings made while a bound itself is evaluated in float64 or its norms in float32 (a few thousand at most), and
    /// the second-order terms that first-order formulas leave out.
    /// </summary>
    public const double Slack = 1 + 1.0 / (1 << 10);

    /// <summary>
    /// |D̂ − D| for a squared distance evaluated in float64 as Σ (r̂_i − c_i)², where r̂ is x minus the codewords of <paramref name="levels"/>
    /// earlier levels, one after the other; for PSRQ with their running sum beside it (docs/exactness.md §2).
    /// </summary>
    /// <param name="width">Summands: d, or 2d for PSRQ.</param>
    /// <param name="levels">Codewords already subtracted.</param>
    /// <param name="magnitude">At least ‖x‖ plus the norms of those codewords.</param>
    /// <param name="squaredDistance">D̂.</param>
    public static double SquaredDistance(int width, int levels, double magnitude, double squaredDistance)
    {
        double distance = Math.Sqrt(squaredDistance);
        double shift = Float64 * 2 * (levels + 1) * (magnitude + distance);
        return Slack * (2 * distance * shift + shift * shift + Float64 * (width + 3) * squaredDistance);
    }

    /// <summary>
    /// Factor γ with |fl(x·w) − x·w| ≤ γ‖x‖‖w‖ for the float32 products of <see cref="Simd.Product"/>: one chain of at most
    /// kDepthPerBlock terms per block, one addition per block (docs/exactness.md §3).
    /// </summary>
    /// <param name="depth">Length of the product.</param>
    public static double Product(int depth)
    {
        const int block = Simd.Product.kDepthPerBlock;
        return Chain(Math.Min(depth, block) + (depth + block - 1) / block);
    }

    /// <summary>γ_n: the relative error of n roundings, one after the other.</summary>
    /// <param name="roundings">n.</param>
    public static double Chain(int roundings) => roundings * Float32 / (1 - roundings * Float32);

    /// <summary><see cref="Slack"/> for formulas whose norms are float32 sums of squares over <paramref name="depth"/> terms.</summary>
    public static double NormSlack(int depth) => Slack + 2 * depth * Float32;

    /// <summary>What products and sums that fall below float32's normal range can lose in all, absolutely.</summary>
    public static double Underflow(int depth) => (depth + 8) * 4 * (double)float.Epsilon;
}
