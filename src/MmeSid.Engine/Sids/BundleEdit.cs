using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Sids;

/// <summary>A changed bundle that is not written yet.</summary>
/// <param name="Content">For <see cref="SidBundle.Write(string, BundleContent, bool)"/>. Its metrics are empty: the old ones no longer hold.</param>
/// <param name="Settling">What settling the new SIDs did.</param>
public sealed record BundleChange(BundleContent Content, SettlingReport Settling);

/// <summary>
/// Adds, removes and updates items of a bundle. Items are addressed by id. No SID of an item that is not named changes, and settling
/// follows the bundle's own policy.
/// </summary>
public static class BundleEdit
{
    /// <summary>Adds items after those of the bundle, in the order of the table.</summary>
    /// <param name="bundle">Left as it is.</param>
    /// <param name="rows">The new items' rows x (after the bundle's preprocessing) and ids.</param>
    /// <param name="codes">Their raw codes by the bundle's quantizer, [n, L].</param>
    /// <param name="encoded">Behind a learned encoder what it makes of the rows, [n, code width]; else null.</param>
    /// <param name="threads">0 for all cores.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="InvalidDataException">An item is in the bundle already, or no SID is left for it.</exception>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static BundleChange Append(SidBundle bundle, EmbeddingTable rows, SidTable codes, EmbeddingTable? encoded = null, int threads = 0, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        ArgumentNullException.ThrowIfNull(rows);
        for (long row = 0; row < rows.Count; row++)
        {
            if (!bundle.Items.TryFind(rows.Items[row], out _))
                continue;
            string advice = rows.Items.IsSequential ? "where that is only the number of the row, name the rows with --items" : "update it instead";
            throw new InvalidDataException($"{rows.Place(row)}: item '{rows.Items[row]}' is in {bundle.Folder} already; {advice}");
        }
        EmbeddingTable quantized = Quantized(bundle, rows, encoded);
        SettlingResult settled = CollisionSettling.Settle(codes, bundle.Quantizer, quantized, Options(bundle, threads), bundle.Sids, cancellation);
        BundleContent content = bundle.ToContent() with
        {
            Items = rows.Count == 0 ? bundle.Items : ItemIds.FromStrings(bundle.Items.Concat(rows.Items)),
            Codes = bundle.Codes.Append(codes),
            Sids = bundle.Sids.Append(settled.Sids),
            Inputs = [.. bundle.Manifest.Inputs, BundleInput.Of(rows)],
            Metrics = new Dictionary<string, double>(),
        };
        return new BundleChange(content, settled.Report);
    }

    /// <summary>Takes items out; the others keep their order and their SIDs.</summary>
    /// <exception cref="InvalidDataException">The bundle has no item of that id, or an id is given twice.</exception>
    public static BundleChange Remove(SidBundle bundle, IReadOnlyCollection<string> items)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        ArgumentNullException.ThrowIfNull(items);
        var removed = new bool[bundle.Count];
        foreach (string item in items)
        {
            if (!bundle.Items.TryFind(item, out long row))
                throw new InvalidDataException($"{bundle.Folder}: has no item '{item}'");
            if (removed[row])
                throw new InvalidDataException($"item '{item}' is given twice");
            removed[row] = true;
        }
        var kept = new long[bundle.Count - items.Count];
        for (long row = 0, next = 0; row < removed.Length; row++)
        {
            if (!removed[row])
                kept[next++] = row;
        }
        BundleContent content = bundle.ToContent() with
        {
            Items = ItemIds.FromStrings(kept.Select(row => bundle.Items[row])),
            Codes = bundle.Codes.Select(kept),
            Sids = bundle.Sids.Select(kept),
            Metrics = new Dictionary<string, double>(),
        };
        return new BundleChange(content, new SettlingReport(0, 0, 0, 0, 0, 0));
    }

    /// <summary>
    /// Gives items new rows. An item whose raw codes stay the same keeps its SID; the others give theirs up and are settled as if they were
    /// appended, in the order of the table. The order of the bundle's items stays.
    /// </summary>
    /// <param name="bundle">Left as it is.</param>
    /// <param name="rows">The items' new rows x and their ids.</param>
    /// <param name="codes">Their raw codes, [n, L].</param>
    /// <param name="encoded">Behind a learned encoder what it makes of the rows, [n, code width]; else null.</param>
    /// <param name="threads">0 for all cores.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="InvalidDataException">The bundle lacks an item, or no SID is left for it.</exception>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static BundleChange Update(SidBundle bundle, EmbeddingTable rows, SidTable codes, EmbeddingTable? encoded = null, int threads = 0, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(codes);
        if (rows.Count != codes.Count)
            throw new ArgumentException($"{rows.Name} has {rows.Count} rows, expected {codes.Count}", nameof(rows));
        EmbeddingTable quantized = Quantized(bundle, rows, encoded);
        CollisionSettling.CheckCodes(codes, bundle.Quantizer);
        var changedRows = new List<long>();
        var changedTargets = new List<long>();
        var released = new bool[bundle.Count];
        for (long row = 0; row < rows.Count; row++)
        {
            if (!bundle.Items.TryFind(rows.Items[row], out long target))
                throw new InvalidDataException($"{rows.Place(row)}: item '{rows.Items[row]}' is not in {bundle.Folder}; append it instead");
            if (codes[row].SequenceEqual(bundle.Codes[target]))
                continue;
            changedRows.Add(row);
            changedTargets.Add(target);
            released[target] = true;
        }

        long[] sources = [.. changedRows];
        var staying = new List<long>();
        for (long row = 0; row < released.Length; row++)
        {
            if (!released[row])
                staying.Add(row);
        }
        SidTable changedCodes = codes.Select(sources);
        SettlingResult settled = CollisionSettling.SettleRows(changedCodes, bundle.Quantizer, (row, values) => quantized.Read(sources[row], 1, values),
            Options(bundle, threads), bundle.Sids.Select([.. staying]), cancellation);
        BundleContent content = bundle.ToContent() with
        {
            Codes = Replace(bundle.Codes, changedTargets, changedCodes),
            Sids = Replace(bundle.Sids, changedTargets, settled.Sids),
            Inputs = [.. bundle.Manifest.Inputs, BundleInput.Of(rows)],
            Metrics = new Dictionary<string, double>(),
        };
        return new BundleChange(content, settled.Report);
    }

    /// <summary>The rows that were searched: those of the table, or what the encoder made of them.</summary>
    /// <exception cref="ArgumentException">They are not as many, of another dimension, or missing behind an encoder.</exception>
    private static EmbeddingTable Quantized(SidBundle bundle, EmbeddingTable rows, EmbeddingTable? encoded)
    {
        if (rows.Dimension != bundle.InputDimension)
            throw new ArgumentException($"{rows.Name} has rows of dimension {rows.Dimension}, expected {bundle.InputDimension}", nameof(rows));
        if ((bundle.Encoder is null) != (encoded is null))
            throw new ArgumentException(encoded is null ? $"{bundle.Folder} has an encoder, expected encoded rows too" : $"{bundle.Folder} has no encoder, expected no encoded rows", nameof(encoded));
        if (encoded is not null && (encoded.Count != rows.Count || encoded.Dimension != bundle.Quantizer.Dimension))
            throw new ArgumentException($"{encoded.Name} has {encoded.Count} encoded rows of dimension {encoded.Dimension}, expected {rows.Count} of {bundle.Quantizer.Dimension}", nameof(encoded));
        return encoded ?? rows;
    }

    private static SettlingOptions Options(SidBundle bundle, int threads) =>
        new() { Policy = bundle.Manifest.Collisions, Method = bundle.Manifest.Settling, Threads = threads };

    private static SidTable Replace(SidTable table, List<long> rows, SidTable replacements)
    {
        ushort[] codes = table.Codes.ToArray();
        for (int i = 0; i < rows.Count; i++)
            replacements[i].CopyTo(codes.AsSpan((int)rows[i] * table.Levels));
        return new SidTable(table.Levels, codes);
    }
}
