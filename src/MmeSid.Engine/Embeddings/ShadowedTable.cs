using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// A table of float32 rows with its shadow: a .npy file of the same rows rounded to float16 or int8 (<see cref="ShadowFormats"/>), half or a quarter as many bytes to
/// read. An encoder finds codes in the shadow, with proof, and reads the rows themselves where it proves nothing (<see cref="IEncoder.EncodeShadow"/>).
/// The proof rests on the shadow being the rounding of the rows. A note beside it says which files it was made of; a shadow is refused when one of them, or the
/// shadow, has another size or time of change than then, and when a row that is compared is not its own rounding: <see cref="kComparedRows"/>
/// of every block that is read, and all that the encoder leaves open. What it cannot see is a file changed behind the system's back in rows that are not compared.
/// </summary>
public sealed class ShadowedTable : EmbeddingTable
{
    /// <summary>Rows of a block that are compared with the rows they stand for, evenly spread over it.</summary>
    public const int kComparedRows = 16;

    private const int kValuesPerBlock = 1 << 20;

    // Rows that are compared are rounded on the stack up to here.
    private const int kStackBytes = 8 << 10;

    private readonly EmbeddingTable _master;
    private readonly string _path;
    private readonly SafeFileHandle _file;
    private readonly long _dataOffset;

    private ShadowedTable(EmbeddingTable master, string path, ShadowFormat format, SafeFileHandle file, long dataOffset)
    {
        _master = master;
        _path = path;
        Format = format;
        _file = file;
        _dataOffset = dataOffset;
    }

    /// <summary>What the rows of the shadow are rounded to.</summary>
    public ShadowFormat Format { get; }

    /// <summary>Bytes of a row of the shadow.</summary>
    public int RowBytes => Format.RowBytes(Dimension);

    /// <inheritdoc/>
    public override string Name => _master.Name;

    /// <inheritdoc/>
    public override long Count => _master.Count;

    /// <inheritdoc/>
    public override int Dimension => _master.Dimension;

    /// <inheritdoc/>
    public override ItemIds Items => _master.Items;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Files => _master.Files;

    /// <summary>Where the note of a shadow lies.</summary>
    public static string NotePath(string shadow) => shadow + ".json";

