using MmeSid.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Bench;

/// <summary>What training stands on: the cost of calling an operator, and products of matrices, which are nearly all of its work.</summary>
internal static class TorchSuite
{
    private const int kCalls = 10_000, kValues = 4, kCheckedRows = 8;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        if (TorchRuntime.UnavailableReason is { } reason)
        {
            context.Remarks.Add(reason);
            yield break;
        }
        yield return Calls(context, "a new tensor", (x, y) => (x + y).Dispose());
        yield return Calls(context, "in place", (x, y) => x.add_(y));
        int size = context.Size(1024, 64);
        foreach (int threads in BenchContext.ThreadCounts)
        {
            yield return Product(context, size, threads, float32);
            yield return Product(context, size, threads, bfloat16);
        }
    }

    private static Figure Calls(BenchContext context, string what, Action<Tensor, Tensor> call)
    {
        TorchRuntime.Start(1);
        using DisposeScope scope = NewDisposeScope();
        Tensor x = ones(kValues), y = zeros(kValues);
        Timing time = context.Time(() =>
        {
            for (int i = 0; i < kCalls; i++)
                call(x, y);
        });
        if (!x.Equals(ones(kValues)))
            throw new InvalidOperationException("1 + 0 is not 1; nothing is timed");
        return Figure($"add, {what}, {kCalls:N0} calls", 1, kCalls, kValues) with { Time = time, Check = "sum equal", Note = $"{time.Median / kCalls * 1e6:F2} µs a call" };
    }

    private static Figure Product(BenchContext context, int size, int threads, ScalarType type)
    {
        TorchRuntime.Start(threads);
        using DisposeScope scope = NewDisposeScope();
        using var generator = new Generator(1);
        Tensor a = randn([size, size], type, generator: generator), b = randn([size, size], type, generator: generator);
        double error = Error(a, b);
        // Sums of n products, each of size about 1, in float32; bfloat16 rounds the result to 8 bits.
        double bound = Math.Sqrt(size) * (size * Math.Pow(2, -24) + (type == bfloat16 ? Math.Pow(2, -5) : 0));
        if (error > bound)
            throw new InvalidOperationException($"a product of matrices is off by {error:G3}, expected at most {bound:G3}; nothing is timed");
        Timing time = context.TimeWithCeiling(() => a.mm(b).Dispose(), threads);
        return Figure($"mm, {type}", threads, size, size) with
        {
            Time = time,
            Operations = 2.0 * size * size * size,
            Ceiling = context.Ceilings.For(threads).Fp32,
            Check = $"{kCheckedRows} rows within {bound:G2}",
            Headline = threads == BenchContext.AllThreads,
        };
    }

    /// <summary>Largest difference of the first rows from their products in float64.</summary>
    private static double Error(Tensor a, Tensor b)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor expected = a.narrow(0, 0, kCheckedRows).to(float64).mm(b.to(float64));
        return (a.mm(b).narrow(0, 0, kCheckedRows).to(float64) - expected).abs().max().item<double>();
    }

    private static Figure Figure(string operation, int threads, int rows, int dimension) => new()
    {
        Operation = operation,
        Backend = $"libtorch {TorchRuntime.Version}",
        Device = $"CPU, {threads} {(threads == 1 ? "thread" : "threads")}",
        Data = "normal",
        Rows = rows,
        Dimension = dimension,
        Time = Timing.Of([0]),
    };
}
