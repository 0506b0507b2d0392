using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MmeSid.Engine.Files;

/// <summary>What the head of a <c>.npy</c> file says.</summary>
/// <param name="Type">Type of the values, little-endian.</param>
/// <param name="FortranOrder">True when the first index varies fastest.</param>
/// <param name="Shape">Sizes, none negative; empty for a scalar.</param>
/// <param name="DataOffset">Bytes before the first value.</param>
/// <param name="DataBytes">Bytes of all values; the file holds exactly these after the head.</param>
public sealed record NpyHeader(ElementType Type, bool FortranOrder, IReadOnlyList<long> Shape, long DataOffset, long DataBytes);

/// <summary>What the head of a <c>.npy</c> file of any kind of values says.</summary>
/// <param name="Descr">The Python literal that tells their kind.</param>
/// <param name="FortranOrder">True when the first index varies fastest.</param>
/// <param name="Shape">Sizes, none negative.</param>
/// <param name="DataOffset">Bytes before the first value.</param>
/// <param name="DataBytes">Bytes that follow.</param>
internal sealed record NpyHead(string Descr, bool FortranOrder, long[] Shape, long DataOffset, long DataBytes);

/// <summary>A whole array read from a <c>.npy</c> file.</summary>
/// <param name="Shape">Sizes.</param>
/// <param name="Values">All values, row-major.</param>
public sealed record NpyArray<T>(IReadOnlyList<long> Shape, T[] Values)
    where T : unmanaged;

/// <summary>
/// NumPy's <c>.npy</c> format, versions 1 to 3: reading of heads and small arrays, writing. Embedding tables stream their rows
/// (<see cref="Embeddings.EmbeddingTable"/>). Big-endian, object and structured arrays are refused, but for shadows
/// (<see cref="Embeddings.ShadowedTable"/>); so is a file that is shorter or longer than its shape says.
/// </summary>
public static class NpyFile
{
    // NumPy itself refuses heads of more than 10,000 characters; this leaves room and bounds what a corrupt file can make us allocate.
    private const int kMaximumHeaderBytes = 1 << 20;
    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Reads and checks the head of a file.</summary>
    /// <exception cref="InvalidDataException">The file is no .npy file, corrupt, of an unsupported kind, or of the wrong length.</exception>
    public static NpyHeader ReadHeader(string path)
    {
        using SafeFileHandle file = File.OpenHandle(path);
        return ReadHeader(file, path);
    }

    /// <summary>Reads a whole array of exactly the type <typeparamref name="T"/>, C order.</summary>
    /// <exception cref="InvalidDataException">As <see cref="ReadHeader(string)"/>; or the type is another, the order is Fortran's, or there are more than 2³¹ − 1 values.</exception>
    public static NpyArray<T> Read<T>(string path)
        where T : unmanaged
    {
        using SafeFileHandle file = File.OpenHandle(path);
        NpyHeader header = ReadHeader(file, path);
        ElementType expected = ElementTypes.Of<T>();
        if (header.Type != expected)
            throw new InvalidDataException($"{path}: values are {header.Type}, expected {expected}");
        RefuseFortranOrder(header, path);
        long count = header.DataBytes / expected.Size();
        if (count > Array.MaxLength)
            throw new InvalidDataException($"{path}: holds {count} values, at most {Array.MaxLength} can be read at once");
        var values = new T[count];
        FileBlock.ReadExactly(file, path, header.DataOffset, MemoryMarshal.AsBytes(values.AsSpan()));
        return new NpyArray<T>(header.Shape, values);
    }

