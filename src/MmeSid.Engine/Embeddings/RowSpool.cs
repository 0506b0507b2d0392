using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>
/// Rows that arrive one by one from a format that cannot be read by position. They stay in memory up to a budget; beyond it they go to a
/// temporary file that the system deletes with the process, however it ends. Appending is not thread-safe; reading after the last append is.
/// </summary>
internal sealed class RowSpool(int dimension, long memoryBytes = 256L << 20) : IDisposable
{
    private const int kBlockBytes = 1 << 22;

    private readonly int _rowsPerBlock = Math.Max(1, kBlockBytes / sizeof(float) / dimension);
    private readonly List<RowMatrix> _blocks = [];
    private SafeFileHandle? _file;

    /// <summary>Rows that have been written to the file.</summary>
    private long _filed;

    public long Count { get; private set; }

    public int Dimension => dimension;

    public bool IsInFile => _file is not null;

    public void Append(ReadOnlySpan<float> row)
    {
        long inBlocks = Count - _filed;
        if (inBlocks == (long)_blocks.Count * _rowsPerBlock)
        {
            if ((_blocks.Count + 1L) * _rowsPerBlock * dimension * sizeof(float) > memoryBytes)
            {
                WriteBlocks();
                inBlocks = 0;
            }
            _blocks.Add(new RowMatrix(_rowsPerBlock, dimension));
        }
        row.CopyTo(_blocks[(int)(inBlocks / _rowsPerBlock)].Rows(inBlocks % _rowsPerBlock, 1));
        Count++;
    }

    public void Read(long firstRow, int rows, Span<float> destination)
    {
        int done = 0;
        if (firstRow < _filed)
        {
            done = (int)Math.Min(rows, _filed - firstRow);
            const int valuesPerRead = 1 << 16;
            for (int start = 0; start < done * dimension; start += valuesPerRead)
            {
                Span<float> piece = destination.Slice(start, Math.Min(valuesPerRead, done * dimension - start));
                FileBlock.ReadExactly(_file!, "temporary file", (firstRow * dimension + start) * sizeof(float), MemoryMarshal.AsBytes(piece));
            }
        }
        while (done < rows)
        {
            long row = firstRow + done - _filed;
            int count = (int)Math.Min(rows - done, _rowsPerBlock - row % _rowsPerBlock);
            _blocks[(int)(row / _rowsPerBlock)].Rows(row % _rowsPerBlock, count).CopyTo(destination[(done * dimension)..]);
            done += count;
        }
    }

    public void Dispose()
    {
        _file?.Dispose();
        foreach (RowMatrix block in _blocks)
            block.Dispose();
    }

    private void WriteBlocks()
    {
        _file ??= OpenTemporary();
        foreach (RowMatrix block in _blocks)
        {
            RandomAccess.Write(_file, MemoryMarshal.AsBytes(block.Rows(0, _rowsPerBlock)), _filed * dimension * sizeof(float));
            _filed += _rowsPerBlock;
            block.Dispose();
        }
        _blocks.Clear();
    }

    // On Unix the file gives up its name at once, so that not even a killed process leaves it behind; Windows deletes it with its last handle.
    private static SafeFileHandle OpenTemporary()
    {
        string path = OutputFile.TemporaryName(Path.Combine(Path.GetTempPath(), "mmesid-rows"));
        bool unix = !OperatingSystem.IsWindows();
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, unix ? FileOptions.None : FileOptions.DeleteOnClose);
        if (unix)
            File.Delete(path);
        return file;
    }
}

/// <summary>The rows of a CSV or Parquet file, read once and checked on the way.</summary>
internal sealed class SpooledRows(string path, RowSpool spool, string[]? names) : RowSource
{
    public override string Path => path;

    public override long Count => spool.Count;

    public override int Dimension => spool.Dimension;

    public override string[]? Names => names;

    public override void Read(long firstRow, int rows, Span<float> destination) => spool.Read(firstRow, rows, destination);

    public override void Dispose() => spool.Dispose();
}
