using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>k-means over rows that stay on the device: what an iteration costs beyond its assignment, and whether two runs agree to the bit.</summary>
internal static class GpuKMeansSuite
{
    private const int kIterations = 5;

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        int dimension = context.Size(768, 24), codeCount = context.Size(4096, 33);
        using RowMatrix rows = context.Synth(context.Size(Cases.GpuRows, 200), dimension);
        TrainingResult first = Train(), second = Train();
        float[] centroids = first.Quantizer.Codebook(0);
        if (!centroids.AsSpan().SequenceEqual(second.Quantizer.Codebook(0)))
            throw new InvalidOperationException("two runs end with different centroids; nothing is shown");
        Timing iteration = Timing.Of([.. first.Iterations.Concat(second.Iterations).Where(done => done.Iteration > 1).Select(done => done.Seconds)]);

        Figure assignment;
        using (GpuRows onDevice = GpuRows.Upload(context.Gpu, rows))
        {
            ushort[]? codes = null;
            assignment = GpuEncodeRun.Measure(context, $"one assignment of vq {codeCount}", onDevice, (int)rows.Count, new EncodePlan(PlanKind.Residual, dimension, [centroids]), null, ref codes);
        }
        yield return assignment;
        if (context.Backend.Hold(rows.Count, dimension) is { } held)
        {
            using (held)
                yield return assignment with { Operation = "one step on held rows", Time = HeldIteration(context, held, rows, centroids), Preparation = null, Check = "", Note = "assignment, sums, centroids and objective on the device; the plan's preparation on the host" };
        }
        else
        {
            context.Remarks.Add("The rows do not fit beside what an iteration needs: they come from the host in each");
        }
        double ratio = iteration.Median / assignment.Time.Median;
        context.Compare(
            "an iteration of k-means, a million rows, d 768, K 4096", "≤ 1.15 × its assignment, centroids equal to the bit",
            GpuContext.Text($"{ratio:F2} × ({Report.Seconds(iteration.Median)}), two runs equal"), ratio <= 1.15);
        yield return assignment with
        {
            Operation = "one iteration",
            Time = iteration,
            Preparation = null,
            Check = "two runs end with the same centroids",
            Note = GpuContext.Text($"{ratio:F2} × the time of its assignment"),
            Headline = true,
        };

        TrainingResult Train() => KMeansSuite.Train(context.Backend, rows, codeCount, context.Size(kIterations, 3), seed: 1, KMeansInitialization.Random, BenchRun.AllThreads);
    }

    private static Timing HeldIteration(GpuContext context, IHeldRows held, RowMatrix rows, float[] centroids)
    {
        held.Append(rows.View(0, (int)rows.Count));
        held.Centre();
        held.Start(centroids, []);
        return context.Time(() => held.Step(CancellationToken.None)) with { AllocatedBytes = null };
    }
}