    /// <summary>Opens a shadow with the table that it was made of, which the result owns.</summary>
    /// <param name="master">The rows.</param>
    /// <param name="path">The shadow.</param>
    /// <exception cref="InvalidDataException">The shadow or its note is missing or corrupt, or belongs to other rows.</exception>
    public static ShadowedTable Open(EmbeddingTable master, string path)
    {
        ArgumentNullException.ThrowIfNull(master);
        CheckNote(master, path);
        SafeFileHandle file = File.OpenHandle(path);
        try
        {
            NpyHead head = NpyFile.ReadHead(file, path);
            foreach (ShadowFormat format in Enum.GetValues<ShadowFormat>())
            {
                if (head.Descr != Descr(format, master.Dimension) || head.FortranOrder || !head.Shape.SequenceEqual(Shape(format, master)))
                    continue;
                NpyFile.CheckLength(head, checked(master.Count * format.RowBytes(master.Dimension)), OptionName.Of(format), path);
                return new ShadowedTable(master, path, format, file, head.DataOffset);
            }
            throw new InvalidDataException($"{path}: holds no shadow of {master.Count} rows of dimension {master.Dimension} as {master.Name} has: its head says {OneLine.Of(head.Descr)} {NpyFile.ShapeText(head.Shape)}");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Writes the shadow of a table. Its note follows with <see cref="WriteNote"/> when the file has its name.</summary>
    /// <param name="master">The rows, from files.</param>
    /// <param name="format">What they are rounded to.</param>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="written">Called with the number of rows after each block.</param>
    /// <param name="cancellation">Ends the work between blocks.</param>
    /// <exception cref="InvalidDataException">The shadow would take 16 bits per value and the values do already, or a value is not finite.</exception>
    public static void Write(EmbeddingTable master, ShadowFormat format, Stream stream, Action<int> written, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(master);
        ArgumentNullException.ThrowIfNull(written);
        ArgumentNullException.ThrowIfNull(stream);
        if (format == ShadowFormat.Float16 && master.Narrow is not null)
            throw new InvalidDataException($"{master.Name}: values take 16 bits already and travel as they are");
        NpyFile.WriteHeader(stream, Descr(format, master.Dimension), Shape(format, master));
        int d = master.Dimension, rowBytes = format.RowBytes(d), block = (int)Math.Clamp(kValuesPerBlock / d, 1, Math.Max(1, master.Count));
        var values = new float[block * d];
        var shadow = new byte[block * rowBytes];
        for (long first = 0; first < master.Count; first += block)
        {
            cancellation.ThrowIfCancellationRequested();
            int rows = (int)Math.Min(block, master.Count - first);
            master.Read(first, rows, values.AsSpan(0, rows * d));
            for (int i = 0; i < rows; i++)
                format.Round(values.AsSpan(i * d, d), shadow.AsSpan(i * rowBytes, rowBytes));
            stream.Write(shadow.AsSpan(0, rows * rowBytes));
            written(rows);
        }
    }

    /// <summary>Writes the note of a shadow that has its name: shape, and size and time of change of the files.</summary>
    public static void WriteNote(EmbeddingTable master, string shadow, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(master);
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" });
        json.WriteStartObject();
        json.WriteNumber("rows", master.Count);
        json.WriteNumber("dimension", master.Dimension);
        json.WriteStartArray("files");
        foreach (string file in (string[])[shadow, .. master.Files])
        {
            json.WriteStartObject();
            json.WriteString("name", Path.GetFileName(file));
            (long bytes, long ticks) = State(file);
            json.WriteNumber("bytes", bytes);
            json.WriteNumber("changed", ticks);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>Reads consecutive rows of the shadow, and compares some of them with the rows they stand for.</summary>
    /// <param name="firstRow">First row.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="destination">[rows, <see cref="RowBytes"/>].</param>
    /// <exception cref="InvalidDataException">A row is not the rounding of its row, or the file was cut.</exception>
    public void ReadShadow(long firstRow, int rows, Span<byte> destination)
    {
        int bytes = RowBytes;
        FileBlock.ReadExactly(_file, _path, _dataOffset + firstRow * bytes, destination[..(rows * bytes)]);
        var row = new float[Dimension];
        int compared = Math.Min(rows, kComparedRows);
        for (int i = 0; i < compared; i++)
        {
            // The first and the last row among them.
            int at = compared == 1 ? 0 : (int)((long)i * (rows - 1) / (compared - 1));
            ReadMaster(firstRow + at, destination.Slice(at * bytes, bytes), row);
        }
    }

    /// <summary>Reads a row itself, and compares it with its shadow.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="shadow">[<see cref="RowBytes"/>].</param>
    /// <param name="destination">[d].</param>
    /// <exception cref="InvalidDataException">The shadow is not the rounding of the row, or a value of the row is not finite.</exception>
    public void ReadMaster(long row, ReadOnlySpan<byte> shadow, Span<float> destination)
    {
        _master.Read(row, 1, destination);
        Span<byte> rounded = RowBytes <= kStackBytes ? stackalloc byte[RowBytes] : new byte[RowBytes];
        Format.Round(destination, rounded);
        if (!rounded.SequenceEqual(shadow))
            throw Stale(_path, Difference(row, destination, shadow, rounded));
    }

    /// <inheritdoc/>
    public override string Place(long row) => _master.Place(row);

    /// <inheritdoc/>
    protected override void ReadRows(long firstRow, int rows, Span<float> destination) => _master.Read(firstRow, rows, destination);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _file.Dispose();
        _master.Dispose();
    }

    private string Difference(long row, ReadOnlySpan<float> values, ReadOnlySpan<byte> shadow, ReadOnlySpan<byte> rounded)
    {
        float[] found = new float[values.Length], expected = new float[values.Length];
        double foundError = Format.Widen(shadow, found), error = Format.Widen(rounded, expected);
        int column = -1;
        for (int i = 0; i < found.Length && column < 0; i++)
            column = BitConverter.SingleToUInt32Bits(found[i]) != BitConverter.SingleToUInt32Bits(expected[i]) ? i : -1;
        return column < 0
            ? $"row {row} is off by at most {foundError:R}, {_master.Place(row)} by {error:R}"
            : $"row {row}, column {column} is {found[column]:R}, {_master.Place(row)} has {values[column]:R} there, which rounds to {expected[column]:R}";
    }

    // Records of step, error and values have no second dimension.
    private static long[] Shape(ShadowFormat format, EmbeddingTable master) => format == ShadowFormat.Int8 ? [master.Count] : [master.Count, master.Dimension];

    // As NumPy writes it.
    private static string Descr(ShadowFormat format, int dimension) =>
        format == ShadowFormat.Int8 ? $"[('step', '<f4'), ('error', '<f4'), ('values', '|i1', ({dimension},))]" : NpyFile.Descr(ElementType.Float16);

    private static InvalidDataException Stale(string path, string problem) => new($"{path}: is no shadow of these rows: {problem}; make it again with 'mmesid shadow'");

    private static (long Bytes, long Ticks) State(string file)
    {
        var info = new FileInfo(file);
        return (info.Length, info.LastWriteTimeUtc.Ticks);
    }

    private static void CheckNote(EmbeddingTable master, string path)
    {
        if (!File.Exists(path))
            throw new FileNotFoundException($"{path}: no such file", path);
        string note = NotePath(path);
        if (!File.Exists(note))
            throw new FileNotFoundException($"{note}: no such file; it tells of which rows {path} is the shadow, make both with 'mmesid shadow'", note);
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(note));
            JsonElement root = document.RootElement;
            (long rows, long dimension) = (root.GetProperty("rows").GetInt64(), root.GetProperty("dimension").GetInt64());
            if ((rows, dimension) != (master.Count, master.Dimension))
                throw Stale(path, $"it was made of {rows} rows of dimension {dimension}, {master.Name} has {master.Count} of {master.Dimension}");
            JsonElement[] files = [.. root.GetProperty("files").EnumerateArray()];
            string[] now = [path, .. master.Files];
            if (files.Length != now.Length)
                throw Stale(path, $"it was made of {files.Length - 1} files, the table has {now.Length - 1}");
            for (int i = 0; i < now.Length; i++)
            {
                if (State(now[i]) != (files[i].GetProperty("bytes").GetInt64(), files[i].GetProperty("changed").GetInt64()))
                    throw Stale(path, $"{now[i]} has changed since it was made of {files[i].GetProperty("name").GetString()}");
            }
        }
        catch (Exception problem) when (problem is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw new InvalidDataException($"{note}: is no note of a shadow: {problem.Message}", problem);
        }
    }
}
