using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// Item ids and one [n, d] float32 matrix whose rows are read in blocks, so that a table may be larger than memory. Reading is
/// thread-safe. Every value handed out is finite.
/// </summary>
public abstract class EmbeddingTable : IDisposable
{
    /// <summary>Largest d; a larger number in a file is taken for corruption.</summary>
    public const int MaximumDimension = 1 << 20;

    // Large enough to make reads cheap, small enough for the second-level cache.
    private const int kFingerprintBlockValues = 1 << 20;

    private readonly Lock _fingerprintLock = new();
    private string? _fingerprint;

    /// <summary>What messages call the table: its file, usually.</summary>
    public abstract string Name { get; }

    /// <summary>Number of rows, n ≥ 0.</summary>
    public abstract long Count { get; }

    /// <summary>Values per row, d ≥ 1.</summary>
    public abstract int Dimension { get; }

    /// <summary>The id of each row.</summary>
    public abstract ItemIds Items { get; }

    /// <summary>The files it is read from, in the order of the rows; empty where it is in memory or made of other tables.</summary>
    public virtual IReadOnlyList<string> Files => [];

    /// <summary>Opens files as one table.</summary>
    /// <param name="paths">
    /// Files, or patterns with <c>*</c> and <c>?</c> in the file name (matches in ordinal order of their names); rows one after the other.
    /// Kinds by extension: .npy, .safetensors, .fvecs, .fbin, .csv, .tsv, .parquet. Values of float64 files are rounded to the nearest float32.
    /// </param>
    /// <param name="options">Ids, columns, tensor; null for the defaults.</param>
    /// <exception cref="InvalidDataException">A file is corrupt or of an unsupported kind, dimensions differ, ids repeat or do not fit.</exception>
    /// <exception cref="FileNotFoundException">No such file.</exception>
    /// <exception cref="BackendUnavailableException">A Parquet file was given and libduckdb is not there.</exception>
    public static EmbeddingTable Open(IReadOnlyList<string> paths, EmbeddingOptions? options = null)
        => FileTable.OpenFiles(paths, options ?? new EmbeddingOptions());

    /// <summary>Opens one file as a table, with default options.</summary>
    public static EmbeddingTable Open(string path) => Open([path]);

    /// <summary>Wraps a matrix in memory; it is disposed with the table. Values are checked when they are read.</summary>
    /// <exception cref="ArgumentException">Rows and ids differ in number.</exception>
    public static EmbeddingTable FromRows(RowMatrix rows, ItemIds items, string name) => new MatrixTable(rows, items, name);

    /// <summary>
    /// Joins tables by item id, side by side: x = concatenation over the parts p of w_p·v_p/‖v_p‖ (or w_p·v_p), see <see cref="Preprocessing"/>.
    /// The result owns the tables.
    /// </summary>
    /// <param name="tables">At least one.</param>
    /// <param name="preprocessing">One part per table, of the table's dimension.</param>
    /// <param name="missing">
    /// What happens to items that some table lacks. The order of the result is that of the first table; under
    /// <see cref="MissingItems.Zero"/> and <see cref="MissingItems.Mean"/> items that only later tables have follow in those tables' order.
    /// </param>
    /// <exception cref="ArgumentException">Parts and tables differ in number.</exception>
    /// <exception cref="InvalidDataException">A dimension differs from its part's, or items are missing under <see cref="MissingItems.Refuse"/>.</exception>
    public static EmbeddingTable Combine(IReadOnlyList<EmbeddingTable> tables, Preprocessing preprocessing, MissingItems missing = MissingItems.Refuse)
        => CombinedTable.Join(tables, preprocessing, missing);

    /// <summary>Reads consecutive rows.</summary>
    /// <param name="firstRow">First row.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="destination">[rows, d], exactly that long.</param>
    /// <exception cref="InvalidDataException">A value is NaN, infinite or overflows float32: file, row and column named, counted from 0 in the file.</exception>
    /// <exception cref="ArgumentException">The rows are not all in the table, or the destination has another length.</exception>
    public void Read(long firstRow, int rows, Span<float> destination)
    {
        CheckBlock<float>(firstRow, rows, destination);
        if (rows > 0)
            ReadRows(firstRow, rows, destination);
    }

    /// <summary>
    /// Format of the values where all of them are stored in 16 bits and nothing is done to them, so that <see cref="ReadNarrow"/> can hand them out
    /// as they are; else null.
    /// </summary>
    public virtual NarrowElement? Narrow => null;

