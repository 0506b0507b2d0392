using System.Buffers;
using System.Buffers.Binary;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// Rows that lie in a file one after the other in a binary format: .npy, .safetensors, .fbin, .fvecs. Rows are read by position;
/// float32 goes straight into the destination.
/// </summary>
internal sealed class DenseRows : RowSource
{
    // Each piece is read and then checked or converted while it is in the second-level cache.
    private const int kBytesPerRead = 1 << 18;

    private readonly SafeFileHandle _file;
    private readonly ElementType _type;
    private readonly long _dataOffset;

    /// <summary>Bytes before each row's values: 4 for .fvecs (its dimension), else 0.</summary>
    private readonly int _rowPrefixBytes;

    private DenseRows(string path, SafeFileHandle file, ElementType type, long dataOffset, long count, int dimension, int rowPrefixBytes)
    {
        Path = path;
        _file = file;
        _type = type;
        _dataOffset = dataOffset;
        Count = count;
        Dimension = dimension;
        _rowPrefixBytes = rowPrefixBytes;
    }

    public override string Path { get; }

    public override long Count { get; }

    public override int Dimension { get; }

    public static DenseRows OpenNpy(string path) => Open(path, file =>
    {
        NpyHeader header = NpyFile.ReadHeader(file, path);
        (long count, int dimension) = RowShape(path, "the array", header.Shape);
        NpyFile.RefuseFortranOrder(header, path);
        if (!header.Type.HoldsEmbeddings())
            throw new InvalidDataException($"{path}: values are {header.Type}, expected float16, float32, float64, uint8 or int8");
        return new DenseRows(path, file, header.Type, header.DataOffset, count, dimension, 0);
    });

    public static DenseRows OpenSafetensors(string path, string? tensor)
    {
        SafetensorsEntry entry;
        using (SafetensorsFile tensors = SafetensorsFile.Open(path))
        {
            if (tensor is null)
            {
                string[] matrices = [.. tensors.Tensors.Where(pair => pair.Value.Shape.Count == 2).Select(pair => pair.Key).Order(StringComparer.Ordinal)];
                if (matrices.Length != 1)
                    throw new InvalidDataException($"{path}: has {matrices.Length} 2-D tensors, expected one, or the name of the one to take{(matrices.Length == 0 ? "" : ": " + string.Join(", ", matrices.Take(20)))}");
                tensor = matrices[0];
            }
            entry = tensors.Entry(tensor);
        }
        (long count, int dimension) = RowShape(path, $"tensor '{tensor}'", entry.Shape);
        if (!entry.Type.HoldsEmbeddings())
            throw new InvalidDataException($"{path}: tensor '{tensor}' is {entry.Type}, expected float16, bfloat16, float32, float64, uint8 or int8");
        return new DenseRows(path, File.OpenHandle(path), entry.Type, entry.Offset, count, dimension, 0);
    }

    /// <summary>int32 n, int32 d, then n·d float32.</summary>
    public static DenseRows OpenFbin(string path) => Open(path, file =>
    {
        long length = RandomAccess.GetLength(file);
        Span<byte> head = stackalloc byte[8];
        if (FileBlock.ReadUpTo(file, 0, head) < 8)
            throw new InvalidDataException($"{path}: has {length} bytes, a .fbin file has at least 8");
        long count = BinaryPrimitives.ReadInt32LittleEndian(head);
        int dimension = CheckedDimension(path, BinaryPrimitives.ReadInt32LittleEndian(head[4..]));
        if (count < 0)
            throw new InvalidDataException($"{path}: says it has {count} rows");
        long expected = 8 + count * dimension * sizeof(float);
        if (length != expected)
            throw new InvalidDataException($"{path}: {(length < expected ? "truncated" : "too long")}: {count} rows of dimension {dimension} take {expected} bytes, the file has {length}");
        return new DenseRows(path, file, ElementType.Float32, 8, count, dimension, 0);
    });

    /// <summary>Per row: int32 d, then d float32.</summary>
    public static DenseRows OpenFvecs(string path) => Open(path, file =>
    {
        long length = RandomAccess.GetLength(file);
        Span<byte> head = stackalloc byte[4];
        if (FileBlock.ReadUpTo(file, 0, head) < 4)
            throw new InvalidDataException($"{path}: has {length} bytes, so it holds no row and its dimension is unknown");
        int dimension = CheckedDimension(path, BinaryPrimitives.ReadInt32LittleEndian(head));
        long rowBytes = 4 + (long)dimension * sizeof(float);
        if (length % rowBytes != 0)
            throw new InvalidDataException($"{path}: truncated: rows of dimension {dimension} take {rowBytes} bytes each, the file has {length}, which is no multiple");
        return new DenseRows(path, file, ElementType.Float32, 0, length / rowBytes, dimension, 4);
    });

    public override void Read(long firstRow, int rows, Span<float> destination)
    {
        if (_rowPrefixBytes > 0)
            ReadPrefixed(firstRow, rows, destination);
        else if (_type == ElementType.Float32)
            ReadPieces(firstRow, destination, Finiteness.IndexOfNonFinite, value => value);
        else
            ReadConverted(firstRow, destination);
    }

    public override NarrowElement? Narrow => NarrowOf(_type);

