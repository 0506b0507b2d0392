using System.Runtime.InteropServices;
using System.Text;

namespace MmeSid.Engine.Files;

/// <summary>A tensor that a GGUF file will hold.</summary>
/// <param name="Name">Unique, 1 to <see cref="GgufFile.MaximumNameBytes"/> bytes.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Shape">Sizes, outermost first: a weight is [outputs, inputs].</param>
public sealed record GgufTensor(string Name, GgufTensorType Type, IReadOnlyList<long> Shape);

/// <summary>
/// Writes a GGUF file (version 3) front to back: the head at once, then the bytes of the tensors in their order, in pieces of any size, so that a file
/// need not fit into memory. The same input gives the same bytes.
/// </summary>
public sealed class GgufWriter
{
    private readonly Stream _stream;
    private readonly IReadOnlyList<GgufTensor> _tensors;
    private readonly long[] _lengths;
    private readonly long _alignment;
    private int _tensor;
    private long _written;

    /// <summary>Writes the head.</summary>
    /// <param name="stream">Any writable stream; the caller's to close.</param>
    /// <param name="metadata">Keys in their order. <see cref="GgufFile.AlignmentKey"/> is heeded.</param>
    /// <param name="tensors">In the order in which their bytes will come.</param>
    /// <exception cref="ArgumentException">A tensor is named twice, or its name or shape is one that the format does not store.</exception>
    public GgufWriter(Stream stream, GgufMetadata metadata, IReadOnlyList<GgufTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(metadata);
        ArgumentNullException.ThrowIfNull(tensors);
        _stream = stream;
        _tensors = tensors;
        _lengths = Lengths(tensors);
        _alignment = GgufFile.DefaultAlignment;
        if (metadata.TryGetValue(GgufFile.AlignmentKey, out object? alignment))
        {
            if (alignment is not uint value || value == 0 || (value & (value - 1)) != 0 || value > 1 << 30)
                throw new ArgumentException($"key '{GgufFile.AlignmentKey}' is {alignment}, expected a power of two as a 32-bit unsigned integer", nameof(metadata));
            _alignment = value;
        }
        WriteHead(metadata);
    }

    /// <summary>Writes a file of tensors that are in memory.</summary>
    /// <exception cref="ArgumentException">See the constructor; or bytes do not have their tensor's length.</exception>
    public static void Write(Stream stream, GgufMetadata metadata, IReadOnlyList<(GgufTensor Tensor, ReadOnlyMemory<byte> Bytes)> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        var writer = new GgufWriter(stream, metadata, [.. tensors.Select(entry => entry.Tensor)]);
        for (int i = 0; i < tensors.Count; i++)
        {
            if (tensors[i].Bytes.Length != writer._lengths[i])
                throw new ArgumentException($"tensor {tensors[i].Tensor.Name} takes {writer._lengths[i]} bytes, {tensors[i].Bytes.Length} are given", nameof(tensors));
            writer.Write(tensors[i].Bytes.Span);
        }
        writer.Complete();
    }

    /// <summary>A tensor of float32 values with its bytes, for <see cref="Write(Stream, GgufMetadata, IReadOnlyList{ValueTuple{GgufTensor, ReadOnlyMemory{byte}}})"/>.</summary>
    public static (GgufTensor Tensor, ReadOnlyMemory<byte> Bytes) Singles(string name, ReadOnlySpan<float> values, params ReadOnlySpan<long> shape)
        => (new GgufTensor(name, GgufTensorType.F32, shape.ToArray()), MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>Writes the next bytes of the tensor whose turn it is; a piece does not reach into the next tensor.</summary>
    /// <exception cref="ArgumentException">There are more bytes than the tensor still takes.</exception>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
            return;
        if (_tensor == _tensors.Count)
            throw new ArgumentException($"{bytes.Length} bytes after the last tensor", nameof(bytes));
        if (bytes.Length > _lengths[_tensor] - _written)
            throw new ArgumentException($"{bytes.Length} bytes for tensor {_tensors[_tensor].Name}, which takes {_lengths[_tensor] - _written} more", nameof(bytes));
        _stream.Write(bytes);
        _written += bytes.Length;
        if (_written == _lengths[_tensor])
        {
            Pad(_written);
            _tensor++;
            _written = 0;
        }
    }

    /// <summary>Checks that every tensor has been written.</summary>
    /// <exception cref="InvalidOperationException">One has not.</exception>
    public void Complete()
    {
        if (_tensor < _tensors.Count)
            throw new InvalidOperationException($"tensor {_tensors[_tensor].Name} has {_written} of {_lengths[_tensor]} bytes");
    }

