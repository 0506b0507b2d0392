using System.Runtime.ExceptionServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// Encode on several GPUs: each has the whole plan and chooses its screens by itself. A call of less than two batches goes to the GPU with the fewest calls at
/// the moment; a larger one is cut into parts of consecutive rows, one per GPU. Which GPU encodes a row changes nothing in its codes.
/// </summary>
internal sealed class CudaEncoderOnSeveral : HostRowsEncoder
{
    private readonly CudaEncoder[] _encoders;
    private readonly int[] _calls;
    private readonly int _leastPartRows;

    /// <summary>Prepares the plan on every GPU.</summary>
    /// <param name="create">The encoder of each GPU.</param>
    /// <param name="leastPartRows">Rows that are worth a part; 0 for a batch.</param>
    public CudaEncoderOnSeveral(IReadOnlyList<Func<CudaEncoder>> create, int leastPartRows)
    {
        _encoders = new CudaEncoder[create.Count];
        _calls = new int[create.Count];
        try
        {
            for (int gpu = 0; gpu < create.Count; gpu++)
                _encoders[gpu] = create[gpu]();
        }
        catch
        {
            Dispose();
            throw;
        }
        _leastPartRows = leastPartRows > 0 ? leastPartRows : _encoders.Max(encoder => encoder.BatchRows);
    }

    public override EncodePlan Plan => _encoders[0].Plan;

    public override int CallsAtOnce => _encoders.Sum(encoder => encoder.CallsAtOnce);

    // What one device pins is pinned for all.
    public override IDisposable? Pin(RowMatrix rows) => _encoders[0].Pin(rows);

    public override void Dispose()
    {
        foreach (CudaEncoder? encoder in _encoders)
            encoder?.Dispose();
    }

    public override unsafe EncodeReport Encode(HostRows rows, Span<ushort> codes, Span<float> squaredErrors, ReadRow? readRow = null)
    {
        int[] gpus = Take(Math.Clamp(rows.Count / _leastPartRows, 1, _encoders.Length));
        try
        {
            if (gpus.Length == 1)
                return _encoders[gpus[0]].Encode(rows, codes, squaredErrors, readRow);
            int partRows = (rows.Count + gpus.Length - 1) / gpus.Length, levels = Plan.Levels;
            fixed (ushort* firstCode = codes)
            fixed (float* firstError = squaredErrors)
            {
                ushort* toCodes = firstCode;
                float* toErrors = firstError;
                return InParts(gpus.Length, part =>
                {
                    int start = Math.Min(rows.Count, part * partRows), count = Math.Min(partRows, rows.Count - start);
                    return _encoders[gpus[part]].Encode(
                        rows.Slice(start, count),
                        new Span<ushort>(toCodes + (nint)start * levels, count * levels),
                        toErrors == null ? default : new Span<float>(toErrors + start, count),
                        readRow);
                });
            }
        }
        finally
        {
            Give(gpus);
        }
    }

    /// <summary>Runs the parts on threads of their own, and returns or throws when all have ended: they write where the caller reads.</summary>
    /// <exception cref="Exception">That of the first part that failed, in the order of the rows.</exception>
    private static EncodeReport InParts(int parts, Func<int, EncodeReport> encode)
    {
        Task<EncodeReport>[] tasks = [.. Enumerable.Range(0, parts).Select(part =>
            Task.Factory.StartNew(() => encode(part), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        try
        {
            Task.WaitAll(tasks);
        }
        catch (AggregateException)
        {
            ExceptionDispatchInfo.Throw(tasks.First(task => task.IsFaulted).Exception!.InnerException!);
        }
        return tasks.Aggregate(default(EncodeReport), (sum, task) => sum + task.Result);
    }

    // The GPUs with the fewest calls, the smaller number first.
    private int[] Take(int parts)
    {
        lock (_calls)
        {
            int[] gpus = [.. Enumerable.Range(0, _calls.Length).OrderBy(gpu => _calls[gpu]).Take(parts)];
            foreach (int gpu in gpus)
                _calls[gpu]++;
            return gpus;
        }
    }

    private void Give(int[] gpus)
    {
        lock (_calls)
        {
            foreach (int gpu in gpus)
                _calls[gpu]--;
        }
    }
}
