namespace MmeSid.Bench;

/// <summary>A set of figures that belong in one table.</summary>
/// <param name="Name">As <c>--suites</c> takes it.</param>
/// <param name="Title">One line over the table.</param>
/// <param name="Run">Takes the figures one by one.</param>
internal sealed record Suite(string Name, string Title, Func<BenchContext, IEnumerable<Figure>> Run);

/// <summary>All suites, in the order in which they run and are shown.</summary>
internal static class Suites
{
    public static IReadOnlyList<Suite> All { get; } =
    [
        new("assign", "Nearest codeword of one level (VQ), against the FMA ceiling", AssignSuite.Run),
        new("encode", "Residual quantization, against the FMA ceiling and FAISS", EncodeSuite.Run),
        new("file", "A million items from a file to their codes", FileSuite.Run),
        new("data", "RQ 4 × 256 on real tables and on data without structure: what certification costs", DataSuite.Run),
        new("exact", "A million rows of each data set against distances from float64 products", ExactSuite.Run),
        new("kmeans", "k-means, 20 iterations, against FAISS", KMeansSuite.Run),
        new("mmd", "Gaussian-kernel sums, against the plain products", MmdSuite.Run),
        new("topk", "Largest inner products, k 20", TopInnerProductsSuite.Run),
        new("sinkhorn", "Balanced assignment, memory beside time", SinkhornSuite.Run),
        new("torch", "libtorch, on which networks are trained: calls and products of matrices", TorchSuite.Run),
        new("rqvae", "Steps of training MM-RQ-VAE, each side in a process of its own, against PyTorch", TrainingSuite.Run),
        new("llama", "A forward pass of a small Llama: what is trained beside llama.cpp, at several sizes of the weights", LlamaSuite.Run),
        new("ranker", "Steps of training DIN and MCCA, each side in a process of its own, against PyTorch", RankerSuite.Run),
        new("recommend", "Users recommended to, beam 20 over SIDs of 4 levels and scores of all items, against llama.cpp alone", RecommendSuite.Run),
    ];

    /// <summary>Their names.</summary>
    public static string[] Names { get; } = [.. All.Select(suite => suite.Name)];
}
