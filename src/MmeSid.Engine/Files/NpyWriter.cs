using System.Runtime.InteropServices;

namespace MmeSid.Engine.Files;

/// <summary>Writes a <c>.npy</c> matrix of known shape block by block, rows in order.</summary>
/// <typeparam name="T">Value type, see <see cref="ElementTypes.Of{T}"/>.</typeparam>
public sealed class NpyWriter<T>
    where T : unmanaged
{
    private readonly Stream _stream;
    private readonly Int128 _expected;
    private Int128 _written;

    /// <summary>Writes the head at the stream's position.</summary>
    /// <param name="stream">Any writable stream; the caller keeps and closes it.</param>
    /// <param name="rows">n ≥ 0.</param>
    /// <param name="columns">Values per row, at least 1.</param>
    public NpyWriter(Stream stream, long rows, int columns)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        _stream = stream;
        _expected = (Int128)rows * columns;
        NpyFile.WriteHeader(stream, ElementTypes.Of<T>(), [rows, columns]);
    }

    /// <summary>Appends values.</summary>
    /// <exception cref="ArgumentException">More values than the shape holds.</exception>
    public void Write(ReadOnlySpan<T> values)
    {
        if (_written + values.Length > _expected)
            throw new ArgumentException($"{_written + values.Length} values written, the shape holds {_expected}", nameof(values));
        const int valuesPerWrite = 1 << 20;
        for (int start = 0; start < values.Length; start += valuesPerWrite)
            _stream.Write(MemoryMarshal.AsBytes(values.Slice(start, Math.Min(valuesPerWrite, values.Length - start))));
        _written += values.Length;
    }

    /// <summary>Checks that every value was written.</summary>
    /// <exception cref="InvalidOperationException">Values are missing.</exception>
    public void Complete()
    {
        if (_written != _expected)
            throw new InvalidOperationException($"{_written} values written, the shape holds {_expected}");
    }
}
