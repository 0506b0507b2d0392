using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>The inputs that drive the tests and the benches of every backend.</summary>
public static partial class Cases
{
    // ---- Encode ----

    /// <summary>What the rows and codewords of an encode case look like; each kind attacks the certificate from another side.</summary>
    public enum EncodeData
    {
        /// <summary>Bell-shaped values; every level's codewords are smaller than the one before.</summary>
        Bell,

        /// <summary>Integers 0 … 3 in rows and codewords: exact ties on most rows.</summary>
        Integers,

        /// <summary>Bell-shaped around a mean of 1000: what the centring is for.</summary>
        LargeMean,

        /// <summary>Codewords stored twice, rows that equal a codeword, and negative zeros.</summary>
        Duplicates,

        /// <summary>Rows half-way between two codewords, then moved by a few units in the last place.</summary>
        NearTies,

        /// <summary>The same at the second level: a first codeword, and behind it half-way between two of the second.</summary>
        LaterNearTies,

        /// <summary>All values within a few 1e-6 of 1, so that far more codes survive the screen than its lists hold.</summary>
        Crowded,

        /// <summary>Values around 1e-39: denormal in float32, squares below its range.</summary>
        Denormal,

        /// <summary>Values up to 3e38: squares overflow float32.</summary>
        Huge,

        /// <summary>One coordinate 1e6 times larger than the others.</summary>
        Spike,

        /// <summary>All rows zero.</summary>
        Zero,
    }

    /// <summary>A plan and the rows to encode with it.</summary>
    public sealed record EncodeCase(PlanKind Kind, EncodeData Data, int Rows, int Dimension, int[] Codes)
    {
        /// <inheritdoc/>
        public override string ToString() => $"{Kind} {Data} n {Rows} d {Dimension} K {string.Join(',', Codes)}";

        /// <summary>The case's plan; the same for every call.</summary>
        public EncodePlan Plan()
        {
            var codebooks = new float[Codes.Length][];
            for (int level = 0; level < Codes.Length; level++)
            {
                bool hasPrefixHalf = Kind == PlanKind.PrefixSemantic && level > 0;
                float[] residualHalves = Codewords(level, 0), prefixHalves = hasPrefixHalf ? Codewords(0, 100 + level, Codes[level]) : [];
                if (!hasPrefixHalf)
                {
                    codebooks[level] = residualHalves;
                    continue;
                }
                codebooks[level] = new float[2 * residualHalves.Length];
                for (int k = 0; k < Codes[level]; k++)
                {
                    residualHalves.AsSpan(k * Dimension, Dimension).CopyTo(codebooks[level].AsSpan(2 * k * Dimension));
                    prefixHalves.AsSpan(k * Dimension, Dimension).CopyTo(codebooks[level].AsSpan((2 * k + 1) * Dimension));
                }
            }
            return new EncodePlan(Kind, Dimension, codebooks);
        }

        /// <summary>The case's rows, [n, d]; the same for every call.</summary>
        public float[] Values()
        {
            float[] rows = Values(7, 0, Rows);
            if (Data is not (EncodeData.NearTies or EncodeData.LaterNearTies or EncodeData.Duplicates))
                return rows;
            bool later = Data == EncodeData.LaterNearTies && Codes.Length > 1;
            float[] first = Codewords(0, 0), second = later ? Codewords(1, 0) : first;
            for (int i = 0; i < Rows; i++)
            {
                int between = Codes[later ? 1 : 0], left = i % between, right = (i * 7 + 1) % between, before = i * 5 % Codes[0];
                for (int j = 0; j < Dimension; j++)
                {
                    float a = second[left * Dimension + j], b = second[right * Dimension + j];
                    rows[i * Dimension + j] = (later ? first[before * Dimension + j] : 0) + (Data == EncodeData.Duplicates ? a : (a + b) / 2);
                }
                if (Data != EncodeData.Duplicates && i % 4 > 0)
                {
                    ref float moved = ref rows[i * Dimension + i % Dimension];
                    for (int step = 0; step < (i % 4 == 3 ? 10 : i % 4); step++)
                        moved = MathF.BitIncrement(moved);
                }
            }
            return rows;
        }

        private float[] Codewords(int level, int seed, int? count = null)
        {
            float[] codewords = Values(11 + level + 13 * seed, level, count ?? Codes[level]);
            if (Data == EncodeData.Duplicates)
            {
                int half = codewords.Length / Dimension / 2 * Dimension;
                codewords.AsSpan(0, half).CopyTo(codewords.AsSpan(codewords.Length - half));
                codewords[^1] = -0f;
                codewords[Dimension - 1] = 0f;
            }
            return codewords;
        }

