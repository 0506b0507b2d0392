using System.Runtime.InteropServices;
using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Tables of the same n items in the same order, cut into shuffled batches. Which rows a batch holds depends on the seed, the epoch and the step alone. A last
/// batch of a single row is left out: in-batch losses need two.
/// </summary>
public sealed class ItemBatches : IDisposable
{
    private readonly int _batch;
    private readonly ulong _seed;
    private readonly Tensor[] _tables;
    private Tensor? _order;
    private int _orderEpoch = -1;

    /// <summary>Reads the tables into memory.</summary>
    /// <param name="tables">At least one; n and d_j.</param>
    /// <param name="batch">Most rows of a batch, at least 2 and at most n.</param>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="device">Where the rows are held; null for the CPU.</param>
    /// <exception cref="ArgumentException">The tables differ in their items, or the batch does not fit.</exception>
    /// <exception cref="InvalidDataException">A value is not finite.</exception>
    public ItemBatches(IReadOnlyList<EmbeddingTable> tables, int batch, ulong seed, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(tables);
        RequireBatch(batch, tables[0].Count);
        if (tables.FirstOrDefault(table => table.Count != tables[0].Count) is { } other)
            throw new ArgumentException($"{tables[0].Name} has {tables[0].Count} items, {other.Name} has {other.Count}");
        _batch = batch;
        _seed = seed;
        _tables = [.. tables.Select(table => Read(table, device ?? CPU))];
    }

    /// <summary>n.</summary>
    public long Count => _tables[0].shape[0];

    /// <summary>Batches of an epoch.</summary>
    public int PerEpoch => checked((int)((Count / _batch) + (Count % _batch >= 2 ? 1 : 0)));

    /// <summary>All rows, one [n, d_j] per table.</summary>
    public IReadOnlyList<Tensor> Tables => _tables;

    /// <summary>Refuses a batch size that n rows do not fill or that in-batch losses cannot use.</summary>
    /// <exception cref="ArgumentException">Batch and rows.</exception>
    public static void RequireBatch(int batch, long rows)
    {
        if (batch < 2)
            throw new ArgumentException($"the batch size is {batch}, expected at least 2");
        if (batch > rows)
            throw new ArgumentException($"the batch size is {batch}, there are {rows} items");
    }

    /// <summary>The rows of a batch, one [B, d_j] per table.</summary>
    /// <param name="epoch">From 0.</param>
    /// <param name="step">From 0, below <see cref="PerEpoch"/>.</param>
    public Tensor[] Rows(int epoch, int step)
    {
        using DisposeScope scope = NewDisposeScope();
        if (_orderEpoch != epoch)
        {
            var order = new long[Count];
            for (int i = 0; i < order.Length; i++)
                order[i] = i;
            new RandomSource(_seed).Split((ulong)epoch).Shuffle<long>(order);
            _order?.Dispose();
            _order = tensor(order).to(_tables[0].device).DetachFromDisposeScope();
            _orderEpoch = epoch;
        }
        long first = (long)step * _batch;
        Tensor chosen = _order!.narrow(0, first, Math.Min(_batch, Count - first));
        return [.. _tables.Select(table => table.index_select(0, chosen).MoveToOuterDisposeScope())];
    }

    /// <summary>Frees the rows.</summary>
    public void Dispose()
    {
        _order?.Dispose();
        foreach (Tensor table in _tables)
            table.Dispose();
    }

    private static Tensor Read(EmbeddingTable table, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor rows = empty(table.Count, table.Dimension);
        int block = Math.Max(1, (1 << 22) / table.Dimension);
        for (long first = 0; first < table.Count; first += block)
        {
            int count = (int)Math.Min(block, table.Count - first);
            table.Read(first, count, MemoryMarshal.Cast<byte, float>(rows.narrow(0, first, count).bytes));
        }
        return rows.to(device).DetachFromDisposeScope();
    }
}
