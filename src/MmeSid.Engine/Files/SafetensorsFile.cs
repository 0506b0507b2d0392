using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;

namespace MmeSid.Engine.Files;

/// <summary>Where a tensor lies in a <c>.safetensors</c> file.</summary>
/// <param name="Type">Value type.</param>
/// <param name="Shape">Sizes; empty for a scalar.</param>
/// <param name="Offset">Bytes from the start of the file.</param>
/// <param name="Bytes">Length, equal to the product of the sizes and the size of a value.</param>
public sealed record SafetensorsEntry(ElementType Type, IReadOnlyList<long> Shape, long Offset, long Bytes);

/// <summary>A tensor to be written.</summary>
public sealed class SafetensorsTensor
{
    private readonly Action<Stream> _write;

    /// <summary>A tensor whose values are fetched when they are written, so that no more of them than a block need be in memory.</summary>
    /// <param name="name">Unique name.</param>
    /// <param name="type">Value type.</param>
    /// <param name="shape">Sizes.</param>
    /// <param name="write">Writes the little-endian values, row-major, as many bytes as type and shape take.</param>
    /// <exception cref="ArgumentException">A size is negative.</exception>
    public SafetensorsTensor(string name, ElementType type, IReadOnlyList<long> shape, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(write);
        Length = type.ByteCount([.. shape]) ?? throw new ArgumentException($"tensor {name}: shape [{string.Join(", ", shape)}] is none", nameof(shape));
        (Name, Type, Shape, _write) = (name, type, shape, write);
    }

    /// <summary>A tensor from its little-endian bytes (the way to write bfloat16).</summary>
    /// <exception cref="ArgumentException">The bytes do not fit the shape.</exception>
    public SafetensorsTensor(string name, ElementType type, IReadOnlyList<long> shape, ReadOnlyMemory<byte> bytes)
        : this(name, type, shape, stream => stream.Write(bytes.Span))
    {
        if (Length != bytes.Length)
            throw new ArgumentException($"tensor {name}: shape [{string.Join(", ", shape)}] of {type} does not take {bytes.Length} bytes", nameof(bytes));
    }

    /// <summary>Unique name.</summary>
    public string Name { get; }

    /// <summary>Value type.</summary>
    public ElementType Type { get; }

    /// <summary>Sizes.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>Bytes of its values.</summary>
    public long Length { get; }

    /// <summary>Writes the little-endian values.</summary>
    internal void WriteTo(Stream stream) => _write(stream);

    /// <summary>A tensor of values, copied.</summary>
    public static SafetensorsTensor From<T>(string name, ReadOnlySpan<T> values, params ReadOnlySpan<long> shape)
        where T : unmanaged
        => new(name, ElementTypes.Of<T>(), shape.ToArray(), MemoryMarshal.AsBytes(values).ToArray());
}

