using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests.Quantization;

public sealed class BalancedAssignmentTests
{
    [Fact]
    public void OptimalOnEverySmallCase() => Prop.ForAll(
        (from rows in Gen.Choose(1, 7)
         from codes in Gen.Choose(2, 4)
         from costs in Gen.ArrayOf(Gen.Choose(0, 6), rows * codes)
         from minimum in Gen.Choose(0, rows / codes)
         from slack in Gen.Choose(0, 3)
         select (codes, costs, new ClusterSizes(minimum, Math.Max(1, (rows + codes - 1) / codes + slack)))).ToArbitrary(),
        sample =>
        {
            (int codeCount, int[] integers, ClusterSizes sizes) = sample;
            double[] costs = Array.ConvertAll(integers, value => (double)value);
            int rows = costs.Length / codeCount;
            var codes = new ushort[rows];
            BalancedAssignment.Assign(costs, codeCount, sizes, codes, TestContext.Current.CancellationToken);
            double found = Cost(costs, codeCount, codes, sizes);
            double best = double.PositiveInfinity;
            for (int pattern = 0; pattern < (int)Math.Pow(codeCount, rows); pattern++)
            {
                for (int row = 0, rest = pattern; row < rows; row++, rest /= codeCount)
                    codes[row] = (ushort)(rest % codeCount);
                best = Math.Min(best, Cost(costs, codeCount, codes, sizes));
            }
            return found == best;
        }).QuickCheckThrowOnFailure();

    // A flow is optimal exactly when no cycle of moves, free room included, lowers its cost: Bellman–Ford finds one if there is one.
    [Fact]
    public void NoCycleOfMovesIsLeft() => Prop.ForAll(
        (from rows in Gen.Choose(20, 60)
         from codes in Gen.Choose(2, 9)
         from costs in Gen.ArrayOf(Gen.Choose(0, 1000), rows * codes)
         from crowd in Gen.Choose(0, 800)
         from minimum in Gen.Choose(0, rows / codes)
         from slack in Gen.Choose(0, 2)
         select (codes, costs, crowd, new ClusterSizes(minimum, (rows + codes - 1) / codes + slack))).ToArbitrary(),
        sample =>
        {
            (int codeCount, int[] integers, int crowd, ClusterSizes sizes) = sample;
            // Codes 0 and 1 are made attractive, so that most rows must move.
            double[] costs = integers.Select((value, i) => (double)(i % codeCount < 2 ? value : value + crowd)).ToArray();
            var codes = new ushort[costs.Length / codeCount];
            BalancedAssignment.Assign(costs, codeCount, sizes, codes, TestContext.Current.CancellationToken);
            var counts = new long[codeCount];
            foreach (ushort code in codes)
                counts[code]++;
            var arcs = new double[codeCount + 1, codeCount + 1];
            for (int a = 0; a <= codeCount; a++)
            {
                for (int b = 0; b <= codeCount; b++)
                    arcs[a, b] = a == codeCount && b < codeCount && counts[b] > sizes.Minimum || b == codeCount && a < codeCount && counts[a] < sizes.Maximum ? 0 : 1e18;
            }
            for (int row = 0; row < codes.Length; row++)
            {
                for (int b = 0; b < codeCount; b++)
                    arcs[codes[row], b] = Math.Min(arcs[codes[row], b], costs[row * codeCount + b] - costs[row * codeCount + codes[row]]);
            }
            var distances = new double[codeCount + 1];
            bool changed = false;
            for (int round = 0; round <= codeCount + 1; round++)
            {
                changed = false;
                for (int a = 0; a <= codeCount; a++)
                {
                    for (int b = 0; b <= codeCount; b++)
                    {
                        if (distances[a] + arcs[a, b] < distances[b])
                            (distances[b], changed) = (distances[a] + arcs[a, b], true);
                    }
                }
            }
            return !changed && counts.All(count => count >= sizes.Minimum && count <= sizes.Maximum);
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void TrainingKeepsTheSizesAndLowersTheObjective()
    {
        using RowMatrix rows = TestRows.Clustered(1003, 4, 5, seed: 31, distance: 10);
        var sizes = new ClusterSizes(60, 80);
        var options = new KMeansOptions { Codes = 14, Sizes = sizes, Iterations = 10, Tolerance = 0, Seed = 2 };
        KMeansResult result = TestRows.Fit(rows, options, new SimdBackend(2));
        for (ushort k = 0; k < 14; k++)
            Assert.InRange(result.Codes.Count(code => code == k), sizes.Minimum, sizes.Maximum);
        for (int i = 1; i < result.Iterations.Count; i++)
            Assert.True(result.Iterations[i].MeanSquaredError <= result.Iterations[i - 1].MeanSquaredError * (1 + 1e-9));
        KMeansResult again = TestRows.Fit(rows, options with { Threads = 1 }, new SimdBackend(1));
        Assert.Equal(result.Centroids, again.Centroids);
    }

    [Theory]
    [InlineData(100, 256, 0, 1)]
    [InlineData(511, 4, 0, 256)]
    [InlineData(512, 256, 1, 4)]
    [InlineData(12_101, 256, 23, 95)]
    [InlineData(51_200, 256, 50, 400)]
    [InlineData(1_000_000, 256, 50, 7813)]
    [InlineData(1024, 1000, 1, 4)]
    public void PaperSizes(long rows, int codes, long minimum, long maximum)
    {
        ClusterSizes sizes = ClusterSizes.ForRows(rows, codes);
        Assert.Equal(new ClusterSizes(minimum, maximum), sizes);
        sizes.RequireFeasible(rows, codes);
    }

    private static double Cost(double[] costs, int codeCount, ushort[] codes, ClusterSizes sizes)
    {
        double sum = 0;
        var counts = new long[codeCount];
        for (int row = 0; row < codes.Length; row++)
        {
            sum += costs[row * codeCount + codes[row]];
            counts[codes[row]]++;
        }
        return Array.TrueForAll(counts, count => count >= sizes.Minimum && count <= sizes.Maximum) ? sum : double.PositiveInfinity;
    }
}
