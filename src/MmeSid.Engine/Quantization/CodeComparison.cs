using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Engine.Quantization;

/// <summary>How far two assignments of the same rows agree, for instance before and after a warm-started training.</summary>
public static class CodeComparison
{
    /// <summary>Number of positions at which two arrays of codes differ.</summary>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static long CountDifferent(ReadOnlySpan<ushort> left, ReadOnlySpan<ushort> right)
    {
        if (left.Length != right.Length)
            throw new ArgumentException($"{left.Length} codes cannot be compared with {right.Length}", nameof(right));
        ref ushort a = ref MemoryMarshal.GetReference(left);
        ref ushort b = ref MemoryMarshal.GetReference(right);
        long same = 0;
        int i = 0;
        for (; i + Vector256<ushort>.Count <= left.Length; i += Vector256<ushort>.Count)
        {
            var equal = Vector256.Equals(Vector256.LoadUnsafe(ref a, (nuint)i), Vector256.LoadUnsafe(ref b, (nuint)i));
            same += uint.PopCount(equal.ExtractMostSignificantBits());
        }
        for (; i < left.Length; i++)
            same += left[i] == right[i] ? 1 : 0;
        return left.Length - same;
    }

    /// <summary>Rows of which at least one of the L codes differs, and the same per level.</summary>
    /// <param name="left">[n, L].</param>
    /// <param name="right">[n, L].</param>
    /// <param name="levels">L ≥ 1.</param>
    /// <returns>Rows that moved, and the number of changed codes of each level.</returns>
    /// <exception cref="ArgumentException">The lengths differ or are no multiple of L.</exception>
    public static (long Rows, IReadOnlyList<long> Levels) CountMoved(ReadOnlySpan<ushort> left, ReadOnlySpan<ushort> right, int levels)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(levels, 1);
        if (left.Length != right.Length)
            throw new ArgumentException($"{left.Length} codes cannot be compared with {right.Length}", nameof(right));
        if (left.Length % levels != 0)
            throw new ArgumentException($"{left.Length} codes do not form whole rows of {levels} levels", nameof(left));
        var perLevel = new long[levels];
        long rows = 0;
        for (int row = 0; row < left.Length; row += levels)
        {
            bool moved = false;
            for (int level = 0; level < levels; level++)
            {
                if (left[row + level] == right[row + level])
                    continue;
                perLevel[level]++;
                moved = true;
            }
            rows += moved ? 1 : 0;
        }
        return (rows, perLevel);
    }
}
