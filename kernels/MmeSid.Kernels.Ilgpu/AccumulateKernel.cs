using ILGPU;
using ILGPU.Runtime;

namespace MmeSid.Kernels.Ilgpu;

internal struct AccumulateArguments
{
    /// <summary>[_, Dimension].</summary>
    public ArrayView<float> Rows;

    /// <summary>Row indices by code, ascending within a code.</summary>
    public ArrayView<int> Order;

    /// <summary>[CodeCount + 1] where a code's rows begin in Order.</summary>
    public ArrayView<int> Starts;

    /// <summary>[CodeCount] codes that have rows.</summary>
    public ArrayView<int> Codes;

    /// <summary>[_, Dimension], added to.</summary>
    public ArrayView<double> Sums;

    public int CodeCount, Dimension;
}

/// <summary>
/// accumulate: sums[k, j] += Σ_{i : codes[i] = k} rows[i, j]      counts[k] += |{i : codes[i] = k}|      oracle: Scalar/Accumulate.cs
/// <code>
///   in    rows (n, d) f32 · codes (n) u16 &lt; K
///   out   sums (K, d) f64 · counts (K) i64, both added to
///   order each sum takes its rows one by one, in ascending i, exactly as the oracle does: no float atomics, same bytes on every device
///   work  the host lists the rows of each code by counting, which takes less than copying them; a thread owns one sum, neighbours read
///         neighbouring columns; codes without rows cost nothing
///   cost  n·d additions, every row read once
/// </code>
/// </summary>
internal static class AccumulateKernel
{
    /// <summary>Sums of a group, a thread each.</summary>
    public const int kThreads = 256;

    /// <summary>A thread per code and column.</summary>
    public static void Add(AccumulateArguments a)
    {
        long index = (long)Grid.IdxX * kThreads + Group.IdxX;
        if (index >= (long)a.CodeCount * a.Dimension)
            return;
        int slot = (int)(index / a.Dimension), column = (int)(index % a.Dimension);
        long d = a.Dimension, at = a.Codes[slot] * d + column;
        int i = a.Starts[slot], end = a.Starts[slot + 1];
        double sum = a.Sums[at];
        // Eight values are on their way at a time.
        for (; i + 8 <= end; i += 8)
        {
            float r0 = a.Rows[a.Order[i] * d + column], r1 = a.Rows[a.Order[i + 1] * d + column];
            float r2 = a.Rows[a.Order[i + 2] * d + column], r3 = a.Rows[a.Order[i + 3] * d + column];
            float r4 = a.Rows[a.Order[i + 4] * d + column], r5 = a.Rows[a.Order[i + 5] * d + column];
            float r6 = a.Rows[a.Order[i + 6] * d + column], r7 = a.Rows[a.Order[i + 7] * d + column];
            sum += r0;
            sum += r1;
            sum += r2;
            sum += r3;
            sum += r4;
            sum += r5;
            sum += r6;
            sum += r7;
        }
        for (; i < end; i++)
            sum += a.Rows[a.Order[i] * d + column];
        a.Sums[at] = sum;
    }
}

public sealed partial class IlgpuBackend
{
    /// <inheritdoc/>
    /// <exception cref="BackendUnavailableException">The sums and one row do not fit the device's memory.</exception>
    public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts)
    {
        OpArguments.CheckAccumulate(rows, codes, codeCount, sums, counts);
        if (rows.Count == 0)
            return;
        int d = rows.Dimension, batch = (int)Math.Clamp(StagingBytes / (sizeof(float) * (long)d), 1, rows.Count);
        lock (Gpu.Gate)
        {
            try
            {
                Gpu.Accelerator.Bind();
                using AcceleratorStream stream = Gpu.Accelerator.CreateStream();
                using PageLockedArray1D<float> staging = Gpu.Accelerator.AllocatePageLocked1D<float>((long)batch * d, uninitialized: true);
                using MemoryBuffer1D<float, Stride1D.Dense> values = Gpu.Allocate<float>((long)batch * d);
                using MemoryBuffer1D<double, Stride1D.Dense> deviceSums = Gpu.Allocate<double>(stream, sums);
                for (int start = 0; start < rows.Count; start += batch)
                {
                    int count = Math.Min(batch, rows.Count - start);
                    RowCopy.Copy(rows.Slice(start, count), staging.Span, d, Threads);
                    stream.Upload(values.View, staging.Span[..(count * d)]);
                    (int[] order, int[] starts, int[] present) = RowsByCode(codes.Slice(start, count), codeCount);
                    using MemoryBuffer1D<int, Stride1D.Dense> deviceOrder = Gpu.Allocate<int>(stream, order);
                    using MemoryBuffer1D<int, Stride1D.Dense> deviceStarts = Gpu.Allocate<int>(stream, starts);
                    using MemoryBuffer1D<int, Stride1D.Dense> deviceCodes = Gpu.Allocate<int>(stream, present);
                    long threads = (long)present.Length * d;
                    Gpu.Kernel<AccumulateArguments>(AccumulateKernel.Add)(stream, (checked((int)((threads + AccumulateKernel.kThreads - 1) / AccumulateKernel.kThreads)), AccumulateKernel.kThreads), new AccumulateArguments
                    {
                        Rows = values.View, Order = deviceOrder.View, Starts = deviceStarts.View, Codes = deviceCodes.View, Sums = deviceSums.View,
                        CodeCount = present.Length, Dimension = d,
                    });
                    // The buffers of this batch go back to the device, and staging is filled again.
                    stream.Synchronize();
                }
                stream.Download(sums, deviceSums.View);
            }
            catch (AcceleratorException error)
            {
                throw IlgpuDevice.Translate(error);
            }
        }
        foreach (ushort code in codes)
            counts[code]++;
    }

    // Row indices by code, ascending within a code; where each present code's rows begin; the present codes.
    private static (int[] Order, int[] Starts, int[] Present) RowsByCode(ReadOnlySpan<ushort> codes, int codeCount)
    {
        int[] places = new int[codeCount];
        foreach (ushort code in codes)
            places[code]++;
        int[] present = [.. Enumerable.Range(0, codeCount).Where(code => places[code] > 0)], starts = new int[present.Length + 1], order = new int[codes.Length];
        for (int slot = 0; slot < present.Length; slot++)
        {
            starts[slot + 1] = starts[slot] + places[present[slot]];
            places[present[slot]] = starts[slot];
        }
        for (int i = 0; i < codes.Length; i++)
            order[places[codes[i]]++] = i;
        return (order, starts, present);
    }
}
