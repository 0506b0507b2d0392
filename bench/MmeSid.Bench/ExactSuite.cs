using System.Numerics.Tensors;
using MmeSid.Engine;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>
/// Whether any code of simd is wrong: rows of each data set, and rows half-way between two of them and between two codewords, each screen in turn, against
/// distances from float64 products (<see cref="DistanceCheck"/>).
/// </summary>
internal static class ExactSuite
{
    private const int kLevels = 4, kCodes = 256;
    private const int kRows = 1_000_000, kRowsPerBatch = 40_000;
    // Of the size of the data's values.
    private const double kNoise = 1e-3;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach ((string name, RowMatrix rows) in BenchData.RealOnes(context))
        {
            foreach (Figure figure in Measure(context, name, rows))
                yield return figure;
        }
        int sample = context.Size(kRows / 10, 3000), dimension = context.Size(768, 80);
        using (RowMatrix synth = BenchData.Synth(sample, dimension))
        {
            foreach (Figure figure in Measure(context, BenchData.SynthName, synth))
                yield return figure;
        }
        using RowMatrix isotropic = BenchData.Isotropic(sample, dimension);
        foreach (Figure figure in Measure(context, BenchData.IsotropicName, isotropic))
            yield return figure;
    }

    private static IEnumerable<Figure> Measure(BenchContext context, string name, RowMatrix rows)
    {
        int codeCount = context.Size(kCodes, 32);
        yield return Measure(context, $"rq {kLevels} × {codeCount}", name, rows, TrainedPlans.Residual(rows, kLevels, codeCount));
        yield return Measure(context, $"psrq {kLevels} × {codeCount}", name, rows, TrainedPlans.PrefixSemantic(rows, kLevels, codeCount));
    }

    private static Figure Measure(BenchContext context, string operation, string name, RowMatrix rows, EncodePlan plan)
    {
        int wanted = context.Size(kRows, 2000), batch = Math.Min(wanted / 8, kRowsPerBatch), d = rows.Dimension;
        IEncoder[] encoders = [.. Enum.GetValues<SimdScreen>().Select(screen => new SimdBackend(BenchContext.AllThreads, screen).CreateEncoder(plan))];
        var check = new DistanceCheck(plan, BenchContext.AllThreads);
        using var drawn = new RowMatrix(batch, d);
        ushort[] codes = new ushort[batch * plan.Levels];
        EncodeReport report = default;
        double seconds = 0;
        try
        {
            for (int done = 0; done < wanted; done += batch)
            {
                int count = Math.Min(batch, wanted - done);
                Draw(drawn, rows, plan, done, count);
                seconds += Timing.Seconds(() => report += encoders[done / batch % encoders.Length].Encode(drawn.View(0, count), codes));
                check.Compare(drawn.View(0, count), codes);
                if (done == 0)
                    check.RequireThatWrongCodesAreSeen(drawn.View(0, count), codes);
            }
        }
        finally
        {
            foreach (IEncoder encoder in encoders)
                encoder.Dispose();
        }
        return check.Wrong > 0
            ? throw new InvalidOperationException($"{operation} of {name}: {check.Wrong} rows have a wrong code")
            : new Figure
            {
                Operation = operation,
                Backend = "simd",
                Device = new SimdBackend(BenchContext.AllThreads).Device,
                Data = name,
                Rows = wanted,
                Dimension = d,
                Codes = plan.CodeCount(0),
                Levels = plan.Levels,
                Time = Timing.Of([seconds]),
                Operations = 2.0 * wanted * d * Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount),
                Rechecked = report.RecheckedShare,
                Screen = "each in turn",
                Open = report.OpenShare,
                Candidates = report.Open == 0 ? null : (double)report.OpenCandidates / report.Open,
                Undecided = (double)report.Exact / report.Decisions,
                Check = FormattableString.Invariant($"0 wrong by float64 products, {check.Close:N0} rows that those do not decide as the oracle"),
                Headline = true,
            };
    }

    // By turns: a row as it is, one half-way between two rows, one half-way between two codewords of the first level; the last two a little beside.
    private static void Draw(RowMatrix drawn, RowMatrix rows, EncodePlan plan, int first, int count)
    {
        const int kRowsPerTask = 500;
        int sample = (int)Math.Min(rows.Count, 100);
        double noise = kNoise * TensorPrimitives.Norm<float>(rows.Rows(0, sample)) / Math.Sqrt(sample * rows.Dimension);
        Parallel.For(0, (count + kRowsPerTask - 1) / kRowsPerTask, task =>
        {
            RandomSource random = new RandomSource(1).Split((ulong)(first + task * kRowsPerTask));
            for (int i = task * kRowsPerTask; i < Math.Min(count, (task + 1) * kRowsPerTask); i++)
            {
                Span<float> row = drawn.Rows(i, 1);
                int index = first + i;
                if (index % 3 == 0)
                {
                    rows.Rows(index / 3 % rows.Count, 1).CopyTo(row);
                    continue;
                }
                ReadOnlySpan<float> left = Pick(index), right = Pick(index);
                for (int j = 0; j < row.Length; j++)
                    row[j] = (left[j] + right[j]) / 2 + (float)(noise * random.NextGaussian());
            }

            ReadOnlySpan<float> Pick(int index) => index % 3 == 1 ? rows.Rows(random.NextLong(rows.Count), 1) : plan.Codeword(0, random.NextInt(plan.CodeCount(0)));
        });
    }
}