    /// <summary>Writes an array with its head at the stream's position.</summary>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="values">All values, row-major.</param>
    /// <param name="shape">Sizes whose product is the number of values.</param>
    /// <exception cref="ArgumentException">Shape and number of values differ.</exception>
    public static void Write<T>(Stream stream, ReadOnlySpan<T> values, params ReadOnlySpan<long> shape)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(stream);
        ElementType type = ElementTypes.Of<T>();
        if (type.ByteCount(shape) != (long)values.Length * type.Size())
            throw new ArgumentException($"shape {ShapeText(shape)} does not hold {values.Length} values", nameof(shape));
        WriteHeader(stream, type, shape);
        const int valuesPerWrite = 1 << 20;
        for (int start = 0; start < values.Length; start += valuesPerWrite)
            stream.Write(MemoryMarshal.AsBytes(values.Slice(start, Math.Min(valuesPerWrite, values.Length - start))));
    }

    /// <summary>Writes a version 1 head, padded so that the values start at a multiple of 64.</summary>
    internal static void WriteHeader(Stream stream, ElementType type, ReadOnlySpan<long> shape) => WriteHeader(stream, Descr(type), shape);

    /// <summary>The same for values of any kind.</summary>
    /// <param name="stream">Any writable stream.</param>
    /// <param name="descr">The Python literal that NumPy tells their kind by.</param>
    /// <param name="shape">Sizes.</param>
    internal static void WriteHeader(Stream stream, string descr, ReadOnlySpan<long> shape)
    {
        string dictionary = $"{{'descr': {descr}, 'fortran_order': False, 'shape': {ShapeText(shape)}, }}";
        int unpadded = Magic.Length + 4 + dictionary.Length + 1;
        int total = (unpadded + 63) / 64 * 64;
        byte[] head = new byte[total];
        Magic.CopyTo(head);
        head[6] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(head.AsSpan(8), checked((ushort)(total - 10)));
        head.AsSpan(10).Fill((byte)' ');
        Encoding.ASCII.GetBytes(dictionary, head.AsSpan(10));
        head[^1] = (byte)'\n';
        stream.Write(head);
    }

    /// <summary>The Python literal that NumPy tells a type by.</summary>
    internal static string Descr(ElementType type) => type switch
    {
        ElementType.Boolean => "'|b1'",
        ElementType.UInt8 => "'|u1'",
        ElementType.Int8 => "'|i1'",
        ElementType.UInt16 => "'<u2'",
        ElementType.Int16 => "'<i2'",
        ElementType.UInt32 => "'<u4'",
        ElementType.Int32 => "'<i4'",
        ElementType.UInt64 => "'<u8'",
        ElementType.Int64 => "'<i8'",
        ElementType.Float16 => "'<f2'",
        ElementType.Float32 => "'<f4'",
        ElementType.Float64 => "'<f8'",
        _ => throw new ArgumentException($"NumPy has no {type}", nameof(type)),
    };

    internal static NpyHeader ReadHeader(SafeFileHandle file, string path)
    {
        NpyHead head = ReadHead(file, path);
        if (head.Descr.StartsWith('['))
            throw new InvalidDataException($"{path}: holds a structured array, expected plain numbers");
        ElementType type = ParseDescr(head.Descr[1..^1], path);
        long bytes = type.ByteCount(head.Shape) ?? throw new InvalidDataException($"{path}: shape {ShapeText(head.Shape)} is too large");
        CheckLength(head, bytes, $"{type}", path);
        return new NpyHeader(type, head.FortranOrder, head.Shape, head.DataOffset, bytes);
    }

    /// <summary>Refuses a file that holds more or less than its head says.</summary>
    /// <exception cref="InvalidDataException">It does.</exception>
    internal static void CheckLength(NpyHead head, long bytes, string kind, string path)
    {
        if (head.DataBytes != bytes)
            throw new InvalidDataException($"{path}: {(head.DataBytes < bytes ? "truncated" : "too long")}: shape {ShapeText(head.Shape)} of {kind} takes {bytes} bytes, the file holds {head.DataBytes}");
    }

    /// <summary>The head alone, whatever the kind of the values.</summary>
    /// <exception cref="InvalidDataException">The file is no .npy file, or its head is corrupt.</exception>
    internal static NpyHead ReadHead(SafeFileHandle file, string path)
    {
        long length = RandomAccess.GetLength(file);
        Span<byte> start = stackalloc byte[12];
        int got = FileBlock.ReadUpTo(file, 0, start);
        if (got < 10 || !start.StartsWith(Magic))
            throw new InvalidDataException($"{path}: does not start as a .npy file does");
        int major = start[6];
        if (major is < 1 or > 3)
            throw new InvalidDataException($"{path}: .npy version {major}.{start[7]}, expected 1, 2 or 3");
        int prefix = major == 1 ? 10 : 12;
        if (got < prefix)
            throw new InvalidDataException($"{path}: ends inside the head of the .npy format");
        uint headerBytes = major == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(start[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(start[8..]);
        if (headerBytes > length - prefix)
            throw new InvalidDataException($"{path}: the head should take {headerBytes} bytes, the file has {length - prefix} left");
        if (headerBytes > kMaximumHeaderBytes)
            throw new InvalidDataException($"{path}: the head takes {headerBytes} bytes, at most {kMaximumHeaderBytes} are expected");
        byte[] text = new byte[headerBytes];
        FileBlock.ReadExactly(file, path, prefix, text);
        var dictionary = new Dictionary(major == 3 ? Encoding.UTF8.GetString(text) : Encoding.Latin1.GetString(text), path);
        (string descr, bool fortran, long[] shape) = dictionary.Parse();
        long dataOffset = prefix + headerBytes;
        return new NpyHead(descr, fortran, shape, dataOffset, length - dataOffset);
    }

    internal static void RefuseFortranOrder(NpyHeader header, string path)
    {
        if (header.FortranOrder)
            throw new InvalidDataException($"{path}: values are in Fortran (column) order, expected C (row) order; save it with numpy.ascontiguousarray");
    }

    internal static string ShapeText(ReadOnlySpan<long> shape)
        => shape.Length == 1 ? $"({shape[0]},)" : $"({string.Join(", ", shape.ToArray())})";

    private static ElementType ParseDescr(string descr, string path)
    {
        if (descr.StartsWith('>'))
            throw new InvalidDataException($"{path}: values are big-endian ({descr}), expected little-endian");
        return descr.TrimStart('<', '|', '=') switch
        {
            "b1" or "?" => ElementType.Boolean,
            "u1" or "B" => ElementType.UInt8,
            "i1" or "b" => ElementType.Int8,
            "u2" => ElementType.UInt16,
            "i2" => ElementType.Int16,
            "u4" => ElementType.UInt32,
            "i4" => ElementType.Int32,
            "u8" => ElementType.UInt64,
            "i8" => ElementType.Int64,
            "f2" => ElementType.Float16,
            "f4" => ElementType.Float32,
            "f8" => ElementType.Float64,
            "O" => throw new InvalidDataException($"{path}: holds Python objects, expected numbers"),
            _ => throw new InvalidDataException($"{path}: values of type '{Shorten(descr)}', expected f2, f4, f8 or an integer type"),
        };
    }

    /// <summary>At most 40 characters of text that came out of a file, without control characters.</summary>
    private static string Shorten(string text)
    {
        string clean = new(text.Take(40).Select(c => char.IsControl(c) ? '?' : c).ToArray());
        return text.Length > 40 ? clean + "…" : clean;
    }

    /// <summary>Parser of the one Python literal that a head holds: a dictionary of descr, fortran_order and shape.</summary>
    private ref struct Dictionary(string text, string path)
    {
        private int _position;

        public (string Descr, bool Fortran, long[] Shape) Parse()
        {
            string? descr = null;
            bool? fortran = null;
            long[]? shape = null;
            Expect('{');
            while (!TryTake('}'))
            {
                string key = QuotedString();
                Expect(':');
                switch (key)
                {
                    case "descr" when descr is null:
                        descr = Peek() == '[' ? Fields() : $"'{QuotedString()}'";
                        break;
                    case "fortran_order" when fortran is null:
                        fortran = Boolean();
                        break;
                    case "shape" when shape is null:
                        shape = Tuple();
                        break;
                    default:
                        throw Corrupt($"has the unexpected key '{Shorten(key)}'");
                }
                if (!TryTake(','))
                {
                    Expect('}');
                    break;
                }
            }
            SkipSpace();
            if (_position != text.Length)
                throw Corrupt("goes on after its closing brace");
            return (descr ?? throw Corrupt("lacks descr"), fortran ?? throw Corrupt("lacks fortran_order"), shape ?? throw Corrupt("lacks shape"));
        }

        private string QuotedString()
        {
            char quote = Peek();
            if (quote is not ('\'' or '"'))
                throw Corrupt($"lacks a quoted text at character {_position}");
            int end = text.IndexOf(quote, _position + 1);
            if (end < 0)
                throw Corrupt("has an unclosed quote");
            string value = text[(_position + 1)..end];
            _position = end + 1;
            return value;
        }

        // The fields of a structured array, as they are written.
        private string Fields()
        {
            int start = _position;
            for (int depth = 0; _position < text.Length; _position++)
            {
                depth += text[_position] == '[' ? 1 : text[_position] == ']' ? -1 : 0;
                if (depth == 0)
                    return text[start..++_position];
            }
            throw Corrupt("has an unclosed bracket");
        }

        private bool Boolean()
        {
            SkipSpace();
            ReadOnlySpan<char> rest = text.AsSpan(_position);
            if (rest.StartsWith("True", StringComparison.Ordinal))
            {
                _position += 4;
                return true;
            }
            if (!rest.StartsWith("False", StringComparison.Ordinal))
                throw Corrupt("has a fortran_order that is neither True nor False");
            _position += 5;
            return false;
        }

        private long[] Tuple()
        {
            // NumPy arrays have at most 64 dimensions.
            var sizes = new List<long>();
            Expect('(');
            while (!TryTake(')'))
            {
                SkipSpace();
                int start = _position;
                while (_position < text.Length && char.IsAsciiDigit(text[_position]))
                    _position++;
                if (!long.TryParse(text.AsSpan(start, _position - start), NumberStyles.None, CultureInfo.InvariantCulture, out long size) || sizes.Count == 64)
                    throw Corrupt("has a shape that is no tuple of sizes");
                sizes.Add(size);
                TryTake('L');
                if (!TryTake(','))
                {
                    Expect(')');
                    break;
                }
            }
            return [.. sizes];
        }

        private char Peek()
        {
            SkipSpace();
            return _position < text.Length ? text[_position] : '\0';
        }

        private bool TryTake(char c)
        {
            if (Peek() != c || _position >= text.Length)
                return false;
            _position++;
            return true;
        }

        private void Expect(char c)
        {
            if (!TryTake(c))
                throw Corrupt($"lacks '{c}' at character {_position}");
        }

        private void SkipSpace()
        {
            while (_position < text.Length && text[_position] is ' ' or '\n' or '\t' or '\r')
                _position++;
        }

        private readonly InvalidDataException Corrupt(string what) => new($"{path}: the head of the .npy format {what}");
    }
}
