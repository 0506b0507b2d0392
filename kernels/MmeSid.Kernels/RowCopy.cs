namespace MmeSid.Kernels;

/// <summary>Rows from wherever they lie to memory that a device copies from, one behind the other.</summary>
internal static unsafe class RowCopy
{
    private const long kBytesPerUnit = 1 << 20;

    /// <summary>Copies on all threads: one core does not fill the link to the device.</summary>
    public static void Copy(RowView rows, Span<float> destination, int threads) => Copy(rows, destination, rows.Dimension, threads);

    /// <summary>The same, with zeros behind each row up to <paramref name="depth"/> values.</summary>
    public static void Copy(RowView rows, Span<float> destination, int depth, int threads)
    {
        int d = rows.Dimension, stride = rows.Stride, count = rows.Count;
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)count * depth, destination.Length, nameof(rows));
        int perUnit = (int)Math.Max(1, kBytesPerUnit / (sizeof(float) * (long)depth)), units = (count + perUnit - 1) / perUnit;
        fixed (float* first = rows.Values, to = destination)
        {
            float* source = first, target = to;
            Parallel.For(0, units, new ParallelOptions { MaxDegreeOfParallelism = threads }, unit =>
            {
                int start = unit * perUnit, end = Math.Min(count, start + perUnit);
                if (stride == d && depth == d)
                {
                    Buffer.MemoryCopy(source + (nint)start * d, target + (nint)start * d, (long)(end - start) * d * sizeof(float), (long)(end - start) * d * sizeof(float));
                    return;
                }
                for (int i = start; i < end; i++)
                {
                    Buffer.MemoryCopy(source + (nint)i * stride, target + (nint)i * depth, (long)d * sizeof(float), (long)d * sizeof(float));
                    new Span<float>(target + (nint)i * depth + d, depth - d).Clear();
                }
            });
        }
    }
}
