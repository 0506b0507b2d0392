namespace MmeSid.Kernels.Scalar;

public sealed partial class ScalarBackend
{
    // sinkhorn-assign: codes[i] = argmax_k P[i, k],  P[i, k] = exp((f[i] + g[k] − C[i, k]) / ε)
    //           C = ‖x_i − c_k‖², scaled to (D − (max + min)/2) / ((max − min)/2) over all pairs when asked (0 when max = min)
    //           g = 0; per iteration f[i] = −ε·(log n + LSE_k (g[k] − C[i, k])/ε), then g[k] = −ε·(log K + LSE_i (f[i] − C[i, k])/ε),
    //           so that rows of P sum to 1/n, then columns to 1/K (LSE v = log Σ exp v; the row first, as LETTER does)
    //   in    rows (n, d) f32 · codewords (K, d) f32
    //   out   codes (n) u16 · potentials (K) f64 = g, or empty
    //   ties  smallest k; f[i] is the same for every k of a row, so the argmax of P is that of g[k] − C[i, k]
    //   cost  3·n·K·d flop + 2·n·K exponentials per iteration; 8·n·K bytes

    /// <inheritdoc/>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials)
    {
        OpArguments.CheckSinkhornAssign(rows, codewords, options, codes, potentials);
        int n = rows.Count, codeCount = codewords.Count;
        double epsilon = options.Epsilon;
        double[][] cost = TransportCost(rows, codewords, options.ScaleDistances);
        double[] rowPotentials = new double[n], codePotentials = new double[codeCount];
        double[] row = new double[codeCount], column = new double[n];
        for (int iteration = 0; iteration < options.Iterations && n > 0; iteration++)
        {
            for (int i = 0; i < n; i++)
            {
                for (int k = 0; k < codeCount; k++)
                    row[k] = (codePotentials[k] - cost[i][k]) / epsilon;
                rowPotentials[i] = -epsilon * (Math.Log(n) + LogSumExp(row));
            }
            for (int k = 0; k < codeCount; k++)
            {
                for (int i = 0; i < n; i++)
                    column[i] = (rowPotentials[i] - cost[i][k]) / epsilon;
                codePotentials[k] = -epsilon * (Math.Log(codeCount) + LogSumExp(column));
            }
        }
        for (int i = 0; i < n; i++)
        {
            int best = 0;
            for (int k = 1; k < codeCount; k++)
            {
                if (codePotentials[k] - cost[i][k] > codePotentials[best] - cost[i][best])
                    best = k;
            }
            codes[i] = (ushort)best;
        }
        if (!potentials.IsEmpty)
            codePotentials.CopyTo(potentials);
    }

    private static double[][] TransportCost(RowView rows, RowView codewords, bool scale)
    {
        double[][] cost = new double[rows.Count][];
        double least = double.PositiveInfinity, most = double.NegativeInfinity;
        for (int i = 0; i < rows.Count; i++)
        {
            cost[i] = new double[codewords.Count];
            for (int k = 0; k < codewords.Count; k++)
            {
                cost[i][k] = SquaredDistance(rows[i], codewords[k]);
                least = Math.Min(least, cost[i][k]);
                most = Math.Max(most, cost[i][k]);
            }
        }
        double middle = (most + least) / 2, half = (most - least) / 2;
        for (int i = 0; scale && i < rows.Count; i++)
        {
            for (int k = 0; k < codewords.Count; k++)
                cost[i][k] = half == 0 ? 0 : (cost[i][k] - middle) / half;
        }
        return cost;
    }

    private static double LogSumExp(ReadOnlySpan<double> values)
    {
        double largest = double.NegativeInfinity, sum = 0;
        foreach (double value in values)
            largest = Math.Max(largest, value);
        foreach (double value in values)
            sum += Math.Exp(value - largest);
        return largest + Math.Log(sum);
    }
}
