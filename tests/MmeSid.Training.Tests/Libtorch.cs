namespace MmeSid.Training.Tests;

/// <summary>What tests that need libtorch share.</summary>
internal static class Libtorch
{
    /// <summary>Skips the running test where there is no libtorch, else loads it.</summary>
    public static void Require()
    {
        Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");
        TorchRuntime.Start(1);
    }

    /// <summary>Frees what tests before this one left to finalizers now, and not while tensors are counted.</summary>
    public static void FreeTheForgotten()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    /// <summary>The values in order, as float64.</summary>
    public static double[] Values(Tensor tensor)
    {
        using DisposeScope scope = NewDisposeScope();
        return tensor.detach().to(float64).data<double>().ToArray();
    }

    /// <summary>Numbers that float32 holds, so that both types start from the same ones.</summary>
    public static double[] Numbers(int seed, long count, double low, double high)
    {
        var generator = new Random(seed);
        return [.. Enumerable.Range(0, (int)count).Select(_ => (double)(float)(low + ((high - low) * generator.NextDouble())))];
    }

    /// <summary>Fails with the worst element where two lists differ by more than a bound times the largest reference value, at least 1.</summary>
    public static void Near(double[] expected, double[] actual, double bound, string what)
    {
        Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, expected {expected.Length}");
        double scale = expected.Where(double.IsFinite).Select(Math.Abs).Append(1).Max();
        for (int i = 0; i < expected.Length; i++)
        {
            if (!(Math.Abs(expected[i] - actual[i]) <= bound * scale) && !expected[i].Equals(actual[i]))
                Assert.Fail($"{what}: value {i} is {actual[i]:R}, expected {expected[i]:R} within {bound * scale:R}");
        }
    }
}