    private static long[] Lengths(IReadOnlyList<GgufTensor> tensors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var lengths = new long[tensors.Count];
        for (int i = 0; i < lengths.Length; i++)
        {
            GgufTensor tensor = tensors[i];
            ArgumentNullException.ThrowIfNull(tensor.Name, nameof(tensors));
            int bytes = Encoding.UTF8.GetByteCount(tensor.Name);
            if (bytes is 0 or > GgufFile.MaximumNameBytes)
                throw new ArgumentException($"tensor '{tensor.Name}' has a name of {bytes} bytes, expected 1 to {GgufFile.MaximumNameBytes}", nameof(tensors));
            if (!names.Add(tensor.Name))
                throw new ArgumentException($"two tensors are named {tensor.Name}", nameof(tensors));
            lengths[i] = tensor.Shape.Count <= GgufFile.MaximumDimensions && tensor.Type.ByteCount([.. tensor.Shape]) is { } length ? length
                : throw new ArgumentException($"tensor {tensor.Name}: {tensor.Type} does not store the shape [{string.Join(", ", tensor.Shape)}]; expected up to {GgufFile.MaximumDimensions} sizes from 1, the last a multiple of {tensor.Type.BlockValues()}", nameof(tensors));
        }
        return lengths;
    }

    private void WriteHead(GgufMetadata metadata)
    {
        using var head = new MemoryStream();
        using var binary = new BinaryWriter(head, Encoding.UTF8, leaveOpen: true);
        binary.Write(GgufFile.Magic);
        binary.Write(GgufFile.Version);
        binary.Write((long)_tensors.Count);
        binary.Write((long)metadata.Count);
        foreach ((string key, object value) in metadata)
        {
            WriteText(binary, key);
            if (value is Array array)
            {
                binary.Write((uint)GgufValueType.Array);
                binary.Write((uint)GgufValueTypes.Of(array.GetType().GetElementType()!)!.Value);
                binary.Write((long)array.Length);
                WriteArray(binary, array);
            }
            else
            {
                binary.Write((uint)GgufValueTypes.Of(value.GetType())!.Value);
                WriteValue(binary, value);
            }
        }
        long offset = 0;
        for (int i = 0; i < _tensors.Count; i++)
        {
            WriteText(binary, _tensors[i].Name);
            binary.Write((uint)_tensors[i].Shape.Count);
            for (int dimension = _tensors[i].Shape.Count - 1; dimension >= 0; dimension--)
                binary.Write(_tensors[i].Shape[dimension]);
            binary.Write((uint)_tensors[i].Type);
            binary.Write(offset);
            offset = checked(offset + _lengths[i] + Padding(_lengths[i]));
        }
        binary.Flush();
        _stream.Write(head.GetBuffer().AsSpan(0, (int)head.Length));
        Pad(head.Length);
    }

    private static void WriteArray(BinaryWriter binary, Array array)
    {
        switch (array)
        {
            case string[] texts:
                foreach (string text in texts)
                    WriteText(binary, text);
                break;
            case float[] values:
                binary.Write(MemoryMarshal.AsBytes(values.AsSpan()));
                break;
            case int[] values:
                binary.Write(MemoryMarshal.AsBytes(values.AsSpan()));
                break;
            default:
                foreach (object value in array)
                    WriteValue(binary, value);
                break;
        }
    }

    private static void WriteValue(BinaryWriter binary, object value)
    {
        switch (value)
        {
            case byte number: binary.Write(number); break;
            case sbyte number: binary.Write(number); break;
            case ushort number: binary.Write(number); break;
            case short number: binary.Write(number); break;
            case uint number: binary.Write(number); break;
            case int number: binary.Write(number); break;
            case float number: binary.Write(number); break;
            case bool flag: binary.Write(flag); break;
            case ulong number: binary.Write(number); break;
            case long number: binary.Write(number); break;
            case double number: binary.Write(number); break;
            default: WriteText(binary, (string)value); break;
        }
    }

    private static void WriteText(BinaryWriter binary, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        binary.Write((long)bytes.Length);
        binary.Write(bytes);
    }

    private long Padding(long length) => (_alignment - (length % _alignment)) % _alignment;

    private void Pad(long length)
    {
        Span<byte> zeros = stackalloc byte[256];
        zeros.Clear();
        for (long left = Padding(length); left > 0; left -= Math.Min(left, zeros.Length))
            _stream.Write(zeros[..(int)Math.Min(left, zeros.Length)]);
    }
}