        private float[] Values(int seed, int level, int count)
        {
            float[] values = Bell(seed, (long)count * Dimension);
            for (int i = 0; i < values.Length; i++)
            {
                float scaled = values[i] * MathF.Pow(0.6f, level);
                values[i] = Data switch
                {
                    EncodeData.Integers => (int)MathF.Abs(values[i] * 2) & 3,
                    EncodeData.LargeMean => scaled + (level == 0 ? 1000 : 0),
                    EncodeData.Denormal => scaled * 1e-39f,
                    EncodeData.Huge => scaled * 5e37f,
                    EncodeData.Spike => i % Dimension == Dimension / 2 ? scaled * 1e6f : scaled,
                    EncodeData.Crowded => 1 + scaled * 1e-6f,
                    EncodeData.Zero => seed == 7 ? 0 : scaled,
                    _ => scaled,
                };
            }
            return values;
        }
    }

    /// <summary>Small and odd: sizes around tiles and vectors, both kinds of plan, every kind of data. Each contract test runs all of them.</summary>
    public static IReadOnlyList<EncodeCase> EncodeTests { get; } = [.. SmallEncodeCases()];

    private static IEnumerable<EncodeCase> SmallEncodeCases()
    {
        foreach (PlanKind kind in Enum.GetValues<PlanKind>())
        {
            foreach ((int n, int d, int[] codes) in new (int, int, int[])[]
            {
                (0, 3, [2]), (1, 1, [1]), (1, 1, [2, 2]), (2, 3, [5]), (13, 2, [31, 3]), (14, 15, [32, 32, 32]), (15, 16, [33, 7]), (29, 17, [64, 5, 65]),
                (97, 31, [100, 100]), (120, 64, [256, 256]), (257, 7, [1500, 40]), (460, 3, [40, 700, 9, 2]), (31, 129, [130, 17, 3]), (9, 1025, [20, 40]),
                (5, 2100, [33, 8]),
            })
            {
                yield return new EncodeCase(kind, EncodeData.Bell, n, d, codes);
            }
            foreach (EncodeData data in Enum.GetValues<EncodeData>())
                yield return new EncodeCase(kind, data, data == EncodeData.Huge ? 12 : 100, 19, [48, 33, 20]);
            // Exact ties of long rows; more survivors than a list holds, over several chunks of codes.
            yield return new EncodeCase(kind, EncodeData.Integers, 9, 1031, [20, 40]);
            yield return new EncodeCase(kind, EncodeData.Crowded, 30, 24, [40, 1500]);
        }
    }

    /// <summary>Dimension, levels and codes of a residual quantizer.</summary>
    public readonly record struct EncodeShape(int Dimension, int Levels, int Codes);

    /// <summary>A k-means run.</summary>
    public readonly record struct KMeansShape(int Rows, int Dimension, int Codes);

    /// <summary>Rows of the encode benches.</summary>
    public const int EncodeRows = 262_144;

    /// <summary>Dimensions of single-level search, each with every entry of <see cref="AssignCodes"/>.</summary>
    public static IReadOnlyList<int> AssignDimensions { get; } = [64, 128, 384, 768, 1280, 4096];

    /// <summary>Codes of single-level search.</summary>
    public static IReadOnlyList<int> AssignCodes { get; } = [256, 1024, 4096, 8192];

    /// <summary>Whole quantizers, RQ and PSRQ.</summary>
    public static IReadOnlyList<EncodeShape> EncodeBench { get; } = [new(384, 4, 256), new(768, 4, 256), new(768, 3, 4096), new(1280, 4, 256)];

    /// <summary>20 iterations each.</summary>
    public static IReadOnlyList<KMeansShape> KMeansBench { get; } = [new(1_000_000, 128, 1024), new(262_144, 768, 256)];

    /// <summary>Rows of the benches of a GPU.</summary>
    public const int GpuRows = 1_000_000;

    /// <summary>Whole quantizers over <see cref="GpuRows"/> rows on the device.</summary>
    public static IReadOnlyList<EncodeShape> GpuEncodeBench { get; } = [new(768, 4, 256), new(768, 3, 4096), new(1280, 4, 256)];

    // ---- Accumulate, MmdSums, SinkhornAssign, TopInnerProducts ----

    /// <summary>Rows, dimension and codes of an <c>Accumulate</c>.</summary>
    public readonly record struct AccumulateShape(int Rows, int Dimension, int Codes);

    /// <summary>Rows of both sets and dimension of an <c>MmdSums</c>.</summary>
    public readonly record struct MmdShape(int Source, int Target, int Dimension);

    /// <summary>Rows, dimension and codes of a <c>SinkhornAssign</c>.</summary>
    public readonly record struct SinkhornShape(int Rows, int Dimension, int Codes);

    /// <summary>Queries, items, dimension and results per query of a <c>TopInnerProducts</c>.</summary>
    public readonly record struct TopShape(int Queries, int Items, int Dimension, int Count);

