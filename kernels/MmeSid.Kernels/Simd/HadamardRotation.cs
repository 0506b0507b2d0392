using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// A seeded rotation that spreads a row's energy evenly over its coordinates, so that integers of one scale per row lose little: two rounds of random
/// signs and Walsh–Hadamard transforms of 256 values (64 at the end), in the second round of chunks of 16 values from all over the row.
/// Orthogonal exactly, in real numbers: signs and transforms, scaled by powers of two, of a row with zeros appended.
/// </summary>
internal sealed unsafe class HadamardRotation
{
    private const int kChunk = 16, kRounds = 2, kLarge = 16, kSmall = 4;
    private const ulong kSeed = 0x5EED;

    /// <summary>Additions that lead to a value of the result, one after the other, at most: 8 for each round of 256 values.</summary>
    public const int kDepth = kRounds * 8;

    // ± the scale of the transform that follows, [round][Width].
    private readonly float[][] _signs;
    // The chunks of each round in the order in which they are transformed together.
    private readonly int[][] _order;

    /// <summary>The rotation of rows of <paramref name="dimension"/> values, always the same one.</summary>
    public HadamardRotation(int dimension)
    {
        const int kMultiple = kSmall * kChunk;
        Width = (dimension + kMultiple - 1) / kMultiple * kMultiple;
        int chunks = Width / kChunk;
        ulong state = kSeed;
        _signs = [.. Enumerable.Range(0, kRounds).Select(_ => Enumerable.Range(0, Width).Select(_ => (Next() & 1) == 0 ? 1f : -1f).ToArray())];
        _order = [[.. Enumerable.Range(0, chunks)], [.. Enumerable.Range(0, chunks)]];
        for (int i = chunks - 1; i > 0; i--)
        {
            int j = (int)(Next() % (ulong)(i + 1));
            (_order[1][i], _order[1][j]) = (_order[1][j], _order[1][i]);
        }
        // What makes the transform orthogonal goes with the signs: 1 / 16 for 256 values, 1 / 8 for 64.
        for (int round = 0; round < kRounds; round++)
        {
            for (int at = 0; at < chunks; at++)
            {
                float scale = at < chunks / kLarge * kLarge ? 1f / 16 : 1f / 8;
                foreach (ref float sign in _signs[round].AsSpan(_order[round][at] * kChunk, kChunk))
                    sign *= scale;
            }
        }

        // SplitMix64.
        ulong Next()
        {
            ulong z = state += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }

    /// <summary>Values of a rotated row: d rounded up to a multiple of 64.</summary>
    public int Width { get; }

    /// <summary>Rotates in place; float32, each addition rounded once.</summary>
    /// <param name="row">[Width], d values and zeros behind them.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Apply(float* row)
    {
        int chunks = Width / kChunk;
        for (int round = 0; round < kRounds; round++)
        {
            fixed (float* signs = _signs[round])
            fixed (int* order = _order[round])
            {
                int at = 0;
                for (; at + kLarge <= chunks; at += kLarge)
                    Sixteen(row, signs, order + at);
                for (; at < chunks; at += kSmall)
                    Four(row, signs, order + at);
            }
        }
    }

    // Each chunk by itself, then the same place of all chunks with each other.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Sixteen(float* row, float* signs, int* chunks)
    {
        Vector512<float> a0 = Chunk(row, signs, chunks[0]), a1 = Chunk(row, signs, chunks[1]), a2 = Chunk(row, signs, chunks[2]), a3 = Chunk(row, signs, chunks[3]);
        Vector512<float> a4 = Chunk(row, signs, chunks[4]), a5 = Chunk(row, signs, chunks[5]), a6 = Chunk(row, signs, chunks[6]), a7 = Chunk(row, signs, chunks[7]);
        Vector512<float> b0 = Chunk(row, signs, chunks[8]), b1 = Chunk(row, signs, chunks[9]), b2 = Chunk(row, signs, chunks[10]), b3 = Chunk(row, signs, chunks[11]);
        Vector512<float> b4 = Chunk(row, signs, chunks[12]), b5 = Chunk(row, signs, chunks[13]), b6 = Chunk(row, signs, chunks[14]), b7 = Chunk(row, signs, chunks[15]);
        Eight(ref a0, ref a1, ref a2, ref a3, ref a4, ref a5, ref a6, ref a7);
        Eight(ref b0, ref b1, ref b2, ref b3, ref b4, ref b5, ref b6, ref b7);
        (a0 + b0).Store(row + chunks[0] * kChunk);
        (a1 + b1).Store(row + chunks[1] * kChunk);
        (a2 + b2).Store(row + chunks[2] * kChunk);
        (a3 + b3).Store(row + chunks[3] * kChunk);
        (a4 + b4).Store(row + chunks[4] * kChunk);
        (a5 + b5).Store(row + chunks[5] * kChunk);
        (a6 + b6).Store(row + chunks[6] * kChunk);
        (a7 + b7).Store(row + chunks[7] * kChunk);
        (a0 - b0).Store(row + chunks[8] * kChunk);
        (a1 - b1).Store(row + chunks[9] * kChunk);
        (a2 - b2).Store(row + chunks[10] * kChunk);
        (a3 - b3).Store(row + chunks[11] * kChunk);
        (a4 - b4).Store(row + chunks[12] * kChunk);
        (a5 - b5).Store(row + chunks[13] * kChunk);
        (a6 - b6).Store(row + chunks[14] * kChunk);
        (a7 - b7).Store(row + chunks[15] * kChunk);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Four(float* row, float* signs, int* chunks)
    {
        Vector512<float> a = Chunk(row, signs, chunks[0]), b = Chunk(row, signs, chunks[1]), c = Chunk(row, signs, chunks[2]), e = Chunk(row, signs, chunks[3]);
        Four(ref a, ref b, ref c, ref e);
        a.Store(row + chunks[0] * kChunk);
        b.Store(row + chunks[1] * kChunk);
        c.Store(row + chunks[2] * kChunk);
        e.Store(row + chunks[3] * kChunk);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Eight(
        ref Vector512<float> a, ref Vector512<float> b, ref Vector512<float> c, ref Vector512<float> e,
        ref Vector512<float> f, ref Vector512<float> g, ref Vector512<float> h, ref Vector512<float> i)
    {
        Four(ref a, ref b, ref c, ref e);
        Four(ref f, ref g, ref h, ref i);
        (a, f) = (a + f, a - f);
        (b, g) = (b + g, b - g);
        (c, h) = (c + h, c - h);
        (e, i) = (e + i, e - i);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(ref Vector512<float> a, ref Vector512<float> b, ref Vector512<float> c, ref Vector512<float> e)
    {
        (a, b, c, e) = (a + b, a - b, c + e, c - e);
        (a, b, c, e) = (a + c, b + e, a - c, b - e);
    }

    // A chunk with its signs, its 16 values transformed: sums to the places where a bit is clear, differences where it is set.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Chunk(float* row, float* signs, int chunk)
    {
        Vector512<float> v = Vector512.Load(row + chunk * kChunk) * Vector512.Load(signs + chunk * kChunk);
        if (!Vector512.IsHardwareAccelerated)
        {
            Vector256<float> low = v.GetLower() + v.GetUpper(), high = v.GetLower() - v.GetUpper();
            return Vector512.Create(Half(low), Half(high));
        }
        v = Vector512.MultiplyAddEstimate(v, Vector512.Create(1f, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1), Vector512.Shuffle(v, Vector512.Create(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)));
        v = Vector512.MultiplyAddEstimate(v, Vector512.Create(1f, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1), Vector512.Shuffle(v, Vector512.Create(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)));
        v = Vector512.MultiplyAddEstimate(v, Vector512.Create(1f, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1), Vector512.Shuffle(v, Vector512.Create(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)));
        return Vector512.MultiplyAddEstimate(v, Vector512.Create(1f, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1), Vector512.Shuffle(v, Vector512.Create(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Half(Vector256<float> v)
    {
        v = Vector256.MultiplyAddEstimate(v, Vector256.Create(1f, 1, 1, 1, -1, -1, -1, -1), Vector256.Shuffle(v, Vector256.Create(4, 5, 6, 7, 0, 1, 2, 3)));
        v = Vector256.MultiplyAddEstimate(v, Vector256.Create(1f, 1, -1, -1, 1, 1, -1, -1), Vector256.Shuffle(v, Vector256.Create(2, 3, 0, 1, 6, 7, 4, 5)));
        return Vector256.MultiplyAddEstimate(v, Vector256.Create(1f, -1, 1, -1, 1, -1, 1, -1), Vector256.Shuffle(v, Vector256.Create(1, 0, 3, 2, 5, 4, 7, 6)));
    }
}
