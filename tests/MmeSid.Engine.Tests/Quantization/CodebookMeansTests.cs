using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Quantization;

/// <summary>Codebooks fitted to codes that are given.</summary>
public sealed class CodebookMeansTests
{
    [Fact]
    public void AreTheMeansOfWhatEarlierLevelsLeave()
    {
        using EmbeddingTable table = TestRows.Table(TestRows.Of(2, 1, 0, 3, 0, 0, 8, 0, 4));
        Quantizer quantizer = CodebookMeans.Of(table, new SidTable(2, [0, 1, 0, 3, 2, 1, 2, 0]), TestContext.Current.CancellationToken);
        // Code 1 of the first level and code 2 of the second belong to no row.
        Assert.Equal([2, 0, 0, 0, 0, 6], quantizer.Codebook(0));
        // Left over: (−1, 0), (1, 0), (0, 2), (0, −2).
        Assert.Equal([0, -2, -0.5f, 1, 0, 0, 1, 0], quantizer.Codebook(1));
    }

    [Fact]
    public void RefusesAnotherNumberOfRows()
    {
        using EmbeddingTable table = TestRows.Table(TestRows.Of(2, 1, 0, 3, 0));
        Assert.Contains("1 SIDs and 2 rows", Assert.Throws<ArgumentException>(() => CodebookMeans.Of(table, new SidTable(2, [0, 1]), TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
    }
}
