namespace MmeSid.Bench;

/// <summary>A set of figures taken on a GPU that belong in one table.</summary>
/// <param name="Name">As <c>--suites</c> takes it.</param>
/// <param name="Title">One line over the table.</param>
/// <param name="Run">Takes the figures one by one.</param>
internal sealed record GpuSuite(string Name, string Title, Func<GpuContext, IEnumerable<Figure>> Run);

/// <summary>All suites on a GPU, in the order in which they are shown.</summary>
internal static class GpuSuites
{
    public static IReadOnlyList<GpuSuite> All { get; } =
    [
        new("encode", "Residual quantization, rows on the device: each screen, and the choice", GpuEncodeSuite.Run),
        new("peer", "Residual quantization beside PyTorch, rows on the device", GpuPeerSuite.Run),
        new("grid", "Nearest codeword of one level, rows on the device: every shape", GpuGridSuite.Run),
        new("stream", "Residual quantization, rows from the host: against the link", GpuStreamSuite.Run),
        new("exact", "Whether a code is wrong", GpuExactSuite.Run),
        new("fuzz", "Random shapes against the oracle", GpuFuzzSuite.Run),
        new("kmeans", "k-means, rows on the device", GpuKMeansSuite.Run),
        new("mmd", "Gaussian-kernel sums, rows from the host, against the plain products", GpuOpSuites.Mmd),
        new("topk", "Largest inner products, items from the host", GpuOpSuites.Top),
        new("sinkhorn", "Balanced assignment, rows from the host", GpuOpSuites.Sinkhorn),
    ];

    /// <summary>Their names.</summary>
    public static string[] Names { get; } = [.. All.Select(suite => suite.Name)];
}
