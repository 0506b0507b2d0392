using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MmeSid.Engine.Files;

/// <summary>Where a tensor lies in a GGUF file.</summary>
/// <param name="Type">How its values are stored.</param>
/// <param name="Shape">Sizes, outermost first, as in a .safetensors file: a weight is [outputs, inputs]. (The file itself lists them innermost first.)</param>
/// <param name="Offset">Bytes from the start of the file.</param>
/// <param name="Bytes">Length.</param>
public sealed record GgufEntry(GgufTensorType Type, IReadOnlyList<long> Shape, long Offset, long Bytes)
{
    /// <summary>Number of values.</summary>
    public long Count => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>
/// An opened GGUF file (version 2 or 3, little-endian): weights with metadata and tokenizer, or a LoRA adapter. Its head is read and checked against
/// the file's length at once, tensors are read when asked for. What opens here is a file that llama.cpp can parse. Reading is thread-safe.
/// </summary>
public sealed class GgufFile : IDisposable
{
    /// <summary>Key whose value, a power of two, tensors are aligned to in place of <see cref="DefaultAlignment"/>.</summary>
    public const string AlignmentKey = "general.alignment";

    /// <summary>Bytes that tensors are aligned to.</summary>
    public const int DefaultAlignment = 32;

    /// <summary>Longest name of a tensor in bytes; llama.cpp keeps 64 with the final zero.</summary>
    public const int MaximumNameBytes = 63;

    /// <summary>Largest number of dimensions of a tensor.</summary>
    public const int MaximumDimensions = 4;

    internal const uint Magic = 0x46554747;
    internal const uint Version = 3;

    private readonly SafeFileHandle _file;