    public override void ReadNarrow(long firstRow, int rows, Span<ushort> destination)
    {
        NarrowElement element = NarrowOf(_type) ?? throw new InvalidOperationException($"{Path}: values are {_type}");
        ReadPieces(firstRow, destination, bits => Finiteness.IndexOfNonFinite(bits, element), bits => element.Widen(bits));
    }

    public override void Dispose() => _file.Dispose();

    private static DenseRows Open(string path, Func<SafeFileHandle, DenseRows> read)
    {
        SafeFileHandle file = File.OpenHandle(path);
        try
        {
            return read(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static (long Count, int Dimension) RowShape(string path, string what, IReadOnlyList<long> shape)
    {
        if (shape.Count != 2)
            throw new InvalidDataException($"{path}: {what} has {shape.Count} dimensions ({NpyFile.ShapeText([.. shape])}), expected 2: rows and columns");
        return (shape[0], CheckedDimension(path, shape[1]));
    }

    private static int CheckedDimension(string path, long dimension)
        => dimension is >= 1 and <= EmbeddingTable.MaximumDimension
            ? (int)dimension
            : throw new InvalidDataException($"{path}: rows have dimension {dimension}, expected 1 to {EmbeddingTable.MaximumDimension}");

    private static NarrowElement? NarrowOf(ElementType type) => type switch
    {
        ElementType.Float16 => NarrowElement.Float16,
        ElementType.BFloat16 => NarrowElement.BFloat16,
        _ => null,
    };

    /// <summary>Reads values as they are stored; each piece is checked while it is in the cache.</summary>
    private void ReadPieces<T>(long firstRow, Span<T> destination, Func<ReadOnlySpan<T>, int> indexOfNonFinite, Func<T, double> valueOf)
        where T : unmanaged
    {
        int size = _type.Size(), valuesPerRead = kBytesPerRead / size;
        long offset = _dataOffset + firstRow * Dimension * size;
        for (int start = 0; start < destination.Length; start += valuesPerRead)
        {
            Span<T> piece = destination.Slice(start, Math.Min(valuesPerRead, destination.Length - start));
            FileBlock.ReadExactly(_file, Path, offset + (long)start * size, MemoryMarshal.AsBytes(piece));
            int bad = indexOfNonFinite(piece);
            if (bad >= 0)
                throw Finiteness.Refusal(Place(firstRow + (start + bad) / Dimension), (start + bad) % Dimension, valueOf(piece[bad]));
        }
    }

    private void ReadPrefixed(long firstRow, int rows, Span<float> destination)
    {
        int rowBytes = _rowPrefixBytes + Dimension * sizeof(float);
        int rowsPerRead = Math.Max(1, kBytesPerRead / rowBytes);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Min(rowsPerRead, rows) * rowBytes);
        try
        {
            for (int start = 0; start < rows; start += rowsPerRead)
            {
                int count = Math.Min(rowsPerRead, rows - start);
                Span<byte> piece = buffer.AsSpan(0, count * rowBytes);
                FileBlock.ReadExactly(_file, Path, _dataOffset + (firstRow + start) * rowBytes, piece);
                for (int i = 0; i < count; i++)
                {
                    ReadOnlySpan<byte> row = piece.Slice(i * rowBytes, rowBytes);
                    int dimension = BinaryPrimitives.ReadInt32LittleEndian(row);
                    if (dimension != Dimension)
                        throw new InvalidDataException($"{Place(firstRow + start + i)} has dimension {dimension}, expected {Dimension} as in row 0");
                    Span<float> values = destination.Slice((start + i) * Dimension, Dimension);
                    row[_rowPrefixBytes..].CopyTo(MemoryMarshal.AsBytes(values));
                    int bad = Finiteness.IndexOfNonFinite(values);
                    if (bad >= 0)
                        throw Finiteness.Refusal(Place(firstRow + start + i), bad, values[bad]);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void ReadConverted(long firstRow, Span<float> destination)
    {
        int size = _type.Size();
        int valuesPerRead = kBytesPerRead / size;
        long offset = _dataOffset + firstRow * Dimension * size;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(kBytesPerRead);
        try
        {
            for (int start = 0; start < destination.Length; start += valuesPerRead)
            {
                Span<float> piece = destination.Slice(start, Math.Min(valuesPerRead, destination.Length - start));
                Span<byte> source = buffer.AsSpan(0, piece.Length * size);
                FileBlock.ReadExactly(_file, Path, offset + (long)start * size, source);
                ConvertValues(_type, source, piece);
                int bad = Finiteness.IndexOfNonFinite(piece);
                if (bad >= 0)
                {
                    double value = _type == ElementType.Float64 ? MemoryMarshal.Cast<byte, double>(source)[bad] : piece[bad];
                    throw Finiteness.Refusal(Place(firstRow + (start + bad) / Dimension), (start + bad) % Dimension, value);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Converts to float32; float64 is rounded to nearest-even, overflow becomes infinite; all other types fit exactly.</summary>
    private static void ConvertValues(ElementType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        switch (type)
        {
            case ElementType.Float64:
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, double>(source), destination);
                break;
            case ElementType.UInt8:
                TensorPrimitives.ConvertTruncating(source, destination);
                break;
            case ElementType.Int8:
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(source), destination);
                break;
            default:
                (NarrowOf(type) ?? throw new InvalidOperationException($"values are {type}")).Widen(MemoryMarshal.Cast<byte, ushort>(source), destination);
                break;
        }
    }
}
