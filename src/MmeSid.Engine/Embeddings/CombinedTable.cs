using System.Buffers;
using System.Runtime.Intrinsics;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>Several tables side by side, joined by item id and preprocessed; see <see cref="EmbeddingTable.Combine"/>.</summary>
internal sealed class CombinedTable : EmbeddingTable
{
    private const int kValuesPerBlock = 1 << 16;

    private readonly Part[] _parts;

    private CombinedTable(Part[] parts, ItemIds items, int dimension)
    {
        _parts = parts;
        Items = items;
        Dimension = dimension;
        Name = string.Join(" + ", parts.Select(part => part.Table.Name));
    }

    public override string Name { get; }

    public override long Count => Items.Count;

    public override int Dimension { get; }

    public override ItemIds Items { get; }

    public static CombinedTable Join(IReadOnlyList<EmbeddingTable> tables, Preprocessing preprocessing, MissingItems missing)
    {
        ArgumentNullException.ThrowIfNull(tables);
        ArgumentNullException.ThrowIfNull(preprocessing);
        if (tables.Count == 0)
            throw new ArgumentException("at least one table is needed", nameof(tables));
        if (tables.Count != preprocessing.Parts.Count)
            throw new ArgumentException($"{tables.Count} tables given, the preprocessing has {preprocessing.Parts.Count} parts", nameof(tables));
        for (int i = 0; i < tables.Count; i++)
        {
            if (tables[i].Dimension != preprocessing.Parts[i].Dimension)
                throw new InvalidDataException($"{tables[i].Name}: rows have dimension {tables[i].Dimension}, expected {preprocessing.Parts[i].Dimension}");
            double weight = preprocessing.Parts[i].Weight;
            if (!double.IsFinite(weight) || weight <= 0)
                throw new ArgumentException($"weight {i + 1} is {weight}, expected a positive number", nameof(preprocessing));
        }

        bool aligned = tables.Skip(1).All(table => table.Items.SameAs(tables[0].Items));
        ItemIds items = aligned ? tables[0].Items : JoinItems(tables, missing);
        var parts = new Part[tables.Count];
        for (int i = 0, column = 0; i < parts.Length; column += parts[i].Table.Dimension, i++)
        {
            long[]? rows = items.SameAs(tables[i].Items) ? null : FindRows(items, tables[i].Items);
            float[]? standIn = null;
            if (missing == MissingItems.Mean && rows is not null && rows.AsSpan().Contains(-1))
            {
                standIn = preprocessing.Parts[i].Mean is { } stored ? [.. stored] : Preprocessing.MeanRow(tables[i]);
                if (standIn.Length != tables[i].Dimension)
                    throw new InvalidDataException($"{tables[i].Name}: rows have dimension {tables[i].Dimension}, the stored mean has {standIn.Length}");
            }
            parts[i] = new Part(tables[i], preprocessing.Parts[i], column, rows, standIn);
        }
        return new CombinedTable(parts, items, preprocessing.Dimension);
    }

    public override string Place(long row) => _parts[0].Rows is { } rows ? rows[row] >= 0 ? _parts[0].Table.Place(rows[row]) : $"{Name}: row {row}" : _parts[0].Table.Place(row);

    public override NarrowElement? Narrow => IsOneTableAsItIs ? _parts[0].Table.Narrow : null;

    private bool IsOneTableAsItIs => _parts.Length == 1 && _parts[0].IsCopy && _parts[0].Rows is null;

    protected override void ReadNarrowRows(long firstRow, int rows, Span<ushort> destination) => _parts[0].Table.ReadNarrow(firstRow, rows, destination);

    protected override void ReadRows(long firstRow, int rows, Span<float> destination)
    {
        if (IsOneTableAsItIs)
        {
            _parts[0].Table.Read(firstRow, rows, destination);
            return;
        }
        foreach (Part part in _parts)
            ReadPart(part, firstRow, rows, destination);
    }

    protected override void Dispose(bool disposing)
    {
        foreach (Part part in _parts)
            part.Table.Dispose();
    }

