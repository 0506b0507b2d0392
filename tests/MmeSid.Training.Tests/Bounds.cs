namespace MmeSid.Training.Tests;

/// <summary>How far results may lie from float64 references, relative to the largest value of the result (at least 1).</summary>
internal static class Bounds
{
    /// <summary>
    /// The operators of the suite add up at most 64 terms of comparable size after at most 16 roundings each, library functions included: 64 · 16 · 2⁻⁵³ = 1.2e-13,
    /// rounded up for references that are themselves computed in float64.
    /// </summary>
    public const double Float64 = 1e-12;

    /// <summary>The same count of roundings in float32: 64 · 16 · 2⁻²⁴ = 6.1e-5.</summary>
    public const double Float32 = 6.2e-5;

    /// <summary>Step of central differences, near the cube root of 2⁻⁵³ where both errors below balance.</summary>
    public const double Step = 1e-5;

    /// <summary>
    /// Central differences of step h err by h²/6·|f‴| (f‴ up to 200 on the domains of the suite: 3.3e-9) and by 2⁻⁵²·1024·|f|/h for losses of 1024
    /// roundings (2.3e-8); both together, doubled.
    /// </summary>
    public const double Difference = 6e-8;
}
