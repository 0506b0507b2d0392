using System.Runtime.InteropServices;
using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Rows of one or more tensors of a GGUF file, one below the other, in the blocks they are stored in. They take the file's bytes as long as they are kept and
/// four bytes a value only while a product uses them.
/// </summary>
internal sealed class QuantizedMatrix
{
    // Rows that a thread widens at a time.
    private const int kRowsPerBlock = 64;

    private readonly List<(GgufTensorType Type, byte[] Blocks, long Rows)> _parts = [];
    private readonly long _columns;

    /// <summary>Reads the tensors.</summary>
    /// <param name="file">The file.</param>
    /// <param name="columns">Values of a row.</param>
    /// <param name="tensors">Names and numbers of rows.</param>
    /// <exception cref="InvalidDataException">One is missing, of another shape, of a type that is not widened, or above 2 GB.</exception>
    public QuantizedMatrix(GgufFile file, long columns, params IReadOnlyList<(string Name, long Rows)> tensors)
    {
        _columns = columns;
        foreach ((string name, long rows) in tensors)
        {
            GgufEntry entry = file.Entry(name);
            if (!entry.Shape.SequenceEqual([rows, columns]))
                throw new InvalidDataException($"{file.Path}: tensor {name} has shape [{string.Join(", ", entry.Shape)}], expected [{rows}, {columns}]");
            if (!GgufBlocks.CanDequantize(entry.Type))
                throw new InvalidDataException($"{file.Path}: tensor {name} is {entry.Type}, which is not widened to float32");
            if (entry.Bytes > Array.MaxLength)
                throw new InvalidDataException($"{file.Path}: tensor {name} has {entry.Bytes} bytes, at most {Array.MaxLength} can be kept");
            var blocks = new byte[entry.Bytes];
            file.ReadBytes(name, 0, blocks);
            _parts.Add((entry.Type, blocks, rows));
        }
    }

    /// <summary>Bytes that are kept.</summary>
    public long Bytes => _parts.Sum(part => (long)part.Blocks.Length);

    /// <summary>The values, [rows, columns], which die with the dispose scope.</summary>
    public Tensor Dequantize(ScalarType type, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor values = empty(_parts.Sum(part => part.Rows), _columns, dtype: float32);
        long first = 0;
        foreach ((GgufTensorType stored, byte[] blocks, long rows) in _parts)
        {
            int rowBytes = (int)(blocks.Length / rows);
            Tensor part = values.narrow(0, first, rows);
            void DequantizeRows(long row)
            {
                int count = (int)Math.Min(kRowsPerBlock, rows - row);
                Span<float> all = MemoryMarshal.Cast<byte, float>(part.bytes);
                GgufBlocks.Dequantize(stored, blocks.AsSpan((int)(row * rowBytes), count * rowBytes), all.Slice((int)(row * _columns), (int)(count * _columns)));
            }
            // Blocks are independent: the values are the same for any number of threads.
            int passes = (int)((rows + kRowsPerBlock - 1) / kRowsPerBlock);
            _ = Parallel.For(0, passes, new ParallelOptions { MaxDegreeOfParallelism = get_num_threads() }, pass => DequantizeRows((long)pass * kRowsPerBlock));
            first += rows;
        }
        return values.to(type, device).MoveToOuterDisposeScope();
    }
}
