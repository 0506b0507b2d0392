namespace MmeSid.Engine;

/// <summary>
/// Seeded random numbers whose algorithm is part of the contract: xoshiro256** with its state filled by splitmix64 from the seed.
/// The same seed gives the same numbers on every machine and runtime (<see cref="NextGaussian"/> included: its logarithm is computed
/// here from basic operations). Not thread-safe: give each block or thread its own <see cref="Split"/>.
/// </summary>
public sealed class RandomSource
{
    private readonly ulong _seed;
    private ulong _s0, _s1, _s2, _s3;
    private double _spareGaussian;
    private bool _hasSpareGaussian;

    /// <summary>Starts the sequence of a seed.</summary>
    public RandomSource(ulong seed)
    {
        _seed = seed;
        ulong state = seed;
        _s0 = SplitMix(ref state);
        _s1 = SplitMix(ref state);
        _s2 = SplitMix(ref state);
        _s3 = SplitMix(ref state);
    }

    /// <summary>
    /// An independent stream for block, level or thread number <paramref name="stream"/>. It depends on this source's seed and the number
    /// only, not on how many numbers were drawn before.
    /// </summary>
    public RandomSource Split(ulong stream)
    {
        ulong state = stream ^ 0xD1B54A32D192ED03UL;
        ulong mixed = SplitMix(ref state) ^ _seed;
        return new RandomSource(SplitMix(ref mixed));
    }

    /// <summary>64 uniform bits.</summary>
    public ulong NextUInt64()
    {
        ulong result = ulong.RotateLeft(_s1 * 5, 7) * 9;
        ulong shifted = _s1 << 17;
        _s2 ^= _s0;
        _s3 ^= _s1;
        _s1 ^= _s2;
        _s0 ^= _s3;
        _s2 ^= shifted;
        _s3 = ulong.RotateLeft(_s3, 45);
        return result;
    }

    /// <summary>Uniform in [0, 1), a multiple of 2⁻⁵³.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Uniform in 0 … <paramref name="exclusive"/> − 1, without bias.</summary>
    public int NextInt(int exclusive) => (int)NextLong(exclusive);

    /// <summary>Uniform in 0 … <paramref name="exclusive"/> − 1, without bias (Lemire's multiplication with rejection).</summary>
    public long NextLong(long exclusive)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(exclusive, 1);
        ulong range = (ulong)exclusive;
        ulong high = Math.BigMul(NextUInt64(), range, out ulong low);
        if (low < range)
        {
            ulong threshold = (0UL - range) % range;
            while (low < threshold)
                high = Math.BigMul(NextUInt64(), range, out low);
        }
        return (long)high;
    }

    /// <summary>Standard normal, by Marsaglia's polar method.</summary>
    public double NextGaussian()
    {
        if (_hasSpareGaussian)
        {
            _hasSpareGaussian = false;
            return _spareGaussian;
        }
        double u, v, square;
        do
        {
            u = 2 * NextDouble() - 1;
            v = 2 * NextDouble() - 1;
            square = u * u + v * v;
        }
        while (square is >= 1 or 0);
        double scale = Math.Sqrt(-2 * NaturalLogarithm(square) / square);
        _spareGaussian = v * scale;
        _hasSpareGaussian = true;
        return u * scale;
    }

    /// <summary>Permutes in place, every order equally likely (Fisher–Yates).</summary>
    public void Shuffle<T>(Span<T> values)
    {
        for (int i = values.Length - 1; i > 0; i--)
        {
            int j = NextInt(i + 1);
            (values[i], values[j]) = (values[j], values[i]);
        }
    }

    /// <summary>
    /// ln x for normal positive x from multiplications, additions and one division, so that it has the same bits everywhere
    /// (the C library's may differ by an ulp between systems).
    /// </summary>
    /// <remarks>x = m·2^e with m in [√½, √2), t = (m − 1)/(m + 1), |t| ≤ 0.172: ln x = e·ln 2 + 2(t + t³/3 + … + t²¹/21).</remarks>
    private static double NaturalLogarithm(double x)
    {
        int exponent = Math.ILogB(x);
        double mantissa = Math.ScaleB(x, -exponent);
        if (mantissa > 1.4142135623730951)
        {
            mantissa *= 0.5;
            exponent++;
        }
        double t = (mantissa - 1) / (mantissa + 1);
        double square = t * t;
        double series = 0;
        for (int k = 21; k >= 1; k -= 2)
            series = series * square + 1.0 / k;
        return exponent * 0.6931471805599453 + 2 * t * series;
    }

    private static ulong SplitMix(ref ulong state)
    {
        state += 0x9E3779B97F4A7C15UL;
        ulong z = state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
