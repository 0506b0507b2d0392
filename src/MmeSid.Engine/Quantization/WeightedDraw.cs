namespace MmeSid.Engine.Quantization;

/// <summary>Rows drawn by weights that are known as <see cref="InterleavedSum"/> adds them: blocks of <see cref="RowColumns.kRowsPerBlock"/> rows, chains, rows.</summary>
internal static class WeightedDraw
{
    /// <summary>The row in whose weight a target falls that runs through all weights; −1 where no row has one.</summary>
    /// <param name="blockSums">Sum of each block.</param>
    /// <param name="target">0 … Σ; where rounding lets it run through all of them, the last that has a weight is meant.</param>
    /// <param name="weightsOfBlock">Weights of the rows of a block.</param>
    public static int Row(ReadOnlySpan<double> blockSums, double target, Func<int, ReadOnlySpan<double>> weightsOfBlock)
    {
        int block = Walk(blockSums, 0, 1, ref target);
        if (block < 0)
            return -1;
        ReadOnlySpan<double> weights = weightsOfBlock(block);
        Span<double> lanes = stackalloc double[InterleavedSum.kLanes];
        InterleavedSum.Lanes(weights, lanes);
        int lane = Walk(lanes, 0, 1, ref target);
        int row = Walk(weights, lane, InterleavedSum.kLanes, ref target);
        return block * RowColumns.kRowsPerBlock + row;
    }

    // The place of the weight in which the target falls, from `first` in steps, and in `target` what is left of it there.
    private static int Walk(ReadOnlySpan<double> weights, int first, int stride, ref double target)
    {
        int chosen = -1;
        for (int i = first; i < weights.Length; i += stride)
        {
            if (!(weights[i] > 0))
                continue;
            chosen = i;
            if (target < weights[i])
                break;
            target -= weights[i];
        }
        return chosen;
    }
}
