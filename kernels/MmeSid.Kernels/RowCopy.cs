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
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)rows.Count * depth, destination.Length, nameof(rows));
        fixed (float* first = rows.Values, to = destination)
            Copy(new HostRows(first, rows), (byte*)to, depth * sizeof(float), threads);
    }

    /// <summary>The same for rows in the form in which they are stored.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="destination">n · d values of the same kind, or more.</param>
    /// <param name="threads">That copy.</param>
    public static void Copy(HostRows rows, Span<byte> destination, int threads)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows.Count * rows.RowBytes, destination.Length, nameof(rows));
        fixed (byte* to = destination)
            Copy(rows, to, (int)rows.RowBytes, threads);
    }

    private static void Copy(HostRows rows, byte* target, int depthBytes, int threads)
    {
        int count = rows.Count, perUnit = (int)Math.Max(1, kBytesPerUnit / depthBytes), units = (count + perUnit - 1) / perUnit;
        Parallel.For(0, units, new ParallelOptions { MaxDegreeOfParallelism = threads }, unit =>
        {
            int start = unit * perUnit, end = Math.Min(count, start + perUnit);
            if (rows.IsContiguous && depthBytes == rows.RowBytes)
            {
                long bytes = (end - start) * rows.RowBytes;
                Buffer.MemoryCopy(rows.Row(start), target + start * rows.RowBytes, bytes, bytes);
                return;
            }
            for (int i = start; i < end; i++)
            {
                byte* to = target + (nint)i * depthBytes;
                Buffer.MemoryCopy(rows.Row(i), to, rows.RowBytes, rows.RowBytes);
                new Span<byte>(to + rows.RowBytes, depthBytes - (int)rows.RowBytes).Clear();
            }
        });
    }
}
