namespace MmeSid.Kernels.Scalar;

/// <summary>
/// encode: the definition, in float64.
/// <code>
///   in    rows (n, d) f32 · plan: L codebooks
///   out   codes (n, L) u16 · errors (n) f32 = ‖r_{L+1}‖²
///   does  per level: D[b, k] = ‖r_b − c[k]‖² for the B kept prefixes (PSRQ: ‖[r_b ; x − r_b] − [a_k | b_k]‖²), keeps the B smallest
///   ties  real-number order: by float64 where its bound decides, else exactly; equal distances: the lexicographically smaller path,
///         for B = 1 the smallest k
///   cost  3·n·B·d·ΣK flop on one thread
/// </code>
/// </summary>
internal sealed class ScalarEncoder : IEncoder
{
    private readonly int _beam;
    private readonly double[][] _norms;

    public ScalarEncoder(EncodePlan plan, int beam)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentOutOfRangeException.ThrowIfLessThan(beam, 1);
        Plan = plan;
        _beam = beam;
        _norms = new double[plan.Levels][];
        for (int level = 0; level < plan.Levels; level++)
        {
            _norms[level] = new double[plan.CodeCount(level)];
            for (int k = 0; k < _norms[level].Length; k++)
                _norms[level][k] = Norm(plan.Codeword(level, k));
        }
    }

    public EncodePlan Plan { get; }

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        EncodeArguments.Check(Plan, rows, codes, squaredErrors);
        var report = default(EncodeReport);
        var exact = new ExactOrder(Plan);
        for (int i = 0; i < rows.Count; i++)
        {
            EncodeArguments.CheckFinite(rows[i], i);
            ushort[] path = EncodeRow(rows[i], exact, ref report);
            path.CopyTo(codes.Slice(i * Plan.Levels, Plan.Levels));
            if (!squaredErrors.IsEmpty)
                squaredErrors[i] = (float)SquaredError(Plan, rows[i], path);
        }
        return report;
    }

    public void Dispose()
    {
    }

    /// <summary>‖x − Σ_j c_j‖² in float64, eight interleaved partial sums so that vector backends return the same bits.</summary>
    internal static double SquaredError(EncodePlan plan, ReadOnlySpan<float> row, ReadOnlySpan<ushort> path)
    {
        Span<double> partial = stackalloc double[8];
        partial.Clear();
        for (int i = 0; i < row.Length; i++)
        {
            double residual = row[i];
            for (int level = 0; level < path.Length; level++)
                residual -= plan.Codeword(level, path[level])[i];
            partial[i % 8] += residual * residual;
        }
        return ((partial[0] + partial[4]) + (partial[2] + partial[6])) + ((partial[1] + partial[5]) + (partial[3] + partial[7]));
    }

    private ushort[] EncodeRow(ReadOnlySpan<float> row, ExactOrder exact, ref EncodeReport report)
    {
        double rowNorm = Norm(row);
        List<ushort[]> kept = [[]];
        for (int level = 0; level < Plan.Levels; level++)
        {
            var best = new List<Extension>();
            bool exactly = false;
            foreach (ushort[] prefix in kept)
            {
                double[] chosen = new double[row.Length], residual = new double[row.Length];
                Split(row, prefix, residual, chosen);
                double magnitude = rowNorm;
                for (int j = 0; j < level; j++)
                    magnitude += _norms[j][prefix[j]];
                for (int k = 0; k < Plan.CodeCount(level); k++)
                {
                    double distance = SquaredDistance(residual, chosen, level, k);
                    double bound = Bounds.SquaredDistance(Plan.CodewordWidth(level), level, magnitude, distance);
                    var candidate = new Extension(prefix, (ushort)k, distance, bound);
                    int place = best.Count;
                    while (place > 0 && Precedes(row, candidate, best[place - 1], exact, ref exactly))
                        place--;
                    if (place == _beam)
                        continue;
                    best.Insert(place, candidate);
                    if (best.Count > _beam)
                        best.RemoveAt(_beam);
                }
            }
            kept = best.ConvertAll(extension => extension.Path);
            report += new EncodeReport(1, 0, 0, exactly ? 1 : 0);
        }
        return kept[0];
    }

    private static bool Precedes(ReadOnlySpan<float> row, in Extension left, in Extension right, ExactOrder exact, ref bool exactly)
    {
        if (Math.Abs(left.Distance - right.Distance) > left.Bound + right.Bound)
            return left.Distance < right.Distance;
        exactly = true;
        return exact.Compare(row, left.Path, right.Path) < 0;
    }

    private void Split(ReadOnlySpan<float> row, ushort[] prefix, double[] residual, double[] chosen)
    {
        for (int i = 0; i < row.Length; i++)
        {
            residual[i] = row[i];
            for (int j = 0; j < prefix.Length; j++)
            {
                double value = Plan.Codeword(j, prefix[j])[i];
                residual[i] -= value;
                chosen[i] += value;
            }
        }
    }

    private double SquaredDistance(double[] residual, double[] chosen, int level, int code)
    {
        int width = Plan.CodewordWidth(level);
        ReadOnlySpan<float> codeword = Plan.Codebook(level).Slice(code * width, width);
        double sum = 0;
        for (int i = 0; i < residual.Length; i++)
        {
            double difference = residual[i] - codeword[i];
            sum += difference * difference;
        }
        for (int i = residual.Length; i < width; i++)
        {
            double difference = chosen[i - residual.Length] - codeword[i];
            sum += difference * difference;
        }
        return sum;
    }

    private static double Norm(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values)
            sum += (double)value * value;
        return Math.Sqrt(sum);
    }

    private readonly record struct Extension(ushort[] Prefix, ushort Code, double Distance, double Bound)
    {
        public ushort[] Path => [.. Prefix, Code];
    }
}