    private void ReadPart(Part part, long firstRow, int rows, Span<float> destination)
    {
        int dimension = part.Table.Dimension;
        int block = Math.Max(1, Math.Min(rows, kValuesPerBlock / dimension));
        float[] buffer = ArrayPool<float>.Shared.Rent(block * dimension);
        try
        {
            for (int start = 0; start < rows; start += block)
            {
                int count = Math.Min(block, rows - start);
                Span<float> raw = buffer.AsSpan(0, count * dimension);
                Gather(part, firstRow + start, count, raw);
                for (int i = 0; i < count; i++)
                {
                    Span<float> target = destination.Slice((start + i) * Dimension + part.Column, dimension);
                    Transform(part, firstRow + start + i, raw.Slice(i * dimension, dimension), target);
                }
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(buffer);
        }
    }

    /// <summary>Reads the raw rows of a part; neighbouring rows in one read.</summary>
    private static void Gather(Part part, long firstRow, int count, Span<float> destination)
    {
        if (part.Rows is null)
        {
            part.Table.Read(firstRow, count, destination);
            return;
        }
        int dimension = part.Table.Dimension;
        ReadOnlySpan<long> rows = part.Rows.AsSpan(checked((int)firstRow), count);
        for (int i = 0; i < count;)
        {
            if (rows[i] < 0)
            {
                Span<float> target = destination.Slice(i * dimension, dimension);
                if (part.StandIn is null)
                    target.Clear();
                else
                    part.StandIn.CopyTo(target);
                i++;
                continue;
            }
            int run = 1;
            while (i + run < count && rows[i + run] == rows[i] + run)
                run++;
            part.Table.Read(rows[i], run, destination.Slice(i * dimension, run * dimension));
            i += run;
        }
    }

    /// <summary>x = fl32(w·v/‖v‖) or fl32(w·v).</summary>
    private void Transform(Part part, long row, ReadOnlySpan<float> source, Span<float> destination)
    {
        if (part.IsCopy)
        {
            source.CopyTo(destination);
            return;
        }
        double norm = 1;
        if (part.Description.Normalize)
        {
            norm = Math.Sqrt(SquaredNorm(source));
            if (norm == 0)
            {
                if (part.Rows is not null && part.Rows[row] < 0 && part.StandIn is null)
                {
                    destination.Clear();
                    return;
                }
                throw new InvalidDataException($"{PartPlace(part, row)} (item {Items[row]}) is all zeros, which cannot be normalised");
            }
        }
        double weight = part.Description.Weight;
        Scale(source, weight, norm, destination);
        int bad = Finiteness.IndexOfNonFinite(destination);
        if (bad >= 0)
            throw Finiteness.Refusal($"{PartPlace(part, row)} times its weight {weight}", bad, weight * source[bad] / norm);
    }

    private static string PartPlace(Part part, long row)
    {
        if (part.Rows is null)
            return part.Table.Place(row);
        return part.Rows[row] >= 0 ? part.Table.Place(part.Rows[row]) : $"{part.Table.Name}: the mean row";
    }

    /// <summary>
    /// ‖v‖² in float64: eight running sums of the exact squares, lane i mod 8, added pairwise. A float32 squared is exact in float64, so a
    /// fused multiply-add gives the same bits as a product and a sum, whatever the machine.
    /// </summary>
    private static double SquaredNorm(ReadOnlySpan<float> values)
    {
        var lanes = Vector512<double>.Zero;
        int i = 0;
        for (; i <= values.Length - 8; i += 8)
        {
            (Vector256<double> low, Vector256<double> high) =
                Vector256.Widen(Vector256.Create(values.Slice(i, 8)));
            var wide = Vector512.Create(low, high);
            lanes += wide * wide;
        }
        Span<double> sums = stackalloc double[8];
        Vector512.CopyTo(lanes, sums);
        for (int lane = 0; i < values.Length; i++, lane++)
            sums[lane] += (double)values[i] * values[i];
        return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
    }

    /// <summary>x_i = fl32(w·v_i / ‖v‖): product and quotient in float64, sixteen at a time, each value as if alone.</summary>
    private static void Scale(ReadOnlySpan<float> source, double weight, double norm, Span<float> destination)
    {
        Vector512<double> weights = Vector512.Create(weight), norms = Vector512.Create(norm);
        int i = 0;
        for (; i <= source.Length - 16; i += 16)
        {
            (Vector512<double> low, Vector512<double> high) = Vector512.Widen(Vector512.Create(source.Slice(i, 16)));
            Vector512.Narrow(weights * low / norms, weights * high / norms).CopyTo(destination[i..]);
        }
        for (; i < source.Length; i++)
            destination[i] = (float)(weight * source[i] / norm);
    }

    private static ItemIds JoinItems(IReadOnlyList<EmbeddingTable> tables, MissingItems missing)
    {
        if (missing == MissingItems.Refuse)
            RefuseMissing(tables);
        var ids = new List<string>();
        if (missing is MissingItems.Refuse or MissingItems.Drop)
        {
            ids.AddRange(tables[0].Items.Where(id => tables.Skip(1).All(table => table.Items.TryFind(id, out _))));
            return ItemIds.FromStrings(ids);
        }
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (EmbeddingTable table in tables)
            ids.AddRange(table.Items.Where(seen.Add));
        return ItemIds.FromStrings(ids);
    }

    private static void RefuseMissing(IReadOnlyList<EmbeddingTable> tables)
    {
        foreach (EmbeddingTable having in tables)
        {
            foreach (EmbeddingTable lacking in tables)
            {
                if (ReferenceEquals(having, lacking))
                    continue;
                long count = having.Items.Count(id => !lacking.Items.TryFind(id, out _));
                if (count == 0)
                    continue;
                string first = having.Items.First(id => !lacking.Items.TryFind(id, out _));
                throw new InvalidDataException($"{lacking.Name}: lacks {count} items that {having.Name} has, the first is '{first}'; say how missing items are handled (drop, zero or mean)");
            }
        }
    }

    private static long[] FindRows(ItemIds items, ItemIds table)
    {
        var rows = new long[items.Count];
        long next = 0;
        foreach (string id in items)
            rows[next++] = table.TryFind(id, out long row) ? row : -1;
        return rows;
    }

    /// <param name="Table">Raw rows.</param>
    /// <param name="Description">What is done to them.</param>
    /// <param name="Column">First column in x.</param>
    /// <param name="Rows">Row of the table for each row of the result, −1 where it has none; null: the same row.</param>
    /// <param name="StandIn">Raw row for −1; null: zeros.</param>
    private sealed record Part(EmbeddingTable Table, TablePart Description, int Column, long[]? Rows, float[]? StandIn)
    {
        public bool IsCopy { get; } = !Description.Normalize && Description.Weight == 1;
    }
}
