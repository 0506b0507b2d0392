using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Evaluation;

/// <summary>How evenly the K codes of one level are used. c_k is the number of items with code k, n their sum, p_k = c_k/n.</summary>
/// <param name="Codes">K.</param>
/// <param name="Used">Codes with c_k &gt; 0.</param>
/// <param name="Entropy">H = −Σ p_k log₂ p_k, bits; 0 for no items. At most log₂ K.</param>
/// <param name="Perplexity">2^H: the number of codes that, used evenly, would have this entropy.</param>
/// <param name="Gini">Σ_i (2i − K − 1)·c_(i) / (K·n) over all K codes in ascending order of use, i = 1 …; 0 is even, 1 − 1/K a single code. 0 for no items.</param>
/// <param name="Largest">Items of the most used code.</param>
public sealed record CodeUse(int Codes, int Used, double Entropy, double Perplexity, double Gini, long Largest)
{
    /// <summary>Measures a level.</summary>
    /// <param name="sids">n SIDs.</param>
    /// <param name="level">Level, from 0.</param>
    /// <param name="codeCount">K of the level, above every code.</param>
    /// <exception cref="ArgumentException">A code is K or more.</exception>
    public static CodeUse Measure(SidTable sids, int level, int codeCount)
    {
        ArgumentNullException.ThrowIfNull(sids);
        ArgumentOutOfRangeException.ThrowIfLessThan(codeCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(level, sids.Levels);
        var counts = new long[codeCount];
        ReadOnlySpan<ushort> codes = sids.Codes;
        for (int i = level; i < codes.Length; i += sids.Levels)
        {
            if (codes[i] >= codeCount)
                throw new ArgumentException($"row {i / sids.Levels}, level {level} has code {codes[i]}, expected less than {codeCount}", nameof(sids));
            counts[codes[i]]++;
        }
        return Of(counts);
    }

    /// <summary>Measures counts c_k, K ≥ 1.</summary>
    public static CodeUse Of(ReadOnlySpan<long> counts)
    {
        long[] sorted = counts.ToArray();
        Array.Sort(sorted);
        double total = sorted.Sum(), entropy = 0, weighted = 0;
        for (int i = 0; i < sorted.Length; i++)
        {
            if (sorted[i] == 0)
                continue;
            double share = sorted[i] / total;
            entropy -= share * Math.Log2(share);
            weighted += (2.0 * (i + 1) - sorted.Length - 1) * sorted[i];
        }
        return new CodeUse(sorted.Length, sorted.Count(count => count > 0), entropy, Math.Pow(2, entropy), total == 0 ? 0 : weighted / (sorted.Length * total), sorted[^1]);
    }
}