/// <summary>
/// An opened <c>.safetensors</c> file: its head is read and checked against the file's length at once, tensors are read when asked for.
/// Reading is thread-safe.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    // The reference implementation refuses heads above 100 MB; the head is also never longer than the file.
    private const long kMaximumHeaderBytes = 100_000_000;
    private const string kMetadataKey = "__metadata__";

    private readonly SafeFileHandle _file;

    private SafetensorsFile(string path, SafeFileHandle file, Dictionary<string, SafetensorsEntry> tensors, Dictionary<string, string> metadata)
    {
        Path = path;
        _file = file;
        Tensors = tensors;
        Metadata = metadata;
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors { get; }

    /// <summary>Free texts of the head, perhaps none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file.</summary>
    /// <exception cref="InvalidDataException">The head is corrupt, or does not describe exactly the bytes of the file.</exception>
    public static SafetensorsFile Open(string path)
    {
        SafeFileHandle file = File.OpenHandle(path);
        try
        {
            (Dictionary<string, SafetensorsEntry> tensors, Dictionary<string, string> metadata) = ReadHeader(file, path);
            return new SafetensorsFile(path, file, tensors, metadata);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Reads a whole tensor of exactly the type <typeparamref name="T"/>.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, it has another type, or more than 2³¹ − 1 values.</exception>
    public T[] Read<T>(string name)
        where T : unmanaged
    {
        SafetensorsEntry entry = Entry(name);
        ElementType expected = ElementTypes.Of<T>();
        if (entry.Type != expected)
            throw new InvalidDataException($"{Path}: tensor {name} is {entry.Type}, expected {expected}");
        long count = entry.Bytes / expected.Size();
        if (count > Array.MaxLength)
            throw new InvalidDataException($"{Path}: tensor {name} holds {count} values, at most {Array.MaxLength} can be read at once");
        var values = new T[count];
        ReadBytes(entry, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    /// <summary>Reads the little-endian values of a whole tensor of any type.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor.</exception>
    /// <exception cref="ArgumentException">The destination has another length.</exception>
    public void ReadBytes(string name, Span<byte> destination)
    {
        SafetensorsEntry entry = Entry(name);
        if (entry.Bytes != destination.Length)
            throw new ArgumentException($"{Path}: tensor {name} has {entry.Bytes} bytes, the destination {destination.Length}", nameof(destination));
        ReadBytes(entry, destination);
    }

    /// <summary>Reads some of the little-endian bytes of a tensor of any type.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="start">First byte within the tensor.</param>
    /// <param name="destination">Filled whole.</param>
    /// <exception cref="InvalidDataException">There is no such tensor.</exception>
    /// <exception cref="ArgumentException">The range ends beyond the tensor.</exception>
    public void ReadBytes(string name, long start, Span<byte> destination)
    {
        SafetensorsEntry entry = Entry(name);
        if (start < 0 || start > entry.Bytes - destination.Length)
            throw new ArgumentException($"{Path}: tensor {name} has {entry.Bytes} bytes, not {destination.Length} from byte {start}", nameof(destination));
        ReadBytes(entry with { Offset = entry.Offset + start }, destination);
    }

    /// <summary>The entry of a tensor.</summary>
    /// <exception cref="InvalidDataException">There is none of this name; the message lists those that exist.</exception>
    public SafetensorsEntry Entry(string name)
    {
        if (Tensors.TryGetValue(name, out SafetensorsEntry? entry))
            return entry;
        string known = string.Join(", ", Tensors.Keys.Order(StringComparer.Ordinal).Take(20));
        throw new InvalidDataException($"{Path}: has no tensor '{name}'; it has: {(known.Length == 0 ? "none" : known)}");
    }

    /// <summary>Writes a file. The same tensors in the same order give the same bytes; values start at a multiple of 8.</summary>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="tensors">Uniquely named.</param>
    /// <param name="metadata">Free texts, or null.</param>
    /// <exception cref="ArgumentException">A name occurs twice.</exception>
    public static void Write(Stream stream, IReadOnlyList<SafetensorsTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(tensors);
        var names = new HashSet<string>(StringComparer.Ordinal) { kMetadataKey };
        using var head = new MemoryStream();
        using (var json = new Utf8JsonWriter(head))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject(kMetadataKey);
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long position = 0;
            foreach (SafetensorsTensor tensor in tensors)
            {
                if (!names.Add(tensor.Name))
                    throw new ArgumentException($"two tensors are named {tensor.Name}", nameof(tensors));
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", TypeName(tensor.Type));
                json.WriteStartArray("shape");
                foreach (long size in tensor.Shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(position);
                position += tensor.Length;
                json.WriteNumberValue(position);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (head.Length % 8 != 0)
            head.WriteByte((byte)' ');
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, head.Length);
        stream.Write(length);
        stream.Write(head.GetBuffer().AsSpan(0, (int)head.Length));
        foreach (SafetensorsTensor tensor in tensors)
            tensor.WriteTo(stream);
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void ReadBytes(SafetensorsEntry entry, Span<byte> destination)
    {
        const int bytesPerRead = 1 << 24;
        for (int start = 0; start < destination.Length; start += bytesPerRead)
            FileBlock.ReadExactly(_file, Path, entry.Offset + start, destination.Slice(start, Math.Min(bytesPerRead, destination.Length - start)));
    }

    private static (Dictionary<string, SafetensorsEntry> Tensors, Dictionary<string, string> Metadata) ReadHeader(SafeFileHandle file, string path)
    {
        long length = RandomAccess.GetLength(file);
        Span<byte> prefix = stackalloc byte[8];
        if (FileBlock.ReadUpTo(file, 0, prefix) < 8)
            throw new InvalidDataException($"{path}: has {length} bytes, a .safetensors file has at least 8");
        ulong headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (headerBytes > (ulong)(length - 8) || headerBytes > kMaximumHeaderBytes)
            throw new InvalidDataException($"{path}: the head should take {headerBytes} bytes, the file has {length - 8} left and at most {kMaximumHeaderBytes} are expected");
        byte[] text = new byte[headerBytes];
        FileBlock.ReadExactly(file, path, 8, text);
        long dataOffset = 8 + (long)headerBytes;
        long dataBytes = length - dataOffset;
        var tensors = new Dictionary<string, SafetensorsEntry>(StringComparer.Ordinal);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            // Texts that are no valid UTF-8 make the JSON reader throw InvalidOperationException when they are asked for; say so here.
            _ = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetCharCount(text);
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 8 });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new InvalidDataException($"{path}: the head is no JSON object");
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (property.Name == kMetadataKey)
                {
                    ReadMetadata(property.Value, path, metadata);
                    continue;
                }
                SafetensorsEntry entry = ReadEntry(property.Name, property.Value, path, dataOffset, dataBytes);
                if (!tensors.TryAdd(property.Name, entry))
                    throw new InvalidDataException($"{path}: two tensors are named '{property.Name}'");
            }
        }
        catch (Exception exception) when (exception is JsonException or DecoderFallbackException or InvalidOperationException)
        {
            throw new InvalidDataException($"{path}: the head is no valid JSON", exception);
        }
        CheckLayout(tensors, path, dataOffset, length);
        return (tensors, metadata);
    }

    private static void ReadMetadata(JsonElement element, string path, Dictionary<string, string> metadata)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException($"{path}: {kMetadataKey} is no JSON object");
        foreach (JsonProperty text in element.EnumerateObject())
        {
            if (text.Value.ValueKind != JsonValueKind.String)
                throw new InvalidDataException($"{path}: {kMetadataKey} holds something else than texts");
            metadata[text.Name] = text.Value.GetString()!;
        }
    }

    private static SafetensorsEntry ReadEntry(string name, JsonElement element, string path, long dataOffset, long dataBytes)
    {
        InvalidDataException Corrupt(string what) => new($"{path}: tensor '{name}' {what}");
        if (element.ValueKind != JsonValueKind.Object
            || !element.TryGetProperty("dtype", out JsonElement dtype) || dtype.ValueKind != JsonValueKind.String
            || !element.TryGetProperty("shape", out JsonElement shapeElement) || shapeElement.ValueKind != JsonValueKind.Array
            || !element.TryGetProperty("data_offsets", out JsonElement offsets) || offsets.ValueKind != JsonValueKind.Array || offsets.GetArrayLength() != 2)
        {
            throw Corrupt("lacks a proper dtype, shape or data_offsets");
        }
        ElementType type = ParseType(dtype.GetString()!) ?? throw Corrupt($"has the type {dtype.GetString()}, which is not supported");
        var shape = new long[shapeElement.GetArrayLength()];
        for (int i = 0; i < shape.Length; i++)
        {
            if (shapeElement[i].ValueKind != JsonValueKind.Number || !shapeElement[i].TryGetInt64(out shape[i]) || shape[i] < 0)
                throw Corrupt("has a shape that is no list of sizes");
        }
        if (offsets[0].ValueKind != JsonValueKind.Number || offsets[1].ValueKind != JsonValueKind.Number
            || !offsets[0].TryGetInt64(out long begin) || !offsets[1].TryGetInt64(out long end) || begin < 0 || end < begin)
        {
            throw Corrupt("has data_offsets that are no range");
        }
        if (end > dataBytes)
            throw Corrupt($"ends at byte {end} of the data, the file holds {dataBytes}: truncated");
        if (type.ByteCount(shape) != end - begin)
            throw Corrupt($"has shape [{string.Join(", ", shape)}] of {type}, which does not take the {end - begin} bytes of its data_offsets");
        return new SafetensorsEntry(type, shape, dataOffset + begin, end - begin);
    }

    /// <summary>The format demands that tensors cover the data without gaps and overlaps.</summary>
    private static void CheckLayout(Dictionary<string, SafetensorsEntry> tensors, string path, long dataOffset, long length)
    {
        long position = dataOffset;
        foreach ((string name, SafetensorsEntry entry) in tensors.OrderBy(pair => pair.Value.Offset).ThenBy(pair => pair.Value.Bytes))
        {
            if (entry.Offset != position)
                throw new InvalidDataException($"{path}: tensor '{name}' starts at byte {entry.Offset}, expected {position}: tensors overlap or leave a gap");
            position += entry.Bytes;
        }
        if (position != length)
            throw new InvalidDataException($"{path}: too long: its tensors end at byte {position}, the file at {length}");
    }

    private static string TypeName(ElementType type) => type switch
    {
        ElementType.Boolean => "BOOL",
        ElementType.UInt8 => "U8",
        ElementType.Int8 => "I8",
        ElementType.UInt16 => "U16",
        ElementType.Int16 => "I16",
        ElementType.UInt32 => "U32",
        ElementType.Int32 => "I32",
        ElementType.UInt64 => "U64",
        ElementType.Int64 => "I64",
        ElementType.Float16 => "F16",
        ElementType.BFloat16 => "BF16",
        ElementType.Float32 => "F32",
        _ => "F64",
    };

    private static ElementType? ParseType(string name)
    {
        foreach (ElementType type in Enum.GetValues<ElementType>())
        {
            if (TypeName(type) == name)
                return type;
        }
        return null;
    }
}
