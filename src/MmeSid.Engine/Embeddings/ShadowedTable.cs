using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// A table of float32 rows with its shadow: a .npy file of the same rows rounded to float16, half as many bytes to read and to hand to a GPU. An encoder finds
/// most codes in the shadow, with proof, and reads the rows themselves where it proves nothing (<see cref="IEncoder.EncodeShadow"/>).
/// The proof rests on the shadow being the rounding of the rows. A note beside it says which files it was made of; a shadow is refused when one of them, or the
/// shadow, has another size or time of change than then, and when a row that is compared is not its own rounding: <see cref="kComparedRows"/>
/// of every block that is read, and all that the encoder leaves open. What it cannot see is a file changed behind the system's back in rows that are not compared.
/// </summary>
public sealed class ShadowedTable : EmbeddingTable
{
    /// <summary>Rows of a block that are compared with the rows they stand for, evenly spread over it.</summary>
    public const int kComparedRows = 16;

    private const int kValuesPerBlock = 1 << 20;

    private readonly EmbeddingTable _master;
    private readonly string _path;
    private readonly SafeFileHandle _file;
    private readonly long _dataOffset;

    private ShadowedTable(EmbeddingTable master, string path, SafeFileHandle file, long dataOffset)
    {
        _master = master;
        _path = path;
        _file = file;
        _dataOffset = dataOffset;
    }

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
            NpyHeader header = NpyFile.ReadHeader(file, path);
            if (header.Type != ElementType.Float16 || header.FortranOrder || !header.Shape.SequenceEqual([master.Count, master.Dimension]))
                throw new InvalidDataException($"{path}: holds {header.Type} {NpyFile.ShapeText([.. header.Shape])}, expected Float16 ({master.Count}, {master.Dimension}) as {master.Name} has");
            return new ShadowedTable(master, path, file, header.DataOffset);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Writes the shadow of a table. Its note follows with <see cref="WriteNote"/> when the file has its name.</summary>
    /// <param name="master">The rows, from files.</param>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="written">Called with the number of rows after each block.</param>
    /// <param name="cancellation">Ends the work between blocks.</param>
    /// <exception cref="InvalidDataException">The values take 16 bits already, or a value is not finite.</exception>
    public static void Write(EmbeddingTable master, Stream stream, Action<int> written, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(master);
        ArgumentNullException.ThrowIfNull(written);
        if (master.Narrow is not null)
            throw new InvalidDataException($"{master.Name}: values take 16 bits already and travel as they are");
        var writer = new NpyWriter<Half>(stream, master.Count, master.Dimension);
        int block = (int)Math.Clamp(kValuesPerBlock / master.Dimension, 1, Math.Max(1, master.Count));
        var values = new float[block * master.Dimension];
        var halves = new Half[values.Length];
        for (long first = 0; first < master.Count; first += block)
        {
            cancellation.ThrowIfCancellationRequested();
            int rows = (int)Math.Min(block, master.Count - first), count = rows * master.Dimension;
            master.Read(first, rows, values.AsSpan(0, count));
            TensorPrimitives.ConvertToHalf(values.AsSpan(0, count), halves);
            writer.Write(halves.AsSpan(0, count));
            written(rows);
        }
        writer.Complete();
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
    /// <param name="destination">[rows, d] bits of float16.</param>
    /// <exception cref="InvalidDataException">A row is not the rounding of its row, or the file was cut.</exception>
    public void ReadShadow(long firstRow, int rows, Span<ushort> destination)
    {
        int d = Dimension;
        FileBlock.ReadExactly(_file, _path, _dataOffset + firstRow * d * sizeof(ushort), MemoryMarshal.AsBytes(destination[..(rows * d)]));
        var row = new float[d];
        int compared = Math.Min(rows, kComparedRows);
        for (int i = 0; i < compared; i++)
        {
            // The first and the last row among them.
            int at = compared == 1 ? 0 : (int)((long)i * (rows - 1) / (compared - 1));
            ReadMaster(firstRow + at, destination.Slice(at * d, d), row);
        }
    }

    /// <summary>Reads a row itself, and compares it with its shadow.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="shadow">[d] bits of float16.</param>
    /// <param name="destination">[d].</param>
    /// <exception cref="InvalidDataException">The shadow is not the rounding of the row, or a value of the row is not finite.</exception>
    public void ReadMaster(long row, ReadOnlySpan<ushort> shadow, Span<float> destination)
    {
        _master.Read(row, 1, destination);
        for (int i = 0; i < destination.Length; i++)
        {
            if (BitConverter.HalfToUInt16Bits((Half)destination[i]) != shadow[i])
            {
                throw Stale(_path, $"row {row}, column {i} is {(float)BitConverter.UInt16BitsToHalf(shadow[i]):R}, "
                    + $"{_master.Place(row)} has {destination[i]:R} there, which rounds to {(float)(Half)destination[i]:R}");
            }
        }
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