    private GgufFile(string path, SafeFileHandle file, GgufMetadata metadata, Dictionary<string, GgufEntry> tensors)
    {
        Path = path;
        _file = file;
        Metadata = metadata;
        Tensors = tensors;
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <summary>The keys. A copy may be changed and written.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>The tensors by name, in the order of the file.</summary>
    public IReadOnlyDictionary<string, GgufEntry> Tensors { get; }

    /// <summary>Opens a file.</summary>
    /// <exception cref="InvalidDataException">The head is corrupt, or the file is shorter than its tensors.</exception>
    public static GgufFile Open(string path)
    {
        SafeFileHandle file = File.OpenHandle(path);
        try
        {
            var head = new Head(file, path);
            return new GgufFile(path, file, head.Metadata, head.Tensors);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The entry of a tensor.</summary>
    /// <exception cref="InvalidDataException">There is none of this name; the message lists some that exist.</exception>
    public GgufEntry Entry(string name)
    {
        if (Tensors.TryGetValue(name, out GgufEntry? entry))
            return entry;
        string known = string.Join(", ", Tensors.Keys.Order(StringComparer.Ordinal).Take(20));
        throw new InvalidDataException($"{Path}: has no tensor '{name}'; it has: {(known.Length == 0 ? "none" : known)}");
    }

    /// <summary>Reads stored bytes of a tensor.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="start">First byte within the tensor.</param>
    /// <param name="destination">Filled whole.</param>
    /// <exception cref="InvalidDataException">There is no such tensor.</exception>
    /// <exception cref="ArgumentException">The range ends beyond the tensor.</exception>
    public void ReadBytes(string name, long start, Span<byte> destination)
    {
        GgufEntry entry = Entry(name);
        if (start < 0 || start > entry.Bytes - destination.Length)
            throw new ArgumentException($"{Path}: tensor {name} has {entry.Bytes} bytes, not {destination.Length} from byte {start}", nameof(destination));
        const int bytesPerRead = 1 << 24;
        for (int done = 0; done < destination.Length; done += bytesPerRead)
            FileBlock.ReadExactly(_file, Path, entry.Offset + start + done, destination.Slice(done, Math.Min(bytesPerRead, destination.Length - done)));
    }

    /// <summary>Reads a whole tensor as float32: <see cref="GgufBlocks.Dequantize"/> of what is stored.</summary>
    /// <exception cref="InvalidDataException">There is no such tensor, its type cannot be read as numbers here, or it has more than 2³¹ − 1 values.</exception>
    public float[] ReadSingles(string name)
    {
        GgufEntry entry = Entry(name);
        if (!GgufBlocks.CanDequantize(entry.Type))
            throw new InvalidDataException($"{Path}: tensor {name} is {entry.Type}, expected {GgufBlocks.Dequantizable}");
        if (entry.Count > Array.MaxLength)
            throw new InvalidDataException($"{Path}: tensor {name} holds {entry.Count} values, at most {Array.MaxLength} can be read at once");
        var values = new float[entry.Count];
        const int blocksPerRead = 4096;
        int blockValues = entry.Type.BlockValues(), blockBytes = entry.Type.BlockBytes();
        byte[] bytes = new byte[Math.Min(entry.Bytes, (long)blocksPerRead * blockBytes)];
        for (long block = 0; block < entry.Bytes / blockBytes; block += blocksPerRead)
        {
            int blocks = (int)Math.Min(blocksPerRead, (entry.Bytes / blockBytes) - block);
            Span<byte> part = bytes.AsSpan(0, blocks * blockBytes);
            ReadBytes(name, block * blockBytes, part);
            GgufBlocks.Dequantize(entry.Type, part, values.AsSpan((int)(block * blockValues), blocks * blockValues));
        }
        return values;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>Reads the head front to back; every count is held against the bytes that are left before anything of that size is made.</summary>
    private sealed class Head
    {
        private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

        private readonly SafeFileHandle _file;
        private readonly string _path;
        private readonly long _length;
        private readonly byte[] _buffer = new byte[1 << 16];
        private long _position;
        private int _used, _filled;

        public Head(SafeFileHandle file, string path)
        {
            _file = file;
            _path = path;
            _length = RandomAccess.GetLength(file);
            ReadMagic();
            ulong tensors = UInt64("the number of tensors"), keys = UInt64("the number of keys");
            // A key takes at least a length, a letter, a type and a value; a tensor a length, a letter, two numbers, a size and an offset.
            if (keys > (ulong)Left / 14 || tensors > (ulong)Left / 29)
                throw Corrupt($"claims {keys} keys and {tensors} tensors, which do not fit the {Left} bytes that are left");
            for (ulong key = 0; key < keys; key++)
                ReadKey();
            long alignment = Alignment();
            for (ulong tensor = 0; tensor < tensors; tensor++)
                ReadTensor();
            Place(alignment);
        }

        public GgufMetadata Metadata { get; } = [];

        public Dictionary<string, GgufEntry> Tensors { get; } = new(StringComparer.Ordinal);

        private long Left => _length - _position;

        private InvalidDataException Corrupt(string what, Exception? inner = null)
            => new($"{_path}: {OneLine.Of(what)}", inner);

        private void ReadMagic()
        {
            if (_length < 24)
                throw Corrupt($"has {_length} bytes, a GGUF file has at least 24");
            uint magic = UInt32("the magic number");
            if (magic != Magic)
                throw Corrupt(BinaryPrimitives.ReverseEndianness(magic) == Magic ? "is a big-endian GGUF file, expected little-endian" : "is no GGUF file: it does not start with 'GGUF'");
            uint version = UInt32("the version");
            if (version is not (2 or Version))
                throw Corrupt(version == 0x03000000 ? "is a big-endian GGUF file, expected little-endian" : $"has GGUF version {version}, expected 2 or {Version}");
        }

        private void ReadKey()
        {
            string key = Text("a key", isName: true);
            if (key.Length == 0)
                throw Corrupt("has a key without a name");
            GgufValueType type = ValueType(key);
            object value;
            if (type != GgufValueType.Array)
            {
                value = Value(type, key);
            }
            else
            {
                GgufValueType element = ValueType(key);
                if (element == GgufValueType.Array)
                    throw Corrupt($"key '{key}' holds arrays in an array, which is not supported");
                ulong count = UInt64($"key '{key}'");
                if (count > (ulong)(Left / element.LeastBytes()) || count > (ulong)Array.MaxLength)
                    throw Corrupt($"key '{key}' claims {count} values, the file has {Left} bytes left");
                value = Values(element, (int)count, key);
            }
            if (Metadata.ContainsKey(key))
                throw Corrupt($"two keys are named '{key}'");
            Metadata.Add(key, value);
        }

        private GgufValueType ValueType(string key)
        {
            uint type = UInt32($"key '{key}'");
            return type <= (uint)GgufValueType.Float64 ? (GgufValueType)type : throw Corrupt($"key '{key}' has type {type}, which does not exist");
        }

        private object Value(GgufValueType type, string key)
        {
            string what = $"key '{key}'";
            return type switch
            {
                GgufValueType.UInt8 => Byte(what),
                GgufValueType.Int8 => (sbyte)Byte(what),
                GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(Take(2, what)),
                GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(Take(2, what)),
                GgufValueType.UInt32 => UInt32(what),
                GgufValueType.Int32 => (int)UInt32(what),
                GgufValueType.Float32 => BitConverter.UInt32BitsToSingle(UInt32(what)),
                GgufValueType.Boolean => Byte(what) != 0,
                GgufValueType.Text => Text(what, isName: false),
                GgufValueType.UInt64 => UInt64(what),
                GgufValueType.Int64 => (long)UInt64(what),
                _ => BitConverter.UInt64BitsToDouble(UInt64(what)),
            };
        }

        private Array Values(GgufValueType type, int count, string key)
        {
            string what = $"key '{key}'";
            switch (type)
            {
                case GgufValueType.Text:
                    // Grown as they come: a count that lies costs no more memory than the file is long.
                    var texts = new List<string>();
                    for (int i = 0; i < count; i++)
                        texts.Add(Text(what, isName: false));
                    return texts.ToArray();
                case GgufValueType.Boolean:
                    var flags = new bool[count];
                    for (int i = 0; i < count; i++)
                        flags[i] = Byte(what) != 0;
                    return flags;
                case GgufValueType.UInt8: return Numbers<byte>(count, what);
                case GgufValueType.Int8: return Numbers<sbyte>(count, what);
                case GgufValueType.UInt16: return Numbers<ushort>(count, what);
                case GgufValueType.Int16: return Numbers<short>(count, what);
                case GgufValueType.UInt32: return Numbers<uint>(count, what);
                case GgufValueType.Int32: return Numbers<int>(count, what);
                case GgufValueType.Float32: return Numbers<float>(count, what);
                case GgufValueType.UInt64: return Numbers<ulong>(count, what);
                case GgufValueType.Int64: return Numbers<long>(count, what);
                default: return Numbers<double>(count, what);
            }
        }

        private T[] Numbers<T>(int count, string what)
            where T : unmanaged
        {
            var values = new T[count];
            Copy(MemoryMarshal.AsBytes(values.AsSpan()), what);
            return values;
        }

        private long Alignment()
        {
            if (!Metadata.TryGetValue(AlignmentKey, out object? value))
                return DefaultAlignment;
            if (value is not uint alignment || alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > 1 << 30)
                throw Corrupt($"key '{AlignmentKey}' is {value}, expected a power of two as a 32-bit unsigned integer");
            return alignment;
        }

        private void ReadTensor()
        {
            string name = Text("the name of a tensor", isName: true);
            int bytes = Encoding.UTF8.GetByteCount(name);
            if (bytes is 0 or > MaximumNameBytes)
                throw Corrupt($"a tensor has a name of {bytes} bytes, expected 1 to {MaximumNameBytes}");
            string what = $"tensor '{name}'";
            uint dimensions = UInt32(what);
            if (dimensions > MaximumDimensions)
                throw Corrupt($"{what} has {dimensions} dimensions, at most {MaximumDimensions} are supported");
            long[] shape = new long[dimensions];
            for (int i = shape.Length - 1; i >= 0; i--)
            {
                ulong size = UInt64(what);
                if (size is 0 or > long.MaxValue)
                    throw Corrupt($"{what} has a size of {size}, expected 1 to 2⁶³ − 1");
                shape[i] = (long)size;
            }
            uint number = UInt32(what);
            var type = (GgufTensorType)number;
            if (number > int.MaxValue || !type.IsKnown())
                throw Corrupt($"{what} has the type {number}, which is not supported");
            if (type.ByteCount(shape) is not { } length)
            {
                throw Corrupt(shape.Length > 0 && shape[^1] % type.BlockValues() != 0
                    ? $"{what} has rows of {shape[^1]} values, expected a multiple of {type.BlockValues()} for {type}"
                    : $"{what} has shape [{string.Join(", ", shape)}], which is too large");
            }
            ulong offset = UInt64(what);
            if (offset > long.MaxValue)
                throw Corrupt($"{what} starts at byte {offset}, which is too large");
            if (!Tensors.TryAdd(name, new GgufEntry(type, shape, (long)offset, length)))
                throw Corrupt($"two tensors are named '{name}'");
        }

        /// <summary>Tensors follow the head in order, each at the next multiple of the alignment: llama.cpp accepts nothing else.</summary>
        private void Place(long alignment)
        {
            long Aligned(long position) => (position + alignment - 1) / alignment * alignment;
            long start = Aligned(_position), next = 0;
            foreach ((string name, GgufEntry entry) in Tensors.ToArray())
            {
                if (entry.Offset != next)
                    throw Corrupt($"tensor '{name}' starts at byte {entry.Offset} of the data, expected {next}: tensors overlap or leave a gap");
                if (entry.Bytes > _length - start - next)
                    throw Corrupt($"tensor '{name}' ends at byte {(Int128)start + next + entry.Bytes}, the file at {_length}: truncated");
                Tensors[name] = entry with { Offset = start + entry.Offset };
                next = Aligned(next + entry.Bytes);
            }
        }

        private byte Byte(string what) => Take(1, what)[0];

        private uint UInt32(string what) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, what));

        private ulong UInt64(string what) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, what));

        private string Text(string what, bool isName)
        {
            ulong length = UInt64(what);
            if (length > (ulong)Left || length > (ulong)Array.MaxLength)
                throw Corrupt($"{what} claims a text of {length} bytes, the file has {Left} left");
            byte[]? large = length > (ulong)_buffer.Length ? new byte[length] : null;
            ReadOnlySpan<byte> bytes;
            if (large is null)
            {
                bytes = Take((int)length, what);
            }
            else
            {
                Copy(large, what);
                bytes = large;
            }
            try
            {
                return s_strict.GetString(bytes);
            }
            catch (DecoderFallbackException exception)
            {
                throw Corrupt($"{what} {(isName ? "is" : "holds a text that is")} no valid UTF-8", exception);
            }
        }

        /// <summary>The next few bytes, valid until the next call.</summary>
        private ReadOnlySpan<byte> Take(int count, string what)
        {
            if (count > Left)
                throw Corrupt($"ends within {what}: truncated");
            if (count > _filled - _used)
            {
                _used = 0;
                _filled = FileBlock.ReadUpTo(_file, _position, _buffer);
                if (_filled < count)
                    throw Corrupt($"ends within {what}: truncated");
            }
            ReadOnlySpan<byte> bytes = _buffer.AsSpan(_used, count);
            _used += count;
            _position += count;
            return bytes;
        }

        private void Copy(Span<byte> destination, string what)
        {
            while (!destination.IsEmpty)
            {
                int part = Math.Min(destination.Length, _buffer.Length);
                Take(part, what).CopyTo(destination);
                destination = destination[part..];
            }
        }
    }
}
