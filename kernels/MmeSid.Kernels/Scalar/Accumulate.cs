namespace MmeSid.Kernels.Scalar;

public sealed partial class ScalarBackend
{
    // accumulate: sums[k, j] += Σ_{i : codes[i] = k} rows[i, j]      counts[k] += |{i : codes[i] = k}|
    //   in    rows (n, d) f32 · codes (n) u16 < K
    //   out   sums (K, d) f64 · counts (K) i64, both added to
    //   order each sum takes its rows one by one, in ascending i: the bytes depend neither on threads nor on how the
    //         caller cuts the rows into batches, and every backend returns them
    //   cost  n·d additions on one thread

    /// <inheritdoc/>
    public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts)
    {
        OpArguments.CheckAccumulate(rows, codes, codeCount, sums, counts);
        for (int i = 0; i < rows.Count; i++)
        {
            ReadOnlySpan<float> row = rows[i];
            Span<double> sum = sums.Slice(codes[i] * rows.Dimension, rows.Dimension);
            for (int j = 0; j < row.Length; j++)
                sum[j] += row[j];
            counts[codes[i]]++;
        }
    }
}
