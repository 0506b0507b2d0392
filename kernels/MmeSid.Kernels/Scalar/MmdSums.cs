namespace MmeSid.Kernels.Scalar;

public sealed partial class ScalarBackend
{
    // mmd-sums: S = Σ_{i≠j} k(s_i, s_j)   T = Σ_{i≠j} k(t_i, t_j)   C = Σ_{i,j} k(s_i, t_j)
    //           k(x, y) = Σ_t exp(−‖x − y‖² / 2σ_t²),  σ_t² = factor_t · (relative ? mean : 1)
    //           mean = Σ_{i,j} ‖z_i − z_j‖² / (n + m)²,  z = s ‖ t, i = j included
    //   in    source (n, d) f32 · target (m, d) f32 · factors
    //   out   S, T, C, mean, f64
    //   equal points have k = 1 per bandwidth, also when all points are equal and the mean is 0
    //   cost  3·((n + m)² / 2 + n² + m² + n·m)·d flop and ((n + m)² − nm)·|factors| exponentials on one thread

    /// <inheritdoc/>
    public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel)
    {
        OpArguments.CheckMmdSums(source, target, kernel);
        double all = PairDistances(source, source) + PairDistances(target, target) + 2 * PairDistances(source, target);
        double points = (double)source.Count + target.Count, mean = all / (points * points);
        return new MmdSums(
            KernelSum(source, source, kernel, mean, skipDiagonal: true),
            KernelSum(target, target, kernel, mean, skipDiagonal: true),
            KernelSum(source, target, kernel, mean, skipDiagonal: false),
            mean);
    }

    private static double PairDistances(RowView left, RowView right)
    {
        double sum = 0;
        for (int i = 0; i < left.Count; i++)
        {
            for (int j = 0; j < right.Count; j++)
                sum += SquaredDistance(left[i], right[j]);
        }
        return sum;
    }

    private static double KernelSum(RowView left, RowView right, MmdKernel kernel, double mean, bool skipDiagonal)
    {
        double sum = 0;
        for (int i = 0; i < left.Count; i++)
        {
            for (int j = 0; j < right.Count; j++)
            {
                if (skipDiagonal && i == j)
                    continue;
                double distance = SquaredDistance(left[i], right[j]);
                foreach (double factor in kernel.Factors)
                    sum += distance == 0 ? 1 : Math.Exp(-distance / (2 * factor * (kernel.Relative ? mean : 1)));
            }
        }
        return sum;
    }

    private static double SquaredDistance(ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        double sum = 0;
        for (int i = 0; i < left.Length; i++)
        {
            double difference = (double)left[i] - right[i];
            sum += difference * difference;
        }
        return sum;
    }
}