    /// <summary>Reads consecutive rows as they are stored: half the bytes of <see cref="Read"/>, and nothing to convert.</summary>
    /// <param name="firstRow">First row.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="destination">[rows, d] bits of <see cref="Narrow"/>, exactly that long.</param>
    /// <exception cref="InvalidDataException">A value is NaN or infinite: file, row and column named, counted from 0 in the file.</exception>
    /// <exception cref="ArgumentException">The rows are not all in the table, or the destination has another length.</exception>
    /// <exception cref="InvalidOperationException"><see cref="Narrow"/> is null.</exception>
    public void ReadNarrow(long firstRow, int rows, Span<ushort> destination)
    {
        if (Narrow is null)
            throw new InvalidOperationException($"{Name}: values are not all stored in 16 bits, or something is done to them");
        CheckBlock<ushort>(firstRow, rows, destination);
        if (rows > 0)
            ReadNarrowRows(firstRow, rows, destination);
    }

    /// <summary>Reads the whole table into memory.</summary>
    public RowMatrix ReadAll()
    {
        var matrix = new RowMatrix(Count, Dimension);
        try
        {
            int block = Math.Min(matrix.MaximumSpanRows, Math.Max(1, (1 << 26) / Dimension));
            for (long first = 0; first < Count; first += block)
            {
                int rows = (int)Math.Min(block, Count - first);
                Read(first, rows, matrix.Rows(first, rows));
            }
            return matrix;
        }
        catch
        {
            matrix.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Reads the whole table once into a copy that is cheap to read again in any order: in memory up to 256 MB, beyond it in a temporary file that
    /// disappears with the process.
    /// </summary>
    /// <param name="rowsRead">Told how many rows each block had; or null.</param>
    /// <param name="cancellation">Ends the work between blocks.</param>
    public EmbeddingTable Spool(Action<int>? rowsRead = null, CancellationToken cancellation = default)
    {
        var spool = new RowSpool(Dimension);
        try
        {
            int block = Math.Max(1, (1 << 20) / Dimension);
            using var buffer = new RowMatrix(Math.Min(block, Math.Max(1, Count)), Dimension);
            for (long first = 0; first < Count; first += block)
            {
                cancellation.ThrowIfCancellationRequested();
                int rows = (int)Math.Min(block, Count - first);
                Read(first, rows, buffer.Rows(0, rows));
                for (int row = 0; row < rows; row++)
                    spool.Append(buffer.Rows(row, 1));
                rowsRead?.Invoke(rows);
            }
            return new SpooledTable(spool, Items, Name);
        }
        catch
        {
            spool.Dispose();
            throw;
        }
    }

    /// <summary>SHA-256, in lower-case hex, over the text <c>float32[n,d]</c>, a line feed, and the rows' little-endian values. Reads the table once.</summary>
    public string Fingerprint()
    {
        lock (_fingerprintLock)
            return _fingerprint ??= ComputeFingerprint();
    }

    /// <summary>How messages name a row: file and row in the file.</summary>
    public virtual string Place(long row) => $"{Name}: row {row}";

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Reads rows that were checked to exist into a destination of the right length; verifies that values are finite.</summary>
    protected abstract void ReadRows(long firstRow, int rows, Span<float> destination);

    /// <summary>The same in the format of <see cref="Narrow"/>; called only where that is not null.</summary>
    protected virtual void ReadNarrowRows(long firstRow, int rows, Span<ushort> destination) => throw new NotSupportedException();

    /// <summary>Closes files.</summary>
    protected abstract void Dispose(bool disposing);

    private void CheckBlock<T>(long firstRow, int rows, ReadOnlySpan<T> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstRow);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        if (firstRow > Count - rows)
            throw new ArgumentOutOfRangeException(nameof(firstRow), $"rows {firstRow} to {firstRow + rows} asked for, the table has {Count}");
        if (destination.Length != (long)rows * Dimension)
            throw new ArgumentException($"{rows} rows of dimension {Dimension} take {(long)rows * Dimension} values, the destination has {destination.Length}", nameof(destination));
    }

    private string ComputeFingerprint()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"float32[{Count},{Dimension}]\n")));
        int block = Math.Max(1, kFingerprintBlockValues / Dimension);
        using var buffer = new RowMatrix(Math.Min(block, Math.Max(1, Count)), Dimension);
        for (long first = 0; first < Count; first += block)
        {
            int rows = (int)Math.Min(block, Count - first);
            Span<float> values = buffer.Rows(0, rows);
            Read(first, rows, values);
            hash.AppendData(MemoryMarshal.AsBytes(values));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
