using System.Diagnostics;
using MmeSid.Engine;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Bench;

/// <summary>Plans, rows and queries of random shapes and kinds until the time is over; everything must equal the oracle's. The seed repeats a run.</summary>
internal static class GpuFuzzSuite
{
    private const int kMostRows = 20_000, kMostDimension = 4200, kMostCodes = 9000, kMostLevels = 4, kMostResults = 300, kRowsPerOracle = 64;

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        double operations = context.Quick ? 3e5 : 2e8;
        var clock = Stopwatch.StartNew();
        long plans = 0, rows = 0, searches = 0;
        for (ulong number = 0; clock.Elapsed < context.Box; number++)
        {
            RandomSource random = new RandomSource(context.Seed).Split(number);
            if (number % 4 == 3)
            {
                Search(context, random, number, operations);
                searches++;
            }
            else
            {
                rows += Encode(context, random, number, operations);
                plans++;
            }
        }
        string found = GpuContext.Text($"{plans:N0} plans with {rows:N0} rows and {searches:N0} searches for largest products in {clock.Elapsed.TotalSeconds:F0} s, seed {context.Seed}: all equal the oracle's");
        context.Remarks.Add(found);
        context.Compare("random shapes, plans and data, every screen", "every code equals the oracle's", found, true);
        yield break;
    }

    private static int Encode(GpuContext context, RandomSource random, ulong number, double operations)
    {
        PlanKind kind = Pick(random, Enum.GetValues<PlanKind>());
        Cases.EncodeData data = Pick(random, Enum.GetValues<Cases.EncodeData>());
        int dimension = Size(random, kMostDimension, operations / 100), levels = 1 + random.NextInt(kMostLevels);
        int[] codes = [.. Enumerable.Range(0, levels).Select(_ => Size(random, kMostCodes, operations / 10 / dimension / levels))];
        // Ties and overflow are decided in exact arithmetic, some hundred times slower.
        double affordable = operations / dimension / codes.Sum() / (data is Cases.EncodeData.Bell or Cases.EncodeData.LargeMean or Cases.EncodeData.Spike ? 1 : 500);
        var encodeCase = new Cases.EncodeCase(kind, data, Size(random, kMostRows, affordable), dimension, codes);
        Screening? screening = random.NextInt(2) == 0 ? null : new Screening(Pick(random, context.Screens), ShareOperand: random.NextInt(2) == 0);
        EncodeOptions options = random.NextInt(4) == 0 ? new() { TableBytes = 0 } : new();
        bool resident = random.NextInt(2) == 0;

        EncodePlan plan = encodeCase.Plan();
        float[] values = encodeCase.Values();
        ushort[] expected = new ushort[encodeCase.Rows * levels], found = new ushort[expected.Length];
        float[] expectedErrors = new float[encodeCase.Rows], errors = new float[encodeCase.Rows];
        Parallel.For(0, (encodeCase.Rows + kRowsPerOracle - 1) / kRowsPerOracle, block =>
        {
            int first = block * kRowsPerOracle, count = Math.Min(kRowsPerOracle, encodeCase.Rows - first);
            using IEncoder oracle = new ScalarBackend().CreateEncoder(plan);
            oracle.Encode(new RowView(values.AsSpan(first * dimension, count * dimension), dimension), expected.AsSpan(first * levels, count * levels), expectedErrors.AsSpan(first, count));
        });
        using var encoder = (CudaEncoder)context.With(screening).CreateEncoder(plan, options);
        if (resident)
        {
            using var stream = CudaStream.Create(context.Gpu);
            using var onDevice = DeviceMemory<float>.From(stream, values);
            using var codesOnDevice = DeviceMemory<ushort>.From(stream, found);
            encoder.Encode(onDevice, encodeCase.Rows, codesOnDevice);
            found = codesOnDevice.ToArray(stream, found.Length);
        }
        else
        {
            encoder.Encode(new RowView(values, dimension), found, errors);
            Require(expectedErrors.AsSpan().SequenceEqual(errors), "an error");
        }
        Require(expected.AsSpan().SequenceEqual(found), "a code");
        return encodeCase.Rows;

        void Require(bool equal, string what)
        {
            if (!equal)
                throw new InvalidOperationException($"seed {context.Seed}, number {number}: {what} is not the oracle's: {encodeCase}, screen {screening?.ToString() ?? "chosen"}, tables {options.TableBytes}, resident {resident}");
        }
    }

    private static void Search(GpuContext context, RandomSource random, ulong number, double operations)
    {
        int dimension = Size(random, 300, operations), queries = Size(random, 300, operations / dimension / 10), items = Size(random, 200_000, operations / dimension / queries);
        int count = Math.Min(items, Size(random, kMostResults, kMostResults));
        // Small integers tie all the time, bell-shaped values hardly ever.
        bool ties = random.NextInt(2) == 0;
        float[] left = Values((int)(number * 2)), right = Values((int)(number * 2) + 1, items);
        int[] expected = new int[queries * count], found = new int[expected.Length];
        float[] expectedScores = new float[expected.Length], scores = new float[expected.Length];
        new ScalarBackend().TopInnerProducts(new RowView(left, dimension), new RowView(right, dimension), count, expected, expectedScores);
        context.Backend.TopInnerProducts(new RowView(left, dimension), new RowView(right, dimension), count, found, scores);
        if (!expected.AsSpan().SequenceEqual(found) || !expectedScores.AsSpan().SequenceEqual(scores))
            throw new InvalidOperationException($"seed {context.Seed}, number {number}: the largest products are not the oracle's: {queries} queries, {items} items, d {dimension}, k {count}, ties {ties}");

        float[] Values(int seed, int? rows = null)
        {
            float[] values = Cases.Bell(seed, (long)(rows ?? queries) * dimension);
            return ties ? Array.ConvertAll(values, value => MathF.Round(value)) : values;
        }
    }

    private static T Pick<T>(RandomSource random, IReadOnlyList<T> from) => from[random.NextInt(from.Count)];

    // Every order of magnitude as likely as another, 1 … most.
    private static int Size(RandomSource random, int most, double affordable) =>
        (int)Math.Exp(random.NextDouble() * Math.Log(Math.Clamp(affordable, 1, most) + 0.999));
}