    /// <summary>Small and odd; each contract test runs all of them.</summary>
    public static IReadOnlyList<AccumulateShape> AccumulateTests { get; } =
    [
        new(0, 3, 2), new(1, 1, 1), new(3, 2, 1), new(4, 15, 2), new(5, 16, 3), new(7, 17, 5), new(64, 31, 65), new(257, 33, 2),
        new(1009, 8, 7), new(1021, 130, 11), new(4099, 3, 1), new(2003, 67, 300),
    ];

    /// <summary>Update step of the k-means targets: times are compared with the assignment of the same shape.</summary>
    public static IReadOnlyList<AccumulateShape> AccumulateBench { get; } = [new(1_000_000, 128, 1024), new(262_144, 768, 256), new(262_144, 768, 1)];

    /// <summary>Small and odd; each contract test runs all of them.</summary>
    public static IReadOnlyList<MmdShape> MmdTests { get; } =
    [
        new(1, 1, 1), new(2, 1, 3), new(1, 5, 2), new(7, 13, 5), new(31, 33, 17), new(64, 64, 16), new(129, 65, 31), new(97, 203, 37), new(230, 41, 65),
    ];

    /// <summary>The batch of MME-SID's target; the time is compared with that of the plain products.</summary>
    public static IReadOnlyList<MmdShape> MmdBench { get; } = [new(4096, 4096, 1280), new(1024, 1024, 1280), new(4096, 4096, 64)];

    /// <summary>The batch of a GPU's target.</summary>
    public static MmdShape GpuMmdBench { get; } = new(16_384, 16_384, 4096);

    /// <summary>Small and odd; each contract test runs all of them.</summary>
    public static IReadOnlyList<SinkhornShape> SinkhornTests { get; } =
    [
        new(0, 2, 3), new(1, 1, 1), new(2, 3, 1), new(5, 2, 3), new(17, 5, 31), new(130, 7, 4), new(257, 33, 16), new(331, 19, 33), new(517, 37, 65),
    ];

    /// <summary>The target is memory: less than 1 GB at the first.</summary>
    public static IReadOnlyList<SinkhornShape> SinkhornBench { get; } = [new(1_000_000, 64, 256), new(65_536, 768, 256)];

    /// <summary>Small and odd; each contract test runs all of them.</summary>
    public static IReadOnlyList<TopShape> TopTests { get; } =
    [
        new(0, 3, 2, 1), new(1, 1, 1, 1), new(1, 7, 5, 7), new(2, 33, 3, 4), new(3, 257, 17, 20), new(5, 1000, 16, 1), new(17, 511, 31, 13),
        new(64, 515, 64, 20), new(67, 1031, 33, 5), new(130, 300, 7, 300),
    ];

    /// <summary>One query: % of the memory ceiling. 64 and more: % of the FMA ceiling.</summary>
    public static IReadOnlyList<TopShape> TopBench { get; } =
        [new(1, 1_000_000, 64, 20), new(64, 1_000_000, 64, 20), new(1024, 1_000_000, 64, 20), new(1, 200_000, 768, 20), new(64, 200_000, 768, 20), new(1024, 200_000, 768, 20)];

    /// <summary>A catalogue larger than a processor's target.</summary>
    public static IReadOnlyList<TopShape> GpuTopBench { get; } = [new(1, 10_000_000, 64, 100), new(64, 10_000_000, 64, 100), new(1024, 10_000_000, 64, 100)];

    /// <summary>
    /// Bell-shaped values of standard deviation 1 around <paramref name="mean"/>, a function of the seed and the position alone. They lie
    /// on a grid of 2⁻¹⁶, so that two of them are equal now and then.
    /// </summary>
    public static float[] Bell(int seed, long count, float mean = 0)
    {
        float[] values = GC.AllocateUninitializedArray<float>(checked((int)count));
        for (int i = 0; i < values.Length; i++)
        {
            ulong bits = Mix(((ulong)(uint)seed << 40) + (ulong)i);
            int sum = (int)(bits & 0xFFFF) + (int)((bits >> 16) & 0xFFFF) + (int)((bits >> 32) & 0xFFFF) + (int)(bits >> 48) - 2 * 0xFFFF;
            // The sum of four uniform values has variance 4/12.
            values[i] = mean + sum / 65536f * 1.7320508f;
        }
        return values;
    }

    /// <summary>Values 0 … <paramref name="exclusive"/> − 1, squared towards 0 so that small ones are much more frequent.</summary>
    public static ushort[] SkewedCodes(int seed, int count, int exclusive)
    {
        ushort[] codes = new ushort[count];
        for (int i = 0; i < count; i++)
        {
            double uniform = (Mix(((ulong)(uint)seed << 40) + (ulong)i) >> 11) / (double)(1L << 53);
            codes[i] = (ushort)(uniform * uniform * exclusive);
        }
        return codes;
    }

    // splitmix64's finaliser.
    private static ulong Mix(ulong state)
    {
        state = (state + 1) * 0x9E3779B97F4A7C15;
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
        return state ^ (state >> 31);
    }
}
