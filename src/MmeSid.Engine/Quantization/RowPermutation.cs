namespace MmeSid.Engine.Quantization;

/// <summary>
/// A seeded permutation of 0 … n − 1 that takes no memory: a four-round Feistel network over the next even power of two, walked until it lands below n.
/// </summary>
internal sealed class RowPermutation
{
    private const int kRounds = 4;
    private readonly long _count;
    private readonly int _halfBits;
    private readonly ulong[] _keys = new ulong[kRounds];

    public RowPermutation(long count, RandomSource random)
    {
        _count = count;
        _halfBits = 1;
        while (1L << (2 * _halfBits) < count)
            _halfBits++;
        for (int i = 0; i < kRounds; i++)
            _keys[i] = random.NextUInt64();
    }

    /// <summary>The number at a position; every number of 0 … n − 1 stands at exactly one position.</summary>
    public long this[long position]
    {
        get
        {
            ulong mask = (1UL << _halfBits) - 1;
            ulong value = (ulong)position;
            do
            {
                ulong left = value >> _halfBits, right = value & mask;
                foreach (ulong key in _keys)
                    (left, right) = (right, left ^ (Mix(right ^ key) & mask));
                value = left << _halfBits | right;
            }
            while (value >= (ulong)_count);
            return (long)value;
        }
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
