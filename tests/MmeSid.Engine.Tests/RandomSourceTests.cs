namespace MmeSid.Engine.Tests;

public class RandomSourceTests
{
    [Fact]
    public void The_numbers_are_those_of_xoshiro256_starstar_seeded_by_splitmix64()
    {
        // From the reference C code: state = four splitmix64 outputs of seed 0, then five outputs.
        var random = new RandomSource(0);
        Assert.Equal([0x99EC5F36CB75F2B4UL, 0xBF6E1F784956452AUL, 0x1A5F849D4933E6E0UL, 0x6AA594F1262D2D2CUL, 0xBBA5AD4A1F842E59UL],
            Enumerable.Range(0, 5).Select(_ => random.NextUInt64()));
    }

    [Fact]
    public void Streams_depend_on_seed_and_number_only()
    {
        var random = new RandomSource(7);
        ulong before = random.Split(3).NextUInt64();
        random.NextGaussian();
        Assert.Equal(before, random.Split(3).NextUInt64());
        ulong[] firsts = [.. Enumerable.Range(0, 1000).Select(stream => random.Split((ulong)stream).NextUInt64()), .. Enumerable.Range(0, 1000).Select(seed => new RandomSource((ulong)seed).NextUInt64())];
        Assert.Equal(2000, firsts.Distinct().Count());
    }

    [Fact]
    public void Distributions_have_their_moments()
    {
        var random = new RandomSource(1);
        const int n = 200_000;
        double[] gaussians = [.. Enumerable.Range(0, n).Select(_ => random.NextGaussian())];
        Assert.Equal(0, gaussians.Average(), 0.01);
        Assert.Equal(1, gaussians.Average(x => x * x), 0.02);
        Assert.Equal(3, gaussians.Average(x => x * x * x * x), 0.15);
        Assert.Equal(0.0455, gaussians.Count(x => Math.Abs(x) > 2) / (double)n, 0.003);
        int[] counts = new int[7];
        for (int i = 0; i < n; i++)
            counts[random.NextInt(7)]++;
        Assert.All(counts, count => Assert.InRange(count, n / 7 - 900, n / 7 + 900));
        for (int i = 0; i < 1000; i++)
        {
            Assert.InRange(random.NextDouble(), 0, 1 - 1e-16);
            Assert.InRange(random.NextLong(1L << 62), 0, (1L << 62) - 1);
            Assert.Equal(0, random.NextInt(1));
        }
        Assert.Throws<ArgumentOutOfRangeException>(() => random.NextInt(0));
    }

    [Fact]
    public void Every_permutation_is_as_likely()
    {
        var random = new RandomSource(2);
        var counts = new Dictionary<string, int>();
        for (int i = 0; i < 24_000; i++)
        {
            char[] letters = ['a', 'b', 'c', 'd'];
            random.Shuffle<char>(letters);
            counts[new string(letters)] = counts.GetValueOrDefault(new string(letters)) + 1;
        }
        Assert.Equal(24, counts.Count);
        Assert.All(counts.Values, count => Assert.InRange(count, 850, 1150));
    }
}
