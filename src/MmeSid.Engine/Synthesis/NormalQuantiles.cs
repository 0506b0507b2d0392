using MathNet.Numerics.Distributions;

namespace MmeSid.Engine.Synthesis;

/// <summary>
/// Normal deviates fast enough to fill a million rows in seconds: the normal quantile function, drawn as a polygon over 4,096 equal cells.
/// A deviate takes 12 random bits for the cell and 20 for the place inside it. The end cells reach as far out as gives them the
/// right mean, so values stay within ±<c>4.0</c>. Only additions and multiplications of float32: the same bits on every machine.
/// </summary>
internal static class NormalQuantiles
{
    private const int kCellBits = 12;
    private const int kCells = 1 << kCellBits;
    private const int kPlaceBits = 32 - kCellBits;

    private static readonly float[] s_knots = Knots();
    private static readonly float[] s_steps = Steps();

    /// <summary>Fills <paramref name="values"/> with independent deviates of mean 0 and variance 1.</summary>
    public static void Fill(RandomSource random, Span<float> values)
    {
        ReadOnlySpan<float> knots = s_knots, steps = s_steps;
        int i = 0;
        for (; i + 1 < values.Length; i += 2)
        {
            ulong bits = random.NextUInt64();
            values[i] = Value((uint)bits, knots, steps);
            values[i + 1] = Value((uint)(bits >> 32), knots, steps);
        }
        if (i < values.Length)
            values[i] = Value((uint)random.NextUInt64(), knots, steps);
    }

    private static float Value(uint bits, ReadOnlySpan<float> knots, ReadOnlySpan<float> steps)
    {
        int cell = (int)(bits >> kPlaceBits);
        return knots[cell] + (int)(bits & ((1u << kPlaceBits) - 1)) * steps[cell];
    }

    private static float[] Knots()
    {
        var knots = new float[kCells + 1];
        for (int i = 1; i < kCells / 2; i++)
        {
            float quantile = (float)Normal.InvCDF(0, 1, (double)i / kCells);
            knots[i] = quantile;
            knots[kCells - i] = -quantile;
        }
        // The mean of the last cell is N·φ(q) for its inner edge q; a straight line from q has that mean when it ends at 2·N·φ(q) − q.
        float inner = knots[kCells - 1];
        float end = (float)(2 * kCells * Normal.PDF(0, 1, inner) - inner);
        knots[kCells] = end;
        knots[0] = -end;
        return knots;
    }

    private static float[] Steps()
    {
        float[] knots = s_knots;
        var steps = new float[kCells];
        for (int i = 0; i < kCells; i++)
            steps[i] = (knots[i + 1] - knots[i]) / (1 << kPlaceBits);
        return steps;
    }
}
